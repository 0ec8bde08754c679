//! Patterns: the language of Amazon EventBridge (event-ruler), compiled to a condition.
//!
//! ```json
//! {"channel": ["sms", "push"], "content": {"total": [{"numeric": [">", 1000]}]}, "$or": [{…}, {…}]}
//! ```
//!
//! # Meaning
//!
//! 1. **All keys, any pattern.** A pattern is an object. Each key names a key of the message; its value is an object,
//!    for the object below, or a list of patterns, some of which must match. All keys must match. What the pattern
//!    does not name may be anything.
//! 2. **Leaves.** The patterns of a list are asked of the field's leaves. A value is its own leaf; the leaves of a
//!    list are those of its elements, lists in lists included; an object is no leaf. A pattern matches where it
//!    matches *some* leaf (so `anything-but` too: some leaf is another).
//! 3. **Nothing there.** A missing field, an object, an empty list and a list of objects have no leaf, so only
//!    `{"exists": false}` matches them. `null` is a leaf.
//! 4. **One element.** Where a list stands in the place of an object, one and the same element must match all that the
//!    pattern says of it, `{"exists": false}` included; elements of lists in the list are elements of the list, and
//!    only objects have a part in it. A list without objects counts as nothing there. What the pattern and the branches of its `$or` say of one list is said of
//!    one element.
//! 5. **Types.** Numbers match by value, of any size in 64 bits: `300`, `300.0` and `3e2` are one (an integer is compared
//!    with a double as a double, as in CEL). A bool is no number, `"5"` is not `5`. Operators on text do not match other types, and are no error there.
//! 6. **Operators.** `"text"`, a number, `true`, `false`, `null`: equal. `""`: the empty text.
//!    `{"prefix": "a"}`, `{"suffix": "a"}`, `{"equals-ignore-case": "a"}`, `{"wildcard": "a*b"}`; `prefix` and `suffix`
//!    also take `{"equals-ignore-case": "a"}`. `{"numeric": [">", 0, "<=", 5]}` with `=`, `<`, `<=`, `>`, `>=`, or two
//!    bounds, which one leaf must meet. `{"cidr": "10.0.0.0/8"}`, also IPv6: text that is an address in the network.
//!    `{"exists": true}`: there is a leaf; `{"exists": false}`: there is none.
//! 7. **`anything-but`** takes a value or a list of them, or `prefix`, `suffix`, `equals-ignore-case` or `wildcard`
//!    with a text or a list of them. It matches a leaf that none of these match: a number too where they are texts.
//! 8. **`wildcard`** matches the whole text; `*` is any characters, none included; `\*` is a star, `\\` a backslash.
//! 9. **Case** is ignored by Unicode's lower-case mapping of each character: `É` is `é`, `ß` is not `ss`.
//! 10. **`$or`** takes two or more patterns, one of which must match, and so must the keys beside it. It may stand in
//!     any object, also within another `$or`.
//!
//! # Where this differs from event-ruler
//!
//! Keys with dots are keys: `{"a.b": …}` is not `{"a": {"b": …}}`. Numbers have no bounds (event-ruler: ±5·10⁹, six
//! decimals), and `anything-but` takes values of mixed types, bools and null. A text that looks like an address is
//! compared as text. `{"exists": false}` alone below a list of objects asks for one element without the field
//! (event-ruler: all elements). `$or` is never a field's name.
//!
//! Source: github.com/aws/event-ruler (README, `JsonRuleCompiler`, `Event`) and the EventBridge user guide,
//! "Comparison operators". Cost: linear in the pattern; nothing is multiplied out.

mod operator;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::condition::{Asked, Condition, Predicate, Quote, Test};
use super::limits::Limits;
use super::source::{self, Notation};
use crate::error::ConditionError;
use crate::message::path::{FieldId, FieldTable};
use crate::message::render::{compact_bytes, render, write_value};
use crate::message::value::{Key, Map, Value};
use operator::Operator;
use place::{Keys, Step};

const OR: &str = "$or";

/// Compiles a pattern about the variable `root` (such as `message`). New fields are added to `fields`.
///
/// # Errors
/// [`ConditionError`], its place the keys that lead to what is wrong, if the pattern is not one, or is beyond the
/// limits on nesting, nodes or bytes.
pub fn compile(
    pattern: &Value<'static>,
    root: &str,
    fields: &mut FieldTable,
    limits: &Limits,
) -> Result<Condition, ConditionError> {
    let mut size = Size::default();
    measure(pattern, limits, &Keys::Top, 0, &mut size)?;
    if size.bytes > limits.source_bytes && compact_bytes(pattern, limits.source_bytes).is_none() {
        return Keys::Top.error(format!("a pattern of more than {} bytes (`source_bytes`)", limits.source_bytes));
    }
    let Value::Map(pattern) = pattern else {
        return Keys::Top
            .error(format!("a pattern is an object, such as {{\"channel\": [\"sms\"]}}, not {}", render(pattern, 40)));
    };
    Compiler { root, fields, written: String::new() }.object(pattern, &Keys::Top, &mut Vec::new())
}

/// How much of a pattern was seen.
#[derive(Default)]
struct Size {
    nodes: usize,
    literals: usize,
    /// The most that it can take as compact JSON.
    bytes: usize,
}

/// The most bytes that a number takes, `-1.7976931348623157e308` written out.
const NUMBER: usize = 400;

/// The most bytes that a text takes: a character between quotes may be an escape of six.
fn text_bytes(text: &str) -> usize {
    6 * text.len() + 2
}

/// Holds the pattern to the limits, so that what follows may recurse.
fn measure(
    value: &Value<'static>,
    limits: &Limits,
    keys: &Keys<'_>,
    depth: usize,
    size: &mut Size,
) -> Result<(), ConditionError> {
    size.nodes += 1;
    // With a comma or colon after it.
    size.bytes += 1 + match value {
        Value::Text(text) => text_bytes(text.as_str()),
        Value::List(_) | Value::Map(_) => 2,
        _ => NUMBER,
    };
    size.literals += usize::from(!matches!(value, Value::List(_) | Value::Map(_)));
    if size.literals > limits.literals {
        return keys
            .error(format!("a pattern of more than {} constants (`literals`); split the rule", limits.literals));
    }
    if size.nodes > limits.nodes {
        return keys.error(format!("a pattern of more than {} values (`nodes`); split the rule", limits.nodes));
    }
    if depth > limits.nesting {
        return keys.error(format!("a pattern nested more than {} levels deep (`nesting`)", limits.nesting));
    }
    match value {
        Value::List(items) => {
            for (position, item) in items.iter().enumerate() {
                measure(item, limits, &keys.then(Step::Position(position)), depth + 1, size)?;
            }
            Ok(())
        }
        Value::Map(map) => {
            for (key, item) in map.entries() {
                let Key::Text(key) = key else {
                    return keys.error("a key that is no text; JSON's keys are texts: put it in quotes");
                };
                size.bytes += 1 + text_bytes(key.as_str());
                measure(item, limits, &keys.then(Step::Key(key.as_str())), depth + 1, size)?;
            }
            Ok(())
        }
        Value::Double(number) if !number.is_finite() => {
            keys.error(format!("{number} equals nothing; write a finite number"))
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Text(_) => Ok(()),
        Value::Bytes(_) | Value::Timestamp(_) | Value::Duration(_) | Value::Type(_) => {
            keys.error(format!("{} is no JSON; write text, a number, true, false or null", render(value, 40)))
        }
    }
}

/// The entries of a map whose keys are texts, as [`measure`] has made sure they are.
fn entries<'v>(map: &'v Map<'static>) -> impl Iterator<Item = (&'v str, &'v Value<'static>)> {
    map.entries().iter().filter_map(|(key, value)| match key {
        Key::Text(key) => Some((key.as_str(), value)),
        _ => None,
    })
}

struct Compiler<'f> {
    root: &'f str,
    fields: &'f mut FieldTable,
    /// Room to write an operator in.
    written: String,
}

impl Compiler<'_> {
    fn field(&mut self, path: &[&str]) -> FieldId {
        self.fields.number(self.root, path)
    }

    /// An object of the pattern, about the message's object at `path`.
    fn object<'v>(
        &mut self,
        pattern: &'v Map<'static>,
        keys: &Keys<'_>,
        path: &mut Vec<&'v str>,
    ) -> Result<Condition, ConditionError> {
        let mut parts = Vec::new();
        let mut branches = None;
        for (key, value) in entries(pattern) {
            let keys = keys.then(Step::Key(key));
            if key == OR {
                branches = Some(self.branches(value, &keys, path)?);
                continue;
            }
            path.push(key);
            parts.push(self.entry(key, value, &keys, path)?);
            path.pop();
        }
        let Some(branches) = branches else {
            if parts.is_empty() {
                return keys.error("an empty pattern; name a key, such as {\"channel\": [\"sms\"]}");
            }
            return Ok(Condition::all(parts));
        };
        parts.push(branches);
        let mut condition = Condition::all(parts);
        // Meaning 4: a list that both the keys and the branches speak of is bound once, around both. Innermost first.
        for object in shared_objects(pattern).into_iter().rev() {
            let length = path.len();
            path.extend(object);
            condition = Condition::Within { field: self.field(path), condition: Box::new(condition) };
            path.truncate(length);
        }
        Ok(condition)
    }

    /// A key of the pattern; `path` ends with it.
    fn entry<'v>(
        &mut self,
        key: &str,
        value: &'v Value<'static>,
        keys: &Keys<'_>,
        path: &mut Vec<&'v str>,
    ) -> Result<Condition, ConditionError> {
        if let Some(example) = operator::misplaced(key, value) {
            return keys
                .error(format!("{key:?} is an operator; a field's patterns stand in a list: write [{example}]"));
        }
        match value {
            Value::Map(below) => {
                let condition = self.object(below, keys, path)?;
                Ok(Condition::Within { field: self.field(path), condition: Box::new(condition) })
            }
            Value::List(patterns) if patterns.is_empty() => keys.error(
                "an empty list matches nothing; write what the field may be, such as [\"sms\"], or [{\"exists\": true}]",
            ),
            Value::List(patterns) => self.patterns(patterns, keys, path),
            scalar => keys.error(format!("a field's patterns stand in a list: write [{}]", render(scalar, 60))),
        }
    }

    /// A field's patterns. The values among them become one test.
    fn patterns(
        &mut self,
        patterns: &[Value<'static>],
        keys: &Keys<'_>,
        path: &[&str],
    ) -> Result<Condition, ConditionError> {
        let field = self.field(path);
        let mut values: SmallVec<[Value<'static>; 1]> = SmallVec::new();
        let mut alternatives = Vec::new();
        for (position, pattern) in patterns.iter().enumerate() {
            let keys = keys.then(Step::Position(position));
            match Operator::parse(pattern, &keys)? {
                Operator::Value => values.push(pattern.clone().into_owned()),
                Operator::Test(test, asked) => alternatives.push(self.test(field, test, asked, pattern)),
            }
        }
        if !values.is_empty() {
            let only = if values.len() == 1 { values.pop() } else { None };
            let test = only.map_or_else(|| Test::OneOf(values.into_iter().collect()), Test::Equals);
            alternatives.insert(0, predicate(field, test, Asked::True, None));
        }
        Ok(Condition::any(alternatives))
    }

    /// A test that `pattern` stands for.
    fn test(&mut self, field: FieldId, test: Test, asked: Asked, pattern: &Value<'static>) -> Condition {
        self.written.clear();
        // A `String` takes all that is written.
        let complete = write_value(pattern, &mut self.written).is_ok();
        debug_assert!(complete);
        let notation = Notation { elements: true, asked };
        let (source, _) = source::kept(&self.written, self.fields.path(field), &test, notation);
        predicate(field, test, asked, source)
    }

    /// The value of `$or`.
    fn branches<'v>(
        &mut self,
        value: &'v Value<'static>,
        keys: &Keys<'_>,
        path: &mut Vec<&'v str>,
    ) -> Result<Condition, ConditionError> {
        let branches = match value {
            Value::List(branches) if branches.len() >= 2 => branches,
            _ => {
                return keys.error("`$or` takes a list of two or more patterns: write [{\"a\": [1]}, {\"b\": [2]}]");
            }
        };
        let mut conditions = Vec::with_capacity(branches.len());
        for (position, branch) in branches.iter().enumerate() {
            let keys = keys.then(Step::Position(position));
            let Value::Map(branch) = branch else {
                return keys.error(format!(
                    "`$or` takes patterns, which are objects: write {{\"field\": [{}]}}",
                    render(branch, 40)
                ));
            };
            for (key, _) in entries(branch) {
                if operator::KNOWN.contains(&key) {
                    return keys.then(Step::Key(key)).error(format!(
                        "{key:?} is an operator, which stands in a field's list: write {{\"field\": [{{\"{key}\": …}}]}}"
                    ));
                }
            }
            conditions.push(self.object(branch, &keys, path)?);
        }
        Ok(Condition::any(conditions))
    }
}

fn predicate(field: FieldId, test: Test, asked: Asked, source: Option<Arc<str>>) -> Condition {
    Condition::Predicate(Arc::new(Predicate { field, test, asked, elements: true, source, quote: Quote::Double }))
}

/// The objects, as paths from this one, that both the keys of the pattern and the branches of its `$or` speak of.
/// Outer ones before those within them.
fn shared_objects<'v>(pattern: &'v Map<'static>) -> BTreeSet<Vec<&'v str>> {
    let mut beside = BTreeSet::new();
    let mut branches = BTreeSet::new();
    for (key, value) in entries(pattern) {
        match (key, value) {
            (OR, Value::List(list)) => {
                for branch in list.iter() {
                    if let Value::Map(branch) = branch {
                        objects(branch, &mut Vec::new(), &mut branches);
                    }
                }
            }
            (_, Value::Map(below)) => {
                let mut path = vec![key];
                beside.insert(path.clone());
                objects(below, &mut path, &mut beside);
            }
            _ => {}
        }
    }
    beside.intersection(&branches).cloned().collect()
}

fn objects<'v>(pattern: &'v Map<'static>, path: &mut Vec<&'v str>, into: &mut BTreeSet<Vec<&'v str>>) {
    for (key, value) in entries(pattern) {
        match (key, value) {
            (OR, Value::List(branches)) => {
                for branch in branches.iter() {
                    if let Value::Map(branch) = branch {
                        objects(branch, path, into);
                    }
                }
            }
            (_, Value::Map(below)) => {
                path.push(key);
                into.insert(path.clone());
                objects(below, path, into);
                path.pop();
            }
            _ => {}
        }
    }
}

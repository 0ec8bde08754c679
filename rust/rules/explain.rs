//! Why each rule matches a message, or why not.
//!
//! It asks the same questions as the matcher, through the same functions, and looks closer only at what failed, so it
//! cannot disagree. Cost: linear in the rules, each condition evaluated once for every level it is looked into.

use std::sync::Arc;

use super::condition::{Asked, Condition, Found, Predicate, Undecided, first_object};
use super::element::Element;
use super::matcher::with_cache;
use super::program::Program;
use crate::message::path::{FieldId, FieldTable};
use crate::message::render::render;
use crate::message::value::Value;
use crate::message::{Fields, Read};

/// Characters of a value that an explanation shows.
pub const SHOWN: usize = 120;

/// What every rule makes of a message.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The number of the rule that [`Program::first`] finds; `None` also where it ends in an error.
    pub winner: Option<usize>,
    /// One entry for each rule, in the order of [`Program::rules`].
    pub rules: Vec<RuleExplanation>,
}

/// What one rule makes of a message.
#[derive(Debug, Clone)]
pub struct RuleExplanation {
    /// The rule's number in the program.
    pub number: usize,
    /// The rule's id.
    pub id: Arc<str>,
    /// The rule's priority.
    pub priority: i64,
    /// Why the rule does not match; `None` if it does.
    pub failure: Option<Failure>,
}

impl RuleExplanation {
    /// Whether the rule matches.
    pub fn matched(&self) -> bool {
        self.failure.is_none()
    }
}

/// The first predicate that failed, depth first in the order they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The predicate's source: CEL text, or compact JSON of the pattern's operator.
    pub source: Arc<str>,
    /// The field's path; `None` for an expression, which may name several.
    pub field: Option<String>,
    /// What was asked, in words: `starts with "a"`.
    pub asked: String,
    /// What was seen: the value, cut to [`SHOWN`] characters, or what is there instead, in words.
    pub seen: String,
    /// What else is to be known: other alternatives that failed too, other elements of a list.
    pub note: Option<String>,
    /// Whether it cannot be said if the rule matches: matching raises an error if it comes to the rule.
    pub raises: bool,
}

impl Program {
    /// Why each rule matches the message, or why not. Reads all fields that any rule comes to.
    pub fn explain<'m>(&self, fields: &dyn Fields<'m>) -> Explanation {
        with_cache(fields, self.fields().paths().len(), &mut |fields| {
            let rules: Vec<RuleExplanation> = self
                .numbered()
                .into_iter()
                .map(|(number, rule)| RuleExplanation {
                    number,
                    id: Arc::clone(&rule.id),
                    priority: rule.priority,
                    failure: explain_rule(&rule.condition, fields, self.fields()),
                })
                .collect();
            // The matcher ends at the first match or the first error.
            let end = rules.iter().find(|rule| rule.failure.as_ref().is_none_or(|failure| failure.raises));
            let winner = end.filter(|rule| rule.matched()).map(|rule| rule.number);
            Explanation { winner, rules }
        })
    }
}

fn explain_rule<'m>(condition: &Condition, fields: &dyn Fields<'m>, table: &FieldTable) -> Option<Failure> {
    failure(condition, fields, table).unwrap_or_else(|undecided| Some(of_error(undecided, condition, table)))
}

/// Why the condition does not hold; `None` if it does.
fn failure<'m>(
    condition: &Condition,
    fields: &dyn Fields<'m>,
    table: &FieldTable,
) -> Result<Option<Failure>, Undecided> {
    // The matcher's own answer decides; what follows only tells why.
    if condition.holds(fields, table)? {
        return Ok(None);
    }
    why(condition, fields, table).map(Some)
}

/// Why a condition that does not hold does not.
fn why<'m>(condition: &Condition, fields: &dyn Fields<'m>, table: &FieldTable) -> Result<Failure, Undecided> {
    match condition {
        Condition::Predicate(predicate) => of_predicate(predicate, fields, table),
        Condition::All(parts) => {
            let mut undecided = None;
            for part in parts {
                match failure(part, fields, table) {
                    Ok(Some(failure)) => return Ok(failure),
                    Ok(None) => {}
                    // Another part has settled the answer: that one is told.
                    Err(cause) => undecided = undecided.or(Some(cause)),
                }
            }
            undecided.map_or_else(|| Ok(never("all of nothing")), Err)
        }
        Condition::Any(parts) => match parts.split_first() {
            Some((first, others)) => {
                let mut failure = why(first, fields, table)?;
                if !others.is_empty() {
                    let many = if others.len() == 1 { "alternative" } else { "alternatives" };
                    add_note(&mut failure, format!("{} other {many} failed too", others.len()));
                }
                Ok(failure)
            }
            None => Ok(never("one of nothing")),
        },
        Condition::Expression(computed) => {
            let expected = if computed.asked == Asked::True { "is true" } else { "is false" };
            let seen = match computed.expression.evaluate(fields) {
                Ok(value) => render(&value, SHOWN),
                Err(error) => format!("an error: {error}"),
            };
            Ok(Failure {
                source: Arc::clone(&computed.source),
                field: None,
                asked: expected.to_owned(),
                seen,
                note: None,
                raises: false,
            })
        }
        Condition::Within { field, condition } => within(*field, condition, fields, table),
    }
}

/// Why no element of the list meets the condition: the first element's failure stands for all.
fn within<'m>(
    field: FieldId,
    condition: &Condition,
    fields: &dyn Fields<'m>,
    table: &FieldTable,
) -> Result<Failure, Undecided> {
    if !fields.is_list(field) {
        return why(condition, fields, table);
    }
    let Read::Value(list) = fields.read(field)? else { return Ok(never("a list that is none")) };
    let mut first = None;
    let mut elements = 0_usize;
    let found = first_object(&list, &mut |element| {
        if elements == 0 {
            first = Some(why(condition, &Element::new(fields, table, field, Some(element)), table)?);
        }
        elements += 1;
        Ok::<_, Undecided>(false)
    })?;
    let path = table.path(field);
    match (found, first) {
        (Found::No | Found::Yes, Some(mut failure)) => {
            let note = match elements {
                1 => format!("`{path}` is a list of one object"),
                _ => format!("`{path}` is a list: none of its {elements} objects matches, the first is shown"),
            };
            add_note(&mut failure, note);
            Ok(failure)
        }
        _ => {
            let mut failure = why(condition, &Element::new(fields, table, field, None), table)?;
            add_note(&mut failure, format!("`{path}` is a list without objects"));
            Ok(failure)
        }
    }
}

fn of_predicate<'m>(predicate: &Predicate, fields: &dyn Fields<'m>, table: &FieldTable) -> Result<Failure, Undecided> {
    let read = fields.read(predicate.field)?;
    let path = table.path(predicate.field);
    Ok(Failure {
        source: Arc::clone(&predicate.source),
        field: Some(path.to_string()),
        asked: predicate.test.describe(predicate.asked),
        seen: seen(predicate, &read),
        note: None,
        raises: false,
    })
}

/// What a predicate saw, in words where it is no value that it could be asked of.
fn seen(predicate: &Predicate, read: &Read<'_>) -> String {
    let value = match read {
        Read::Value(value) => value,
        Read::Absent => return "missing".to_owned(),
        Read::Broken => return "missing: there is no object that could hold it".to_owned(),
        Read::InList { .. } => return "missing: a list stands where an object is expected".to_owned(),
    };
    let shown = render(value, SHOWN);
    let fits = match value {
        Value::Map(_) if predicate.elements => return format!("{shown}, an object: no value of its own"),
        Value::List(items) if predicate.elements && items.is_empty() => return "[], an empty list".to_owned(),
        // Of a list the elements are asked, which may be of many types.
        Value::List(_) if predicate.elements => true,
        value => predicate.test.ask(value).is_some(),
    };
    match predicate.test.asked_of() {
        Some(wanted) if !fits => format!("{shown}, which is not {wanted}"),
        _ => shown,
    }
}

/// A rule that cannot be decided: the field that cannot be read, or the expression that takes too long.
fn of_error(undecided: Undecided, condition: &Condition, table: &FieldTable) -> Failure {
    let (field, asked, seen) = match undecided {
        Undecided::Read(error) => (Some(error.field), "can be read", error.problem),
        Undecided::Steps(problem) => (None, "ends within the limit", problem),
    };
    Failure {
        source: source_of(condition, field.as_deref(), table).unwrap_or_default(),
        field,
        asked: asked.to_owned(),
        seen,
        note: Some("matching raises this error where it comes to this rule".to_owned()),
        raises: true,
    }
}

/// The source of the first predicate of `field`, or of the first expression, which may name any.
fn source_of(condition: &Condition, field: Option<&str>, table: &FieldTable) -> Option<Arc<str>> {
    match condition {
        Condition::Predicate(predicate) => {
            (field == Some(&*table.path(predicate.field).to_string())).then(|| Arc::clone(&predicate.source))
        }
        Condition::Expression(computed) => Some(Arc::clone(&computed.source)),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().find_map(|part| source_of(part, field, table)),
        Condition::Within { condition, .. } => source_of(condition, field, table),
    }
}

fn add_note(failure: &mut Failure, note: String) {
    failure.note = Some(match failure.note.take() {
        Some(before) => format!("{before}; {note}"),
        None => note,
    });
}

/// A condition without parts that never holds, such as an `or` of nothing.
fn never(source: &str) -> Failure {
    Failure {
        source: source.into(),
        field: None,
        asked: "never holds".to_owned(),
        seen: "nothing to ask".to_owned(),
        note: None,
        raises: false,
    }
}

#[cfg(test)]
mod tests;

//! What a [`Test`] answers about one value: the only place where predicates are evaluated.
//!
//! Nothing here allocates, but for the regular expression's own caches. Cost: a scalar comparison, or linear in the
//! text; [`Test::OneOf`] and [`Test::AnythingBut`] in the number of their values.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::condition::{Asked, Bounds, Comparison, Predicate, Test};
use super::text;
use crate::message::Read;
use crate::message::render::render;
use crate::message::value::{NoOrder, Value};

impl Test {
    /// Whether the test is true of `value`; `None` where it cannot be asked of a value of that type (an error in
    /// CEL, no match in a pattern).
    pub fn ask(&self, value: &Value<'_>) -> Option<bool> {
        match self {
            Test::Equals(constant) => Some(same(constant, value)),
            Test::OneOf(constants) => Some(constants.iter().any(|constant| same(constant, value))),
            Test::Compares(comparison, constant) => comparison.ask(value, constant),
            Test::Between(bounds) => bounds.ask(value),
            Test::Prefix { text: start, ignore_case: false } => {
                value.as_str().map(|text| text.starts_with(start.as_str()))
            }
            Test::Prefix { text: start, ignore_case: true } => {
                value.as_str().map(|text| text::starts_with_folded(text, start))
            }
            Test::Suffix { text: end, ignore_case: false } => value.as_str().map(|text| text.ends_with(end.as_str())),
            Test::Suffix { text: end, ignore_case: true } => {
                value.as_str().map(|text| text::ends_with_folded(text, end))
            }
            Test::EqualsIgnoreCase(folded) => value.as_str().map(|text| text::equals_folded(text, folded)),
            Test::Contains(part) => value.as_str().map(|text| text.contains(part.as_str())),
            Test::Matches(regex) => value.as_str().map(|text| regex.is_match(text)),
            Test::Wildcard(literals) => value.as_str().map(|text| text::wildcard(literals, text)),
            // Text that is no address is in no network.
            Test::Cidr(network) => {
                value.as_str().map(|text| text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)))
            }
            Test::Present => Some(true),
            Test::IsTrue => match value {
                Value::Bool(flag) => Some(*flag),
                _ => None,
            },
            Test::AnythingBut(tests) => Some(!tests.iter().any(|test| test.ask(value) == Some(true))),
        }
    }

    /// What the test asks, in words that follow "the value": `starts with "a"`, `does not start with "a"`.
    pub fn describe(&self, asked: Asked) -> String {
        let quoted = |text: &str| render(&Value::text(text), SHOWN);
        let list = |values: &[Value<'static>]| {
            let shown: Vec<String> = values.iter().take(8).map(|value| render(value, SHOWN / 2)).collect();
            let more = values.len().saturating_sub(shown.len());
            if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
        };
        let case = |ignored: bool| if ignored { " (in any case)" } else { "" };
        let yes = asked == Asked::True;
        let (positive, negative, rest) = match self {
            Test::Equals(constant) => ("is", "is other than", render(constant, SHOWN)),
            Test::OneOf(constants) => ("is one of", "is none of", list(constants)),
            Test::Compares(comparison, constant) => {
                ("is", "is not", format!("{} {}", comparison.sign(), render(constant, SHOWN)))
            }
            Test::Between(bounds) => ("is", "is not", bounds.to_string()),
            Test::Prefix { text, ignore_case } => {
                ("starts with", "does not start with", format!("{}{}", quoted(text), case(*ignore_case)))
            }
            Test::Suffix { text, ignore_case } => {
                ("ends with", "does not end with", format!("{}{}", quoted(text), case(*ignore_case)))
            }
            Test::EqualsIgnoreCase(text) => ("is", "is other than", format!("{}{}", quoted(text), case(true))),
            Test::Contains(text) => ("contains", "does not contain", quoted(text)),
            Test::Matches(regex) => ("matches", "does not match", quoted(regex.as_str())),
            Test::Wildcard(literals) => ("matches", "does not match", quoted(&literals.join("*"))),
            Test::Cidr(network) => ("is an address in", "is no address in", network.to_string()),
            Test::Present => ("is there", "is not there", String::new()),
            Test::IsTrue => ("is true", "is false", String::new()),
            Test::AnythingBut(tests) => {
                let shown: Vec<String> = tests.iter().take(8).map(|test| test.describe(Asked::True)).collect();
                let more = tests.len().saturating_sub(shown.len());
                let tail = if more == 0 { String::new() } else { format!(", and {more} more") };
                ("is not one that", "is one that", format!("{}{tail}", shown.join(", or ")))
            }
        };
        let words = if yes { positive } else { negative };
        if rest.is_empty() { words.to_owned() } else { format!("{words} {rest}") }
    }

    /// The type of value that the test can be asked of, in words; `None` if of any.
    pub fn asked_of(&self) -> Option<&'static str> {
        match self {
            Test::Equals(_) | Test::OneOf(_) | Test::Present | Test::AnythingBut(_) => None,
            Test::Compares(_, constant) => Some(kind_of(constant)),
            Test::Between(bounds) => Some(kind_of(&bounds.lower)),
            Test::IsTrue => Some("a bool"),
            _ => Some("text"),
        }
    }
}

/// What can be compared with the constant, in words.
fn kind_of(constant: &Value<'_>) -> &'static str {
    match constant {
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => "a number",
        Value::Text(_) => "text",
        _ => "a value of the constant's type",
    }
}

/// Characters of a constant that a description shows.
const SHOWN: usize = 80;

impl Predicate {
    /// Whether the predicate holds of what stands at its field.
    ///
    /// Where [`Predicate::elements`] is set, a field is its leaves: the value itself, or, of a list, the values in it
    /// that are not maps, lists within lists included. Some leaf must pass; `Present` asks whether there is any.
    #[inline]
    pub fn passes(&self, read: &Read<'_>) -> bool {
        // What is asked most. Text in the place of a list is itself, for patterns too.
        if let (Test::Equals(Value::Text(constant)), Read::Value(Value::Text(text))) = (&self.test, read) {
            return (constant.as_str() == text.as_str()) == (self.asked == Asked::True);
        }
        self.passes_at_all(read)
    }

    fn passes_at_all(&self, read: &Read<'_>) -> bool {
        let wanted = self.asked == Asked::True;
        match (read, self.elements, &self.test) {
            (Read::Value(value), false, test) => test.ask(value) == Some(wanted),
            (Read::Value(value), true, Test::Present) => any_leaf(value, &|_| true) == wanted,
            (Read::Value(value), true, test) => any_leaf(value, &|leaf| test.ask(leaf) == Some(wanted)),
            (Read::Absent, false, Test::Present) => !wanted,
            (_, true, Test::Present) => !wanted,
            // CEL: an error, which is neither true nor false. Pattern: nothing there passes.
            _ => false,
        }
    }
}

/// Whether `accept` is true of some leaf.
fn any_leaf(value: &Value<'_>, accept: &dyn Fn(&Value<'_>) -> bool) -> bool {
    match value {
        Value::List(items) => items.iter().any(|item| any_leaf(item, accept)),
        Value::Map(_) => false,
        leaf => accept(leaf),
    }
}

impl Comparison {
    /// The operator's sign.
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// Whether `value` stands so to `constant`; `None` across types that have no order.
    pub fn ask(self, value: &Value<'_>, constant: &Value<'_>) -> Option<bool> {
        match value.compare(constant) {
            Ok(Some(order)) => Some(self.accepts(order)),
            // NaN: every comparison with it is false, none is an error.
            Ok(None) => Some(false),
            Err(NoOrder) => None,
        }
    }

    fn accepts(self, order: Ordering) -> bool {
        match self {
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Bounds {
    /// Whether `value` lies within both bounds; `None` if it is of another kind.
    pub fn ask(&self, value: &Value<'_>) -> Option<bool> {
        Some(self.above().ask(value, &self.lower)? && self.below().ask(value, &self.upper)?)
    }
}

/// CEL's equality, with the common case first.
fn same(constant: &Value<'static>, value: &Value<'_>) -> bool {
    match (constant, value) {
        (Value::Text(constant), Value::Text(text)) => constant.as_str() == text.as_str(),
        _ => constant.equals(value),
    }
}

//! What the matcher does with a message, and why: the winner, the candidates and how the index found them, and for
//! each of them, and any other rule asked about, why it matches or why not.
//!
//! The winner is found by the matcher itself, with a count of the conditions it asks; the candidates by the same
//! lookups. Each rule is then asked through the same functions, and only what failed is looked at closer, so an
//! explanation cannot disagree with the matcher. Cost: that of finding all matches, times a constant; each condition is
//! evaluated once for every level it is looked into.

use std::sync::Arc;

use smol_str::SmolStr;

use super::cached::with_cache;
use super::condition::{Asked, Cause, Condition, Predicate, Undecided};
use super::element::Element;
use super::program::Program;
use crate::message::path::{FieldId, FieldTable};
use crate::message::render::render;
use crate::message::value::Value;
use crate::message::{Fields, Read};

/// Characters of a value that an explanation shows.
pub const SHOWN: usize = 120;

/// What the matcher makes of a message.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The number of the rule that [`Program::first`] finds; `None` also where it ends in an error.
    pub winner: Option<usize>,
    /// The candidates, all rules that match among them, and the rules asked about, in the order of [`Program::rules`].
    pub rules: Vec<RuleExplanation>,
    /// How many conditions [`Program::first`] asks before it ends. Few of the candidates where one of them matches; a
    /// rule that is found in two ways may be asked twice.
    pub looked_at: usize,
    /// How many rules there are.
    pub total: usize,
}

/// What one rule makes of a message.
#[derive(Debug, Clone)]
pub struct RuleExplanation {
    /// The rule's number in the program.
    pub number: usize,
    /// The rule's id.
    pub id: SmolStr,
    /// The rule's priority.
    pub priority: i64,
    /// How the rule became a candidate, in words: the witness that the message has, or that it is tried always. `None`
    /// if the rule is no candidate: the message has nothing that the rule is filed under, so the rule does not match.
    pub found_by: Option<String>,
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
    /// Why the candidates, and the rules with the numbers `also`, match the message or do not. Reads the fields that the
    /// index looks up and those that these rules come to.
    pub fn explain<'m>(&self, fields: &dyn Fields<'m>, also: &[usize]) -> Explanation {
        with_cache(fields, self.fields().paths().len(), &mut |fields| {
            let mut looked_at = 0;
            // An error is told where the rule that raises it is: it is a candidate.
            let winner = self.search(None, fields, &mut |_| looked_at += 1).unwrap_or(None);
            let mut rules: Vec<(usize, Option<String>)> = also.iter().map(|&number| (number, None)).collect();
            for (start, layer) in self.layers() {
                let found = layer.candidates(fields, self.fields());
                rules.extend(found.into_iter().map(|(order, found_by)| (start + order, Some(found_by))));
            }
            // Of a candidate that was asked about too, what is known stays.
            rules.sort_by(|one, other| (one.0, &other.1).cmp(&(other.0, &one.1)));
            rules.dedup_by_key(|(number, _)| *number);
            rules.sort_by_key(|&(number, _)| self.rule(number).rank());
            let rules = rules.into_iter().map(|(number, found_by)| {
                let rule = self.rule(number);
                let failure = explain_rule(&rule.condition, fields, self.fields());
                RuleExplanation { number, id: rule.id.clone(), priority: rule.priority, found_by, failure }
            });
            Explanation { winner, rules: rules.collect(), looked_at, total: self.len() }
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
        Condition::Tests(tests) => first_failure(tests.iter().map(|test| match test.holds(fields)? {
            true => Ok(None),
            false => of_predicate(test, fields, table).map(Some),
        })),
        Condition::All(parts) => first_failure(parts.iter().map(|part| failure(part, fields, table))),
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

/// The first failure among parts that should all hold.
fn first_failure(parts: impl Iterator<Item = Result<Option<Failure>, Undecided>>) -> Result<Failure, Undecided> {
    let mut undecided = None;
    for part in parts {
        match part {
            Ok(Some(failure)) => return Ok(failure),
            Ok(None) => {}
            // Another part has settled the answer: that one is told.
            Err(cause) => undecided = undecided.or(Some(cause)),
        }
    }
    undecided.map_or_else(|| Ok(never("all of nothing")), Err)
}

/// Why no element of the list meets the condition: the first element's failure stands for all.
fn within<'m>(
    field: FieldId,
    condition: &Condition,
    fields: &dyn Fields<'m>,
    table: &FieldTable,
) -> Result<Failure, Undecided> {
    let Some(objects) = fields.objects(field)? else { return why(condition, fields, table) };
    let path = table.path(field);
    let first = (!objects.is_empty()).then_some((&*objects, 0));
    let mut failure = why(condition, &Element::new(fields, table, field, first), table)?;
    let note = match objects.len() {
        0 => format!("`{path}` is a list without objects"),
        1 => format!("`{path}` is a list of one object"),
        count => format!("`{path}` is a list: none of its {count} objects matches, the first is shown"),
    };
    add_note(&mut failure, note);
    Ok(failure)
}

fn of_predicate<'m>(predicate: &Predicate, fields: &dyn Fields<'m>, table: &FieldTable) -> Result<Failure, Undecided> {
    let read = fields.read(predicate.field)?;
    let path = table.path(predicate.field);
    Ok(Failure {
        source: predicate.source(table),
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
    let (field, asked, seen) = match undecided.into_cause() {
        Cause::Read(error) => (Some(error.field), "can be read", error.problem),
        Cause::Steps(problem) => (None, "ends within the limit", problem),
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
    let of_test = |predicate: &Predicate| {
        (field == Some(&*table.path(predicate.field).to_string())).then(|| predicate.source(table))
    };
    match condition {
        Condition::Predicate(predicate) => of_test(predicate),
        Condition::Tests(tests) => tests.iter().find_map(|test| of_test(test)),
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

//! Many messages at once, on all cores: raw JSON messages, and messages in columns.
//!
//! - [`share`]: one function for many items, in order, on several threads.
//! - [`lines`]: newline-delimited JSON cut into messages.
//! - [`columns`]: arrays of equal length as messages, one a row.
//!
//! A batch is matched on one program or snapshot: whatever changes meanwhile, all its answers are of one state.
//! A message that cannot be read is an error in its place and disturbs no other.

pub mod columns;
pub mod lines;
pub mod share;

use crate::error::ReadError;
use crate::message::json::{Check, JsonMessage};
use crate::pool::Nanos;
use crate::router::{Asked, Resolution, Snapshot};
use crate::rules::matcher::MatchError;
use crate::rules::program::Program;
use columns::{Columns, Row};
use lines::Line;

/// As often as single messages are, once enough are known.
const APART: usize = 1024;

/// What one message of a batch came to. Errors are boxed, since a batch of a million answers has few.
pub type Answer<T> = Result<T, Box<ReadError>>;

/// The first rule that matches a raw message, as its number in the program.
///
/// # Errors
/// [`ReadError`] if it is no JSON object, does not pass `check`, or a field that is needed cannot be read.
pub fn first(program: &Program, line: &Line<'_>, check: Check) -> Answer<Option<usize>> {
    let message = parse(line, program, check)?;
    Ok(program.first(&message).map_err(ReadError::from)?)
}

/// Shows the program one message in [`APART`] of those that it will be asked about ([`Program::sample`]).
pub fn sample(program: &Program, lines: &[Line<'_>]) {
    for lines in lines.chunks(APART) {
        if program.sample_is_due(lines.len() as u32) {
            // What is no message has an error in its place.
            if let Some(Ok(message)) = lines.first().map(|line| parse(line, program, Check::Grammar)) {
                program.keep(&message);
            }
        }
    }
}

/// What the stages say of a raw message, custom rules not asked, and what it asks of the route's pools.
///
/// # Errors
/// As [`first`].
pub fn resolve(snapshot: &Snapshot, line: &Line<'_>, check: Check, now: Nanos) -> Answer<(Resolution, Asked)> {
    let message = parse(line, snapshot.program(), check)?;
    let resolution = snapshot.resolve(&message, 0, now).map_err(ReadError::from)?;
    let asked = snapshot.asked(&message, resolution.target())?;
    Ok((resolution, asked))
}

/// The first rule that matches a row of columns laid out for `program`, as its number there.
///
/// # Errors
/// [`ReadError`] if an expression takes more steps than the limit.
pub fn first_of_row(program: &Program, columns: &Columns<'_>, row: usize) -> Answer<Option<usize>> {
    let message = Row { columns, fields: program.fields(), row };
    Ok(program.first(&message).map_err(ReadError::from)?)
}

impl From<MatchError> for ReadError {
    fn from(error: MatchError) -> Self {
        match error {
            MatchError::Read { error, .. } => error,
            MatchError::Steps { .. } => ReadError { field: "message".to_owned(), problem: error.to_string() },
        }
    }
}

/// The message that a line is; errors say where in the whole text.
fn parse<'m>(line: &Line<'m>, program: &'m Program, check: Check) -> Answer<JsonMessage<'m>> {
    let message = JsonMessage::checked(line.bytes, program.paths(), check).map_err(|mut error| {
        error.line += line.before;
        ReadError { field: "message".to_owned(), problem: error.to_string() }
    })?;
    if message.is_object() { Ok(message) } else { Err(Box::new(ReadError::no_object())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::limits::Limits;
    use crate::rules::program::RuleSource;

    fn program(when: &str) -> Program {
        let rule = RuleSource { id: "r".to_owned(), priority: 0, when: Some(when.to_owned()), matches: None };
        Program::build(vec![rule], &["message"], Limits::default()).unwrap()
    }

    #[test]
    fn each_line_has_its_answer_or_its_error_and_errors_name_the_line_of_the_whole() {
        let program = program("message.x == 1");
        let raw = b"{\"x\":1}\n\n{\"x\":2}\r\n{\"x\": \n[1]\n{\"x\":99999999999999999999}\n{\"x\":1}";
        let found: Vec<_> = lines::of(raw)
            .iter()
            .map(|line| match first(&program, line, Check::Grammar) {
                Ok(found) => format!("{found:?}"),
                Err(error) => error.to_string(),
            })
            .collect();
        assert_eq!(found.len(), 6);
        assert_eq!((&*found[0], &*found[1], &*found[5]), ("Some(0)", "None", "Some(0)"));
        assert!(found[2].contains("line 4, column"), "{}", found[2]);
        assert!(found[3].contains("is a JSON object"), "{}", found[3]);
        assert!(found[4].contains("\"message.x\""), "{}", found[4]);
    }
}

//! Tests of the expression module as a whole: [`meaning`] of what is evaluated and lowered, [`mistakes`] and
//! what is said about them, [`hostile`] sources and messages.

mod hostile;
mod meaning;
mod mistakes;

use super::*;
use crate::message::json;
use crate::message::tree::ValueMessage;

const ROOTS: [&str; 2] = ["message", "live"];

/// The value of `source` on a message written in JSON, as a debug text.
fn evaluated(source: &str, message: &str) -> Result<String, EvaluationError> {
    let mut table = FieldTable::default();
    let expression = parse(source, &ROOTS, &mut table, &Limits::default()).unwrap();
    let message = ValueMessage::new(&table, "message", json::value(message.as_bytes()).unwrap());
    expression.evaluate(&message).map(|value| format!("{value:?}"))
}

/// Whether the condition `source` holds of a message.
fn holds(source: &str, message: &Value<'_>) -> bool {
    let mut table = FieldTable::default();
    let condition = compile(source, &ROOTS, &mut table, &Limits::default()).unwrap();
    let message = ValueMessage::new(&table, "message", message.clone());
    condition.holds(&message, &table).unwrap()
}

//! Constant parts are computed while parsing: `[1, 2]`, `60 * 60`, `timestamp("2026-01-31T00:00:00Z")`.
//!
//! Only what takes time and memory in proportion to its source: no concatenation, no comprehension. What fails
//! stays as it is, to fail where it is evaluated; but a conversion that fails on a constant can never be meant.

use super::ast::{Kind, Node};
use super::error::EvaluationError;
use super::functions::Function;
use super::lexer::{Span, error_at};
use super::operators::{Steps, map_of, negate};
use crate::error::ConditionError;
use crate::message::value::Value;

type Folded = Option<Result<Value<'static>, EvaluationError>>;

/// The node's constant, if it has one, or the node as it is.
///
/// # Errors
/// Where `checked`, a conversion of a constant that fails.
pub(super) fn fold(kind: Kind, span: Span, source: &str, checked: bool) -> Result<Kind, ConditionError> {
    match constant_of(&kind) {
        Some(Ok(value)) => Ok(Kind::Constant(value)),
        Some(Err(error)) if checked => match advice_on(&kind) {
            Some(advice) => {
                let problem = format!("{} is an error: {error}; {advice}", span.of(source));
                Err(error_at(source, span.start as usize, problem))
            }
            None => Ok(kind),
        },
        _ => Ok(kind),
    }
}

fn constant_of(kind: &Kind) -> Folded {
    // The parts of a source are so few that no budget is needed.
    let mut steps = Steps(usize::MAX);
    match kind {
        Kind::Not(operand) => match operand.kind.constant()? {
            Value::Bool(value) => Some(Ok(Value::Bool(!value))),
            _ => None,
        },
        Kind::Negate(operand) => Some(negate(operand.kind.constant()?).map_err(EvaluationError::from)),
        Kind::Relation(relation, pair) => {
            let (left, right) = (pair.0.kind.constant()?, pair.1.kind.constant()?);
            Some(relation.holds(left, right, &mut steps).map(Value::Bool))
        }
        Kind::Arithmetic(first, rest) => {
            let mut result = first.kind.constant()?.clone();
            for (operator, operand) in rest {
                let operand = operand.kind.constant()?;
                if matches!(operand, Value::Text(_) | Value::Bytes(_) | Value::List(_)) {
                    return None;
                }
                match operator.apply(&result, operand, &mut steps) {
                    Ok(value) => result = value,
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(Ok(result))
        }
        Kind::List(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| item.kind.constant().cloned()).collect();
            Some(Ok(Value::List(items?.into())))
        }
        Kind::Map(entries) => {
            let pair =
                |(key, value): &(Node, Node)| Some((key.kind.constant()?.clone(), value.kind.constant()?.clone()));
            let entries: Option<Vec<_>> = entries.iter().map(pair).collect();
            Some(map_of(entries?).map_err(EvaluationError::from))
        }
        Kind::Call(Function::Matches, _) => None,
        Kind::Call(function, arguments) => {
            let arguments: Option<Vec<_>> =
                arguments.iter().map(|argument| argument.kind.constant().cloned()).collect();
            Some(function.call(&arguments?, &mut steps))
        }
        _ => None,
    }
}

/// What to write instead of a constant that cannot be computed; `None` where that is left to the evaluation.
fn advice_on(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Call(Function::Timestamp, _) => Some("write RFC 3339, as in timestamp(\"2026-01-31T08:00:00Z\")"),
        Kind::Call(Function::Duration, _) => {
            Some("write hours, minutes and seconds, as in duration(\"1h30m\"); a day is 24h")
        }
        Kind::Call(Function::Int | Function::Uint | Function::Double | Function::Bool, _) => {
            Some("write the value itself")
        }
        _ => None,
    }
}

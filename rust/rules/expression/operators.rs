//! Operators on values: arithmetic, comparison, membership, indexing. Overflow is an error, as CEL says.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ast::{Arithmetic, Relation};
use super::error::{EvaluationError, Failure};
use super::time::duration_of;
use crate::message::value::{Key, Text, Value};
use crate::rules::condition::Comparison;

/// Steps still allowed. Bytes are counted 16 to a step: that is how much faster they are handled.
#[derive(Debug)]
pub(super) struct Steps(pub(super) usize);

impl Steps {
    /// Takes `cost` steps.
    pub(super) fn pay(&mut self, cost: usize) -> Result<(), EvaluationError> {
        self.0 = self.0.checked_sub(cost).ok_or(EvaluationError::Steps)?;
        Ok(())
    }

    /// Takes the steps of going over so many bytes.
    pub(super) fn pay_bytes(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.pay(bytes / 16)
    }
}

impl Arithmetic {
    /// How the operator is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Remainder => "%",
        }
    }

    /// The result on two values.
    pub(super) fn apply<'m>(
        self,
        left: &Value<'m>,
        right: &Value<'m>,
        steps: &mut Steps,
    ) -> Result<Value<'m>, EvaluationError> {
        match (left, right) {
            (Value::Int(left), Value::Int(right)) => Ok(Value::Int(self.of_ints(*left, *right)?)),
            (Value::Uint(left), Value::Uint(right)) => Ok(Value::Uint(self.of_uints(*left, *right)?)),
            (Value::Double(left), Value::Double(right)) => Ok(Value::Double(self.of_doubles(*left, *right)?)),
            _ if self == Arithmetic::Add => add(left, right, steps),
            _ if self == Arithmetic::Subtract => Ok(subtract(left, right)?),
            _ => Err(no_overload(self.sign(), left, right).into()),
        }
    }

    fn of_ints(self, left: i64, right: i64) -> Result<i64, Failure> {
        let result = match self {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide if right == 0 => return Err(Failure::DivideByZero),
            Arithmetic::Divide => left.checked_div(right),
            Arithmetic::Remainder if right == 0 => return Err(Failure::ModulusByZero),
            Arithmetic::Remainder => left.checked_rem(right),
        };
        result.ok_or(Failure::Overflow)
    }

    fn of_uints(self, left: u64, right: u64) -> Result<u64, Failure> {
        let result = match self {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide => return left.checked_div(right).ok_or(Failure::DivideByZero),
            Arithmetic::Remainder => return left.checked_rem(right).ok_or(Failure::ModulusByZero),
        };
        result.ok_or(Failure::Overflow)
    }

    fn of_doubles(self, left: f64, right: f64) -> Result<f64, Failure> {
        match self {
            Arithmetic::Add => Ok(left + right),
            Arithmetic::Subtract => Ok(left - right),
            Arithmetic::Multiply => Ok(left * right),
            Arithmetic::Divide => Ok(left / right),
            Arithmetic::Remainder => Err(Failure::NoOverload { operation: "%", left: "double", right: "double" }),
        }
    }
}

pub(super) fn no_overload(operation: &'static str, left: &Value<'_>, right: &Value<'_>) -> Failure {
    Failure::NoOverload { operation, left: left.type_name(), right: right.type_name() }
}

/// `+` of everything but two numbers of one type.
fn add<'m>(left: &Value<'m>, right: &Value<'m>, steps: &mut Steps) -> Result<Value<'m>, EvaluationError> {
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            let (left, right) = (left.as_str(), right.as_str());
            steps.pay_bytes(left.len() + right.len())?;
            Value::Text(Text::Shared([left, right].concat().into()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            steps.pay_bytes(left.len() + right.len())?;
            Value::Bytes([&**left, &**right].concat().into())
        }
        (Value::List(left), Value::List(right)) => {
            steps.pay(left.len() + right.len())?;
            Value::List(left.iter().chain(right.iter()).cloned().collect())
        }
        (Value::Timestamp(at), Value::Duration(span)) | (Value::Duration(span), Value::Timestamp(at)) => {
            Value::Timestamp(at.checked_add(*span).ok_or(Failure::Range("timestamp"))?)
        }
        (Value::Duration(left), Value::Duration(right)) => {
            Value::Duration(duration_of(left.as_nanos() + right.as_nanos())?)
        }
        _ => return Err(no_overload("+", left, right).into()),
    })
}

/// `-` of everything but two numbers of one type.
fn subtract<'m>(left: &Value<'m>, right: &Value<'m>) -> Result<Value<'m>, Failure> {
    Ok(match (left, right) {
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            Value::Duration(duration_of(left.nanos() - right.nanos())?)
        }
        (Value::Timestamp(at), Value::Duration(span)) => {
            let back = span.checked_neg().ok_or(Failure::Range("timestamp"))?;
            Value::Timestamp(at.checked_add(back).ok_or(Failure::Range("timestamp"))?)
        }
        (Value::Duration(left), Value::Duration(right)) => {
            Value::Duration(duration_of(left.as_nanos() - right.as_nanos())?)
        }
        _ => return Err(no_overload("-", left, right)),
    })
}

/// `-` before one value.
pub(super) fn negate<'m>(value: &Value<'m>) -> Result<Value<'m>, Failure> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(Failure::Overflow),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(Failure::NoOverload { operation: "-", left: value.type_name(), right: "" }),
    }
}

impl Relation {
    /// Whether the relation holds between two values.
    pub(super) fn holds(self, left: &Value<'_>, right: &Value<'_>, steps: &mut Steps) -> Result<bool, EvaluationError> {
        match self {
            Relation::Equal => equal(left, right, steps),
            Relation::NotEqual => Ok(!equal(left, right, steps)?),
            Relation::Compares(comparison) => Ok(ordered(comparison, left, right)?),
            Relation::In => is_in(left, right, steps),
        }
    }
}

fn equal(left: &Value<'_>, right: &Value<'_>, steps: &mut Steps) -> Result<bool, EvaluationError> {
    left.equals_within(right, &mut steps.0).ok_or(EvaluationError::Steps)
}

fn is_in(item: &Value<'_>, container: &Value<'_>, steps: &mut Steps) -> Result<bool, EvaluationError> {
    match container {
        Value::List(items) => {
            for candidate in items.iter() {
                steps.pay(1)?;
                if equal(item, candidate, steps)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(Key::lookup(item).is_some_and(|key| map.get(&key).is_some())),
        _ => Err(no_overload("in", item, container).into()),
    }
}

/// Whether two values are ordered so. Nothing is ordered against a NaN; types without an order are an error.
fn ordered(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Failure> {
    let Ok(order) = left.compare(right) else { return Err(no_overload(sign_of(comparison), left, right)) };
    Ok(order.is_some_and(|order| match comparison {
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    }))
}

fn sign_of(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// `container[index]`.
pub(super) fn index<'m>(container: &Value<'m>, index: &Value<'m>) -> Result<Value<'m>, Failure> {
    match container {
        Value::Map(map) => {
            let key = Key::lookup(index).ok_or(Failure::NoSuchKey)?;
            map.get(&key).cloned().ok_or(Failure::NoSuchKey)
        }
        Value::List(items) => {
            let at = match Key::lookup(index) {
                Some(Key::Int(at)) => usize::try_from(at).ok(),
                Some(Key::Uint(at)) => usize::try_from(at).ok(),
                _ if matches!(index, Value::Double(_)) => None,
                _ => return Err(no_overload("[]", container, index)),
            };
            at.and_then(|at| items.get(at)).cloned().ok_or(Failure::IndexOutOfRange)
        }
        _ => Err(no_overload("[]", container, index)),
    }
}

/// `container.name`.
pub(super) fn select<'m>(container: &Value<'m>, name: &str) -> Result<Value<'m>, Failure> {
    match container {
        Value::Map(map) => map.get_str(name).cloned().ok_or(Failure::NoSuchKey),
        _ => Err(Failure::NoOverload { operation: ".", left: container.type_name(), right: "" }),
    }
}

/// A map of these entries, all keys valid and different.
pub(super) fn map_of<'m>(entries: Vec<(Value<'m>, Value<'m>)>) -> Result<Value<'m>, Failure> {
    let keyed = entries.into_iter().map(|(key, value)| match &key {
        Value::Double(_) => Err(Failure::KeyType("double")), // a lookup may be by double, a key may not
        _ => Key::lookup(&key).map(|found| (found, value)).ok_or(Failure::KeyType(key.type_name())),
    });
    let map = crate::message::value::Map::distinct(keyed.collect::<Result<_, _>>()?);
    map.map(|map| Value::Map(Arc::new(map))).map_err(|_| Failure::RepeatedKey)
}

//! Functions and methods on values, and the table of their names.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use regex::{Regex, RegexBuilder};

use super::error::{EvaluationError, Failure};
use super::operators::{Steps, no_overload};
use super::time::{Getter, Zone, format_duration, parse_duration};
use crate::message::value::{Timestamp, Value};

/// A function of CEL's standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Type,
    Dyn,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Bool,
    Timestamp,
    Duration,
    Get(Getter),
}

/// How a function may be called.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) function: Function,
    /// Whether as `name(value, …)`.
    pub(super) as_function: bool,
    /// Whether as `value.name(…)`.
    pub(super) as_method: bool,
    /// How many values it takes, the receiver among them.
    pub(super) arguments: RangeInclusive<usize>,
}

/// `name(value)`
const fn function(name: &'static str, function: Function) -> Signature {
    Signature { name, function, as_function: true, as_method: false, arguments: 1..=1 }
}

/// `value.name(…)`
const fn method(name: &'static str, function: Function, arguments: RangeInclusive<usize>) -> Signature {
    Signature { name, function, as_function: false, as_method: true, arguments }
}

/// `value.name()` or `value.name(zone)`
const fn getter(name: &'static str, getter: Getter) -> Signature {
    method(name, Function::Get(getter), 1..=2)
}

/// Every function, methods that rules use most first.
pub(super) const SIGNATURES: &[Signature] = &[
    method("startsWith", Function::StartsWith, 2..=2),
    method("endsWith", Function::EndsWith, 2..=2),
    method("contains", Function::Contains, 2..=2),
    Signature { as_function: true, ..method("matches", Function::Matches, 2..=2) },
    Signature { as_method: true, ..function("size", Function::Size) },
    function("int", Function::Int),
    function("uint", Function::Uint),
    function("double", Function::Double),
    function("string", Function::String),
    function("bytes", Function::Bytes),
    function("bool", Function::Bool),
    function("timestamp", Function::Timestamp),
    function("duration", Function::Duration),
    function("type", Function::Type),
    function("dyn", Function::Dyn),
    getter("getFullYear", Getter::FullYear),
    getter("getMonth", Getter::Month),
    getter("getDayOfMonth", Getter::DayOfMonth),
    getter("getDate", Getter::Date),
    getter("getDayOfWeek", Getter::DayOfWeek),
    getter("getDayOfYear", Getter::DayOfYear),
    getter("getHours", Getter::Hours),
    getter("getMinutes", Getter::Minutes),
    getter("getSeconds", Getter::Seconds),
    getter("getMilliseconds", Getter::Milliseconds),
];

/// The function with this name.
pub(super) fn named(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name == name)
}

impl Function {
    /// The function's name.
    pub(super) fn name(self) -> &'static str {
        SIGNATURES.iter().find(|signature| signature.function == self).map_or("", |signature| signature.name)
    }

    /// The type of its result, if that is never bool.
    pub(super) fn never_bool(self) -> Option<&'static str> {
        match self {
            Function::Size | Function::Int | Function::Get(_) => Some("int"),
            Function::Uint => Some("uint"),
            Function::Double => Some("double"),
            Function::String => Some("string"),
            Function::Bytes => Some("bytes"),
            Function::Type => Some("type"),
            Function::Timestamp => Some("timestamp"),
            Function::Duration => Some("duration"),
            Function::Contains | Function::StartsWith | Function::EndsWith | Function::Matches => None,
            Function::Bool | Function::Dyn => None,
        }
    }

    /// The result on these values, as many as the function takes; but `matches` on two texts is the caller's,
    /// who keeps the compiled pattern.
    pub(super) fn call<'m>(self, arguments: &[Value<'m>], steps: &mut Steps) -> Result<Value<'m>, EvaluationError> {
        match arguments {
            [value] => self.of_one(value, steps),
            [left, right] => self.of_two(left, right, steps),
            _ => Err(Failure::Undeclared.into()), // the parser has counted them
        }
    }

    fn of_one<'m>(self, value: &Value<'m>, steps: &mut Steps) -> Result<Value<'m>, EvaluationError> {
        if let Value::Text(text) = value {
            steps.pay_bytes(text.as_str().len())?;
        }
        if let Value::Bytes(bytes) = value {
            steps.pay_bytes(bytes.len())?;
        }
        Ok(match self {
            Function::Size => Value::Int(size(value)?),
            Function::Type => Value::Type(value.type_name().into()),
            Function::Dyn => value.clone(),
            Function::Int => Value::Int(to_int(value)?),
            Function::Uint => Value::Uint(to_uint(value)?),
            Function::Double => Value::Double(to_double(value)?),
            Function::String => to_string(value)?,
            Function::Bytes => to_bytes(value)?,
            Function::Bool => Value::Bool(to_bool(value)?),
            Function::Timestamp => Value::Timestamp(to_timestamp(value)?),
            Function::Duration => Value::Duration(to_duration(value)?),
            Function::Get(getter) => Value::Int(get(getter, value, &Zone::Fixed(0))?),
            _ => return Err(self.no_overload(value).into()),
        })
    }

    fn of_two<'m>(self, left: &Value<'m>, right: &Value<'m>, steps: &mut Steps) -> Result<Value<'m>, EvaluationError> {
        let (text, argument) = match (self, left, right) {
            (Function::Get(getter), Value::Timestamp(_), Value::Text(zone)) => {
                return Ok(Value::Int(get(getter, left, &Zone::parse(zone.as_str())?)?));
            }
            (_, Value::Text(text), Value::Text(argument)) => (text.as_str(), argument.as_str()),
            _ => return Err(no_overload(self.name(), left, right).into()),
        };
        steps.pay_bytes(text.len() + argument.len())?;
        Ok(Value::Bool(match self {
            Function::Contains => text.contains(argument),
            Function::StartsWith => text.starts_with(argument),
            Function::EndsWith => text.ends_with(argument),
            _ => return Err(no_overload(self.name(), left, right).into()),
        }))
    }

    fn no_overload(self, value: &Value<'_>) -> Failure {
        Failure::NoOverload { operation: self.name(), left: value.type_name(), right: "" }
    }
}

/// A regular expression of at most `regex_bytes` compiled bytes. Matching takes linear time.
pub(super) fn pattern(text: &str, regex_bytes: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(regex_bytes).build()
}

/// A part of a timestamp in `zone`, or of a duration.
pub(super) fn get(getter: Getter, value: &Value<'_>, zone: &Zone) -> Result<i64, Failure> {
    let part = match value {
        Value::Timestamp(at) => Some(getter.of_timestamp(*at, zone)),
        Value::Duration(span) => getter.of_duration(*span),
        _ => None,
    };
    part.ok_or_else(|| Function::Get(getter).no_overload(value))
}

fn size(value: &Value<'_>) -> Result<i64, Failure> {
    let size = match value {
        Value::Text(text) => text.as_str().chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        _ => return Err(Function::Size.no_overload(value)),
    };
    i64::try_from(size).map_err(|_| Failure::Overflow)
}

// 2^63 and 2^64 are exact as doubles; `i64::MAX as f64` and `u64::MAX as f64` round up to them.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

fn to_int(value: &Value<'_>) -> Result<i64, Failure> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Uint(value) => i64::try_from(*value).map_err(|_| Failure::Range("int")),
        // The conformance suite wants an error for -2^63 too, since a double there may have been rounded.
        Value::Double(value) if *value > -TWO_63 && *value < TWO_63 => Ok(*value as i64),
        Value::Double(_) => Err(Failure::Range("int")),
        Value::Text(text) => text.as_str().parse().map_err(|_| Failure::Invalid("int")),
        Value::Timestamp(at) => Ok(at.seconds()),
        _ => Err(Function::Int.no_overload(value)),
    }
}

fn to_uint(value: &Value<'_>) -> Result<u64, Failure> {
    match value {
        Value::Uint(value) => Ok(*value),
        Value::Int(value) => u64::try_from(*value).map_err(|_| Failure::Range("uint")),
        Value::Double(value) if *value >= 0.0 && *value < TWO_64 => Ok(*value as u64),
        Value::Double(_) => Err(Failure::Range("uint")),
        Value::Text(text) => text.as_str().parse().map_err(|_| Failure::Invalid("uint")),
        _ => Err(Function::Uint.no_overload(value)),
    }
}

fn to_double(value: &Value<'_>) -> Result<f64, Failure> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Uint(value) => Ok(*value as f64),
        Value::Text(text) => {
            let text = text.as_str();
            let number: f64 = text.parse().map_err(|_| Failure::Invalid("double"))?;
            if number.is_infinite() && !text.contains(['i', 'I']) {
                return Err(Failure::Range("double")); // digits too large, not "inf"
            }
            Ok(number)
        }
        _ => Err(Function::Double.no_overload(value)),
    }
}

fn to_string<'m>(value: &Value<'m>) -> Result<Value<'m>, Failure> {
    Ok(Value::shared_text(match value {
        Value::Text(text) => return Ok(Value::Text(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => format_double(*value),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(Failure::Invalid("UTF-8 text")),
        },
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(span) => format_duration(*span),
        _ => return Err(Function::String.no_overload(value)),
    }))
}

/// As JSON and JavaScript write numbers: no exponent between 10^-6 and 10^21.
fn format_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 || value.is_nan() || (1e-6..1e21).contains(&value.abs()) {
        return value.to_string();
    }
    format!("{value:e}")
}

fn to_bytes<'m>(value: &Value<'m>) -> Result<Value<'m>, Failure> {
    match value {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::Text(text) => Ok(Value::bytes(text.as_str().as_bytes())),
        _ => Err(Function::Bytes.no_overload(value)),
    }
}

fn to_bool(value: &Value<'_>) -> Result<bool, Failure> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Text(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Failure::Invalid("bool")),
        },
        _ => Err(Function::Bool.no_overload(value)),
    }
}

fn to_timestamp(value: &Value<'_>) -> Result<Timestamp, Failure> {
    match value {
        Value::Timestamp(at) => Ok(*at),
        Value::Int(seconds) => Timestamp::new(*seconds, 0).ok_or(Failure::Range("timestamp")),
        Value::Text(text) => Timestamp::parse(text.as_str()).ok_or(Failure::Invalid("timestamp")),
        _ => Err(Function::Timestamp.no_overload(value)),
    }
}

fn to_duration(value: &Value<'_>) -> Result<SignedDuration, Failure> {
    match value {
        Value::Duration(span) => Ok(*span),
        Value::Text(text) => parse_duration(text.as_str()),
        _ => Err(Function::Duration.no_overload(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_in_json() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1_000_000.0, "1000000"),
            (123.456, "123.456"),
            (-4.5e-3, "-0.0045"),
            (1e21, "1e21"),
            (1.5e-7, "1.5e-7"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in table {
            assert_eq!(format_double(value), expected);
        }
    }

    #[test]
    fn every_name_is_listed_once() {
        for (at, signature) in SIGNATURES.iter().enumerate() {
            assert!(SIGNATURES[..at].iter().all(|other| other.name != signature.name), "{}", signature.name);
            assert_eq!(signature.function.name(), signature.name);
        }
    }

    #[test]
    fn conversions_end_at_their_types_ranges() {
        let mut steps = Steps(1_000);
        let table: [(Function, Value<'_>, Result<Value<'_>, Failure>); 10] = [
            (Function::Int, Value::Double(9_223_372_036_854_774_784.0), Ok(Value::Int(9_223_372_036_854_774_784))),
            (Function::Int, Value::Double(TWO_63), Err(Failure::Range("int"))),
            (Function::Int, Value::Double(f64::NAN), Err(Failure::Range("int"))),
            (Function::Int, Value::text(" 1"), Err(Failure::Invalid("int"))),
            (Function::Uint, Value::Double(-0.5), Err(Failure::Range("uint"))),
            (Function::Uint, Value::Double(TWO_64), Err(Failure::Range("uint"))),
            (Function::Double, Value::text("1e999"), Err(Failure::Range("double"))),
            (Function::Double, Value::text("-inf"), Ok(Value::Double(f64::NEG_INFINITY))),
            (Function::Timestamp, Value::Int(i64::MAX), Err(Failure::Range("timestamp"))),
            (
                Function::String,
                Value::Null,
                Err(Failure::NoOverload { operation: "string", left: "null_type", right: "" }),
            ),
        ];
        for (function, value, expected) in table {
            match (function.call(std::slice::from_ref(&value), &mut steps), expected) {
                (Ok(result), Ok(expected)) => assert!(result.equals(&expected), "{function:?} {value:?}"),
                (Err(EvaluationError::Failed(failure)), Err(expected)) => assert_eq!(failure, expected),
                (result, expected) => panic!("{function:?} {value:?}: {result:?}, not {expected:?}"),
            }
        }
    }
}

//! One pattern of a field's list: a value, or an operator with its argument.

use std::cmp::Ordering;

use ipnet::IpNet;
use smol_str::SmolStr;

use super::entries;
use super::place::{Keys, Step};
use crate::error::ConditionError;
use crate::message::render::render;
use crate::message::value::{Map, Value};
use crate::rules::condition::{Asked, Bounds, Comparison, Test};
use crate::rules::text;

/// All operators.
pub(super) const KNOWN: [&str; 8] =
    ["prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists"];

/// What other languages call an operator, and what to write here.
const ELSEWHERE: [(&str, &str); 12] = [
    ("contains", "{\"wildcard\": \"*text*\"}"),
    ("regex", "a CEL condition (`when`) with matches()"),
    ("matches", "a CEL condition (`when`) with matches()"),
    ("not", "{\"anything-but\": [...]}"),
    ("ne", "{\"anything-but\": [...]}"),
    ("not-in", "{\"anything-but\": [...]}"),
    ("in", "the values themselves: [\"a\", \"b\"]"),
    ("eq", "the value itself: [\"a\"]"),
    ("equals", "the value itself: [\"a\"]"),
    ("exactly", "the value itself: [\"a\"]"),
    ("starts-with", "{\"prefix\": \"text\"}"),
    ("ends-with", "{\"suffix\": \"text\"}"),
];

/// What a pattern of a list is.
pub(super) enum Operator {
    /// A value to be equal to.
    Value,
    /// A test, and what it is asked.
    Test(Test, Asked),
}

impl Operator {
    pub(super) fn parse(pattern: &Value<'static>, keys: &Keys<'_>) -> Result<Self, ConditionError> {
        match pattern {
            Value::Map(operator) => {
                let (name, argument) = single(operator, keys)?;
                let keys = keys.then(Step::Key(name));
                if name == "exists" {
                    return match argument {
                        Value::Bool(true) => Ok(Operator::Test(Test::Present, Asked::True)),
                        Value::Bool(false) => Ok(Operator::Test(Test::Present, Asked::False)),
                        other => wrong(&keys, "true or false", other),
                    };
                }
                test(name, argument, &keys).map(|test| Operator::Test(test, Asked::True))
            }
            Value::List(_) => keys.error("a list in a field's list; write its patterns in the outer list"),
            _ => Ok(Operator::Value),
        }
    }
}

/// The test an operator stands for.
fn test(name: &str, argument: &Value<'static>, keys: &Keys<'_>) -> Result<Test, ConditionError> {
    match name {
        "prefix" => {
            let (text, ignore_case) = affix(argument, keys)?;
            Ok(Test::Prefix { text, ignore_case })
        }
        "suffix" => {
            let (text, ignore_case) = affix(argument, keys)?;
            Ok(Test::Suffix { text, ignore_case })
        }
        "equals-ignore-case" => Ok(Test::EqualsIgnoreCase(text::fold(a_text(argument, keys)?).into())),
        "wildcard" => wildcard(a_text(argument, keys)?, keys),
        "anything-but" => anything_but(argument, keys),
        "numeric" => numeric(argument, keys),
        "cidr" => cidr(a_text(argument, keys)?, keys),
        _ => unknown(name, &KNOWN, keys),
    }
}

/// The one entry of an operator's object.
fn single<'v>(operator: &'v Map<'static>, keys: &Keys<'_>) -> Result<(&'v str, &'v Value<'static>), ConditionError> {
    let mut all = entries(operator);
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (Some((first, _)), Some((second, _))) => keys.error(format!(
            "one operator to an object: write {{\"{first}\": …}}, {{\"{second}\": …}} for either of them"
        )),
        (None, _) => keys.error(format!("an empty object; write an operator: {}", KNOWN.join(", "))),
    }
}

fn unknown<T>(name: &str, known: &[&str], keys: &Keys<'_>) -> Result<T, ConditionError> {
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(other, _)| *other == name) {
        return keys.error(format!("no operator {name:?}; write {instead}"));
    }
    match text::nearest(name, known) {
        Some(near) => keys.error(format!("no operator {name:?}; did you mean {near:?}?")),
        None => keys.error(format!("no operator {name:?}; there are {}", known.join(", "))),
    }
}

fn wrong<T>(keys: &Keys<'_>, wanted: &str, found: &Value<'_>) -> Result<T, ConditionError> {
    keys.error(format!("takes {wanted}, not {}", render(found, 60)))
}

fn a_text<'v>(value: &'v Value<'static>, keys: &Keys<'_>) -> Result<&'v str, ConditionError> {
    match value {
        Value::Text(text) => Ok(text.as_str()),
        other => wrong(keys, "text", other),
    }
}

/// The argument of `prefix` and `suffix`: text, or `{"equals-ignore-case": text}`.
fn affix(argument: &Value<'static>, keys: &Keys<'_>) -> Result<(SmolStr, bool), ConditionError> {
    let Value::Map(inner) = argument else {
        return a_text(argument, keys).map(|text| (text.into(), false));
    };
    let (name, argument) = single(inner, keys)?;
    let keys = keys.then(Step::Key(name));
    if name != "equals-ignore-case" {
        return unknown(name, &["equals-ignore-case"], &keys);
    }
    a_text(argument, &keys).map(|text| (text::fold(text).into(), true))
}

fn wildcard(source: &str, keys: &Keys<'_>) -> Result<Test, ConditionError> {
    let mut literals = Vec::new();
    let mut literal = String::new();
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.peek() == Some(&'*') => {
                return keys.error("`**` means no more than `*`; write one, or `\\*` for a star");
            }
            '*' => literals.push(SmolStr::from(std::mem::take(&mut literal))),
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => literal.push(escaped),
                _ => return keys.error("a backslash stands only before `*` or `\\`; write `\\\\` for a backslash"),
            },
            other => literal.push(other),
        }
    }
    literals.push(literal.into());
    Ok(Test::Wildcard(literals.into()))
}

fn cidr(source: &str, keys: &Keys<'_>) -> Result<Test, ConditionError> {
    match source.parse::<IpNet>() {
        Ok(network) => Ok(Test::Cidr(network.trunc())),
        Err(_) => match source.parse::<std::net::IpAddr>() {
            Ok(address) => {
                keys.error(format!("{source:?} is an address; write the network \"{}\"", IpNet::from(address)))
            }
            Err(_) => keys.error(format!("{source:?} is no network; write \"10.0.0.0/8\" or \"2001:db8::/32\"")),
        },
    }
}

fn numeric(argument: &Value<'static>, keys: &Keys<'_>) -> Result<Test, ConditionError> {
    const WANTED: &str =
        "a list of a comparison and a number, such as [\">=\", 5], or a range, such as [\">\", 0, \"<=\", 5]";
    let Value::List(terms) = argument else { return wrong(keys, WANTED, argument) };
    match &**terms {
        [sign, number] => {
            let number = a_number(number, &keys.then(Step::Position(1)))?;
            match comparison(sign, &keys.then(Step::Position(0)))? {
                Some(comparison) => Ok(Test::Compares(comparison, number)),
                None => Ok(Test::Equals(number)),
            }
        }
        [first, first_number, second, second_number] => {
            let first_number = a_number(first_number, &keys.then(Step::Position(1)))?;
            let second_number = a_number(second_number, &keys.then(Step::Position(3)))?;
            let first = comparison(first, &keys.then(Step::Position(0)))?;
            let second = comparison(second, &keys.then(Step::Position(2)))?;
            let lower = |sign| match sign {
                Some(Comparison::Greater) => Some(false),
                Some(Comparison::GreaterOrEqual) => Some(true),
                _ => None,
            };
            let upper = |sign| match sign {
                Some(Comparison::Less) => Some(false),
                Some(Comparison::LessOrEqual) => Some(true),
                _ => None,
            };
            let bounds = if let (Some(includes_lower), Some(includes_upper)) = (lower(first), upper(second)) {
                Bounds { lower: first_number, includes_lower, upper: second_number, includes_upper }
            } else if let (Some(includes_upper), Some(includes_lower)) = (upper(first), lower(second)) {
                Bounds { lower: second_number, includes_lower, upper: first_number, includes_upper }
            } else {
                return keys.error("a range has a lower bound (`>`, `>=`) and an upper bound (`<`, `<=`)");
            };
            match bounds.lower.compare(&bounds.upper) {
                Ok(Some(Ordering::Less)) => Ok(Test::Between(Box::new(bounds))),
                Ok(Some(Ordering::Equal)) if bounds.includes_lower && bounds.includes_upper => {
                    Ok(Test::Between(Box::new(bounds)))
                }
                _ => keys.error(format!("no number is {bounds}; swap the bounds")),
            }
        }
        _ => wrong(keys, WANTED, argument),
    }
}

/// A comparison; `None` is `=`.
fn comparison(sign: &Value<'static>, keys: &Keys<'_>) -> Result<Option<Comparison>, ConditionError> {
    match sign {
        Value::Text(text) => match text.as_str() {
            "=" => Ok(None),
            "<" => Ok(Some(Comparison::Less)),
            "<=" => Ok(Some(Comparison::LessOrEqual)),
            ">" => Ok(Some(Comparison::Greater)),
            ">=" => Ok(Some(Comparison::GreaterOrEqual)),
            "==" => keys.error("write \"=\" for equal"),
            "!=" | "<>" => keys.error("no \"!=\" in `numeric`; write {\"anything-but\": 5}"),
            _ => wrong(keys, "one of =, <, <=, >, >=", sign),
        },
        _ => wrong(keys, "one of =, <, <=, >, >=", sign),
    }
}

fn a_number(value: &Value<'static>, keys: &Keys<'_>) -> Result<Value<'static>, ConditionError> {
    match value {
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => Ok(value.clone()),
        other => wrong(keys, "a number", other),
    }
}

/// The operators that `anything-but` takes.
const NEGATED: [&str; 4] = ["prefix", "suffix", "equals-ignore-case", "wildcard"];

fn anything_but(argument: &Value<'static>, keys: &Keys<'_>) -> Result<Test, ConditionError> {
    let mut tests = Vec::new();
    match argument {
        Value::Map(inner) => {
            let (name, argument) = single(inner, keys)?;
            let keys = keys.then(Step::Key(name));
            if !NEGATED.contains(&name) {
                return unknown(name, &NEGATED, &keys);
            }
            each(argument, &keys, &mut |argument, keys| {
                if matches!(name, "prefix" | "suffix")
                    && matches!(argument, Value::Text(text) if text.as_str().is_empty())
                {
                    return keys.error(format!("every text has the empty {name}; write a longer one"));
                }
                tests.push(test(name, argument, keys)?);
                Ok(())
            })?;
        }
        _ => {
            let mut values = Vec::new();
            each(argument, keys, &mut |value, keys| match value {
                Value::Map(operator) => {
                    let name = entries(operator).next().map_or("prefix", |(name, _)| name);
                    keys.error(format!(
                        "operators do not stand in the list: write {{\"anything-but\": {{\"{name}\": [...]}}}}"
                    ))
                }
                Value::List(_) => {
                    keys.error("a list in the list of `anything-but`; write its values in the outer list")
                }
                value => {
                    values.push(value.clone().into_owned());
                    Ok(())
                }
            })?;
            tests.push(if values.len() == 1 { Test::Equals(values.remove(0)) } else { Test::OneOf(values.into()) });
        }
    }
    Ok(Test::AnythingBut(tests.into()))
}

/// The argument itself, or each value of the list that it is.
fn each(
    argument: &Value<'static>,
    keys: &Keys<'_>,
    with: &mut dyn FnMut(&Value<'static>, &Keys<'_>) -> Result<(), ConditionError>,
) -> Result<(), ConditionError> {
    match argument {
        Value::List(items) if items.is_empty() => {
            keys.error("an empty list excludes nothing; write [{\"exists\": true}]")
        }
        Value::List(items) => {
            for (position, item) in items.iter().enumerate() {
                with(item, &keys.then(Step::Position(position)))?;
            }
            Ok(())
        }
        only => with(only, keys),
    }
}

/// Whether a key of an object is an operator that was meant to stand in a list, as in `{"total": {"numeric": [">", 5]}}`,
/// and then how it is written.
pub(super) fn misplaced(key: &str, value: &Value<'static>) -> Option<String> {
    let fits = match (key, value) {
        ("prefix" | "suffix" | "equals-ignore-case" | "wildcard" | "cidr", Value::Text(_)) => true,
        ("prefix" | "suffix", Value::Map(inner)) => {
            matches!(entries(inner).next(), Some(("equals-ignore-case", Value::Text(_))))
        }
        ("exists", Value::Bool(_)) => true,
        ("numeric", Value::List(terms)) => {
            matches!(terms.first(), Some(Value::Text(sign)) if matches!(sign.as_str(), "=" | "<" | "<=" | ">" | ">="))
        }
        ("anything-but", Value::Map(inner)) => entries(inner).next().is_some_and(|(name, _)| NEGATED.contains(&name)),
        ("anything-but", _) => true,
        _ => false,
    };
    fits.then(|| format!("{{\"{key}\": {}}}", render(value, 60)))
}

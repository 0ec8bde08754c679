//! The CEL specification's own conformance suite, its core: every case is parsed and evaluated, and where its
//! value is a bool, also compiled to a condition, which must agree.
//!
//! The corpus is no part of the crate; where it is absent, the test says so and passes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use serde_json::Value as Json;
use turnout::error::ReadError;
use turnout::message::objects::{self, Listed};
use turnout::message::path::{FieldId, FieldTable};
use turnout::message::tree::follow;
use turnout::message::value::{Key, Value};
use turnout::message::{Fields, Read};
use turnout::rules::expression::{self, EvaluationError, Expression};
use turnout::rules::limits::Limits;

/// Cases (section and name) that no implementation can pass, with the reason. A case on this list must fail.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("bytes_literals", "triple_single_quoted_unescaped_punctuation", NO_BACKSLASH),
    ("bytes_literals", "triple_double_quoted_unescaped_punctuation", NO_BACKSLASH),
];

const NO_BACKSLASH: &str = "expects a backslash that its source does not have; its twin in string_literals does not";

/// Files that are extensions, not core CEL.
const EXTENSIONS: [&str; 5] = ["encoders_ext", "math_ext", "network_ext", "optionals", "string_ext"];

/// The bindings of a case, as a message whose roots may have dots in their names.
struct Bindings<'t> {
    table: &'t FieldTable,
    values: &'t [(String, Value<'static>)],
}

impl Bindings<'_> {
    fn follow(&self, field: FieldId) -> Read<'static> {
        let path = self.table.path(field);
        match self.values.iter().find(|(name, _)| **name == *path.root) {
            Some((_, value)) => follow(value, &path.segments),
            None => Read::Broken,
        }
    }
}

impl<'m> Fields<'m> for Bindings<'_> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        Ok(self.follow(field))
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        Ok(objects::of_read(self.table, field, &self.follow(field)))
    }
}

/// A value of the corpus: an object with one key, its CEL type.
fn decode(json: &Json) -> Value<'static> {
    let (kind, json) = json.as_object().unwrap().iter().next().unwrap();
    let text = || json.as_str().unwrap();
    match kind.as_str() {
        "null" => Value::Null,
        "bool" => Value::Bool(json.as_bool().unwrap()),
        "int" => Value::Int(text().parse().unwrap()),
        "uint" => Value::Uint(text().parse().unwrap()),
        "double" => Value::Double(text().parse().unwrap()),
        "string" => Value::shared_text(text()),
        "bytes" => {
            let hex = text();
            let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            Value::bytes(octets.collect::<Vec<u8>>())
        }
        "list" => Value::list(json.as_array().unwrap().iter().map(decode).collect::<Vec<_>>()),
        "map" => {
            let pair = |pair: &Json| (Key::lookup(&decode(&pair[0])).unwrap(), decode(&pair[1]));
            Value::map(json.as_array().unwrap().iter().map(pair).collect())
        }
        "duration" | "timestamp" => {
            let source = format!("{kind}({:?})", text());
            let constant = expression::parse(&source, &[], &mut FieldTable::default(), &Limits::default()).unwrap();
            let nothing = Bindings { table: &FieldTable::default(), values: &[] };
            constant.evaluate(&nothing).unwrap().into_owned()
        }
        "type" => Value::Type(text().into()),
        other => panic!("the corpus has a value of type {other}"),
    }
}

/// Equal, and of equal types throughout.
fn same(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.entries().iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one.type_name() == other.type_name() && one.equals(other),
    }
}

/// How a case went: whether its names had to go unchecked, or what is wrong.
fn run(case: &Json) -> Result<bool, String> {
    let source = case["expr"].as_str().unwrap();
    let bindings = case["bindings"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), decode(value)));
    let values: Vec<(String, Value<'static>)> = bindings.collect();
    let roots: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    let expected = case.get("value").map(decode);
    let limits = Limits::default();

    let mut table = FieldTable::default();
    let (expression, unchecked) = match expression::parse(source, &roots, &mut table, &limits) {
        Ok(expression) => (expression, false),
        Err(_) if expected.is_none() => return Ok(false),
        Err(refused) => match expression::parse_unchecked(source, &roots, &mut table, &limits) {
            Ok(expression) => (expression, true),
            Err(_) => return Err(format!("is refused: {refused} ({:?})", refused.place)),
        },
    };
    evaluate(&expression, &Bindings { table: &table, values: &values }, expected.as_ref())?;

    let Some(expected) = expected.as_ref().map_or(Some(None), |value| match value {
        Value::Bool(flag) => Some(Some(*flag)),
        _ => None, // a value of another type is no condition
    }) else {
        return Ok(unchecked);
    };
    for (source, wanted) in
        [(source.to_owned(), expected == Some(true)), (format!("!({source}\n)"), expected == Some(false))]
    {
        let mut table = FieldTable::default();
        if let Ok(condition) = expression::compile(&source, &roots, &mut table, &limits) {
            let holds = condition.holds(&Bindings { table: &table, values: &values }, &table);
            if holds != Ok(wanted) {
                return Err(format!("as a condition, {source} gives {holds:?}: {condition:?}"));
            }
        } else if expected.is_some() && !unchecked {
            return Err(format!("is no condition: {source}"));
        }
    }
    Ok(unchecked)
}

fn evaluate(expression: &Expression, fields: &Bindings<'_>, expected: Option<&Value<'_>>) -> Result<(), String> {
    match (expression.evaluate(fields), expected) {
        (Ok(value), Some(expected)) if same(&value, expected) => Ok(()),
        (Err(EvaluationError::Failed(_)), None) => Ok(()),
        (result, expected) => Err(format!("gives {result:?}, not {expected:?}")),
    }
}

#[test]
fn core_cel_means_what_its_conformance_suite_says() {
    let corpus = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/cel/cases.jsonl");
    let Ok(cases) = std::fs::read_to_string(&corpus) else {
        println!("skipped core_cel_means_what_its_conformance_suite_says: no corpus at {}", corpus.display());
        return;
    };
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut unchecked, mut problems, mut excepted) = (0, Vec::new(), Vec::new());
    for case in cases.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()) {
        let text = |key: &str| case[key].as_str().unwrap();
        let (file, section, name) = (text("file"), text("section"), text("name"));
        if EXTENSIONS.contains(&file) {
            continue;
        }
        assert_eq!(case["disable_macros"], Json::Bool(false), "{name}: macros are always on");
        let (passed, of) = counts.entry(file.to_owned()).or_default();
        *of += 1;
        let exception = EXCEPTIONS.iter().find(|exception| (exception.0, exception.1) == (section, name));
        match (run(&case), exception) {
            (Ok(without_names), None) => {
                *passed += 1;
                unchecked += usize::from(without_names);
            }
            (Ok(_), Some(_)) => problems.push(format!("{file} {name} passes: take it off the exceptions")),
            (Err(_), Some((_, _, reason))) => excepted.push(format!("{file} {name}: {reason}")),
            (Err(problem), None) => problems.push(format!("{file} {name}: {} {problem}", case["expr"])),
        }
    }
    for (file, (passed, of)) in &counts {
        println!("{file:15} {passed:4} of {of}");
    }
    let (passed, of) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    println!("{passed} of {of} pass; {unchecked} of them name what a rule may not, and pass unchecked");
    println!("excepted: {}", if excepted.is_empty() { "none".to_owned() } else { excepted.join("; ") });
    assert!(problems.is_empty(), "{} cases fail:\n{}", problems.len(), problems.join("\n"));
    assert!(passed >= 1_100, "the corpus has lost cases");
}

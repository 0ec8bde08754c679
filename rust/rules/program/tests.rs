//! Rule sets: order, change, sharing, and what is wrong with rules.

use super::*;
use crate::message::json::JsonMessage;
use crate::message::path::Path;
use crate::message::{Fields, Read};

fn source(id: &str, priority: i64, pattern: &str) -> RuleSource {
    let pattern = crate::message::json::value(pattern.as_bytes()).unwrap().into_owned();
    RuleSource { id: id.to_owned(), priority, when: None, matches: Some(pattern) }
}

fn build(sources: Vec<RuleSource>) -> Result<Program, Vec<RuleError>> {
    Program::build(sources, &["message"], Limits::default())
}

fn ids(program: &Program) -> Vec<&str> {
    program.rules().iter().map(|rule| &*rule.id).collect()
}

#[test]
fn rules_stand_by_priority_and_ties_by_when_they_were_added() {
    let program = build(vec![
        source("low", -1, r#"{"a":[1]}"#),
        source("first", 5, r#"{"a":[1]}"#),
        source("top", i64::MAX, r#"{"a":[1]}"#),
        source("second", 5, r#"{"a":[1]}"#),
    ])
    .unwrap();
    assert_eq!(ids(&program), ["top", "first", "second", "low"]);
    let program = program.with_rule(source("third", 5, r#"{"b":[1]}"#)).unwrap();
    assert_eq!(ids(&program), ["top", "first", "second", "third", "low"]);
    let program = program.without_rule("first").unwrap().with_rule(source("first", 5, r#"{"a":[1]}"#)).unwrap();
    assert_eq!(ids(&program), ["top", "second", "third", "first", "low"], "added again: now the youngest");
    for id in ids(&program) {
        let number = program.number(id).unwrap();
        assert_eq!(&*program.rule(number).id, id);
    }
    assert_eq!(program.number("none"), None);
    assert!(program.without_rule("none").is_none());
}

#[test]
fn a_program_is_untouched_by_those_made_from_it() {
    let old = build(vec![source("a", 0, r#"{"x":[1]}"#)]).unwrap();
    let number = old.fields().paths().len();
    let new = old.with_rule(source("b", 1, r#"{"y":{"z":[1]}}"#)).unwrap();
    assert_eq!((ids(&old), old.fields().paths().len()), (vec!["a"], number));
    assert_eq!(new.fields().paths()[..number], *old.fields().paths(), "numbers given out stay valid");
    let gone = new.without_rule("b").unwrap();
    assert_eq!((ids(&gone), gone.fields().paths()), (vec!["a"], new.fields().paths()));
    match (&old.rules()[0].condition, &gone.rules()[0].condition) {
        (Condition::Predicate(before), Condition::Predicate(after)) => {
            assert!(Arc::ptr_eq(before, after), "what rules are made of is shared");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_are_asked_for_fields_that_no_rule_names_too() {
    let path = |name: &str| Path { root: "message".into(), segments: Box::new([name.into()]) };
    let built = build(vec![source("a", 0, r#"{"x":[1],"priority":[5]}"#)]).unwrap();
    let (program, [priority, key]) = built.with_fields(|number| [path("priority"), path("key")].map(number));
    assert_eq!(program.fields().paths()[..2], *built.fields().paths(), "numbers given out stay valid");
    assert_eq!((priority.index() < 2, key.index()), (true, 2));
    let message = JsonMessage::parse(br#"{"priority":7,"key":"k"}"#, program.paths()).unwrap();
    assert!(matches!(message.read(priority), Ok(Read::Value(Value::Int(7)))));
    assert_eq!(format!("{:?}", message.read(key).unwrap()), r#"Value(Text(Borrowed("k")))"#);
}

#[test]
fn new_fields_are_found_in_raw_messages() {
    let program = build(vec![]).unwrap().with_rule(source("a", 0, r#"{"x":{"y":[1]}}"#)).unwrap();
    let message = JsonMessage::parse(br#"{"x":{"y":1}}"#, program.paths()).unwrap();
    assert_eq!(program.first(&message).unwrap(), Some(0));
}

#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let nothing = RuleSource { id: "empty".to_owned(), priority: 0, when: None, matches: None };
    let errors = build(vec![
        source("a", 0, r#"{"x":"sms"}"#),
        source("b", 0, r#"{"x":[1]}"#),
        nothing,
        source("b", 9, r#"{"x":[2]}"#),
        source("c", 0, r#"{"y":[{"prefx":"a"}]}"#),
    ])
    .unwrap_err();
    let found: Vec<(&str, &str)> =
        errors.iter().map(|error| (&*error.rule, error.problem.split([';', ':']).next().unwrap_or(""))).collect();
    assert_eq!(
        found,
        [
            ("a", "a field's patterns stand in a list"),
            ("empty", "no condition"),
            ("b", "another rule has this id"),
            ("c", "no operator \"prefx\""),
        ]
    );
    assert_eq!(errors[0].place, Place::Pattern(vec!["x".to_owned()]));
}

#[test]
fn where_a_rule_has_a_when_and_a_pattern_both_must_hold() {
    let both = RuleSource { when: Some("message.n > 5".to_owned()), ..source("a", 0, r#"{"c":["sms"]}"#) };
    let program = build(vec![both.clone()]).unwrap();
    for (message, expected) in [
        (r#"{"c":"sms","n":6}"#, Some(0)),
        (r#"{"c":"sms","n":5}"#, None),
        (r#"{"c":"x","n":6}"#, None),
        (r#"{"n":6}"#, None),
    ] {
        let message = JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
        assert_eq!(program.first(&message).unwrap(), expected);
    }
    let wrong = RuleSource { when: Some("message.n >".to_owned()), ..source("a", 0, r#"{"c":"sms"}"#) };
    let errors = build(vec![wrong]).unwrap_err();
    assert!(matches!(errors[0].place, Place::Pattern(_)));
    assert!(matches!(errors[1].place, Place::Text { .. }));
}

#[test]
fn an_id_is_used_once_and_the_limit_on_rules_holds() {
    let limits = Limits { rules: 2, ..Limits::default() };
    let two = vec![source("a", 0, r#"{"x":[1]}"#), source("b", 0, r#"{"x":[1]}"#)];
    let program = Program::build(two, &["message"], limits).unwrap();
    let error = program.with_rule(source("c", 0, r#"{"x":[1]}"#)).unwrap_err();
    assert_eq!((&*error.rule, &*error.problem), ("c", "more than 2 rules (`rules`)"));
    let error = program.with_rule(source("a", 0, r#"{"x":[1]}"#)).unwrap_err();
    assert!(error.problem.starts_with("another rule has this id"), "{error}");
    assert!(program.without_rule("a").unwrap().with_rule(source("c", 0, r#"{"x":[1]}"#)).is_ok());
}

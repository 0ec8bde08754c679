use super::super::limits::Limits;
use super::super::program::{Program, RuleSource};
use super::*;
use crate::message::json::JsonMessage;

/// Rules of two fields, `kind` shared by 12 and `region` by 20, so that by the rules alone `kind` is the better witness.
fn source(n: usize) -> RuleSource {
    let when = format!("message.kind == 'k{}' && message.region == 'r{}'", n / 12, n % 150);
    RuleSource { id: format!("rule-{n}"), priority: 0, when: Some(when), matches: None }
}

const RULES: usize = 3000;

/// Of the 12 rules of a kind, so many at least are filed under it: the counts of rules are approximate.
const MOSTLY: usize = 10;

fn program() -> Program {
    Program::build((0..RULES).map(source).collect(), &["message"], Limits::default()).unwrap()
}

/// Shows the program as many messages as it takes to keep `kept` of them.
fn show(program: &Program, kept: usize, message: impl Fn(usize) -> String) {
    for n in 0..=(kept - 1) * FIRST_GAP as usize {
        let text = message(n);
        program.sample(&JsonMessage::parse(text.as_bytes(), program.paths()).unwrap());
    }
    assert_eq!(program.traffic().kept.lock().unwrap().len(), kept);
}

/// The program without as many rules as it takes for witnesses to be chosen anew.
fn compacted(program: &Program) -> Program {
    let mut program = program.clone();
    for n in 0..RULES / 4 {
        program = program.without_rule(&format!("rule-{n}")).unwrap();
    }
    program
}

/// How many rules are found for a message, and those that match.
fn found(program: &Program, text: &str) -> (usize, Vec<String>) {
    let message = JsonMessage::parse(text.as_bytes(), program.paths()).unwrap();
    let explanation = program.explain(&message, &[]);
    let matched = program.all(&message).unwrap();
    (explanation.rules.len(), matched.into_iter().map(|number| program.rule(number).id.to_string()).collect())
}

fn hot(n: usize) -> String {
    format!(r#"{{"kind":"k200","region":"r{}"}}"#, n % 150)
}

#[test]
fn a_value_that_all_messages_have_is_no_witness_once_that_is_known() {
    let unseen = program();
    let seen = program();
    assert!(found(&seen, &hot(7)).0 >= MOSTLY);
    show(&seen, MESSAGES, hot);
    assert!(found(&seen, &hot(7)).0 >= MOSTLY, "until witnesses are chosen anew");
    let (unseen, seen) = (compacted(&unseen), compacted(&seen));
    assert!(found(&unseen, &hot(7)).0 >= MOSTLY);
    for n in 0..150 {
        let (candidates, matched) = found(&seen, &hot(n));
        assert!(candidates <= 2, "{candidates} candidates");
        assert_eq!(matched, found(&unseen, &hot(n)).1);
    }
    // Of kinds that no message has, nothing changed.
    assert!(found(&seen, r#"{"kind":"k201"}"#).0 >= MOSTLY);
}

#[test]
fn what_is_known_is_handed_on_to_a_program_built_anew() {
    let old = program();
    show(&old, MESSAGES, hot);
    // Its fields have other numbers: the first rule names another one.
    let other = RuleSource { when: Some("message.first == 1".into()), matches: None, ..source(RULES) };
    let sources = std::iter::once(other).chain((0..RULES).map(source)).collect();
    let new = Program::build_on(Arc::clone(old.traffic()), sources, &["message"], Limits::default()).unwrap();
    assert!(found(&new, &hot(7)).0 <= 2);
}

#[test]
fn few_messages_and_few_rules_change_nothing() {
    let few_messages = program();
    show(&few_messages, ENOUGH - 1, hot);
    assert!(found(&compacted(&few_messages), &hot(7)).0 >= MOSTLY);
    let few_rules = Program::build((0..500).map(source).collect(), &["message"], Limits::default()).unwrap();
    for n in 0..10_000 {
        few_rules.sample(&JsonMessage::parse(hot(n).as_bytes(), few_rules.paths()).unwrap());
    }
    assert!(few_rules.traffic().kept.lock().unwrap().is_empty(), "nothing is kept for nothing");
}

#[test]
fn the_sample_follows_the_traffic_and_stays_small() {
    let program = program();
    show(&program, MESSAGES, hot);
    for n in 0..MESSAGES * GAP as usize {
        let text = format!(r#"{{"kind":["k{}","x","x"],"region":7,"other":[1,2,3]}}"#, n % 3);
        program.sample(&JsonMessage::parse(text.as_bytes(), program.paths()).unwrap());
    }
    let kept = program.traffic().kept.lock().unwrap();
    assert_eq!(kept.len(), MESSAGES);
    // The list itself and three elements, and the region.
    assert!(kept.iter().all(|message| message.len() == 5));
    drop(kept);
    let shares = program.traffic().shares(program.fields()).unwrap();
    let [kind, region] = [0, 1].map(FieldId::new);
    assert_eq!(shares.of_value(kind, &Value::text("x")), 1.0, "of equal elements one counts");
    assert_eq!(shares.of_value(kind, &Value::text("k200")), 0.0);
    assert_eq!(shares.of_range(region, Axis::Number, 7.0, 8.0), 1.0);
    assert_eq!(shares.of_range(region, Axis::Number, 8.0, 9.0), 0.0);
    assert_eq!(shares.of_range(region, Axis::Time, 7.0, 8.0), 0.0);
}

#[test]
fn a_field_that_cannot_be_read_is_left_out() {
    let program = program();
    show(&program, ENOUGH, |_| r#"{"kind":99999999999999999999,"region":"r7"}"#.to_owned());
    let kept = program.traffic().kept.lock().unwrap();
    assert!(kept.iter().all(|message| message.len() == 1));
}

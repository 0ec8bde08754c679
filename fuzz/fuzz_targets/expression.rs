//! CEL text: compiled within the limits, matched and explained; the matcher and the explanation must agree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnout::message::json::{self, JsonMessage};
use turnout::message::path::FieldTable;
use turnout::message::tree::ValueMessage;
use turnout::rules::expression;
use turnout::rules::limits::Limits;
use turnout::rules::program::{Program, RuleSource};

const MESSAGES: [&str; 3] = [
    r#"{"a":"sms","b":"Order-17","n":7,"x":-0.5,"flag":true,"none":null,"tags":["x","sms",1,null,[2]],
        "items":[{"k":"x","v":1,"p":{"q":2}},{"k":"y"},[{"v":3}]],"o":{"k":"2024-05-01T12:00:00Z","v":"1m30s"}}"#,
    r#"{"a":7,"b":["é",""],"n":"x","flag":{"n":1},"tags":{"x":1},"o":[]}"#,
    "{}",
];

fuzz_target!(|text: &str| {
    // Few steps: what takes long is found by the limit on steps, not by waiting.
    let limits = Limits { steps: 20_000, ..Limits::default() };

    let mut fields = FieldTable::default();
    if let Ok(unchecked) = expression::parse_unchecked(text, &["message"], &mut fields, &limits) {
        for message in MESSAGES {
            let Ok(value) = json::value(message.as_bytes()) else { panic!("the messages are JSON") };
            let message = ValueMessage::new(&fields, "message", value);
            let _ = std::hint::black_box(unchecked.evaluate(&message));
        }
    }

    let rule = |id: &str, when: String| RuleSource { id: id.to_owned(), priority: 0, when: Some(when), matches: None };
    let rules = vec![rule("it", text.to_owned()), rule("not", format!("!({text})"))];
    let Ok(program) = Program::build(rules, &["message"], limits) else { return };
    for message in MESSAGES {
        let Ok(message) = JsonMessage::parse(message.as_bytes(), program.paths()) else {
            panic!("the messages are JSON")
        };
        let explained = program.explain(&message, &[]);
        if let Ok(first) = program.first(&message) {
            assert_eq!(explained.winner, first);
        }
        if let Ok(all) = program.all(&message) {
            assert!(all.len() < 2, "a condition and its negation are both true");
            let why: Vec<usize> =
                explained.rules.iter().filter(|rule| rule.failure.is_none()).map(|rule| rule.number).collect();
            assert_eq!(why, all);
        }
    }
});

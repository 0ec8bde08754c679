//! Patterns: compiled, filed in the index, added and removed; the index must find what the plain loop finds.
//!
//! The first line is the message. Each further line is a change of the rules: a pattern, which is added, or `-` and a
//! number, which removes the rule of that number.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnout::message::Fields;
use turnout::message::json::{self, JsonMessage};
use turnout::rules::limits::Limits;
use turnout::rules::program::{Program, RuleSource};

/// Rules that are there from the start: more than a layer that is scanned without an index has.
const FILLERS: usize = 40;

fn rule(number: usize, pattern: &[u8]) -> Option<RuleSource> {
    let pattern = json::value(pattern).ok()?.into_owned();
    let priority = i64::try_from(number % 3).ok()?;
    Some(RuleSource { id: number.to_string(), priority, when: None, matches: Some(pattern) })
}

fn filler(number: usize) -> Option<RuleSource> {
    rule(number, format!(r#"{{"a":["f{number}"],"n":[{{"numeric":[">",{}]}}]}}"#, number * 10).as_bytes())
}

/// The ids of all rules that match, by asking each.
fn by_loop<'m>(program: &Program, fields: &dyn Fields<'m>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for rule in program.rules() {
        if rule.condition.holds(fields, program.fields()).ok()? {
            all.push(rule.id.to_string());
        }
    }
    Some(all)
}

fn by_index<'m>(program: &Program, fields: &dyn Fields<'m>) -> Option<Vec<String>> {
    let all = program.all(fields).ok()?;
    if let Some(&best) = all.first() {
        assert_eq!(program.first(fields).ok(), Some(Some(best)));
    }
    Some(all.into_iter().map(|number| program.rule(number).id.to_string()).collect())
}

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let text = lines.next().unwrap_or_default();
    let fillers: Vec<RuleSource> = (0..FILLERS).filter_map(filler).collect();
    let mut live = fillers.clone();
    let Ok(mut program) = Program::build(fillers, &["message"], Limits::default()) else { panic!("fillers are rules") };
    for (number, line) in lines.take(64).enumerate() {
        if let Some(digits) = line.strip_prefix(b"-") {
            let id = String::from_utf8_lossy(digits);
            let there = live.iter().position(|rule| *rule.id == *id);
            let changed = program.without_rule(&id);
            assert_eq!(changed.is_some(), there.is_some());
            if let (Some(changed), Some(there)) = (changed, there) {
                program = changed;
                live.remove(there);
            }
        } else if let Some(rule) = rule(FILLERS + number, line)
            && let Ok(changed) = program.with_rule(rule.clone())
        {
            program = changed;
            live.push(rule);
        }
    }
    let Ok(fresh) = Program::build(live, &["message"], Limits::default()) else { panic!("the same rules again") };
    let Ok(message) = JsonMessage::parse(text, program.paths()) else { return };
    let Ok(again) = JsonMessage::parse(text, fresh.paths()) else { panic!("the same text again") };
    let expected = by_loop(&fresh, &again);
    assert_eq!(by_index(&program, &message), expected);
    assert_eq!(by_index(&fresh, &again), expected);
    let explained = program.explain(&message, &[]);
    if expected.is_some() {
        let all = explained.rules.iter().filter(|rule| rule.failure.is_none());
        assert_eq!(Some(all.map(|rule| rule.id.to_string()).collect()), expected);
    }
});

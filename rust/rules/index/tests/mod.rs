//! The index against the plain loop over all rules, on random rules and messages of every kind.

mod arbitrary;

use proptest::prelude::*;

use self::arbitrary::{Source, messages, sources};
use crate::message::json;
use crate::message::tree::ValueMessage;
use crate::message::value::{Key, Value};
use crate::message::{Fields, Read};
use crate::rules::limits::Limits;
use crate::rules::program::{Program, RuleSource};
use crate::rules::traffic::Traffic;

/// The meaning: every rule in order, until one matches or cannot be decided.
fn first_by_loop<'m>(program: &Program, fields: &dyn Fields<'m>) -> Result<Option<String>, String> {
    for rule in program.rules() {
        match rule.condition.holds(fields, program.fields()) {
            Ok(true) => return Ok(Some(rule.id.to_string())),
            Ok(false) => {}
            Err(cause) => return Err(cause.to_string()),
        }
    }
    Ok(None)
}

fn all_by_loop<'m>(program: &Program, fields: &dyn Fields<'m>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for rule in program.rules() {
        if rule.condition.holds(fields, program.fields()).map_err(|cause| cause.to_string())? {
            all.push(rule.id.to_string());
        }
    }
    Ok(all)
}

/// The error without the rule's name, which the loop does not add.
fn cause(error: impl ToString) -> String {
    let error = error.to_string();
    error.split_once("\": ").map_or(error.clone(), |(_, cause)| cause.to_owned())
}

fn assert_same<'m>(program: &Program, fields: &dyn Fields<'m>) {
    let name = |number: usize| program.rule(number).id.to_string();
    let first = program.first(fields).map(|found| found.map(name)).map_err(cause);
    assert_eq!(first, first_by_loop(program, fields));
    let all = program.all(fields).map(|found| found.into_iter().map(name).collect::<Vec<_>>()).map_err(cause);
    assert_eq!(all, all_by_loop(program, fields));
    if let Ok(numbers) = program.all(fields) {
        let mut next = program.first(fields).unwrap();
        for number in numbers {
            assert_eq!(next, Some(number));
            next = program.first_after(number, fields).unwrap();
        }
        assert_eq!(next, None);
    }
    assert_explained(program, fields);
}

/// Explaining agrees with matching: the winner, who are candidates, how many are asked, and each rule by itself.
fn assert_explained<'m>(program: &Program, fields: &dyn Fields<'m>) {
    let mut asked = Vec::new();
    let first = program.search(None, fields, &mut |number| asked.push(number));
    let every: Vec<usize> = program.numbered().into_iter().map(|(number, _)| number).collect();
    let explanation = program.explain(fields, &every);
    assert_eq!(explanation.winner, first.unwrap_or(None));
    assert_eq!((explanation.looked_at, explanation.total), (asked.len(), every.len()));
    assert_eq!(explanation.rules.iter().map(|rule| rule.number).collect::<Vec<_>>(), every);
    for rule in &explanation.rules {
        let alone = program.rule(rule.number).condition.holds(fields, program.fields());
        assert_eq!(alone == Ok(true), rule.matched());
        assert_eq!(alone.is_err(), rule.failure.as_ref().is_some_and(|failure| failure.raises));
        let found_by = rule.found_by.as_deref();
        assert!(found_by.is_some() || !rule.matched() && !asked.contains(&rule.number), "{} is no candidate", rule.id);
        assert!(found_by.is_none_or(|words| !words.is_empty() && !words.contains("same hash")), "{found_by:?}");
    }
    let candidates: Vec<usize> = program.explain(fields, &[]).rules.iter().map(|rule| rule.number).collect();
    let found = explanation.rules.iter().filter(|rule| rule.found_by.is_some()).map(|rule| rule.number);
    assert_eq!(candidates, found.collect::<Vec<_>>());
}

fn rule(id: usize, (when, pattern, priority): &Source) -> RuleSource {
    let matches = pattern.as_ref().map(|pattern| json::value(pattern.as_bytes()).unwrap().into_owned());
    RuleSource { id: format!("r{id}"), priority: *priority, when: when.clone(), matches }
}

/// Those that are rules: random expressions may compare what has no order.
fn valid(sources: Vec<Source>) -> Vec<Source> {
    sources.into_iter().filter(|source| build(vec![rule(0, source)]).is_ok()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_index_finds_what_the_loop_finds(
        sources in prop::collection::vec(sources(), 0..300),
        messages in prop::collection::vec(messages(), 1..20),
    ) {
        let rules = valid(sources).iter().enumerate().map(|(id, source)| rule(id, source)).collect();
        let program = build(rules).unwrap();
        for message in &messages {
            let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
            assert_same(&program, &message);
        }
    }

    #[test]
    fn whatever_messages_were_seen_all_rules_that_match_are_found(
        sources in prop::collection::vec(sources(), 0..300),
        messages in prop::collection::vec(messages(), 1..10),
    ) {
        let rules = valid(sources).iter().enumerate().map(|(id, source)| rule(id, source)).collect();
        let program = build(rules).unwrap();
        let parsed: Vec<json::JsonMessage<'_>> =
            messages.iter().map(|text| json::JsonMessage::parse(text.as_bytes(), program.paths()).unwrap()).collect();
        let traffic = Traffic::default();
        for message in parsed.iter().cycle().take(100) {
            traffic.keep(message, program.fields(), "message");
        }
        let shares = traffic.shares(program.fields());
        prop_assert!(shares.is_some());
        let rules: Vec<_> = program.rules().into_iter().cloned().collect();
        let index = super::Index::new(&rules, shares, program.fields());
        for message in &parsed {
            let mut lists = super::Lists::new();
            if index.find(message, program.fields(), &mut lists).is_err() {
                continue;
            }
            for (order, rule) in (0..).zip(&rules) {
                let found = lists.iter().any(|list| list.contains(&order));
                prop_assert!(found || rule.condition.holds(message, program.fields()) != Ok(true), "{}", rule.id);
            }
        }
    }

    #[test]
    fn rules_that_came_and_went_leave_what_a_fresh_set_is(
        sources in prop::collection::vec(sources(), 1..150),
        steps in prop::collection::vec((any::<bool>(), 0_usize..150), 0..200),
        messages in prop::collection::vec(messages(), 1..10),
    ) {
        let sources = valid(sources);
        prop_assume!(!sources.is_empty());
        let start = sources.len() / 2;
        let mut live: Vec<usize> = (0..start).collect();
        let mut program = build(live.iter().map(|&id| rule(id, &sources[id])).collect()).unwrap();
        for (adds, number) in steps {
            let id = number % sources.len();
            let there = live.iter().position(|&other| other == id);
            if adds {
                match (program.with_rule(rule(id, &sources[id])), there) {
                    (Ok(changed), None) => {
                        program = changed;
                        live.push(id);
                    }
                    (Err(_), _) => {}
                    (Ok(_), Some(_)) => prop_assert!(false, "an id was used twice"),
                }
            } else {
                let changed = program.without_rule(&format!("r{id}"));
                prop_assert_eq!(changed.is_some(), there.is_some());
                if let (Some(changed), Some(there)) = (changed, there) {
                    program = changed;
                    live.remove(there);
                }
            }
        }
        let fresh = build(live.iter().map(|&id| rule(id, &sources[id])).collect()).unwrap();
        let ids = |program: &Program| program.rules().iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>();
        prop_assert_eq!(ids(&program), ids(&fresh));
        prop_assert_eq!(program.len(), live.len());
        prop_assert_eq!(program.unindexed().collect::<Vec<_>>(), fresh.unindexed().collect::<Vec<_>>());
        for text in &messages {
            let message = json::JsonMessage::parse(text.as_bytes(), program.paths()).unwrap();
            let again = json::JsonMessage::parse(text.as_bytes(), fresh.paths()).unwrap();
            assert_same(&program, &message);
            let all = |program: &Program, found: Vec<usize>| {
                found.into_iter().map(|number| program.rule(number).id.to_string()).collect::<Vec<_>>()
            };
            let one = program.all(&message).map(|found| all(&program, found)).map_err(cause);
            let other = fresh.all(&again).map(|found| all(&fresh, found)).map_err(cause);
            prop_assert_eq!(one, other);
        }
    }
}

fn build(rules: Vec<RuleSource>) -> Result<Program, Vec<crate::error::RuleError>> {
    Program::build(rules, &["message"], Limits::default())
}

fn pattern(id: usize, pattern: &str) -> RuleSource {
    rule(id, &(None, Some(pattern.to_owned()), 0))
}

fn cel(id: usize, when: &str) -> RuleSource {
    rule(id, &(Some(when.to_owned()), None, 0))
}

/// How many rules the index finds for a message, matching or not.
fn candidates(program: &Program, message: &str) -> usize {
    let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
    assert_same(program, &message);
    let index = super::Index::new(&program.rules().into_iter().cloned().collect::<Vec<_>>(), None, program.fields());
    let mut lists = super::Lists::new();
    index.find(&message, program.fields(), &mut lists).unwrap();
    lists.iter().map(|list| list.len()).sum()
}

#[test]
fn a_rule_is_filed_where_few_others_are_whatever_the_fields_are_called() {
    for (rare, common) in [("aaa", "zzz"), ("zzz", "aaa")] {
        let rules = (0..1000).map(|n| pattern(n, &format!(r#"{{"{rare}":["v{n}"],"{common}":["eu"]}}"#))).collect();
        let program = build(rules).unwrap();
        assert!(candidates(&program, &format!(r#"{{"{rare}":"v7","{common}":"eu"}}"#)) <= 2);
        assert!(candidates(&program, &format!(r#"{{"{rare}":"other","{common}":"eu"}}"#)) <= 2);
    }
}

#[test]
fn common_fields_are_combined_and_lists_of_them_still_found() {
    let rules = (0..1000)
        .map(|n| pattern(n, &format!(r#"{{"a":[{}],"b":[{}],"c":[{}]}}"#, n % 10, n / 10 % 10, n / 100)))
        .collect();
    let program = build(rules).unwrap();
    assert!(candidates(&program, r#"{"a":7,"b":5,"c":3}"#) <= 2);
    assert_eq!(candidates(&program, r#"{"a":7,"b":5}"#), 0);
    assert!(candidates(&program, r#"{"a":[7,8],"b":5,"c":[1,2,3]}"#) >= 6);
}

#[test]
fn each_kind_of_predicate_narrows_the_candidates() {
    type Rule = fn(usize) -> RuleSource;
    let table: [(&str, Rule, &str); 11] = [
        ("prefix", |n| pattern(n, &format!(r#"{{"p":[{{"prefix":"/u{n}/"}}]}}"#)), r#"{"p":"/u77/x"}"#),
        ("suffix", |n| pattern(n, &format!(r#"{{"p":[{{"suffix":"-{n}.txt"}}]}}"#)), r#"{"p":"a-77.txt"}"#),
        ("case", |n| pattern(n, &format!(r#"{{"p":[{{"equals-ignore-case":"Name{n}"}}]}}"#)), r#"{"p":"nAME77"}"#),
        (
            "wildcard",
            |n| pattern(n, &format!(r#"{{"p":[{{"wildcard":"/api/*/users/{n}/*"}}]}}"#)),
            r#"{"p":"/api/v1/users/77/x"}"#,
        ),
        (
            "contains",
            |n| cel(n, &format!("message.p.contains('keyword-{n:04}')")),
            r#"{"p":"of keyword-0077 and more"}"#,
        ),
        ("regex", |n| cel(n, &format!("message.p.matches('^[a-z]+-id{n:04}-[0-9]+$')")), r#"{"p":"abc-id0077-5"}"#),
        ("range", |n| pattern(n, &format!(r#"{{"p":[{{"numeric":[">=",{n},"<",{}]}}]}}"#, n + 2)), r#"{"p":77.5}"#),
        ("two comparisons", |n| cel(n, &format!("message.p >= {n} && message.p < {}", n + 2)), r#"{"p":77.5}"#),
        (
            "network",
            |n| pattern(n, &format!(r#"{{"p":[{{"cidr":"10.{}.{}.0/24"}}]}}"#, n / 256, n % 256)),
            r#"{"p":"10.0.77.5"}"#,
        ),
        ("list", |n| cel(n, &format!("message.p in [{n}, {}]", n + 5000)), r#"{"p":5077}"#),
        ("elements", |n| pattern(n, &format!(r#"{{"items":{{"p":[{n}]}}}}"#)), r#"{"items":[{"p":1},{"p":77}]}"#),
    ];
    for (name, rule, message) in table {
        let program = build((0..1000).map(rule).collect()).unwrap();
        let found = candidates(&program, message);
        assert!((1..=8).contains(&found), "{name}: {found} candidates");
        assert_eq!(program.unindexed().count(), 0, "{name}");
    }
}

#[test]
fn what_cannot_be_looked_up_is_named() {
    let program = build(vec![
        cel(0, "message.a == 1"),
        cel(1, "message.a != 1"),
        cel(2, "has(message.a)"),
        cel(3, "message.a == message.b"),
        cel(4, "message.a == message.b && message.c == 1"),
        cel(5, "message.a == 1 || has(message.b)"),
        pattern(6, r#"{"a":[{"anything-but":"x"}]}"#),
        pattern(7, r#"{"a":[{"prefix":""}]}"#),
        cel(8, "message.a.matches('.*')"),
        cel(9, "true"),
        cel(10, "false"),
        cel(11, "message.a"),
        cel(12, "!message.a"),
    ])
    .unwrap();
    let named: Vec<&str> = program.unindexed().collect();
    assert_eq!(named, ["r1", "r2", "r3", "r5", "r6", "r7", "r8", "r9"]);
}

#[test]
fn a_field_that_is_in_no_list_may_still_be_unreadable() {
    let mut rules = vec![cel(0, "message.a == 1 || message.big in []")];
    rules.extend((1..100).map(|n| cel(n, &format!("message.n == {n}"))));
    let program = build(rules).unwrap();
    for message in [r#"{"big":99999999999999999999,"n":7}"#, r#"{"big":1,"n":7}"#, r#"{"a":1}"#] {
        let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
        assert_same(&program, &message);
    }
}

#[test]
fn an_array_of_many_objects_is_matched_in_linear_time() {
    let rules = (0..200).map(|n| pattern(n, &format!(r#"{{"items":{{"sku":["s{n}"],"x":[1]}}}}"#))).collect();
    let program = build(rules).unwrap();
    let items: Vec<String> = (0..10_000).map(|n| format!(r#"{{"sku":"s{}","x":0}}"#, n % 100)).collect();
    let message = format!(r#"{{"items":[{}]}}"#, items.join(","));
    let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
    // 100 candidates of 10,000 elements each; were each element to ask its rule again, this would not end soon.
    assert_eq!(program.first(&message).unwrap(), None);
    assert_eq!(program.all(&message).unwrap(), [] as [usize; 0]);
}

#[test]
fn many_changes_leave_few_layers_and_no_rule_is_lost() {
    let mut program = build((0..500).map(|n| pattern(n, &format!(r#"{{"a":[{n}]}}"#))).collect()).unwrap();
    for n in 500..1500 {
        program = program.with_rule(pattern(n, &format!(r#"{{"a":[{n}]}}"#))).unwrap();
        assert!(program.layers().count() <= 8, "{} layers at {n}", program.layers().count());
    }
    let found = |program: &Program, n: i64| {
        let message = Value::map(vec![(Key::Text(crate::message::value::Text::Borrowed("a")), Value::Int(n))]);
        let message = ValueMessage::new(program.fields(), "message", message);
        assert!(matches!(message.read(crate::message::path::FieldId::new(0)), Ok(Read::Value(_))));
        program.first(&message).unwrap().map(|number| program.rule(number).id.to_string())
    };
    for n in 0..1500 {
        assert_eq!(found(&program, n), Some(format!("r{n}")));
    }
    for n in (0..1500).step_by(2) {
        program = program.without_rule(&format!("r{n}")).unwrap();
    }
    for n in 0..1500 {
        assert_eq!(found(&program, n), (n % 2 == 1).then(|| format!("r{n}")));
    }
    assert_eq!(program.len(), 750);
}

use proptest::prelude::*;

use super::*;
use crate::message::json;
use crate::rules::limits::Limits;
use crate::rules::program::RuleSource;

const TRIED_FIRST: &str = "tried first, before anything is looked up";

fn program(patterns: &[String]) -> Program {
    let sources = patterns
        .iter()
        .enumerate()
        .map(|(number, pattern)| RuleSource {
            id: format!("r{number}"),
            priority: (number % 3) as i64,
            when: None,
            matches: Some(json::value(pattern.as_bytes()).unwrap().into_owned()),
        })
        .collect();
    Program::build(sources, &["message"], Limits::default()).unwrap()
}

fn explain_one(pattern: &str, message: &str) -> Failure {
    let program = program(&[pattern.to_owned()]);
    let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
    let explanation = program.explain(&message, &[]);
    explanation.rules.into_iter().next().unwrap().failure.unwrap()
}

#[test]
fn a_failure_names_the_first_predicate_that_failed_and_what_was_seen() {
    for (pattern, message, expected) in [
        (r#"{"a":[1],"b":["x"]}"#, r#"{"a":1,"b":"y"}"#, ("message.b", r#""x""#, r#"is "x""#, r#""y""#, None)),
        (r#"{"a":[1]}"#, "{}", ("message.a", "1", "is 1", "missing", None)),
        (
            r#"{"a":{"b":[1]}}"#,
            r#"{"a":"text"}"#,
            ("message.a.b", "1", "is 1", "missing: there is no object that could hold it", None),
        ),
        (
            r#"{"a":[{"prefix":"x"}]}"#,
            r#"{"a":7}"#,
            ("message.a", r#"{"prefix":"x"}"#, r#"starts with "x""#, "7, which is not text", None),
        ),
        (
            r#"{"a":[{"numeric":[">",0,"<=",5]}]}"#,
            r#"{"a":"3"}"#,
            ("message.a", r#"{"numeric":[">",0,"<=",5]}"#, "is > 0 and <= 5", r#""3", which is not a number"#, None),
        ),
        (
            r#"{"a":[{"exists":false}]}"#,
            r#"{"a":null}"#,
            ("message.a", r#"{"exists":false}"#, "is not there", "null", None),
        ),
        (
            r#"{"a":[{"exists":true}]}"#,
            r#"{"a":{"b":1}}"#,
            ("message.a", r#"{"exists":true}"#, "is there", r#"{"b":1}, an object: no value of its own"#, None),
        ),
        (
            r#"{"a":[{"exists":true}]}"#,
            r#"{"a":[]}"#,
            ("message.a", r#"{"exists":true}"#, "is there", "[], an empty list", None),
        ),
        (
            r#"{"a":["x","y",{"suffix":"z"}]}"#,
            r#"{"a":"q"}"#,
            ("message.a", r#"["x","y"]"#, r#"is one of "x", "y""#, r#""q""#, Some("1 other alternative failed too")),
        ),
        (
            r#"{"a":[{"anything-but":{"prefix":["x","y"]}}]}"#,
            r#"{"a":"xx"}"#,
            (
                "message.a",
                r#"{"anything-but":{"prefix":["x","y"]}}"#,
                r#"is not one that starts with "x", or starts with "y""#,
                r#""xx""#,
                None,
            ),
        ),
        (
            r#"{"l":{"a":[1],"b":[2]}}"#,
            r#"{"l":[{"a":1,"b":3},{"a":3,"b":2}]}"#,
            (
                "message.l.b",
                "2",
                "is 2",
                "3",
                Some("`message.l` is a list: none of its 2 objects matches, the first is shown"),
            ),
        ),
        (
            r#"{"l":{"a":[1]}}"#,
            r#"{"l":[]}"#,
            (
                "message.l.a",
                "1",
                "is 1",
                "missing: there is no object that could hold it",
                Some("`message.l` is a list without objects"),
            ),
        ),
    ] {
        let failure = explain_one(pattern, message);
        let found = (
            failure.field.as_deref().unwrap_or(""),
            &*failure.source,
            failure.asked.as_str(),
            failure.seen.as_str(),
            failure.note.as_deref(),
        );
        assert_eq!(found, expected, "{pattern} on {message}");
    }
}

fn explain_when(when: &str, message: &str) -> Option<Failure> {
    let source = RuleSource { id: "r".to_owned(), priority: 0, when: Some(when.to_owned()), matches: None };
    let limits = Limits { steps: 1000, ..Limits::default() };
    let program = Program::build(vec![source], &["message"], limits).unwrap();
    let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
    let explanation = program.explain(&message, &[]);
    assert_eq!(program.first(&message).unwrap_or(None), explanation.winner);
    assert_eq!(program.first(&message).is_err(), explanation.rules[0].failure.as_ref().is_some_and(|f| f.raises));
    explanation.rules.into_iter().next().unwrap().failure
}

#[test]
fn cel_conditions_are_explained_too() {
    for (when, message, expected) in [
        (
            r#"message.a == 1 && message.b.startsWith("x")"#,
            r#"{"a":1,"b":"y"}"#,
            (Some("message.b"), r#"starts with "x""#, r#""y""#),
        ),
        ("!(message.a == 1)", r#"{"a":1}"#, (Some("message.a"), "is other than 1", "1")),
        ("!(message.a == 1)", "{}", (Some("message.a"), "is other than 1", "missing")),
        ("message.a > 1", r#"{"a":"x"}"#, (Some("message.a"), "is > 1", "\"x\", which is not a number")),
        (
            "message.l.x == 1",
            r#"{"l":[{"x":1}]}"#,
            (Some("message.l.x"), "is 1", "missing: a list stands where an object is expected"),
        ),
        ("message.a + 1 == message.b", r#"{"a":1,"b":3}"#, (None, "is true", "false")),
        ("message.a + 1 == message.b", r#"{"a":1}"#, (None, "is true", "an error: no such field")),
        (
            "message.l.all(x, message.l.all(y, x + y > 0))",
            &format!("{{\"l\":[{}1]}}", "1,".repeat(100)),
            (None, "ends within the limit", "the expression takes more steps than the limit `steps` allows"),
        ),
    ] {
        let failure = explain_when(when, message).unwrap();
        let found = (failure.field.as_deref(), failure.asked.as_str(), failure.seen.as_str());
        assert_eq!(found, expected, "{when} on {message}");
    }
    assert_eq!(explain_when("message.a == 1 || message.b == 1", r#"{"b":1}"#), None);
}

#[test]
fn a_long_value_is_cut() {
    let message = format!("{{\"a\":\"{}\"}}", "x".repeat(10_000));
    let failure = explain_one(r#"{"a":["y"]}"#, &message);
    assert_eq!(failure.seen.chars().count(), SHOWN);
}

#[test]
fn an_unreadable_field_is_told_and_there_is_no_winner_behind_it() {
    let program = program(&[r#"{"a":[1]}"#.to_owned(), r#"{"big":[1]}"#.to_owned(), r#"{"a":[2]}"#.to_owned()]);
    let ids: Vec<&str> = program.rules().iter().map(|rule| &*rule.id).collect();
    assert_eq!(ids, ["r2", "r1", "r0"]);
    let message = json::JsonMessage::parse(br#"{"a":1,"big":99999999999999999999}"#, program.paths()).unwrap();
    let explanation = program.explain(&message, &[]);
    assert_eq!(explanation.winner, None);
    assert!(explanation.rules[0].failure.as_ref().is_some_and(|failure| !failure.raises));
    let unread = explanation.rules[1].failure.as_ref().unwrap();
    assert!(unread.raises);
    assert_eq!((unread.field.as_deref(), &*unread.source), (Some("message.big"), "1"));
    assert_eq!(unread.seen, "integer beyond 64 bits; send it as text");
    assert!(explanation.rules[2].matched());
}

#[test]
fn how_a_candidate_was_found_is_told_in_words() {
    let patterns: Vec<String> = (0..100)
        .flat_map(|n| {
            [
                format!(r#"{{"tier":["t{n}"]}}"#),
                format!(r#"{{"path":[{{"prefix":"/api/{n}/"}}]}}"#),
                format!(r#"{{"file":[{{"suffix":"-{n}.txt"}}]}}"#),
                format!(r#"{{"text":[{{"wildcard":"*keyword-{n:03}*"}}]}}"#),
                format!(r#"{{"ip":[{{"cidr":"10.{n}.0.0/16"}}]}}"#),
                format!(r#"{{"total":[{{"numeric":[">=",{n},"<",{}]}}]}}"#, n + 1),
                format!(r#"{{"name":[{{"equals-ignore-case":"Name{n}"}}]}}"#),
                format!(r#"{{"region":[{}],"source":[{}],"kind":[{}]}}"#, n % 4, n / 4 % 5, n / 20),
                format!(r#"{{"either":["e{n}"],"tags":["x","y{n}"]}}"#),
            ]
        })
        .chain([r#"{"tier":[{"anything-but":"none"}]}"#.to_owned()])
        .collect();
    let program = program(&patterns);
    for (message, expected) in [
        (r#"{"path":"/api/7/x"}"#, vec![r#"message.path starts with "/api/7/""#]),
        (r#"{"file":"a-7.txt"}"#, vec![r#"message.file ends with "-7.txt""#]),
        (r#"{"text":"of keyword-077."}"#, vec![r#"message.text contains "word-077""#]),
        (r#"{"ip":"10.7.7.7"}"#, vec!["message.ip is in 10.7.0.0/16"]),
        (r#"{"total":7.5}"#, vec!["message.total is in 7 to 8"]),
        (r#"{"name":"NAME7"}"#, vec![r#"message.name == "name7" in any case"#]),
        (r#"{"region":3,"source":1,"kind":2}"#, vec!["combination of message.region, message.source, message.kind"]),
        (r#"{"either":["e7","e8"]}"#, vec![r#"message.either == "e7""#, r#"message.either == "e8""#]),
        (r#"{"tier":"t7"}"#, vec![r#"message.tier == "t7""#]),
    ] {
        let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
        let explanation = program.explain(&message, &[]);
        let found: Vec<&str> = explanation.rules.iter().filter_map(|rule| rule.found_by.as_deref()).collect();
        let mut found = found;
        found.sort_unstable();
        // Whether it matches or not.
        let expected: Vec<&str> = ["always tried"].into_iter().chain(expected).chain([TRIED_FIRST]).collect();
        assert_eq!(found, expected);
        assert_eq!(explanation.total, 901);
    }
}

#[test]
fn a_named_rule_is_explained_whether_it_was_found_or_not() {
    let patterns: Vec<String> = (0..1000).map(|n| format!(r#"{{"a":[{n}]}}"#)).collect();
    let program = program(&patterns);
    let message = json::JsonMessage::parse(br#"{"a":7}"#, program.paths()).unwrap();
    let [seven, eight] = ["r7", "r8"].map(|id| program.number(id).unwrap());
    let explanation = program.explain(&message, &[eight, seven, eight]);
    let told: Vec<(&str, bool, Option<&str>)> =
        explanation.rules.iter().map(|rule| (&*rule.id, rule.matched(), rule.found_by.as_deref())).collect();
    let expected = [("r2", false, Some(TRIED_FIRST)), ("r8", false, None), ("r7", true, Some("message.a == 7"))];
    assert_eq!(told, expected);
    assert_eq!(explanation.rules[1].failure.as_ref().map(|failure| failure.seen.as_str()), Some("7"));
    assert_eq!((explanation.winner, explanation.looked_at, explanation.total), (Some(seven), 2, 1000));
}

#[test]
fn small_layers_and_unreadable_fields_are_scanned_and_say_so() {
    let few: Vec<String> = (0..32).map(|n| format!(r#"{{"a":[{n}]}}"#)).collect();
    let many: Vec<String> = (0..33).map(|n| format!(r#"{{"a":[{n}]}}"#)).collect();
    for (patterns, message, words) in [
        (&few, r#"{"a":7}"#, "scanned (32 rules or fewer)"),
        (
            &many,
            r#"{"a":99999999999999999999}"#,
            r#"scanned (field "message.a": integer beyond 64 bits; send it as text)"#,
        ),
    ] {
        let program = program(patterns);
        let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
        let explanation = program.explain(&message, &[]);
        assert_eq!(explanation.rules.len(), patterns.len());
        assert!(explanation.rules.iter().all(|rule| rule.found_by.as_deref() == Some(words)));
    }
}

/// A field's patterns, from a small world so that many match.
fn patterns() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        Just(r#""a""#),
        Just("1"),
        Just("null"),
        Just(r#"{"prefix":"a"}"#),
        Just(r#"{"exists":true}"#),
        Just(r#"{"exists":false}"#),
        Just(r#"{"anything-but":["a",1]}"#),
        Just(r#"{"anything-but":{"suffix":"b"}}"#),
        Just(r#"{"numeric":[">",0,"<",2]}"#),
        Just(r#"{"wildcard":"*b*"}"#),
    ];
    prop::collection::vec(one, 1..3).prop_map(|patterns| format!("[{}]", patterns.join(",")))
}

fn object(entries: &[(String, String)]) -> String {
    let mut seen = Vec::new();
    let entries: Vec<String> = entries
        .iter()
        .filter(|(key, _)| {
            !seen.contains(&key) && {
                seen.push(key);
                true
            }
        })
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn any_pattern() -> impl Strategy<Value = String> {
    let flat = prop::collection::vec(("[xyl]", patterns()), 1..3).prop_map(|entries| object(&entries));
    flat.prop_recursive(3, 24, 3, |inner| {
        let below = prop_oneof![patterns(), inner.clone()];
        let entries = prop::collection::vec(("[xyl]", below), 1..3);
        let branches = prop::collection::vec(inner, 2..3);
        (entries, prop::option::of(branches)).prop_map(|(mut entries, branches)| {
            if let Some(branches) = branches {
                entries.push(("$or".to_owned(), format!("[{}]", branches.join(","))));
            }
            object(&entries)
        })
    })
}

fn any_message() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![Just(r#""a""#), Just(r#""ab""#), Just("1"), Just("null"), Just("true"), Just("[]"), Just("{}")]
            .prop_map(str::to_owned);
    let value = leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[xyl]", inner), 0..3).prop_map(|entries| object(&entries)),
        ]
    });
    prop::collection::vec(("[xyl]", value), 0..4).prop_map(|entries| object(&entries))
}

proptest! {
    #[test]
    fn explaining_never_disagrees_with_matching(patterns in prop::collection::vec(any_pattern(), 1..6), message in any_message()) {
        let program = program(&patterns);
        let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
        let explanation = program.explain(&message, &[]);
        prop_assert_eq!(explanation.winner, program.first(&message).unwrap());
        let matched: Vec<usize> =
            (0..program.rules().len()).filter(|&position| explanation.rules[position].matched()).collect();
        prop_assert_eq!(&matched, &program.all(&message).unwrap());
        for (position, rule) in program.rules().iter().enumerate() {
            let alone = rule.condition.holds(&message, program.fields()).unwrap();
            prop_assert_eq!(alone, matched.contains(&position), "the cache changes nothing");
            if let Some(failure) = &explanation.rules[position].failure {
                prop_assert!(failure.field.is_some(), "a pattern fails at a field: {:?}", failure);
            }
        }
    }
}

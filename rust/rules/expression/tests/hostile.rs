//! Sources and messages made to exhaust the stack, time or memory.

use proptest::prelude::*;

use super::*;
use crate::error::Place;

fn refused(source: &str, limits: &Limits) -> String {
    match compile(source, &ROOTS, &mut FieldTable::default(), limits) {
        Ok(_) => panic!("accepted: {}", &source[..source.len().min(60)]),
        Err(error) => error.problem,
    }
}

#[test]
fn nesting_is_bounded_whatever_nests() {
    let table: [(&str, &str, &str); 14] = [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("{1: ", "1", "}"),
        ("!(", "true", ")"),
        ("-(", "message.a", ")"),
        ("size(", "message.a", ")"),
        ("message.a[", "0", "]"),
        ("1 + (", "message.a", ")"),
        ("message.a && (", "true", ")"),
        ("message.a ? (", "true", ") : false"),
        ("(", "message.a", ") ? true : false"),
        ("message.l.exists(x, ", "true", ")"),
        ("has(", "message.a", ".b)"),
        ("'a'.contains(", "'a'", ")"),
    ];
    for nesting in [1, 8, 64, 100_000] {
        let limits = Limits { nesting, ..Limits::default() };
        for (open, middle, close) in table {
            for depth in [300, 10_000] {
                let source = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
                let problem = refused(&source, &limits);
                assert!(problem.contains("`nesting`") || problem.contains("has()"), "{open}: {problem}");
            }
        }
        for (first, more) in [("message[0]", ".a"), ("message[0]", "[0]"), ("message", ".a"), ("message.a", " == 1")] {
            let problem = refused(&format!("{first}{}", more.repeat(10_000)), &limits);
            assert!(problem.contains("`nesting`"), "{first}{more}: {problem}");
        }
    }
}

#[test]
fn the_deepest_tree_is_evaluated_on_a_small_stack() {
    let depth = parser::MAX_NESTING - 6;
    let sources = [
        format!("{}message.a{}", "message.b && (".repeat(depth), ")".repeat(depth)),
        format!("{}message.a{} == 1", "1 + (".repeat(depth), ")".repeat(depth)),
        format!("{}true{}", "[1].exists(x, ".repeat(depth), ")".repeat(depth)),
        format!("{}0{} == 0", "message.l[".repeat(depth), "]".repeat(depth)),
        format!("message.l{} == 0", "[0]".repeat(depth)),
    ];
    let limits = Limits { nesting: usize::MAX, ..Limits::default() };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for source in sources {
            let mut table = FieldTable::default();
            let condition = compile(&source, &ROOTS, &mut table, &limits).unwrap();
            let message = json::value(br#"{"a": true, "b": true, "l": [0]}"#).unwrap();
            condition.holds(&ValueMessage::new(&table, "message", message), &table).unwrap();
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn long_chains_are_no_nesting() {
    let chains = [
        ("message.a == 1", " || message.a == 1"),
        ("message.a", " && message.b"),
        ("1 == message.a", " + 1"),
        ("1 == 2", " * 3"),
        ("message.a", " ? true : message.a"),
        ("message.a in [0", ", 1"),
    ];
    for (first, more) in chains {
        let close = if first.contains('[') { "]" } else { "" };
        let source = format!("{first}{}{close}", more.repeat(4_000));
        assert!(compile(&source, &ROOTS, &mut FieldTable::default(), &Limits::default()).is_ok(), "{first}{more}");
    }
    let source = format!("{}true", "!".repeat(100_001));
    assert!(!holds(&source, &Value::Null));
    let source = format!("{}1 == -1", "-".repeat(100_001));
    assert!(holds(&source, &Value::Null));
}

#[test]
fn every_limit_is_named() {
    let limits = Limits { source_bytes: 40, nodes: 6, regex_bytes: 1_000, ..Limits::default() };
    for (source, limit) in [
        ("message.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "`source_bytes`"),
        ("message.a in [1, 2, 3, 4, 5, 6]", "`nodes`"),
        ("message.a.matches(r'\\w{50}')", "`regex_bytes`"),
    ] {
        let problem = refused(source, &limits);
        assert!(problem.contains(limit), "{source}: {problem}");
    }
}

#[test]
fn conditions_inside_conditions_do_not_double() {
    let mut source = "message.a".to_owned();
    for _ in 0..40 {
        source = format!("({source} ? message.b : message.c)");
    }
    let condition = compile(&source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap();
    fn size(condition: &Condition) -> usize {
        match condition {
            Condition::Tests(tests) => 1 + tests.len(),
            Condition::All(parts) | Condition::Any(parts) => 1 + parts.iter().map(size).sum::<usize>(),
            _ => 1,
        }
    }
    assert!(size(&condition) < 200);
}

#[test]
fn evaluation_ends_with_its_steps() {
    let list = |items: usize| format!("[{}]", vec!["1"; items].join(", "));
    let ten = list(10);
    let double = ".map(x, [x, x])".repeat(40);
    let sources = [
        format!("{0}.all(a, {0}.all(b, {0}.all(c, {0}.all(d, {0}.all(e, {0}.all(f, {0}.all(g, true)))))))", ten),
        format!("[1]{double} == [1]{double}"),
        format!("[message.s]{}.size() == 1", ".map(x, x + x)".repeat(40)),
        format!("[[1]]{}.size() == 1", ".map(x, x + x)".repeat(40)),
        "message.l.all(x, message.l.all(y, 'a'.matches(string(x * 1000 + y)) || true))".to_owned(),
        "message.l.all(x, message.l.all(y, message.s.contains('b') || true))".to_owned(),
        format!("{}.exists(x, false) || true", "[1].map(x, [x, x, x, x])".to_owned() + &".map(x, x + x)".repeat(30)),
    ];
    let numbers = (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let message = format!(r#"{{"s": "{}", "l": [{numbers}]}}"#, "a".repeat(1_000));
    for source in sources {
        assert_eq!(evaluated(&source, &message), Err(EvaluationError::Steps), "{source}");
    }
}

#[test]
fn a_field_is_read_once_for_a_whole_comprehension() {
    let numbers = (0..3_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let message = format!(r#"{{"l": [{numbers}]}}"#);
    let started = std::time::Instant::now();
    assert_eq!(evaluated("message.l.all(x, size(message.l) == 3000)", &message).as_deref(), Ok("Bool(true)"));
    assert!(started.elapsed().as_secs() < 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_compiled_or_refused_at_a_place_inside_it(
        parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "message", ".a", "[", "]", "(", ")", "{", "}", "'a'", "\"", "'''", "r'", "b\"é\"", "\\", "\\u00", "1", "1u",
                    ".5", "0x", "1e9", "==", "!=", "<", "&&", "||", "!", "-", "+", "%", "?", ":", ",", " in ", "has(",
                    ".exists(x, ", ".map(x, ", "x", "size(", ".matches(", "'('", "timestamp(", ".getHours(", "`a`", "\n", " ",
                    "true", "null", "int", "google.protobuf.", "//", "é", ";", "duration('1h')",
                ]).prop_map(str::to_owned),
                any::<String>(),
            ],
            0..24,
        )
    ) {
        let source = parts.concat();
        let mut table = FieldTable::default();
        match compile(&source, &ROOTS, &mut table, &Limits::default()) {
            Ok(condition) => {
                let message = json::value(br#"{"a": [1, {"a": "x"}]}"#).unwrap();
                let _ = condition.holds(&ValueMessage::new(&table, "message", message), &table);
            }
            Err(error) => {
                let Place::Text { offset, line, column } = error.place else { panic!("{error:?}") };
                prop_assert!(offset <= source.len() && source.is_char_boundary(offset) && line >= 1 && column >= 1);
                prop_assert!(!error.problem.is_empty() && error.problem.len() < 2_000 + source.len());
            }
        }
        let _ = parse_unchecked(&source, &ROOTS, &mut FieldTable::default(), &Limits::default());
    }
}

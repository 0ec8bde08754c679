//! What is evaluated, what is lowered, and that both mean the same.

use proptest::prelude::*;

use super::*;
use crate::error::ReadError;
use crate::message::objects::Listed;
use crate::message::path::FieldId;
use crate::message::value::{Key, Text, Timestamp};
use crate::message::{Fields, Read};
use crate::rules::condition::{Comparison, Test};
use crate::rules::intern::Interner;

const MESSAGE: &str = r#"{"a": {"b": 1, "n": null, "flag": true}, "l": [{"x": 1}, {"x": 2}], "s": "text", "m-n": 5,
    "when": "2026-01-31T08:00:00Z", "pattern": "^t.x", "big": [1, 2, 3, 4]}"#;

#[test]
fn fields_are_read_as_cel_says() {
    let failed = |failure: Failure| Err(EvaluationError::Failed(failure));
    let table: [(&str, Result<&str, EvaluationError>); 26] = [
        ("message.a.b", Ok("Int(1)")),
        ("message['a'].b", Ok("Int(1)")),
        ("message[\"a\"]['b']", Ok("Int(1)")),
        ("message.`m-n`", Ok("Int(5)")),
        (".message.a.b", Ok("Int(1)")),
        ("message.a.n == null", Ok("Bool(true)")),
        ("message.a.c", failed(Failure::NoSuchField)),
        ("message.c == null", failed(Failure::NoSuchField)),
        ("message.s.c", failed(Failure::NoSuchField)),
        ("message.l.x", failed(Failure::NoSuchField)),
        ("message.l[1].x", Ok("Int(2)")),
        ("message.l[2].x", failed(Failure::IndexOutOfRange)),
        ("message.l[-1].x", failed(Failure::IndexOutOfRange)),
        ("message.l[0].y", failed(Failure::NoSuchKey)),
        ("has(message.a.b)", Ok("Bool(true)")),
        ("has(message.a.n)", Ok("Bool(true)")),
        ("has(message.a.c)", Ok("Bool(false)")),
        ("has(message.c)", Ok("Bool(false)")),
        ("has(message.c.d)", failed(Failure::NoSuchField)),
        ("has(message.s.d)", failed(Failure::NoSuchField)),
        ("has(message.l.x)", failed(Failure::NoSuchField)),
        ("has(message.l[0].x) && !has(message.l[0].y)", Ok("Bool(true)")),
        ("has(live.x)", failed(Failure::NoSuchField)),
        ("message.l.exists(message, message.x == 2)", Ok("Bool(true)")),
        ("message.l.exists(message, .message.a.b == message.x)", Ok("Bool(true)")),
        ("message.l.map(x, message.a).size()", Ok("Int(2)")),
    ];
    for (source, expected) in table {
        assert_eq!(evaluated(source, MESSAGE), expected.map(str::to_owned), "{source}");
    }
}

#[test]
fn values_are_computed_as_cel_says() {
    let table = [
        ("message.s.matches(message.pattern)", "Bool(true)"),
        ("['text', 'tax', 'no'].filter(x, x.matches(message.pattern)).size()", "Int(2)"),
        ("timestamp(message.when).getHours('Europe/Berlin')", "Int(9)"),
        ("timestamp(message.when) + duration('1h') > timestamp('2026-01-31T08:59:59Z')", "Bool(true)"),
        ("message.big.map(x, x % 2 == 0, x * 10) == [20, 40]", "Bool(true)"),
        ("message.big.transformList(i, x, i * x) == [0, 2, 6, 12]", "Bool(true)"),
        ("message.a.exists(k, v, v == 1 && k == 'b')", "Bool(true)"),
        ("{'a': 1}.transformMap(k, v, [k, v]) == {'a': ['a', 1]}", "Bool(true)"),
        ("message.nothing || message.a.flag", "Bool(true)"),
        ("message.nothing && message.s == 'other'", "Bool(false)"),
        ("message.a.flag ? message.s : message.nothing", "Text(Borrowed(\"text\"))"),
        ("false ? 1 : false ? 2 : 3", "Int(3)"),
        ("'a' + 'b' + \"c\" == 'abc' && b'a' + b'b' == b'ab'", "Bool(true)"),
        ("size(message.s) + message.s.size()", "Int(8)"),
        ("1 + 2 * 3 - -4 / 2", "Int(9)"),
        ("- - 5 == 5 && !!true && !!!!true", "Bool(true)"),
        ("type(message.s) == string && type(type(1)) == type", "Bool(true)"),
        ("dyn(message.a.b) == 1.0 && 1u in message.big", "Bool(true)"),
        ("1 < 2 == true", "Bool(true)"),
        ("[1, 2,] == [1, 2] && {'a': 1,} == {'a': 1}", "Bool(true)"),
        ("string(duration('90m')) + string(1.5) + string(b'a')", "Text(Shared(\"5400s1.5a\"))"),
    ];
    for (source, expected) in table {
        assert_eq!(evaluated(source, MESSAGE).as_deref(), Ok(expected), "{source}");
    }
}

/// A message whose fields cannot be read.
struct Unreadable;

impl<'m> Fields<'m> for Unreadable {
    fn read(&self, _: FieldId) -> Result<Read<'m>, ReadError> {
        Err(ReadError { field: "message.a".to_owned(), problem: "an integer beyond 64 bits".to_owned() })
    }

    fn objects(&self, _: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        Ok(None)
    }
}

#[test]
fn a_message_that_cannot_be_read_is_never_absorbed() {
    for source in [
        "message.a || true",
        "[1].exists(x, message.a || true)",
        "message.a == 1 ? true : true",
        "has(message.a) || true",
    ] {
        let expression = parse(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap();
        assert!(matches!(expression.evaluate(&Unreadable), Err(EvaluationError::Read(_))), "{source}");
    }
}

#[test]
fn typed_tests_of_a_field_become_predicates() {
    fn is(test: &Test, wanted: &str) -> bool {
        match test {
            Test::Equals(_) => wanted == "equals",
            Test::OneOf(_) => wanted == "one of",
            Test::Compares(Comparison::Less, _) => wanted == "less",
            Test::Compares(Comparison::GreaterOrEqual, _) => wanted == "greater or equal",
            Test::Prefix { ignore_case: false, .. } => wanted == "prefix",
            Test::Suffix { ignore_case: false, .. } => wanted == "suffix",
            Test::Contains(_) => wanted == "contains",
            Test::Matches(_) => wanted == "matches",
            Test::Present => wanted == "present",
            Test::IsTrue => wanted == "is true",
            _ => false,
        }
    }
    let table = [
        ("message.a == 1", "equals", Asked::True),
        ("1 == message.a", "equals", Asked::True),
        ("dyn(message.a) == 1", "equals", Asked::True),
        ("message.a != [1, 'b']", "equals", Asked::False),
        ("!(message.a == {'x': -1})", "equals", Asked::False),
        ("message.a < 60 * 60", "less", Asked::True),
        ("duration('1m') > message.a", "less", Asked::True),
        ("!!(timestamp(0) <= message.a)", "greater or equal", Asked::True),
        ("message.a in ['x', 1]", "one of", Asked::True),
        ("!(message['a'] in [1])", "one of", Asked::False),
        ("message.a.startsWith('x')", "prefix", Asked::True),
        ("message.a.endsWith('x')", "suffix", Asked::True),
        ("message.a.contains('x')", "contains", Asked::True),
        ("message.a.matches('x+')", "matches", Asked::True),
        ("!matches(message.a, r'\\d')", "matches", Asked::False),
        ("has(message.a)", "present", Asked::True),
        ("!message.a", "is true", Asked::False),
    ];
    for (source, test, asked) in table {
        let mut fields = FieldTable::default();
        let condition = compile(source, &ROOTS, &mut fields, &Limits::default()).unwrap();
        let Condition::Predicate(predicate) = condition else { panic!("{source}: {condition:?}") };
        assert!(is(&predicate.test, test), "{source}: {predicate:?}");
        assert_eq!((predicate.asked, predicate.elements), (asked, false), "{source}");
        assert!(source.contains(&*predicate.source(&fields)), "{source}: {}", predicate.source(&fields));
    }
    for source in [
        "message.a == message.b",
        "message.a == 0.0 / 0.0",
        "message.a in [0.0 / 0.0]",
        "message.a in {'x': 1}",
        "'x' in message.a",
        "message.a + 1 == 2",
        "message.a[0] == 1",
        "message.a.exists(x, x == 1)",
        "[1].exists(message, message == 1)",
    ] {
        let condition = compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap();
        assert!(matches!(condition, Condition::Expression(_)), "{source}: {condition:?}");
    }
}

#[test]
fn constants_are_conditions_that_hold_always_or_never() {
    let table = [
        ("true", true),
        ("false", false),
        ("!false", true),
        ("1 < 2", true),
        ("message.a || true", true),
        ("message.a && false", false),
        ("message.a && 1", false),
        ("'x'.startsWith('x') ? true : message.a", true),
    ];
    for (source, always) in table {
        let condition = compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap();
        match condition {
            Condition::All(parts) if parts.is_empty() => assert!(always, "{source}"),
            Condition::Any(parts) if parts.is_empty() => assert!(!always, "{source}"),
            other => panic!("{source}: {other:?}"),
        }
    }
}

/// Text of expressions that are mostly bool, over a few fields.
fn source() -> impl Strategy<Value = String> {
    let field =
        || prop::sample::select(vec!["message.a", "message.b", "message.m.x", "message['l']", "message", "live.q"]);
    let constant = || {
        prop::sample::select(vec![
            "1",
            "-1",
            "2u",
            "1.0",
            "0.5",
            "'a'",
            "'ab'",
            "true",
            "false",
            "null",
            "[1, 'a']",
            "[]",
            "{'x': 1}",
            "timestamp(0)",
            "b'a'",
            "9223372036854775807",
            "0.0/0.0",
        ])
    };
    let relation = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "in"]);
    let leaf = prop_oneof![
        field().prop_map(str::to_owned),
        constant().prop_map(str::to_owned),
        (field(), relation(), constant()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (constant(), relation(), field()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (field(), relation(), field()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (field(), prop::sample::select(vec!["startsWith", "endsWith", "contains", "matches"]))
            .prop_map(|(a, method)| format!("{a}.{method}('a')")),
        (field(), prop::sample::select(vec!["x", "y"])).prop_map(|(a, name)| format!("has({a}.{name})")),
        field().prop_map(|a| format!("{a} in [1, 'a', null]")),
        field().prop_map(|a| format!("{a}.exists(e, e == 1 || e < 2)")),
        field().prop_map(|a| format!("{a}.all(k, v, v != 1)")),
        field().prop_map(|a| format!("size({a}) > 1")),
        field().prop_map(|a| format!("{a} + 1 == 2")),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" && "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
            inner.clone().prop_map(|part| format!("!({part})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
            (inner.clone(), inner.clone(), inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(c, a, d, b, e)| format!("({c} ? {a} : {d} ? {b} : {e})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(({a}) == ({b}))")),
        ]
    })
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let scalar = || {
        prop::sample::select(vec![
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::Int(1),
            Value::Int(-1),
            Value::Int(i64::MAX),
            Value::Uint(2),
            Value::Double(1.0),
            Value::Double(f64::NAN),
            Value::text("a"),
            Value::text("ba"),
            Value::bytes(*b"a"),
            Value::Timestamp(Timestamp::MIN),
        ])
    };
    let map = |entries: Vec<(&'static str, Value<'static>)>| {
        Value::map(entries.into_iter().map(|(key, value)| (Key::Text(Text::Borrowed(key)), value)).collect())
    };
    let keys = || prop::sample::select(vec!["x", "y", "z"]);
    prop_oneof![
        4 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Value::list),
        2 => prop::collection::vec((keys(), scalar()), 0..3).prop_map(map),
    ]
}

fn message() -> impl Strategy<Value = Value<'static>> {
    let field = |name: &'static str| prop::option::of(value()).prop_map(move |value| value.map(|value| (name, value)));
    (field("a"), field("b"), field("m"), field("l")).prop_map(|(a, b, m, l)| {
        let fields = [a, b, m, l].into_iter().flatten();
        Value::map(fields.map(|(name, value)| (Key::Text(Text::Borrowed(name)), value)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lowered_condition_holds_exactly_where_the_expression_is_true(source in source(), message in message()) {
        let (mut table, limits) = (FieldTable::default(), Limits::default());
        let expression = parse(&source, &ROOTS, &mut table, &limits).unwrap();
        let result = expression.evaluate(&ValueMessage::new(&table, "message", message.clone()));
        let unlowered = match &result {
            Ok(Value::Bool(value)) => Some(*value),
            Ok(_) | Err(EvaluationError::Failed(_)) => None,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        // A value that is no bool is an error below `!`, `&&` and `||`, and so no condition.
        if compile(&source, &ROOTS, &mut FieldTable::default(), &limits).is_ok() {
            prop_assert_eq!(holds(&source, &message), unlowered == Some(true), "{}: {:?}", source, result);
        }
        let negated = format!("!({source})");
        prop_assert_eq!(holds(&negated, &message), unlowered == Some(false), "{}: {:?}", negated, result);
    }

    #[test]
    fn a_conjunction_taken_apart_is_the_same(sources in prop::collection::vec(source(), 1..8), counts in any::<u64>()) {
        let limits = Limits::default();
        let (mut table, mut interner, mut operands) = (FieldTable::default(), Interner::default(), Operands::default());
        let (mut plain_table, mut left) = (FieldTable::default(), &sources[..]);
        let places = regex::Regex::new("Span \\{[^}]*\\}").unwrap();
        // Conjunctions of one to four of the same operands, so that some are met again.
        for turn in 0..24 {
            let count = (1 + (counts >> (2 * turn) & 3) as usize).min(left.len());
            let source = left[..count].join(" && ");
            left = if count == left.len() { &sources } else { &left[count..] };
            let plain = compile(&source, &ROOTS, &mut plain_table, &limits);
            let apart = operands.compile(&source, &ROOTS, &mut table, &limits, &mut interner);
            // Where an evaluated node stands in the text is told no more once it is compiled.
            let [plain, apart] = [plain, apart].map(|one| places.replace_all(&format!("{one:?}"), "").into_owned());
            prop_assert_eq!(plain, apart, "{}", source);
        }
    }

    #[test]
    fn a_condition_without_room_to_nest_means_the_same(source in source(), message in message(), nesting in 1..4_usize) {
        let (mut table, limits) = (FieldTable::default(), Limits::default());
        let root = parser::parse(&source, &ROOTS, &mut table, &limits, true).unwrap();
        let shallow = Limits { nesting, ..limits };
        let lowering = lower::Lowering { source: &source, fields: &table, limits: &shallow };
        let whole = Expression::new(root.clone(), &shallow);
        let condition = lowering.lower(root, Asked::True, 0);
        let fields = ValueMessage::new(&table, "message", message);
        let expected = matches!(whole.evaluate(&fields), Ok(Value::Bool(true)));
        prop_assert_eq!(condition.holds(&fields, &table), Ok(expected));
        prop_assert!(height(&condition) <= nesting + 1, "{:?}", condition);
    }
}

fn height(condition: &Condition) -> usize {
    match condition {
        Condition::Tests(_) => 2,
        Condition::All(parts) | Condition::Any(parts) => 1 + parts.iter().map(height).max().unwrap_or(0),
        _ => 1,
    }
}

#[test]
fn two_comparisons_that_bound_one_field_are_one_test() {
    for (source, bounds) in [
        ("message.a >= 1 && message.a < 2", Some(">= 1 and < 2")),
        ("2 >= message.a && 1 < message.a", Some("> 1 and <= 2")),
        ("message.a > 1 && message.b == 1 && message.a < 2.5", Some("> 1 and < 2.5")),
        ("message.a >= 1 && (message.b == 1 && message.a <= 1)", Some(">= 1 and <= 1")),
        ("!(message.a < 1 || message.a >= 2)", None),
        ("message.a >= 2 && message.a < 1", None),
        ("message.a >= 1 && message.a < 1", None),
        ("message.a >= 1 && message.a > 2", None),
        ("message.a >= 1 && message.b < 2", None),
        ("message.a >= 1 && message.a < duration('1s')", None),
        ("message.a >= 'a' && message.a < 'b'", None),
        ("message.a >= 1 || message.a < 2", None),
        ("message.a > duration('1s') && message.a < duration('2s')", Some("> duration(\"1s\") and < duration(\"2s\")")),
    ] {
        let condition = compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap();
        let parts = Condition::flattened([condition]);
        let found = parts.iter().find_map(|part| match part {
            Condition::Predicate(predicate) => match &predicate.test {
                Test::Between(bounds) => Some(bounds.to_string()),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(found.as_deref(), bounds, "{source}");
    }
}

#[test]
fn the_source_of_a_test_is_what_was_written_whether_it_is_kept_or_not() {
    for (source, kept) in [
        ("message.a == 'x'", false),
        ("message.a.b == \"x y\"", false),
        ("message.a == 'it\"s'", false),
        ("message.a == ''", false),
        ("message.a=='x'", true),
        ("message['a'] == 'x'", true),
        ("message.a == 'it\\'s'", true),
        ("message.a == r'x'", true),
        ("message.a == '''x'''", true),
        ("'x' == message.a", true),
        ("message.a != 'x'", true),
        ("message.a == 1", false),
        ("message.a == 1u", false),
        ("message.a == -1.5", false),
        ("message.a == true", false),
        ("message.a == null", false),
        ("message.a == 1.50", true),
        ("message.a == 60 * 60", true),
        ("message.a == timestamp(0)", true),
        ("message.a <= 1", false),
        ("message.a>1", true),
        ("1 < message.a", true),
        ("message.a in ['x', 'y']", false),
        ("message.a in [1, \"x\"]", false),
        ("message.a in [1,2]", true),
        ("message.a in ['x', \"y\"]", true),
        ("message.a in []", false),
        ("message.a.startsWith('x')", false),
        ("message.a.b.endsWith(\"x\")", false),
        ("message.a.contains('\\n')", true),
        ("message.a.matches('^x+$')", false),
        ("message.a.matches(r'\\d')", true),
        ("matches(message.a, 'x')", true),
        ("has(message.a)", false),
        ("message.a", false),
        ("message.a >= 1 && message.a < 2", false),
        ("message.a < 2 && message.a >= 1", true),
        ("message.a>1 && message.a <= 2", true),
    ] {
        let mut fields = FieldTable::default();
        let condition = compile(source, &ROOTS, &mut fields, &Limits::default()).unwrap();
        let Condition::Predicate(predicate) = condition else { panic!("{source}: {condition:?}") };
        assert_eq!((&*predicate.source(&fields), predicate.source.is_some()), (source, kept));
    }
}

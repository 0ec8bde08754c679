//! What is refused, where the error stands, and what it says to write instead.

use super::*;
use crate::error::Place;

#[test]
fn a_mistake_is_placed_and_answered_with_what_to_write() {
    let table = [
        ("", 0, "write `true`"),
        ("  // only a comment", 0, "write `true`"),
        ("message.a = 1", 10, "write `==`"),
        ("message.a == 1 and message.b == 2", 15, "write `&&`"),
        ("message.a == 1 OR message.b == 2", 15, "write `||`"),
        ("not message.a", 0, "write `!`"),
        ("message.a not in [1]", 10, "!(a in b)"),
        ("message.a is null", 10, "write `==`"),
        ("message.a == None", 13, "write `null`"),
        ("message.a == True", 13, "write `true`"),
        ("mesage.a == 1", 0, "did you mean `message`?"),
        ("channel == 'sms'", 0, "written message.channel"),
        ("message.channel == sms", 19, "text belongs between quotes"),
        ("message.a == 'x' message.b", 17, "an operator such as `&&`"),
        ("message.a ==", 12, "a value should stand"),
        ("message.a == 1 &&", 17, "a value should stand"),
        ("(message.a == 1", 15, "`)`"),
        ("message.a in (1, 2)", 15, "[1, 2]"),
        ("message.a in 1, 2", 13, "[1, 2]"),
        ("message.items.0 == 1", 13, "brackets: [0]"),
        ("message.'a b' == 1", 8, "['a b']"),
        ("message.in == 1", 8, "[\"in\"]"),
        ("message.a > 5m", 12, "duration(\"5m\")"),
        ("len(message.a) > 1", 0, "write `size`"),
        ("message.a.len() > 1", 10, "write `size`"),
        ("message.a.startswith('x')", 10, "did you mean `startsWith`?"),
        ("startsWith(message.a, 'x')", 0, "write value.startsWith(…)"),
        ("message.a.int() > 1", 10, "write int(value)"),
        ("message.a.startsWith()", 10, "write value.startsWith(\"text\")"),
        ("message.a.startsWith(1)", 21, "takes a string, not int"),
        ("size() > 1", 0, "write value.size() or size(value)"),
        ("has(message)", 4, "has(message.a)"),
        ("has(message['a'])", 4, "has(message.`a-b`)"),
        ("has(message.a == 1)", 4, "has(message.a)"),
        ("message.l.exists(x.y, true)", 10, "list.exists(item"),
        ("message.l.exists(true)", 10, "list.exists(item"),
        ("message.l.map(x, true, x, x)", 10, "list.map(item"),
        ("message.l.exists(if, true)", 17, "reserved"),
        ("message.l.all(x, x, true)", 18, "different names"),
        ("if", 0, "reserved word"),
        ("message.a.matches('(')", 18, "unclosed group"),
        ("message.a.matches('\\d')", 19, "r before the quotes"),
        ("message.at > timestamp('2026-13-01')", 13, "RFC 3339"),
        ("message.at > duration('1d')", 13, "a day is 24h"),
        ("timestamp(message.at).getHours('Mars')", 31, "Europe/Berlin"),
        ("message.a == int('x')", 13, "write the value itself"),
        ("message.a == 9223372036854775808", 13, "9223372036854775808u"),
        ("message.a ? 1 ? 2 : 3 : 4", 14, "parentheses"),
        ("message.a ? true", 16, "`:`"),
        ("message.?a == 1", 8, "has(…)"),
        ("message{a: 1}", 7, "a map is a value of its own"),
        ("!-message.a", 1, "between parentheses"),
        ("message.a == 'x", 13, "not closed"),
        ("message..a", 8, "a field's name"),
        ("google.protobuf.Timestmp", 0, "unknown variable"),
    ];
    for (source, at, advice) in table {
        let Err(error) = compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()) else {
            panic!("{source} is accepted");
        };
        assert!(error.problem.contains(advice), "{source}: {}", error.problem);
        assert!(matches!(error.place, Place::Text { offset, .. } if offset == at), "{source}: {error:?}");
    }
}

#[test]
fn what_is_never_a_bool_is_no_condition() {
    for (source, kind) in [
        ("1", "int"),
        ("'sms'", "string"),
        ("[true]", "list"),
        ("{}", "map"),
        ("message.a + 1", "arithmetic"),
        ("-message.a", "arithmetic"),
        ("size(message.a)", "int"),
        ("message.l.map(x, true)", "list"),
        ("message.a ? 1 : 'b'", "string"),
        ("timestamp(message.a)", "timestamp"),
        ("int", "type"),
    ] {
        let error = compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap_err();
        assert!(error.problem.contains(kind), "{source}: {}", error.problem);
        assert!(parse(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).is_ok(), "{source}");
    }
    for source in ["message.a", "message.l[0]", "message.a ? 1 : message.b", "bool(message.a)", "dyn(message.a)"] {
        assert!(compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).is_ok(), "{source}");
    }
}

#[test]
fn lines_and_columns_count_from_one_in_characters() {
    let source = "message.ok &&\n  \"é\" = message.b";
    let error = compile(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).unwrap_err();
    assert_eq!(error.place, Place::Text { offset: 21, line: 2, column: 7 });
}

#[test]
fn unchecked_names_are_errors_only_where_they_are_evaluated() {
    let table = [
        ("nothing || true", Ok("Bool(true)")),
        ("f(1).g(2) || true", Ok("Bool(true)")),
        ("size(1, 2) || true", Ok("Bool(true)")),
        ("'a'.matches('(') || true", Ok("Bool(true)")),
        ("timestamp('x') == timestamp(0) || true", Ok("Bool(true)")),
        ("nothing.a", Err(EvaluationError::Failed(Failure::Undeclared))),
    ];
    for (source, expected) in table {
        let mut table = FieldTable::default();
        let expression = parse_unchecked(source, &ROOTS, &mut table, &Limits::default()).unwrap();
        let result = expression.evaluate(&ValueMessage::new(&table, "message", Value::Null));
        assert_eq!(result.map(|value| format!("{value:?}")), expected.map(str::to_owned), "{source}");
        assert!(parse(source, &ROOTS, &mut FieldTable::default(), &Limits::default()).is_err(), "{source}");
    }
    assert!(parse_unchecked("for", &ROOTS, &mut FieldTable::default(), &Limits::default()).is_err());
}

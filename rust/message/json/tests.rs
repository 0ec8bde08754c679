mod by_serde;
mod strict;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::message::path::{FieldTable, Path};
use crate::message::render::Compact;
use crate::message::tree::ValueMessage;
use crate::message::value::MAX_DEPTH;

fn table(paths: &[&str]) -> FieldTable {
    let mut table = FieldTable::default();
    for path in paths {
        let mut keys = path.split('.').map(Arc::from);
        let root = keys.next().unwrap();
        table.intern(Path { root, segments: keys.collect() });
    }
    table
}

/// What stands at each field, in the table's order.
fn reads(text: &str, paths: &[&str]) -> Vec<String> {
    let table = table(paths);
    let tree = Paths::new(&table, "message");
    let message = JsonMessage::parse(text.as_bytes(), &tree).unwrap();
    (0..paths.len()).map(|at| show(&message.read(number(&table, at)))).collect()
}

fn number(table: &FieldTable, at: usize) -> FieldId {
    table.clone().intern((*table.paths()[at]).clone())
}

fn show(read: &Result<Read<'_>, ReadError>) -> String {
    match read {
        Ok(Read::Value(value)) => Compact(value).to_string(),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn fields_are_found_wherever_they_stand() {
    let text =
        r#" { "a" : {"b": 1, "skipped": [1, {"b": 2}], "c": {"d": "x"}}, "l": [{"b": 1}], "s": "t", "n": null } "#;
    let expected = [
        ("message.a.b", "1"),
        ("message.a.c", r#"{"d":"x"}"#),
        ("message.a.c.d", r#""x""#),
        ("message.a.c.e", "Absent"),
        ("message.a.x", "Absent"),
        ("message.a.x.y", "Broken"),
        ("message.l", r#"[{"b":1}]"#),
        ("message.l.b", "InList { depth: 1 }"),
        ("message.l.b.c", "InList { depth: 1 }"),
        ("message.s.b", "Broken"),
        ("message.n", "null"),
        ("message.n.b", "Broken"),
        ("live.a", "Broken"),
    ];
    let paths: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    for ((path, expected), found) in expected.iter().zip(reads(text, &paths)) {
        assert_eq!(found, *expected, "{path}");
    }
}

#[test]
fn the_root_can_be_read_and_a_list_has_objects() {
    let table = table(&["message", "message.a.b"]);
    let tree = Paths::new(&table, "message");
    let message = JsonMessage::parse(br#"{"a":{"b":[1]}}"#, &tree).unwrap();
    let field = number(&table, 1);
    assert_eq!(show(&message.read(number(&table, 0))), r#"{"a":{"b":[1]}}"#);
    assert!(message.objects(field).unwrap().is_some());
    assert!(message.objects(number(&table, 0)).unwrap().is_none());
}

#[test]
fn a_message_that_is_no_object_has_no_fields() {
    assert_eq!(reads("[1]", &["message.a"]), ["InList { depth: 0 }"]);
    assert_eq!(reads("7", &["message.a"]), ["Broken"]);
}

#[test]
fn of_a_key_that_comes_twice_the_last_counts_with_all_below() {
    let paths = ["message.a.b", "message.a.c", "message.a"];
    assert_eq!(reads(r#"{"a":{"b":1},"a":{"c":2}}"#, &paths), ["Absent", "2", r#"{"c":2}"#]);
    assert_eq!(reads(r#"{"a":{"b":1},"\u0061":3}"#, &paths), ["Broken", "Broken", "3"]);
}

#[test]
fn many_siblings_are_told_apart() {
    let names: Vec<String> = (0..50).map(|n| format!("message.k{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = format!("{{{}}}", (0..50).rev().map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(","));
    assert_eq!(reads(&text, &names), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn numbers_keep_their_kind_and_never_lose_precision() {
    let field = ["message.n"];
    for (written, expected) in [
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("-0", "0"),
        ("1.0", "1.0"),
        ("3e2", "300.0"),
        ("1e30", "1e30"),
        ("-0.0", "-0.0"),
        ("18446744073709551616", "error: field \"message.n\": integer beyond 64 bits; send it as text"),
        ("-9223372036854775809", "error: field \"message.n\": integer beyond 64 bits; send it as text"),
        ("[[18446744073709551616]]", "error: field \"message.n\": integer beyond 64 bits; send it as text"),
        ("1e999", "error: field \"message.n\": number beyond the range of a double; send it as text"),
    ] {
        assert_eq!(reads(&format!("{{\"n\":{written}}}"), &field), [expected], "{written}");
    }
    // A field that no rule reads is no concern.
    assert_eq!(reads(r#"{"big":18446744073709551616,"n":1}"#, &field), ["1"]);
}

#[test]
fn of_a_key_that_comes_twice_in_a_value_the_first_is_no_concern() {
    let field = ["message.a"];
    for (written, expected) in [
        (r#"{"k":18446744073709551616,"k":1}"#, r#"{"k":1}"#),
        (r#"{"k":{"\ud83d":0},"k":[]}"#, r#"{"k":[]}"#),
        (r#"{"k":"\ud83d","j":2,"k":1}"#, r#"{"k":1,"j":2}"#),
        (
            r#"{"k":1,"k":"\ud83d"}"#,
            "error: field \"message.a\": text with half of a surrogate pair, which is no Unicode; send valid text",
        ),
    ] {
        assert_eq!(reads(&format!("{{\"a\":{written}}}"), &field), [expected], "{written}");
    }
}

#[test]
fn text_is_unescaped_and_borrowed_if_it_can_be() {
    let field = ["message.t"];
    for (written, expected) in [
        (r#""""#, r#""""#),
        (r#""plain é 日本""#, r#""plain é 日本""#),
        (r#""\"\\\/\b\f\n\r\t\u00e9""#, r#""\"\\/\u0008\u000c\n\r\té""#),
        (r#""\ud83d\ude00""#, r#""😀""#),
        (
            r#""\ud83d""#,
            "error: field \"message.t\": text with half of a surrogate pair, which is no Unicode; send valid text",
        ),
        (
            r#""\ude00\ud83d""#,
            "error: field \"message.t\": text with half of a surrogate pair, which is no Unicode; send valid text",
        ),
        (
            r#""\ud83d\u0041""#,
            "error: field \"message.t\": text with half of a surrogate pair, which is no Unicode; send valid text",
        ),
    ] {
        assert_eq!(reads(&format!("{{\"t\":{written}}}"), &field), [expected], "{written}");
    }
    let bytes = br#"{"t":"borrowed"}"#;
    let Value::Map(map) = value(bytes).unwrap() else { panic!() };
    let Some(Value::Text(crate::message::value::Text::Borrowed(text))) = map.get_str("t") else { panic!() };
    assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
}

#[test]
fn what_is_no_json_is_an_error_with_its_place() {
    let table = FieldTable::default();
    let tree = Paths::new(&table, "message");
    for (text, line, column, problem) in [
        ("", 1, 1, "the message ends too early"),
        ("{\"a\":1", 1, 7, "expected `,` or `}`"),
        ("{\"a\":1,}", 1, 8, "expected a key in double quotes"),
        ("[1,]", 1, 4, "expected a value"),
        ("{\n  \"é\": nope}", 2, 8, "expected a value"),
        ("{\"a\" 1}", 1, 6, "expected `:`"),
        ("{} {}", 1, 4, "text after the end"),
        ("01", 1, 2, "text after the end"),
        ("-", 1, 2, "expected a digit"),
        ("1.", 1, 3, "expected a digit"),
        ("+1", 1, 1, "expected a value"),
        ("NaN", 1, 1, "expected a value"),
        ("Infinity", 1, 1, "expected a value"),
        ("\"a", 1, 1, "text without a closing quote"),
        ("\"a\tb\"", 1, 3, "a control character"),
        ("\"\\x\"", 1, 2, "an escape that JSON does not have"),
        ("\"\\u12g4\"", 1, 2, "an escape that JSON does not have"),
    ] {
        let error = JsonMessage::parse(text.as_bytes(), &tree).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        assert!(error.problem.starts_with(problem), "{text}: {error}");
    }
    let error = JsonMessage::parse(b"{\"a\":\"\xff\"}", &tree).unwrap_err();
    assert_eq!((error.offset, error.column), (6, 7));
}

#[test]
fn nesting_is_limited() {
    let table = FieldTable::default();
    let tree = Paths::new(&table, "message");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let nested = |depth: usize| format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
        assert!(JsonMessage::parse(nested(MAX_DEPTH).as_bytes(), &tree).is_ok());
        assert!(value(nested(MAX_DEPTH).as_bytes()).is_ok());
        let deeper = nested(MAX_DEPTH + 1);
        assert_eq!(JsonMessage::parse(deeper.as_bytes(), &tree).unwrap_err().problem, "nested too deeply");
        assert_eq!(value(deeper.as_bytes()).unwrap_err().problem, "nested too deeply");
        assert!(JsonMessage::parse(open.repeat(1_000_000).as_bytes(), &tree).is_err());
    }
}

/// Any JSON value, written out with white space and escapes here and there.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(|number| format!("{number:?}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "[a-z\\\\\"éß\u{1}-\u{1f}]{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = "[abc]{1,2}|\\\\u0061";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[ {} ]", items.join(" , "))),
            prop::collection::vec((key, inner), 0..6).prop_map(|entries| {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", entries.join(",\n"))
            }),
        ]
    })
}

/// The same value as `serde_json` reads it. It has no order of keys, so keys are looked up.
fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Value::Int(ours), serde_json::Value::Number(theirs)) => {
            theirs.as_i64() == Some(*ours) || (*ours == 0 && theirs.as_f64() == Some(0.0))
        }
        (Value::Uint(ours), serde_json::Value::Number(theirs)) => theirs.as_u64() == Some(*ours),
        // serde_json's default float parser may be an ulp off.
        (Value::Double(ours), serde_json::Value::Number(theirs)) => {
            theirs.is_f64() && theirs.as_f64().is_some_and(|theirs| (ours - theirs).abs() <= ours.abs() * 1e-15)
        }
        (Value::Text(ours), serde_json::Value::String(theirs)) => ours.as_str() == theirs,
        (Value::List(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Map(ours), serde_json::Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && theirs.iter().all(|(key, theirs)| ours.get_str(key).is_some_and(|ours| same(ours, theirs)))
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn values_are_those_of_serde_json(text in any_json()) {
        let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ours = value(text.as_bytes()).unwrap();
        prop_assert!(same(&ours, &theirs), "{ours:?}\n{theirs:?}");
    }

    #[test]
    fn broken_text_is_refused_where_serde_json_refuses_it(text in any_json(), at in any::<prop::sample::Index>(), byte in "[\\[\\]{},:\"\\\\0-9a-zA-Z.+ \u{1f}é-]") {
        let mut text: Vec<char> = text.chars().collect();
        let at = at.index(text.len());
        text[at] = byte.chars().next().unwrap();
        let text: String = text.into_iter().collect();
        let table = FieldTable::default();
        let tree = Paths::new(&table, "message");
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        let ours = JsonMessage::parse(text.as_bytes(), &tree);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?} {:?}", text, ours.err(), theirs.err());
    }

    #[test]
    fn what_is_known_ahead_changes_nothing(
        text in any_json(),
        before in 0..200_usize,
        between in 0..140_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{},:\"\\\\0-9a-fu. \u{1f}é-]{0,2}|\\\\ud83d"), 0..3),
    ) {
        let padding = "-".repeat(between);
        let mut text = format!("{}{{\"a\":{text},\"{padding}\":\"{padding}\",\"b\":{text}}}", " ".repeat(before));
        for (at, change) in &changes {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let at = places[at.index(places.len())];
            let length = text[at..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(at..at + length, change);
        }
        let table = table(&["message.a", "message.a.b", "message.ab.c", "message.b"]);
        let tree = Paths::new(&table, "message");
        let bytes = text.as_bytes();
        let walked = |scanner: &mut dyn FnMut(&mut [u32]) -> Result<(), JsonError>| {
            let mut starts = vec![0; tree.nodes()];
            let walked = scanner(&mut starts);
            walked.map(|()| starts)
        };
        let ahead = walked(&mut |starts| walk_all(&mut Scanner::<_, AnyKeys>::ahead(bytes, 0), &tree, starts));
        let stepped = walked(&mut |starts| walk_all(&mut Scanner::lenient(bytes, 0), &tree, starts));
        prop_assert_eq!(ahead, stepped, "{}", text);
    }

    #[test]
    fn fields_are_those_of_the_built_message(text in any_json()) {
        let table = table(&["message", "message.a", "message.a.b", "message.a.b.c", "message.b", "message.ab.c", "message.b.a", "message.c.c"]);
        let tree = Paths::new(&table, "message");
        let raw = JsonMessage::parse(text.as_bytes(), &tree).unwrap();
        let built = ValueMessage::new(&table, "message", value(text.as_bytes()).unwrap());
        for at in 0..table.paths().len() {
            let field = number(&table, at);
            prop_assert_eq!(show(&raw.read(field)), show(&built.read(field)), "{}", table.path(field));
            let objects = (raw.objects(field).unwrap(), built.objects(field).unwrap());
            prop_assert_eq!(objects.0.is_some(), objects.1.is_some());
            if let (Some(raw), Some(built)) = objects {
                prop_assert_eq!(raw.len(), built.len());
                let below = (0..table.paths().len()).map(|at| number(&table, at));
                let below: Vec<_> = below.filter(|&other| table.path(other).starts_with(table.path(field))).collect();
                for object in 0..raw.len() {
                    for &other in &below {
                        prop_assert_eq!(show(&raw.read(object, other)), show(&built.read(object, other)));
                    }
                }
            }
        }
    }
}

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::message::json::{self, JsonMessage};
use crate::message::path::Path;
use crate::message::tree::ValueMessage;
use crate::message::value::{Map, Text, Timestamp};

fn table(paths: &[&str]) -> FieldTable {
    let mut table = FieldTable::default();
    for path in paths {
        let segments = path.split('.').filter(|segment| !segment.is_empty()).map(Arc::from).collect();
        table.intern(Path { root: "message".into(), segments });
    }
    table
}

fn name(key: &'static str) -> MapKey<'static> {
    MapKey::Text(Text::Borrowed(key))
}

fn key_of(message: &dyn Fields<'_>, table: &FieldTable, limit: usize) -> Option<Vec<u8>> {
    let mut key = Key::new();
    Projection::new(table, table.paths().len()).of(message, &mut key, limit)?;
    Some(key.to_vec())
}

#[test]
fn what_a_rule_can_tell_apart_has_another_key() {
    let table = table(&["a", "b.c", "l"]);
    let text = |text: &'static str| Value::text(text);
    let map = |entries: &[(&'static str, i64)]| {
        let entries = entries.iter().map(|&(key, value)| (name(key), Value::Int(value)));
        Value::Map(Arc::new(Map::new(entries.collect())))
    };
    let values = [
        Value::Null,
        Value::Bool(false),
        Value::Bool(true),
        Value::Int(0),
        Value::Int(1),
        Value::Uint(1),
        Value::Double(1.0),
        Value::Double(0.0),
        Value::Double(-0.0),
        Value::Double(f64::NAN),
        text(""),
        text("1"),
        text("null"),
        Value::bytes(*b"1"),
        Value::list(vec![]),
        Value::list(vec![Value::list(vec![])]),
        Value::list(vec![text("ab"), text("c")]),
        Value::list(vec![text("a"), text("bc")]),
        Value::list(vec![text("abc")]),
        map(&[]),
        map(&[("x", 1), ("y", 2)]),
        map(&[("y", 2), ("x", 1)]),
        map(&[("x", 12)]),
        Value::map(vec![(MapKey::Int(1), Value::Null)]),
        Value::map(vec![(MapKey::Uint(1), Value::Null)]),
        Value::map(vec![(MapKey::Bool(true), Value::Null)]),
        Value::Timestamp(Timestamp::new(1, 0).unwrap()),
        Value::Duration(jiff::SignedDuration::from_secs(1)),
        Value::Type("int".into()),
    ];
    let mut messages = vec![Value::map(vec![])];
    for above in ["a", "b", "l"] {
        messages.extend(values.iter().map(|value| Value::map(vec![(name(above), value.clone())])));
    }
    // Below "b" stands "b.c", which no value but a map or a list of maps can hold: those look the same to rules.
    let mut seen: HashMap<Vec<u8>, String> = HashMap::new();
    for message in messages {
        let shown = format!("{message:?}");
        let reads = |message: &ValueMessage<'_, '_>| {
            let mut reads = String::new();
            for number in 0..3 {
                reads += &format!("{:?}", message.read(FieldId::new(number)).unwrap());
            }
            reads
        };
        let message = ValueMessage::new(&table, "message", message);
        let key = key_of(&message, &table, 4096).unwrap();
        assert_eq!(Some(&key), key_of(&message, &table, 4096).as_ref(), "the same message, the same key");
        let reads = reads(&message);
        let other = seen.insert(key, reads.clone());
        assert!(other.as_ref().is_none_or(|other| *other == reads), "{shown}: {other:?}");
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

#[test]
fn lengths_of_any_size_are_written_without_ambiguity() {
    let mut seen = std::collections::HashSet::new();
    for count in [0, 1, 127, 128, 129, 255, 256, 16_383, 16_384, usize::MAX] {
        let mut key = Key::new();
        Writer { key: &mut key, limit: 64 }.count(Tag::List, count).unwrap();
        let (last, before) = key[1..].split_last().unwrap();
        assert!(*last < 0x80 && before.iter().all(|byte| *byte >= 0x80), "the last byte says that it is the last");
        assert!(seen.insert(key));
    }
}

#[test]
fn a_key_has_a_limit_and_what_cannot_be_read_has_no_key() {
    let table = table(&["a"]);
    let paths = json::Paths::new(&table, "message");
    let key = |text: &str, limit| key_of(&JsonMessage::parse(text.as_bytes(), &paths).unwrap(), &table, limit);
    let whole = key(r#"{"a":"0123456789"}"#, 4096).unwrap();
    assert_eq!(key(r#"{"a":"0123456789"}"#, whole.len()), Some(whole.clone()));
    assert_eq!(key(r#"{"a":"0123456789"}"#, whole.len() - 1), None);
    assert_eq!(key(r#"{"a":[1,2,3]}"#, 12), None);
    assert_eq!(key(r#"{"a":99999999999999999999}"#, 4096), None);
    assert!(key(r#"{"b":99999999999999999999}"#, 4096).is_some(), "no rule names it");
}

/// A message of which each field may be read once.
struct Once<'a, 'm> {
    inner: JsonMessage<'m>,
    reads: &'a std::cell::RefCell<Vec<String>>,
}

impl<'m> Fields<'m> for Once<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        self.reads.borrow_mut().push(format!("{field:?}"));
        self.inner.read(field)
    }

    fn objects(&self, _: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        panic!("what has been read says it")
    }
}

#[test]
fn a_message_is_read_once_and_says_what_was_read() {
    let table = table(&["items.sku", "items", "o.p.q", "channel"]);
    let paths = json::Paths::new(&table, "message");
    let projection = Projection::new(&table, 4);
    for text in [
        r#"{"items":[{"sku":"a","n":1},{"sku":"a","n":2}]}"#,
        r#"{"items":[{"sku":"a","n":1},{"sku":"b","n":2}]}"#,
        r#"{"items":{"sku":"a","n":2}}"#,
        r#"{"o":[{"p":{"q":7}}]}"#,
        r#"{"o":{"p":[[{"q":6}],{"q":7}]}}"#,
        r#"{"channel":["c1","c7"],"items":[{"n":7}]}"#,
        r#"{"channel":"sms","items":[]}"#,
        "{}",
    ] {
        let reads = Default::default();
        let message = Once { inner: JsonMessage::parse(text.as_bytes(), &paths).unwrap(), reads: &reads };
        let projected = projection.of(&message, &mut Key::new(), 4096).unwrap();
        let asked = reads.borrow().len();
        let unique: std::collections::HashSet<_> = reads.borrow().iter().cloned().collect();
        assert_eq!(unique.len(), asked, "{text}");
        let plain = JsonMessage::parse(text.as_bytes(), &paths).unwrap();
        for field in (0..4).map(FieldId::new) {
            assert_eq!(format!("{:?}", projected.read(field)), format!("{:?}", plain.read(field)), "{text}");
            let are_listed = |message: &dyn Fields<'_>| message.objects(field).unwrap().is_some();
            assert_eq!(are_listed(&projected), are_listed(&plain), "{text}");
        }
        assert_eq!(reads.borrow().len(), asked, "{text}: asking reads nothing again");
    }
}

#[test]
fn a_list_is_part_of_the_key_once_however_many_fields_lie_in_it() {
    let key = |paths: &[&str], text: &str| {
        let table = table(paths);
        let paths = json::Paths::new(&table, "message");
        key_of(&JsonMessage::parse(text.as_bytes(), &paths).unwrap(), &table, 4096).unwrap()
    };
    let text = r#"{"items":[{"a":"0123456789","b":1},{"a":"0123456789","b":2}]}"#;
    let other = r#"{"items":[{"a":"0123456789","b":1},{"a":"0123456789","b":3}]}"#;
    let list = key(&["items"], text).len();
    assert_eq!(key(&["items.a", "items", "items.b"], text).len(), list + 2 * 2, "a tag and a depth for each");
    assert_ne!(key(&["items.a", "items"], text), key(&["items.a", "items"], other));
    assert_eq!(key(&["items.a"], text), key(&["items.a"], other), "no rule that names no list looks into it");
}

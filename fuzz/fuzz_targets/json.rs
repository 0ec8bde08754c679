//! Raw JSON: the walker, its strict check and the converter against each other and against `serde_json`.

#![no_main]

#[path = "../../rust/message/json/tests/by_serde.rs"]
mod by_serde;

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use turnout::message::Fields;
use turnout::message::json::{self, Check, JsonMessage, Paths};
use turnout::message::path::{FieldId, FieldTable, Path};
use turnout::message::tree::ValueMessage;

static FIELDS: LazyLock<(FieldTable, Vec<FieldId>, Paths)> = LazyLock::new(|| {
    let mut table = FieldTable::default();
    let paths = ["", "a", "a.b", "a.b.c", "b", "b.a", "c.c", "é"];
    let fields = paths.map(|path| {
        let segments = path.split('.').filter(|key| !key.is_empty()).map(Arc::from).collect();
        table.intern(Path { root: "message".into(), segments })
    });
    let tree = Paths::new(&table, "message");
    (table, fields.to_vec(), tree)
});

fuzz_target!(|bytes: &[u8]| {
    let (table, fields, paths) = &*FIELDS;
    let lenient = JsonMessage::parse(bytes, paths);
    let strict = JsonMessage::checked(bytes, paths, Check::Strict);
    let theirs = serde_json::from_slice::<&RawValue>(bytes);

    match &lenient {
        Ok(_) => assert!(theirs.is_ok(), "taken, but serde_json: {theirs:?}"),
        // serde_json has no limit where it builds nothing.
        Err(error) => assert!(theirs.is_err() || error.problem == "nested too deeply", "{error}"),
    }
    let Ok(message) = lenient else {
        assert!(strict.is_err(), "strict takes what is no JSON");
        return;
    };
    let once = theirs.is_ok_and(by_serde::each_key_once);
    assert_eq!(strict.is_ok(), once, "{:?}", strict.err());

    let Ok(value) = json::value(bytes) else { return };
    let built = ValueMessage::new(table, "message", value);
    for &field in fields {
        assert_eq!(format!("{:?}", message.read(field)), format!("{:?}", built.read(field)));
        let count = |message: &dyn Fields<'_>| message.objects(field).map(|found| found.map(|objects| objects.len()));
        assert_eq!(count(&message), count(&built));
    }
});

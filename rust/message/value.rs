//! The values that messages and rules are made of: JSON's, and those that CEL adds.
//!
//! Text is borrowed from the message where it can be; containers are shared, so that a copy is a pointer.
//!
//! - [`order`]: CEL's equality and order, and their cost in steps.
//! - [`map`]: maps in the order they were written, found by key.
//! - [`time`]: points in time over CEL's whole range, the years 1 to 9999.
//!
//! Whoever makes a value bounds its nesting (readers of messages by [`MAX_DEPTH`], expressions by their limits):
//! dropping, copying into `'static` and printing recurse to that depth. Equality does not recurse.

pub mod map;
pub mod order;
pub mod time;

use std::sync::Arc;

use jiff::SignedDuration;
use smol_str::SmolStr;

pub use map::{Key, Map};
pub use order::NoOrder;
pub use time::Timestamp;

/// Levels of lists and maps that a reader of messages accepts: as deep as `serde_json` goes.
pub const MAX_DEPTH: usize = 128;

/// Text borrowed from the message, or held: up to 23 bytes in place, more of it shared.
#[derive(Debug, Clone)]
pub enum Text<'m> {
    /// Borrowed from the message or the program.
    Borrowed(&'m str),
    /// Made by an expression, or a constant.
    Shared(SmolStr),
}

impl Text<'_> {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }

    /// The same text, borrowed from nothing.
    pub fn into_owned(self) -> Text<'static> {
        match self {
            Text::Borrowed(text) => Text::Shared(SmolStr::new(text)),
            Text::Shared(text) => Text::Shared(text),
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text<'_> {}

/// One dynamic value.
#[derive(Debug, Clone)]
pub enum Value<'m> {
    /// `null`: a value, other than a missing field.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A signed 64-bit integer: what JSON and Python integers are where they fit.
    Int(i64),
    /// An unsigned 64-bit integer: CEL's `1u`, and message integers above `i64::MAX`.
    Uint(u64),
    /// A double; JSON numbers with a fraction or an exponent.
    Double(f64),
    /// Unicode text.
    Text(Text<'m>),
    /// Bytes: CEL's `b"…"`, Python's `bytes`.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<[Value<'m>]>),
    /// A map.
    Map(Arc<Map<'m>>),
    /// A point in time, in nanoseconds.
    Timestamp(Timestamp),
    /// A span of time, in nanoseconds.
    Duration(SignedDuration),
    /// CEL's type values, such as `int` in `type(1) == int`; holds the type's name.
    Type(Arc<str>),
}

impl<'m> Value<'m> {
    /// Text borrowed from the message or the program. No allocation.
    pub fn text(text: &'m str) -> Self {
        Value::Text(Text::Borrowed(text))
    }

    /// Text of its own.
    pub fn shared_text(text: impl Into<SmolStr>) -> Self {
        Value::Text(Text::Shared(text.into()))
    }

    /// Bytes of its own.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Value::Bytes(bytes.into())
    }

    /// A list of these.
    pub fn list(items: impl Into<Arc<[Value<'m>]>>) -> Self {
        Value::List(items.into())
    }

    /// A map of these entries, as [`Map::new`] takes them.
    pub fn map(entries: Vec<(Key<'m>, Value<'m>)>) -> Self {
        Value::Map(Arc::new(Map::new(entries)))
    }

    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// CEL's name of the value's type, as `type(value)` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
        }
    }

    /// The same value, borrowed from nothing. Copies containers; recurses as deep as the value nests.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Uint(value) => Value::Uint(value),
            Value::Double(value) => Value::Double(value),
            Value::Text(text) => Value::Text(text.into_owned()),
            Value::Bytes(bytes) => Value::Bytes(bytes),
            Value::List(items) => Value::List(items.iter().map(|item| item.clone().into_owned()).collect()),
            Value::Map(map) => Value::Map(Arc::new(map.to_owned_map())),
            Value::Timestamp(value) => Value::Timestamp(value),
            Value::Duration(value) => Value::Duration(value),
            Value::Type(name) => Value::Type(name),
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Value::Uint(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl<'m> From<&'m str> for Value<'m> {
    fn from(value: &'m str) -> Self {
        Value::text(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_made_owned_equals_the_borrowed_one() {
        let source = String::from("eu");
        let borrowed = Value::list(vec![
            Value::Null,
            Value::text(&source),
            Value::map(vec![(Key::Text(Text::Borrowed(&source)), Value::list(vec![Value::Int(1)]))]),
            Value::bytes(*b"\x00\xff"),
            Value::Timestamp(Timestamp::new(1, 2).unwrap()),
        ]);
        let owned: Value<'static> = borrowed.clone().into_owned();
        assert!(owned.equals(&borrowed));
    }

    #[test]
    fn types_have_cels_names() {
        let table: [(Value<'_>, &str); 12] = [
            (Value::Null, "null_type"),
            (true.into(), "bool"),
            (1_i64.into(), "int"),
            (1_u64.into(), "uint"),
            (1.0.into(), "double"),
            ("a".into(), "string"),
            (Value::bytes(*b"a"), "bytes"),
            (Value::list(vec![]), "list"),
            (Value::map(vec![]), "map"),
            (Value::Timestamp(Timestamp::MIN), "google.protobuf.Timestamp"),
            (Value::Duration(SignedDuration::ZERO), "google.protobuf.Duration"),
            (Value::Type("int".into()), "type"),
        ];
        for (value, name) in table {
            assert_eq!(value.type_name(), name);
        }
    }
}

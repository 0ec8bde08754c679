//! A tree of [`Value`]s as a message: for tests, for live facts, and for values already at hand.

use std::sync::Arc;

use super::objects::{self, Listed};
use super::path::{FieldId, FieldTable, Path};
use super::value::Value;
use super::{Fields, Read};
use crate::error::ReadError;

/// A value, usually a map, as the variable `root` of a message.
///
/// Reading costs one lookup for each segment of the path.
#[derive(Debug, Clone)]
pub struct ValueMessage<'t, 'm> {
    table: &'t FieldTable,
    root: &'t str,
    value: Value<'m>,
}

impl<'t, 'm> ValueMessage<'t, 'm> {
    /// A message in which `root` (such as `message`) is `value`, and any other variable is missing.
    pub fn new(table: &'t FieldTable, root: &'t str, value: Value<'m>) -> Self {
        Self { table, root, value }
    }

    fn follow(&self, path: &Path) -> Read<'m> {
        if *path.root == *self.root { follow(&self.value, &path.segments) } else { Read::Broken }
    }
}

impl<'m> Fields<'m> for ValueMessage<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        Ok(self.follow(self.table.path(field)))
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        Ok(objects::of_read(self.table, field, &self.read(field)?))
    }
}

/// What `segments` lead to from `value`; a list on the way is reported with the number of segments before it.
pub fn follow<'m>(value: &Value<'m>, segments: &[Arc<str>]) -> Read<'m> {
    let mut value = value;
    for (depth, segment) in segments.iter().enumerate() {
        value = match value {
            Value::Map(map) => match map.get_str(segment) {
                Some(below) => below,
                None if depth + 1 == segments.len() => return Read::Absent,
                None => return Read::Broken,
            },
            Value::List(_) => return Read::InList { depth },
            _ => return Read::Broken,
        };
    }
    Read::Value(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::json;

    #[test]
    fn a_path_leads_to_a_value_or_says_why_not() {
        let value = json::value(br#"{"a": {"b": 1, "n": null}, "l": [{"x": 1}], "s": "t"}"#).unwrap();
        let table: [(&[&str], &str); 9] = [
            (&["a", "b"], "Value(Int(1))"),
            (&["a", "n"], "Value(Null)"),
            (&["a", "c"], "Absent"),
            (&["c"], "Absent"),
            (&["c", "d"], "Broken"),
            (&["s", "x"], "Broken"),
            (&["a", "n", "x"], "Broken"),
            (&["l", "x"], "InList { depth: 1 }"),
            (&["l", "x", "y"], "InList { depth: 1 }"),
        ];
        for (path, expected) in table {
            let segments: Vec<Arc<str>> = path.iter().map(|&segment| segment.into()).collect();
            assert_eq!(format!("{:?}", follow(&value, &segments)), expected, "{path:?}");
        }
        assert!(matches!(follow(&value, &[]), Read::Value(Value::Map(_))));
    }

    #[test]
    fn another_variable_is_missing() {
        let mut table = FieldTable::default();
        let live = table.intern(Path { root: "live".into(), segments: Box::new(["a".into()]) });
        let message = ValueMessage::new(&table, "message", json::value(br#"{"a": 1}"#).unwrap());
        assert!(matches!(message.read(live), Ok(Read::Broken)));
        assert!(message.objects(live).unwrap().is_none());
    }
}

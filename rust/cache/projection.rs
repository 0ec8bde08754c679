//! A message cut down to the fields that rules name, and as bytes.
//!
//! Every value is written as a tag for its type and then its content, in a fixed length or with its length before it,
//! so that no two sequences of values are the same bytes. What a rule may tell apart differs: missing fields, missing
//! parents, null, the types of numbers (1, 1u and 1.0 are equal to a rule but not the same, `type(1) != type(1.0)`),
//! the order of a map's entries, which comprehensions see. Doubles are written bit by bit.
//!
//! A field below a list has no value of its own: patterns try the objects of the list, which is a field of theirs too
//! and written as such. To other rules the field is missing, whatever the list holds.

use std::iter;

use smallvec::SmallVec;

use crate::error::ReadError;
use crate::message::objects::{self, Listed};
use crate::message::path::{FieldId, FieldTable};
use crate::message::value::{Key as MapKey, Value};
use crate::message::{Fields, Read};

/// The bytes of a projection.
pub(super) type Key = SmallVec<[u8; 256]>;

/// Which fields make up the key.
#[derive(Debug)]
pub(super) struct Projection {
    table: FieldTable,
    fields: Box<[FieldId]>,
}

/// A message that has been read once: rules are asked of what the key says.
pub(super) struct Projected<'a, 'm> {
    message: &'a dyn Fields<'m>,
    projection: &'a Projection,
    /// By field number.
    reads: SmallVec<[Read<'m>; 8]>,
}

impl Projection {
    /// Of the first `count` fields of `table`.
    pub(super) fn new(table: &FieldTable, count: usize) -> Self {
        Self { table: table.clone(), fields: (0..count.min(table.paths().len())).map(FieldId::new).collect() }
    }

    /// The message cut down, its key added to `key`; `None` if a field cannot be read, or the key would be longer than
    /// `limit` bytes.
    pub(super) fn of<'a, 'm>(
        &'a self,
        message: &'a dyn Fields<'m>,
        key: &mut Key,
        limit: usize,
    ) -> Option<Projected<'a, 'm>> {
        let mut out = Writer { key, limit };
        let mut reads = SmallVec::new();
        for &field in &self.fields {
            let read = message.read(field).ok()?;
            out.read(&read)?;
            reads.push(read);
        }
        Some(Projected { message, projection: self, reads })
    }
}

impl<'m> Fields<'m> for Projected<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        match self.reads.get(field.index()) {
            Some(read) => Ok(read.clone()),
            None => self.message.read(field),
        }
    }

    fn lend(&self, field: FieldId) -> Result<Option<&Read<'m>>, ReadError> {
        Ok(self.reads.get(field.index()))
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        match self.reads.get(field.index()) {
            Some(read) => Ok(objects::of_read(&self.projection.table, field, read)),
            None => self.message.objects(field),
        }
    }
}

/// What a piece of the key is.
#[derive(Clone, Copy)]
enum Tag {
    Absent,
    Broken,
    InList,
    Null,
    False,
    True,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    List,
    Map,
    Timestamp,
    Duration,
    Type,
}

/// Writes values; `None` at the first that does not fit.
struct Writer<'a> {
    key: &'a mut Key,
    limit: usize,
}

impl Writer<'_> {
    fn put(&mut self, tag: Tag, content: &[u8]) -> Option<()> {
        if self.key.len() + 1 + content.len() > self.limit {
            return None;
        }
        self.key.push(tag as u8);
        self.key.extend_from_slice(content);
        Some(())
    }

    /// A tag and a number of things to come; one byte for each seven bits of it.
    fn count(&mut self, tag: Tag, count: usize) -> Option<()> {
        let groups = iter::successors(Some(count), |rest| Some(rest >> 7).filter(|&rest| rest > 0));
        let mut bytes: SmallVec<[u8; 10]> = groups.map(|rest| (rest & 0x7f) as u8 | 0x80).collect();
        if let Some(last) = bytes.last_mut() {
            *last &= 0x7f;
        }
        self.put(tag, &bytes)
    }

    /// Content of any length.
    fn bytes(&mut self, tag: Tag, content: &[u8]) -> Option<()> {
        self.count(tag, content.len())?;
        if self.key.len() + content.len() > self.limit {
            return None;
        }
        self.key.extend_from_slice(content);
        Some(())
    }

    fn read(&mut self, read: &Read<'_>) -> Option<()> {
        match read {
            Read::Value(value) => self.value(value),
            Read::Absent => self.put(Tag::Absent, &[]),
            Read::Broken => self.put(Tag::Broken, &[]),
            Read::InList { depth } => self.count(Tag::InList, *depth),
        }
    }

    /// Recurses as deep as the value nests, which the message's reader bounds.
    fn value(&mut self, value: &Value<'_>) -> Option<()> {
        match value {
            Value::Null => self.put(Tag::Null, &[]),
            Value::Bool(false) => self.put(Tag::False, &[]),
            Value::Bool(true) => self.put(Tag::True, &[]),
            Value::Int(value) => self.put(Tag::Int, &value.to_le_bytes()),
            Value::Uint(value) => self.put(Tag::Uint, &value.to_le_bytes()),
            Value::Double(value) => self.put(Tag::Double, &value.to_bits().to_le_bytes()),
            Value::Text(text) => self.bytes(Tag::Text, text.as_str().as_bytes()),
            Value::Bytes(bytes) => self.bytes(Tag::Bytes, bytes),
            Value::List(items) => {
                self.count(Tag::List, items.len())?;
                items.iter().try_for_each(|item| self.value(item))
            }
            Value::Map(map) => {
                self.count(Tag::Map, map.len())?;
                map.entries().iter().try_for_each(|(key, value)| {
                    self.map_key(key)?;
                    self.value(value)
                })
            }
            Value::Timestamp(time) => self.put(Tag::Timestamp, &time.nanos().to_le_bytes()),
            Value::Duration(span) => self.put(Tag::Duration, &span.as_nanos().to_le_bytes()),
            Value::Type(name) => self.bytes(Tag::Type, name.as_bytes()),
        }
    }

    fn map_key(&mut self, key: &MapKey<'_>) -> Option<()> {
        match key {
            MapKey::Text(text) => self.bytes(Tag::Text, text.as_str().as_bytes()),
            MapKey::Int(value) => self.put(Tag::Int, &value.to_le_bytes()),
            MapKey::Uint(value) => self.put(Tag::Uint, &value.to_le_bytes()),
            MapKey::Bool(false) => self.put(Tag::False, &[]),
            MapKey::Bool(true) => self.put(Tag::True, &[]),
        }
    }
}

#[cfg(test)]
mod tests;

//! A message cut down to the fields that rules name, and as bytes.
//!
//! Every value is written as a tag for its type and then its content, in a fixed length or with its length before it,
//! so that no two sequences of values are the same bytes. What a rule may tell apart differs: missing fields, missing
//! parents, null, the types of numbers (1, 1u and 1.0 are equal to a rule but not the same, `type(1) != type(1.0)`),
//! the order of a map's entries, which comprehensions see. Doubles are written bit by bit.
//!
//! A field below a list has no value of its own: patterns try the elements of the list. So the list is what is written,
//! once, however many fields are below it.

use std::iter;

use smallvec::SmallVec;

use crate::error::ReadError;
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::value::{Key as MapKey, Value};
use crate::message::{Fields, Read};

/// The bytes of a projection.
pub(super) type Key = SmallVec<[u8; 256]>;

/// Which fields make up the key.
#[derive(Debug)]
pub(super) struct Projection {
    fields: Box<[Field]>,
}

#[derive(Debug)]
struct Field {
    id: FieldId,
    /// The other fields that lead to this one, and how many segments lead to them.
    above: Box<[(FieldId, usize)]>,
}

/// A message that has been read once: rules are asked of what the key says.
pub(super) struct Projected<'a, 'm> {
    message: &'a dyn Fields<'m>,
    projection: &'a Projection,
    /// By field number.
    reads: SmallVec<[Read<'m>; 8]>,
    /// The lists that fields lie in, where no other field is that list.
    lists: SmallVec<[(FieldId, Read<'m>); 1]>,
}

impl Projection {
    /// Of the first `count` fields of `table`.
    pub(super) fn new(table: &FieldTable, count: usize) -> Self {
        let paths = || table.paths().iter().take(count).enumerate();
        let fields = paths().map(|(number, path)| {
            let leads_here = |other: &Path| {
                other.root == path.root
                    && other.segments.len() < path.segments.len()
                    && path.segments.starts_with(&other.segments)
            };
            let above = paths().filter(|(_, other)| leads_here(other));
            let above = above.map(|(other, path)| (FieldId::new(other), path.segments.len())).collect();
            Field { id: FieldId::new(number), above }
        });
        Self { fields: fields.collect() }
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
        let mut lists = SmallVec::new();
        for field in &self.fields {
            let read = message.read(field.id).ok()?;
            out.read(&read)?;
            reads.push(read);
        }
        // Lists second, for a field above may have a greater number.
        for field in &self.fields {
            if let Read::InList { depth } = reads[field.id.index()]
                && field.list_at(depth, &reads).is_none()
            {
                let list = message.read_prefix(field.id, depth).ok()?;
                out.read(&list)?;
                lists.push((field.id, list));
            }
        }
        Some(Projected { message, projection: self, reads, lists })
    }
}

impl Field {
    /// The field that is the list in which this one lies, `depth` segments down, if there is one among `reads`.
    fn list_at(&self, depth: usize, reads: &[Read<'_>]) -> Option<FieldId> {
        let (list, _) = self.above.iter().find(|(_, length)| *length == depth)?;
        matches!(reads.get(list.index()), Some(Read::Value(Value::List(_)))).then_some(*list)
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

    fn read_prefix(&self, field: FieldId, depth: usize) -> Result<Read<'m>, ReadError> {
        if let Some(Read::InList { depth: found }) = self.reads.get(field.index())
            && *found == depth
        {
            if let Some(list) = self.projection.fields[field.index()].list_at(depth, &self.reads) {
                return self.read(list);
            }
            if let Some((_, list)) = self.lists.iter().find(|(id, _)| *id == field) {
                return Ok(list.clone());
            }
        }
        // Rules ask for no other prefix than that of the list a field lies in.
        self.message.read_prefix(field, depth)
    }

    fn is_list(&self, field: FieldId) -> bool {
        match self.reads.get(field.index()) {
            Some(read) => matches!(read, Read::Value(Value::List(_))),
            None => self.message.is_list(field),
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

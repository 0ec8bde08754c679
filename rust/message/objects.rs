//! The objects of a list, which patterns ask one by one.
//!
//! A list of objects is not read as a whole: of each object only the fields that a rule comes to are. Lists within the
//! list stand for their elements; what is neither list nor object is left out. A list within an object of the list is
//! read as a whole, as any value.

use std::ops::Deref;

use super::Read;
use super::path::{FieldId, FieldTable};
use super::tree::follow;
use super::value::Value;
use crate::error::ReadError;

/// The objects of a list that stands at some field, numbered from 0 in the order of the list.
pub trait Objects<'m> {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands at `field` if the object `number` stood in the place of the list. `field` is that of the list, or
    /// one below it; `number` is below [`Objects::len`].
    ///
    /// # Errors
    /// As [`super::Fields::read`].
    fn read(&self, number: usize, field: FieldId) -> Result<Read<'m>, ReadError>;

    /// The same, lent instead of copied, by those that keep what they have read; `None` by others.
    ///
    /// # Errors
    /// As [`super::Fields::read`].
    fn lend(&self, number: usize, field: FieldId) -> Result<Option<&Read<'m>>, ReadError> {
        let _ = (number, field);
        Ok(None)
    }
}

/// The objects of a list, made for whoever asked, or lent.
pub enum Listed<'a, 'm> {
    /// Made.
    Made(Box<dyn Objects<'m> + 'a>),
    /// Lent.
    Lent(&'a (dyn Objects<'m> + 'a)),
}

impl<'a, 'm> Deref for Listed<'a, 'm> {
    type Target = dyn Objects<'m> + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Listed::Made(objects) => &**objects,
            Listed::Lent(objects) => *objects,
        }
    }
}

/// The objects of a list that has been read.
struct InValue<'a, 'm> {
    table: &'a FieldTable,
    /// How many segments lead to the list.
    depth: usize,
    objects: Vec<Value<'m>>,
}

/// The objects of what stands at `field`; `None` if that is no list. Copies a pointer for each object.
pub fn of_read<'a, 'm: 'a>(table: &'a FieldTable, field: FieldId, read: &Read<'m>) -> Option<Listed<'a, 'm>> {
    let Read::Value(list @ Value::List(_)) = read else { return None };
    let mut objects = Vec::new();
    collect(list, &mut objects);
    Some(Listed::Made(Box::new(InValue { table, depth: table.path(field).segments.len(), objects })))
}

/// Recurses as deep as the value nests, which its reader bounds.
fn collect<'m>(value: &Value<'m>, into: &mut Vec<Value<'m>>) {
    match value {
        Value::List(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Map(_) => into.push(value.clone()),
        _ => {}
    }
}

impl<'m> Objects<'m> for InValue<'_, 'm> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn read(&self, number: usize, field: FieldId) -> Result<Read<'m>, ReadError> {
        let Some(rest) = self.table.path(field).segments.get(self.depth..) else { return Ok(Read::Broken) };
        Ok(match follow(&self.objects[number], rest) {
            Read::InList { depth } => Read::InList { depth: self.depth + depth },
            read => read,
        })
    }
}

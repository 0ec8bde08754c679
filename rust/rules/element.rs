//! One object of a list, in the place of the list: what a pattern's object is asked of where a list stands.

use crate::error::ReadError;
use crate::message::objects::{self, Listed, Objects};
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::{Fields, Read};

/// A message in which an object stands at `list` instead of the list itself. Fields elsewhere are read as before.
pub(super) struct Element<'a, 'm> {
    outer: &'a dyn Fields<'m>,
    table: &'a FieldTable,
    list: &'a Path,
    /// `None`: nothing stands there.
    object: Option<(&'a dyn Objects<'m>, usize)>,
}

impl<'a, 'm> Element<'a, 'm> {
    pub(super) fn new(
        outer: &'a dyn Fields<'m>,
        table: &'a FieldTable,
        list: FieldId,
        object: Option<(&'a dyn Objects<'m>, usize)>,
    ) -> Self {
        Self { outer, table, list: table.path(list), object }
    }

    /// Whether `field` is the list, or below it.
    fn is_inside(&self, field: FieldId) -> bool {
        self.table.path(field).starts_with(self.list)
    }

    fn is_list(&self, field: FieldId) -> bool {
        self.table.path(field).segments.len() == self.list.segments.len()
    }
}

impl<'m> Fields<'m> for Element<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        if !self.is_inside(field) {
            return self.outer.read(field);
        }
        match self.object {
            Some((objects, number)) => objects.read(number, field),
            None if self.is_list(field) => Ok(Read::Absent),
            None => Ok(Read::Broken),
        }
    }

    fn lend(&self, field: FieldId) -> Result<Option<&Read<'m>>, ReadError> {
        if !self.is_inside(field) {
            return self.outer.lend(field);
        }
        match self.object {
            Some((objects, number)) => objects.lend(number, field),
            None => Ok(None),
        }
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        if !self.is_inside(field) {
            return self.outer.objects(field);
        }
        if self.object.is_none() || self.is_list(field) {
            return Ok(None);
        }
        match self.lend(field)? {
            Some(read) => Ok(objects::of_read(self.table, field, read)),
            None => Ok(objects::of_read(self.table, field, &self.read(field)?)),
        }
    }
}

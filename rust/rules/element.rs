//! One element of a list, in the place of the list: what a pattern's object is asked of where a list stands.

use crate::error::ReadError;
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::tree::follow;
use crate::message::value::Value;
use crate::message::{Fields, Read};

/// A message in which `element` stands at `list` instead of the list itself. Fields elsewhere are read as before.
pub(super) struct Element<'a, 'm> {
    outer: &'a dyn Fields<'m>,
    table: &'a FieldTable,
    list: &'a Path,
    /// `None`: nothing stands there.
    element: Option<&'a Value<'m>>,
}

impl<'a, 'm> Element<'a, 'm> {
    pub(super) fn new(
        outer: &'a dyn Fields<'m>,
        table: &'a FieldTable,
        list: FieldId,
        element: Option<&'a Value<'m>>,
    ) -> Self {
        Self { outer, table, list: table.path(list), element }
    }

    /// What the first `depth` segments of `path` lead to, if that is the element or lies in it.
    fn inside(&self, path: &Path, depth: usize) -> Option<Read<'m>> {
        let below = self.list.segments.len();
        if depth < below || path.root != self.list.root || path.segments[..below] != *self.list.segments {
            return None;
        }
        let rest = path.segments.get(below..depth)?;
        Some(match self.element {
            Some(element) => match follow(element, rest) {
                Read::InList { depth } => Read::InList { depth: below + depth },
                read => read,
            },
            None if rest.is_empty() => Read::Absent,
            None => Read::Broken,
        })
    }
}

impl<'m> Fields<'m> for Element<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        let path = self.table.path(field);
        match self.inside(path, path.segments.len()) {
            Some(read) => Ok(read),
            None => self.outer.read(field),
        }
    }

    fn read_prefix(&self, field: FieldId, depth: usize) -> Result<Read<'m>, ReadError> {
        match self.inside(self.table.path(field), depth) {
            Some(read) => Ok(read),
            None => self.outer.read_prefix(field, depth),
        }
    }

    fn is_list(&self, field: FieldId) -> bool {
        let path = self.table.path(field);
        match self.inside(path, path.segments.len()) {
            Some(read) => matches!(read, Read::Value(Value::List(_))),
            None => self.outer.is_list(field),
        }
    }
}

//! A Python object as a message: fields are looked up when a rule asks, and only those.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::convert::{self, Child, Held};
use super::errors::{json_error, message_error, read_error};
use crate::error::ReadError;
use crate::message::json::{Check, JsonMessage};
use crate::message::objects::{Listed, Objects};
use crate::message::path::{FieldId, FieldTable};
use crate::message::{Fields, Read};
use crate::router::Snapshot;
use crate::rules::program::Program;

/// The keys of each field as interned Python strings, by field number: looking one up compares pointers.
#[derive(Clone)]
pub(super) struct Keys(Arc<[Box<[Py<PyString>]>]>);

impl Keys {
    pub(super) fn new(py: Python<'_>, fields: &FieldTable) -> Self {
        let interned = |segment: &Arc<str>| PyString::intern(py, segment).unbind();
        Self(fields.paths().iter().map(|path| path.segments.iter().map(interned).collect()).collect())
    }

    /// These keys, if they still cover all of `fields`; made anew where fields were added.
    pub(super) fn grown(&self, py: Python<'_>, fields: &FieldTable) -> Self {
        if self.0.len() == fields.paths().len() { self.clone() } else { Self::new(py, fields) }
    }
}

/// A mapping, dataclass or model as a message.
struct ObjectMessage<'m, 'py> {
    object: &'m Bound<'py, PyAny>,
    reader: Reader<'m, 'py>,
}

/// What objects are read with.
#[derive(Clone, Copy)]
struct Reader<'m, 'py> {
    keys: &'m Keys,
    fields: &'m FieldTable,
    held: &'m Held<'py>,
}

impl<'m, 'py> Reader<'m, 'py> {
    /// What is under the last of `keys`, and how many keys lead to where a list, or nothing with keys, stands before it.
    #[inline(always)]
    fn follow(
        self,
        object: &Bound<'py, PyAny>,
        field: FieldId,
        keys: &[Py<PyString>],
    ) -> Result<(Child<'py>, usize), ReadError> {
        let Some((first, keys)) = keys.split_first() else { return Ok((Child::Found(object.clone()), 0)) };
        let mut child = self.child(field, object, first)?;
        for (depth, key) in keys.iter().enumerate() {
            child = match child {
                Child::Found(object) => self.child(field, &object, key)?,
                Child::List => return Ok((Child::List, depth)),
                // Not the last key, but one before it is missing.
                Child::Missing | Child::Scalar => return Ok((Child::Scalar, depth)),
            };
        }
        Ok((child, keys.len()))
    }

    #[inline(always)]
    fn child(self, field: FieldId, object: &Bound<'py, PyAny>, key: &Py<PyString>) -> Result<Child<'py>, ReadError> {
        convert::child(object, key.bind(object.py())).map_err(|problem| self.error(field, problem))
    }

    #[inline]
    fn keys_of(self, field: FieldId) -> &'m [Py<PyString>] {
        &self.keys.0[field.index()]
    }

    #[cold]
    fn error(self, field: FieldId, problem: String) -> ReadError {
        ReadError { field: self.fields.path(field).to_string(), problem }
    }

    #[inline(always)]
    fn read_along(
        self,
        object: &Bound<'py, PyAny>,
        field: FieldId,
        keys: &[Py<PyString>],
    ) -> Result<Read<'m>, ReadError> {
        Ok(match self.follow(object, field, keys)? {
            (Child::Found(object), _) => {
                Read::Value(convert::value(object, self.held).map_err(|problem| self.error(field, problem))?)
            }
            (Child::Missing, _) => Read::Absent,
            (Child::Scalar, _) => Read::Broken,
            (Child::List, depth) => Read::InList { depth },
        })
    }
}

impl<'m> Fields<'m> for ObjectMessage<'m, '_> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        self.reader.read_along(self.object, field, self.reader.keys_of(field))
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        let keys = self.reader.keys_of(field);
        match self.reader.follow(self.object, field, keys)? {
            (Child::Found(list), _) if convert::is_list(&list) => {
                let objects = convert::objects(&list).map_err(|problem| self.reader.error(field, problem))?;
                Ok(Some(Listed::Made(Box::new(InList { reader: self.reader, depth: keys.len(), objects }))))
            }
            _ => Ok(None),
        }
    }
}

/// The objects of a list.
struct InList<'m, 'py> {
    reader: Reader<'m, 'py>,
    /// How many keys lead to the list.
    depth: usize,
    objects: Vec<Bound<'py, PyAny>>,
}

impl<'m> Objects<'m> for InList<'m, '_> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn read(&self, number: usize, field: FieldId) -> Result<Read<'m>, ReadError> {
        let Some(keys) = self.reader.keys_of(field).get(self.depth..) else { return Ok(Read::Broken) };
        Ok(match self.reader.read_along(&self.objects[number], field, keys)? {
            Read::InList { depth } => Read::InList { depth: self.depth + depth },
            read => read,
        })
    }
}

/// What has a program: a rule set's is itself, a router's is in its snapshot.
pub(super) trait Compiled {
    fn program(&self) -> &Program;
}

impl Compiled for Program {
    fn program(&self) -> &Program {
        self
    }
}

impl Compiled for Snapshot {
    fn program(&self) -> &Program {
        self.program()
    }
}

/// How `strict` asks for raw JSON to be checked.
pub(super) fn check(strict: bool) -> Check {
    if strict { Check::Strict } else { Check::Grammar }
}

/// Calls `read` with the message behind a Python object: JSON bytes, held to `check`, or anything with named fields.
///
/// The compiled rules are handed through, since what a message lends and what rules lend live equally long.
pub(super) fn with_message<C: Compiled, T>(
    object: &Bound<'_, PyAny>,
    keys: &Keys,
    compiled: &C,
    check: Check,
    read: impl for<'m> FnOnce(&'m C, &dyn Fields<'m>) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return with_json(bytes.as_bytes(), compiled, check, read);
    }
    if !convert::is_message(object) {
        let problem = format!(
            "a {} is no message; give a mapping, a dataclass, a pydantic model, or JSON as bytes",
            convert::type_name(object)
        );
        return Err(message_error("message", problem));
    }
    let held = Held::default();
    let reader = Reader { keys, fields: compiled.program().fields(), held: &held };
    read(compiled, &ObjectMessage { object, reader })
}

/// Calls `read` with the message that raw JSON is.
pub(super) fn with_json<C: Compiled, T>(
    bytes: &[u8],
    compiled: &C,
    check: Check,
    read: impl for<'m> FnOnce(&'m C, &dyn Fields<'m>) -> PyResult<T>,
) -> PyResult<T> {
    let message = JsonMessage::checked(bytes, compiled.program().paths(), check).map_err(|error| json_error(&error))?;
    if !message.is_object() {
        return Err(read_error(ReadError::no_object()));
    }
    read(compiled, &message)
}

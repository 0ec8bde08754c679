//! How the fields of a message are read.
//!
//! - [`path`]: field paths, interned to numbers when rules are compiled.
//! - [`value`]: the values a message and a rule are made of, with CEL's equality and order.
//! - [`objects`]: the objects of a list, without the rest of it.
//! - [`json`]: raw JSON bytes as a message; [`tree`]: values as a message.
//! - [`render`]: values as text for people.
//!
//! A message is anything that implements [`Fields`]. Only the fields that some rule names are asked for.

pub mod json;
pub mod objects;
pub mod path;
pub mod render;
pub mod tree;
pub mod value;

use crate::error::ReadError;
use objects::Listed;
use path::FieldId;
use value::Value;

/// What stands at a field's path.
#[derive(Debug, Clone)]
pub enum Read<'m> {
    /// A value, null included.
    Value(Value<'m>),
    /// Every parent is a map and the last key is not in it.
    Absent,
    /// A parent is missing, or neither a map nor a list.
    Broken,
    /// The value after `depth` segments (`depth` < the path's length) is a list, so the rest of the path
    /// has no single meaning. Patterns try its elements; CEL treats it as [`Read::Broken`].
    InList {
        /// How many segments lead to the list.
        depth: usize,
    },
}

/// A message, as rules see it: fields by number, numbers from the [`path::FieldTable`] of the compiled rules.
pub trait Fields<'m> {
    /// Reads the whole value at `field`.
    ///
    /// # Errors
    /// [`ReadError`] if what is there is not a value of the message model.
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError>;

    /// The same, lent instead of copied, by messages that keep what they have read; `None` by others.
    ///
    /// # Errors
    /// As [`Fields::read`].
    fn lend(&self, field: FieldId) -> Result<Option<&Read<'m>>, ReadError> {
        let _ = field;
        Ok(None)
    }

    /// The objects of the list that stands at exactly `field`; `None` if no list stands there.
    ///
    /// # Errors
    /// As [`Fields::read`], if what stands there cannot be told. Of the objects nothing has been read yet.
    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError>;
}

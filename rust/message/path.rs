//! Field paths, interned: a compiled rule names a field by number, so a message's fields are read by number.
//!
//! A table only grows; numbers stay valid while rules come and go.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A field's number in its [`FieldTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(u32);

impl FieldId {
    /// The field with this number. A rule set is bounded far below `u32::MAX` fields by the limits on rules and their
    /// size.
    pub(crate) fn new(number: usize) -> Self {
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// The number as an index into [`FieldTable::paths`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The way to a field: a variable (`message`, `live`) and the keys below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    /// The variable the path starts at, such as `message`.
    pub root: Arc<str>,
    /// The keys below the root, outermost first; empty for the root itself.
    pub segments: Box<[Arc<str>]>,
}

impl Path {
    /// Whether the path leads to `other` and no further, or below it.
    pub fn starts_with(&self, other: &Path) -> bool {
        self.root == other.root && self.segments.starts_with(&other.segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        for segment in &self.segments {
            write!(f, ".{segment}")?;
        }
        Ok(())
    }
}

/// The fields that some rule names, numbered in the order they were first named.
///
/// Cloning is one pointer; the first field that is added to a clone copies the table.
#[derive(Debug, Clone, Default)]
pub struct FieldTable {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    paths: Vec<Arc<Path>>,
    numbers: HashMap<Arc<Path>, FieldId>,
}

impl FieldTable {
    /// The number of `path`, given out now if it is new.
    pub fn intern(&mut self, path: Path) -> FieldId {
        if let Some(&id) = self.inner.numbers.get(&path) {
            return id;
        }
        let inner = Arc::make_mut(&mut self.inner);
        let id = FieldId::new(inner.paths.len());
        let path = Arc::new(path);
        inner.paths.push(Arc::clone(&path));
        inner.numbers.insert(path, id);
        id
    }

    /// The number of `path`, if it has one.
    pub fn find(&self, path: &Path) -> Option<FieldId> {
        self.inner.numbers.get(path).copied()
    }

    /// All paths, by number.
    pub fn paths(&self) -> &[Arc<Path>] {
        &self.inner.paths
    }

    /// The path with this number.
    pub fn path(&self, field: FieldId) -> &Path {
        &self.inner.paths[field.index()]
    }
}

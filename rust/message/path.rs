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
#[derive(Debug, Clone, Default)]
pub struct FieldTable {
    paths: Vec<Arc<Path>>,
    numbers: HashMap<Arc<Path>, FieldId>,
}

impl FieldTable {
    /// The number of `path`, given out now if it is new.
    pub fn intern(&mut self, path: Path) -> FieldId {
        if let Some(&id) = self.numbers.get(&path) {
            return id;
        }
        // A rule set is bounded far below u32::MAX fields by the limits on rules and their size.
        let id = FieldId(u32::try_from(self.paths.len()).unwrap_or(u32::MAX));
        let path = Arc::new(path);
        self.paths.push(Arc::clone(&path));
        self.numbers.insert(path, id);
        id
    }

    /// All paths, by number.
    pub fn paths(&self) -> &[Arc<Path>] {
        &self.paths
    }

    /// The path with this number.
    pub fn path(&self, field: FieldId) -> &Path {
        &self.paths[field.index()]
    }
}

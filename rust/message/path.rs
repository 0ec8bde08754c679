//! Field paths, interned: a compiled rule names a field by number, so a message's fields are read by number.
//!
//! A table only grows; numbers stay valid while rules come and go.

use std::fmt;
use std::sync::Arc;

use crate::hash::mix_bytes;

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
    /// Where each path is: open addressing over the paths themselves.
    slots: Box<[u32]>,
}

const EMPTY: u32 = u32::MAX;

impl FieldTable {
    /// The number of `path`, given out now if it is new.
    pub fn intern(&mut self, path: Path) -> FieldId {
        self.find(&path).unwrap_or_else(|| Arc::make_mut(&mut self.inner).add(path))
    }

    /// The same of the path from `root` along `keys`. Allocates only if it is new.
    pub(crate) fn number<K: AsRef<str>>(&mut self, root: &str, keys: &[K]) -> FieldId {
        self.inner.find(root, keys).unwrap_or_else(|| {
            let segments = keys.iter().map(|key| Arc::from(key.as_ref())).collect();
            Arc::make_mut(&mut self.inner).add(Path { root: root.into(), segments })
        })
    }

    /// The number of `path`, if it has one.
    pub fn find(&self, path: &Path) -> Option<FieldId> {
        self.inner.find(&path.root, &path.segments)
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

impl Inner {
    fn find<K: AsRef<str>>(&self, root: &str, keys: &[K]) -> Option<FieldId> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash(root, keys) as usize & mask;
        while self.slots[at] != EMPTY {
            let path = &self.paths[self.slots[at] as usize];
            let same = |(known, key): (&Arc<str>, &K)| **known == *key.as_ref();
            if path.segments.len() == keys.len() && path.segments.iter().zip(keys).all(same) && *path.root == *root {
                return Some(FieldId(self.slots[at]));
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Adds a path that is not here.
    fn add(&mut self, path: Path) -> FieldId {
        let id = FieldId::new(self.paths.len());
        self.paths.push(Arc::new(path));
        if self.paths.len() * 2 > self.slots.len() {
            self.slots = vec![EMPTY; (self.paths.len() * 4).next_power_of_two()].into();
            (0..self.paths.len()).for_each(|number| self.put(FieldId::new(number)));
        } else {
            self.put(id);
        }
        id
    }

    fn put(&mut self, id: FieldId) {
        let path = &self.paths[id.index()];
        let mask = self.slots.len() - 1;
        let mut at = hash(&path.root, &path.segments) as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = id.0;
    }
}

fn hash<K: AsRef<str>>(root: &str, keys: &[K]) -> u64 {
    let start = mix_bytes(0, root.as_bytes());
    keys.iter().fold(start, |state, key| mix_bytes(state, key.as_ref().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_number_and_equal_paths_share_it() {
        let mut table = FieldTable::default();
        let keys = |n: usize| [format!("k{}", n % 10), format!("k{}", n / 10)];
        let numbers: Vec<FieldId> = (0..100).map(|n| table.number("message", &keys(n))).collect();
        let before = table.clone();
        assert_eq!(table.number("live", &keys(0)).index(), 100, "another root");
        assert_eq!(table.number("message", &["k0"]).index(), 101, "fewer keys");
        assert_eq!(before.paths().len(), 100);
        for (n, &number) in numbers.iter().enumerate() {
            let path = Path { root: "message".into(), segments: keys(n).map(Arc::from).into() };
            assert_eq!((number.index(), table.path(number)), (n, &path));
            assert_eq!((table.find(&path), table.intern(path)), (Some(number), number));
        }
        assert_eq!(before.find(&Path { root: "live".into(), segments: Box::default() }), None);
    }
}

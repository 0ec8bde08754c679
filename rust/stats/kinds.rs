//! Failures counted by name: a short map with a bound, so that names made of user data cannot fill the memory.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// How many names are told apart.
const MAX_KINDS: usize = 64;
/// Where the names beyond the bound are counted.
pub const OTHER: &str = "other";

/// Counts by name; at most 64 names, further ones count under [`OTHER`]. Behind a lock: failures are rare.
#[derive(Debug, Default)]
pub struct KindCounts(Mutex<BTreeMap<Box<str>, u64>>);

impl KindCounts {
    /// Counts one `kind`.
    pub fn increment(&self, kind: &str) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(kind) {
            *count += 1;
            return;
        }
        // One place is kept for OTHER, so the bound holds with it.
        let kind = if counts.len() < MAX_KINDS - 1 { kind } else { OTHER };
        *counts.entry(kind.into()).or_insert(0) += 1;
    }

    /// All names and their counts, by name.
    pub fn counts(&self) -> Vec<(Box<str>, u64)> {
        self.0.lock().iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_count_as_other() {
        let kinds = KindCounts::default();
        kinds.increment("timeout");
        (0..100).for_each(|number| kinds.increment(&format!("kind {number}")));
        kinds.increment("timeout");
        let counts = kinds.counts();
        assert_eq!(counts.len(), MAX_KINDS);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 102);
        assert!(counts.contains(&("timeout".into(), 2)));
        assert!(counts.contains(&(OTHER.into(), 38)));
    }
}

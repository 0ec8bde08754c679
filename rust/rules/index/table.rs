//! Postings: which rules are filed under a key, for all keys of all kinds in one frozen hash table.
//!
//! A key is a 64-bit hash of what it stands for (kind of predicate, field, value), and only the hash is kept. Two keys
//! that fall together make each other's rules candidates too, which costs time and never changes an answer: every
//! candidate is decided by its whole condition.
//!
//! Cost: a lookup is about one cache line; 8 bytes for each slot, half of which are taken, and 4 for each rule of a key
//! that has several. Open addressing with linear probing, built once; a key is scaled to the number of slots.

use smallvec::SmallVec;

use crate::hash::scaled;
pub(super) use crate::hash::{le_word, mix, mix_bytes};

/// A rule's place in its segment: rules are tried in ascending order.
pub(in crate::rules) type Order = u32;

/// Lists of candidates, each ascending.
pub(in crate::rules) type Lists<'t> = SmallVec<[&'t [Order]; 8]>;

/// No rule has this order.
const EMPTY: u32 = u32::MAX;

/// Set in the tag of a key that has one rule: `at` is the rule itself.
const SINGLE: u32 = 1;

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The upper half of the key, its lowest bit replaced by [`SINGLE`].
    tag: u32,
    /// The only rule, or where in `postings` the list starts, its length first; [`EMPTY`] if nothing is here.
    at: u32,
}

/// The frozen table.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[Slot]>,
    postings: Box<[u32]>,
}

impl Table {
    /// A table of these rules under these keys. Sorts.
    pub(super) fn new(mut pairs: Vec<(u64, Order)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let keys = pairs.chunk_by(|one, other| one.0 == other.0).count();
        if keys == 0 {
            return Self { slots: Box::default(), postings: Box::default() };
        }
        let mut slots = vec![Slot { tag: 0, at: EMPTY }; 2 * keys].into_boxed_slice();
        let mut postings = Vec::new();
        for list in pairs.chunk_by(|one, other| one.0 == other.0) {
            let key = list[0].0;
            let tag = (key >> 32) as u32;
            let slot = if let [(_, only)] = list {
                Slot { tag: tag | SINGLE, at: *only }
            } else {
                let at = postings.len() as u32;
                postings.push(list.len() as u32);
                postings.extend(list.iter().map(|&(_, order)| order));
                Slot { tag: tag & !SINGLE, at }
            };
            let mut at = scaled(key, slots.len());
            while slots[at].at != EMPTY {
                at = after(at, slots.len());
            }
            slots[at] = slot;
        }
        Self { slots, postings: postings.into() }
    }

    /// Adds the rules filed under the key, and seldom those of another key.
    pub(super) fn find<'t>(&'t self, key: u64, out: &mut Lists<'t>) {
        if self.slots.is_empty() {
            return;
        }
        let tag = (key >> 32) as u32 | SINGLE;
        let mut at = scaled(key, self.slots.len());
        loop {
            let slot = &self.slots[at];
            if slot.at == EMPTY {
                return;
            }
            // Two keys may share a tag: all that do are taken.
            if slot.tag | SINGLE == tag {
                let list = self.list(slot);
                // What repeats itself, as in a text of one word, is taken once.
                if out.last().is_none_or(|last| last.as_ptr() != list.as_ptr()) {
                    out.push(list);
                }
            }
            at = after(at, self.slots.len());
        }
    }

    fn list<'t>(&'t self, slot: &'t Slot) -> &'t [Order] {
        if slot.tag & SINGLE != 0 {
            return std::slice::from_ref(&slot.at);
        }
        let start = slot.at as usize;
        &self.postings[start + 1..start + 1 + self.postings[start] as usize]
    }
}

fn after(at: usize, slots: usize) -> usize {
    if at + 1 == slots { 0 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_found_under_each_of_its_keys_in_order() {
        let keys = 1000_u64;
        let mut pairs: Vec<(u64, Order)> = (0..3000).map(|rule| (mix(0, u64::from(rule) % keys), rule)).collect();
        pairs.push((mix(1, 7), 5));
        pairs.push((mix(1, 7), 5));
        let table = Table::new(pairs);
        for key in 0..keys {
            let mut lists = Lists::new();
            table.find(mix(0, key), &mut lists);
            let wanted: Vec<Order> = (0..3).map(|turn| (key + turn * keys) as Order).collect();
            assert!(lists.iter().any(|&list| list == wanted), "{key}");
        }
        let mut lists = Lists::new();
        table.find(mix(1, 7), &mut lists);
        assert_eq!(lists.as_slice(), [[5]]);
    }

    #[test]
    fn keys_that_share_a_tag_and_a_place_are_all_found() {
        let table = Table::new(vec![(0b10 << 32, 1), (0b11 << 32, 2), (0b10 << 32, 3)]);
        let mut lists = Lists::new();
        table.find(0b10 << 32, &mut lists);
        let mut found: Vec<Order> = lists.concat();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }

    #[test]
    fn an_empty_table_has_nothing() {
        let table = Table::new(Vec::new());
        let mut lists = Lists::new();
        table.find(0, &mut lists);
        assert!(lists.is_empty());
    }
}

//! A bounded map from keys to answers.
//!
//! The map is `quick_cache`, an S3-FIFO in shards: what is asked for again outlives what is asked for once, so a scan
//! over many messages that never come back does not flush those that do (Yang et al., "FIFO queues are all you need for
//! cache eviction", SOSP 2023).
//!
//! One budget holds both bounds: an entry is charged its bytes, and at least one part of the budget in as many parts
//! as there may be entries.

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::Bounds;

/// The longest key that is remembered, in bytes. Longer ones seldom come twice.
const LONGEST_KEY: usize = 4096;

/// What an entry is charged beside its key: the map's slot and place, its trace after it is evicted, the allocation.
const OVERHEAD: u64 = 128;

/// Parts of the map with a lock each. More than most machines have threads that route.
const SHARDS: usize = 32;

/// A part has room for so many entries at least.
const SHARD_ENTRIES: usize = 64;

/// A part has room for so many of the longest keys at least.
const SHARD_KEYS: usize = 8;

type Answer = Option<u32>;

#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Box<[u8]>, Answer, Charge>,
    longest_key: usize,
}

/// What an entry costs of the budget.
#[derive(Debug, Clone)]
struct Charge {
    least: u64,
}

impl Weighter<Box<[u8]>, Answer> for Charge {
    fn weight(&self, key: &Box<[u8]>, _: &Answer) -> u64 {
        (key.len() as u64 + OVERHEAD).max(self.least)
    }
}

impl Store {
    /// Room for as much as `bounds` says, or somewhat less.
    pub(super) fn new(bounds: Bounds) -> Self {
        let (entries, bytes) = (bounds.entries.max(1), bounds.bytes as u64);
        let most = SHARDS.min(entries / SHARD_ENTRIES).min(bounds.bytes / (SHARD_KEYS * LONGEST_KEY)).max(1);
        let shards = if most.is_power_of_two() { most } else { most.next_power_of_two() / 2 };
        // The map divides what it has among its shards and rounds up: a multiple leaves nothing to round.
        let budget = bytes - bytes % shards as u64;
        let longest_key = LONGEST_KEY.min(bounds.bytes / shards / SHARD_KEYS);
        let charge = Charge { least: budget.div_ceil(entries as u64) };
        let options =
            OptionsBuilder::new().shards(shards).estimated_items_capacity(entries).weight_capacity(budget).build();
        let entries = match options {
            Ok(options) => {
                Cache::with_options(options, charge, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // Not reached: it is an error only to leave a figure out.
            Err(_) => Cache::with_weighter(entries, budget, charge),
        };
        Self { entries, longest_key }
    }

    /// Keys beyond so many bytes are not remembered.
    pub(super) fn longest_key(&self) -> usize {
        self.longest_key
    }

    /// The answer remembered; `None` if there is none, or another thread is changing the map there.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<usize>> {
        let answer = self.entries.try_get(key).ok().flatten()?;
        Some(answer.map(|number| number as usize))
    }

    /// Remembers an answer, unless another thread is changing the map there: the next such message will do it.
    pub(super) fn insert(&self, key: &[u8], answer: Option<usize>) {
        // Rules are numbered with 32 bits.
        let answer = match answer.map(u32::try_from) {
            None => None,
            Some(Ok(number)) => Some(number),
            Some(Err(_)) => return,
        };
        let _refused = self.entries.try_insert(key.into(), answer);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the budget that are taken.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

#[cfg(test)]
mod tests;

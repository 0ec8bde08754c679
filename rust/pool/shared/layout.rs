//! What lies where in the file. A change here changes [`VERSION`], unless it changes the size of a slot.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::pool::state::Shared;
use crate::pool::sync::Latch;

/// What the file begins with.
pub(super) const MAGIC: [u8; 8] = *b"turnout\x01";
/// Version of the layout.
pub(super) const VERSION: u64 = 2;
/// Workers at most: their bits are one word.
pub(super) const WORKERS: u32 = 64;
/// Longest id of a destination, in bytes: 256 characters of four.
pub(super) const NAME_BYTES: usize = 1024;

/// The first page. Until `epoch` the words are written once.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU64,
    pub(super) slot_bytes: AtomicU64,
    pub(super) capacity: AtomicU64,
    /// Changes so far; see [`Registry`](crate::pool::Registry).
    pub(super) epoch: AtomicU64,
    /// A bit for each worker that has begun and was not wiped since.
    pub(super) workers: AtomicU64,
    /// When dead workers were looked for last, ns.
    pub(super) reclaimed_at: AtomicU64,
    /// Slots that have had a name.
    pub(super) used: AtomicU32,
    /// Held while a destination is judged.
    pub(super) judging: Latch,
}

/// What is shared of one destination.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// Messages held, by worker: each writes its own alone, so what a dead one held is known.
    pub(super) held: [AtomicU32; WORKERS as usize],
    pub(super) shared: Shared,
    /// A bit for each worker that has the destination; without any the slot may go to another.
    pub(super) workers: AtomicU64,
}

/// A destination's id. Written under the lock of the file.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Name {
    /// Hash of the id, which spares most comparisons.
    hash: AtomicU64,
    length: AtomicU64,
    bytes: [AtomicU64; NAME_BYTES / 8],
}

/// Bytes of a file for so many destinations.
pub(super) fn size(capacity: u32) -> usize {
    size_of::<Header>() + capacity as usize * (size_of::<Slot>() + size_of::<Name>())
}

fn words(id: &str) -> impl Iterator<Item = u64> + '_ {
    id.as_bytes().chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    })
}

impl Name {
    /// Whether it is this id. Relaxed, as in `set`: the lock of the file orders them.
    pub(super) fn is(&self, id: &str, hash: u64) -> bool {
        self.hash.load(Ordering::Relaxed) == hash
            && self.length.load(Ordering::Relaxed) == id.len() as u64
            && words(id).zip(&self.bytes).all(|(word, stored)| stored.load(Ordering::Relaxed) == word)
    }

    pub(super) fn set(&self, id: &str, hash: u64) {
        // A writer that is killed half-way leaves a name that is nobody's.
        self.length.store(u64::MAX, Ordering::Relaxed);
        words(id).zip(&self.bytes).for_each(|(word, stored)| stored.store(word, Ordering::Relaxed));
        self.hash.store(hash, Ordering::Relaxed);
        self.length.store(id.len() as u64, Ordering::Relaxed);
    }
}

impl Slot {
    /// Forgets everything about the destination before, and makes its breaker one between processes.
    pub(super) fn reset(&self) {
        self.held.iter().for_each(|held| held.store(0, Ordering::Relaxed)); // relaxed, throughout: nobody uses it
        self.shared.latency.clear();
        self.shared.failures.clear();
        self.shared.breaker.begin_shared();
    }
}

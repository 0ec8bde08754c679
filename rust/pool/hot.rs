//! What every pick and every outcome touches of a destination: one cache line each, in blocks beside one another.
//!
//! Of many destinations a pick finds hardly any in the cache, and waits for memory. So what it needs is not spread over
//! the destination (0.5 kB) but lies here: 100,000 are 6.4 MB, which the last level of most caches and the address
//! cache hold, where the destinations themselves are ten times that. A line is written by those who use its
//! destination and by nobody else.
//!
//! A block lives as long as any of its slots is held, by a destination or by a view.

use std::fmt;
use std::sync::Arc;

use crate::pool::sync::{AtomicU32, AtomicU64, Ordering};
use crate::stats::{Counter, FailureEwma, PeakEwma};

/// Slots to a block: 4 kB, a page. The model checker tracks every atomic, so there it is one.
const SLOTS: usize = if cfg!(feature = "model") { 1 } else { 64 };

/// See the module.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Hot {
    in_flight: AtomicU32,
    /// Average of latency.
    pub(crate) latency: PeakEwma,
    /// Average of failures.
    pub(crate) failures: FailureEwma,
    /// Newest live generation that has the destination.
    pub(crate) generation: AtomicU64,
    /// Times it was picked without being held.
    pub(crate) selections: Counter,
    /// Leases taken.
    pub(crate) attempts: Counter,
    /// Leases that ended in success.
    pub(crate) successes: Counter,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<Hot>() == 64);

impl Hot {
    fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            failures: FailureEwma::default(),
            generation: AtomicU64::new(0),
            selections: Counter::default(),
            attempts: Counter::default(),
            successes: Counter::default(),
        }
    }

    /// Messages held now.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        // Relaxed: a count that carries no other data.
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Holds the destination for one message, unless `cap` are held.
    #[inline]
    pub(crate) fn hold(&self, cap: u32) -> bool {
        // Relaxed, here and in `release`: one atomic word decides alone, and the lease itself is not shared by it.
        if cap == u32::MAX {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let below = |held: u32| (held < cap).then_some(held + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }

    /// Lets go of one message. A lease ends once, so the count is never below 0; if it ever were to, it stays at 0.
    #[inline]
    pub(crate) fn release(&self) {
        let less = |held: u32| held.checked_sub(1);
        let released = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        debug_assert!(released.is_ok(), "released more often than held");
    }
}

/// A place in a block.
#[derive(Clone)]
pub(crate) struct Slot {
    block: Arc<[Hot; SLOTS]>,
    index: usize,
}

impl Slot {
    /// The first of a new block.
    pub(crate) fn new() -> Self {
        Self { block: Arc::new(std::array::from_fn(|_| Hot::new())), index: 0 }
    }

    /// The place after this one, in a new block if this was the last.
    pub(crate) fn next(&self) -> Self {
        let index = self.index + 1;
        if index < SLOTS { Self { block: Arc::clone(&self.block), index } } else { Self::new() }
    }

    /// What lies there.
    #[inline]
    pub(crate) fn get(&self) -> &Hot {
        &self.block[self.index % SLOTS] // the remainder of a power of two saves the bounds check
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f) // and not the whole block
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn no_two_slots_are_one() {
        let mut slots = vec![Slot::new()];
        for number in 1..3 * SLOTS {
            slots.push(slots[number - 1].next());
        }
        for (number, slot) in slots.iter().enumerate() {
            assert_eq!(slot.get().in_flight(), 0, "{number}");
            assert!(slot.get().hold(1));
        }
        assert!(Arc::ptr_eq(&slots[0].block, &slots[SLOTS - 1].block));
        assert!(!Arc::ptr_eq(&slots[0].block, &slots[SLOTS].block));
    }

    #[test]
    fn a_cap_is_never_exceeded_and_nothing_stays_held() {
        let slot = Slot::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if slot.get().hold(3) {
                            assert!(slot.get().in_flight() <= 3);
                            slot.get().release();
                        }
                    }
                });
            }
        });
        assert_eq!(slot.get().in_flight(), 0);
    }
}

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

use crate::pool::shared::Place;
use crate::pool::sync::{AtomicU32, AtomicU64, Ordering};
use crate::stats::{Counter, FailureEwma, PeakEwma};

/// Slots to a block: 4 kB, a page. The model checker tracks every atomic, so there it is one.
const SLOTS: usize = if cfg!(feature = "model") { 1 } else { 64 };

/// See the module.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Hot {
    in_flight: AtomicU32,
    latency: PeakEwma,
    failures: FailureEwma,
    /// Where the three above lie instead, if processes share them.
    place: Option<Box<Place>>,
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
    fn new(place: Option<Box<Place>>) -> Self {
        Self {
            place,
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            failures: FailureEwma::default(),
            generation: AtomicU64::new(0),
            selections: Counter::default(),
            attempts: Counter::default(),
            successes: Counter::default(),
        }
    }

    /// Where its state lies, if processes share it.
    #[inline]
    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_deref()
    }

    /// Average of latency.
    #[inline]
    pub(crate) fn latency(&self) -> &PeakEwma {
        match self.place() {
            None => &self.latency,
            Some(place) => &aside(place, Place::shared).latency,
        }
    }

    /// Average of failures.
    #[inline]
    pub(crate) fn failures(&self) -> &FailureEwma {
        match self.place() {
            None => &self.failures,
            Some(place) => &aside(place, Place::shared).failures,
        }
    }

    /// Messages held now.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        match self.place() {
            // Relaxed: a count that carries no other data.
            None => self.in_flight.load(Ordering::Relaxed),
            Some(place) => aside(place, Place::in_flight),
        }
    }

    /// Holds the destination for one message, unless `cap` are held.
    #[inline]
    pub(crate) fn hold(&self, cap: u32) -> bool {
        if let Some(place) = self.place() {
            return aside(place, |place| place.hold(cap));
        }
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
        let released = match self.place() {
            None => {
                let less = |held: u32| held.checked_sub(1);
                self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
            }
            Some(place) => aside(place, Place::release),
        };
        debug_assert!(released, "released more often than held");
    }
}

/// Keeps the way of shared state out of the usual one, which is short.
#[cold]
#[inline(never)]
fn aside<'p, T>(place: &'p Place, with: impl FnOnce(&'p Place) -> T) -> T {
    with(place)
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
        Self { block: Arc::new(std::array::from_fn(|_| Hot::new(None))), index: 0 }
    }

    /// One whose state lies in a file, alone in its block.
    pub(crate) fn mapped(place: Place) -> Self {
        let mut place = Some(Box::new(place));
        Self { block: Arc::new(std::array::from_fn(|_| Hot::new(place.take()))), index: 0 }
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

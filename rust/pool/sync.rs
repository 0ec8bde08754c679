//! The atomics and the lock that destinations and breakers are made of: the usual atomics, or, with the feature
//! `model`, those of the model checker, which tries every interleaving and every value that a weak ordering allows.

#[cfg(not(feature = "model"))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    thread::yield_now,
};

#[cfg(feature = "model")]
pub(crate) use loom::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    thread::yield_now,
};

const HELD: u32 = 1;
const SHARED: u32 = 2;
/// Tries, each after a turn for other threads, before the latch of a process that seems to have died is taken over:
/// about ten milliseconds, for what takes less than a microsecond.
const PATIENCE: u32 = 20_000;

/// A lock in one word, for transitions that are rare and short. It lies beside what it guards, so that it works between
/// processes too. There its holder may be killed; after [`PATIENCE`] tries it is taken over, which is sound because
/// what it guards are words that each are valid by themselves: the worst is a transition half made.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Latch(AtomicU32);

/// A latch held.
#[derive(Debug)]
pub(crate) struct Latched<'a>(&'a AtomicU32);

impl Latch {
    /// Makes it one between processes.
    pub(crate) fn share(&self) {
        self.0.store(SHARED, Ordering::Relaxed); // relaxed: nobody else knows it yet
    }

    /// Waits for it.
    pub(crate) fn lock(&self) -> Latched<'_> {
        let mut tries = 0;
        loop {
            let word = self.0.load(Ordering::Relaxed); // relaxed: the exchange decides
            // Acquire: sees what the holder before did (release below).
            let free = word & HELD == 0;
            if free && self.0.compare_exchange(word, word | HELD, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Latched(&self.0);
            }
            tries += 1;
            if word & SHARED != 0 && tries > PATIENCE {
                return Latched(&self.0);
            }
            yield_now();
        }
    }
}

impl Drop for Latched<'_> {
    fn drop(&mut self) {
        self.0.fetch_and(!HELD, Ordering::Release); // release: as said in `lock`
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let (latch, count) = (Latch::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let _held = latch.lock();
                        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 8_000);
    }

    #[test]
    fn the_latch_of_a_dead_process_is_taken_over() {
        let latch = Latch::default();
        latch.share();
        std::mem::forget(latch.lock()); // as a process leaves it that is killed
        drop(latch.lock());
        assert_eq!(latch.0.into_inner(), SHARED);
    }
}

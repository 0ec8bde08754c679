//! Outcomes of one destination over a sliding window, counted exactly in ten buckets of time.
//!
//! A bucket is one atomic word: the number of its slice of time, how many outcomes it holds and how many of them
//! failed. The first outcome of a new slice replaces what the bucket held ten slices before, by compare-and-swap, so
//! nothing is counted twice, lost, or counted under another slice. Adding is one such swap; summing reads ten words.
//!
//! What is summed covers the slice that is under way and the nine before it: between 9/10 of the window and all of it.
//! Slices are numbered modulo 2^24: what was counted 2^24 slices before (194 days, for a window of 10 s) and never
//! overwritten would count again.
//!
//! Source: the failure rate over ten buckets of Linkerd's failure accrual.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::pool::Nanos;

const BUCKETS: u32 = 10;
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const SLICE_MASK: u32 = (1 << 24) - 1;

/// Outcomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All of them.
    pub total: u32,
    /// Those that failed, overload included.
    pub failed: u32,
}

impl Tally {
    /// Share of successes, 0..=1; 1.0 of none.
    pub fn success(self) -> f64 {
        if self.total == 0 { 1.0 } else { 1.0 - f64::from(self.failed) / f64::from(self.total) }
    }
}

/// Outcomes by slice of time.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Rate {
    buckets: [AtomicU64; BUCKETS as usize],
    /// The slice in which the rate was last judged, plus 1.
    judged: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    slice: u32,
    tally: Tally,
}

impl Bucket {
    fn unpack(word: u64) -> Self {
        let tally = Tally { total: (word >> COUNT_BITS & COUNT_MASK) as u32, failed: (word & COUNT_MASK) as u32 };
        Self { slice: (word >> (2 * COUNT_BITS)) as u32, tally }
    }

    fn pack(self) -> u64 {
        let Tally { total, failed } = self.tally;
        u64::from(self.slice) << (2 * COUNT_BITS) | u64::from(total) << COUNT_BITS | u64::from(failed)
    }

    /// With one outcome more. A full bucket is halved first, which keeps its rate.
    fn with(self, failed: bool) -> Self {
        let Tally { total, failed: before } = self.tally;
        let (total, before) = if u64::from(total) == COUNT_MASK { (total / 2, before / 2) } else { (total, before) };
        Self { tally: Tally { total: total + 1, failed: before + u32::from(failed) }, ..self }
    }
}

#[inline]
fn slice_at(now: Nanos, window: Nanos) -> u32 {
    (now / (window / Nanos::from(BUCKETS)).max(1)) as u32 & SLICE_MASK
}

/// How many slices `a` is after `b`; large if it is before.
#[inline]
fn after(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b) & SLICE_MASK
}

impl Rate {
    /// Counts an outcome at `now`. All callers use the same `window`; after a change of it, counting starts anew.
    #[inline]
    pub fn record(&self, failed: bool, now: Nanos, window: Nanos) {
        let slice = slice_at(now, window);
        let next = |word: u64| {
            let bucket = Bucket::unpack(word);
            if bucket.slice == slice {
                return Some(bucket.with(failed).pack());
            }
            // An outcome that comes so late that its bucket has gone to a later slice is older than the window.
            let late = after(bucket.slice, slice) <= SLICE_MASK / 2 && bucket.tally.total > 0;
            let fresh = Bucket { slice, tally: Tally::default() };
            (!late).then(|| fresh.with(failed).pack())
        };
        // Relaxed: the word is complete in itself, and nothing else is published by it.
        let _: Result<u64, u64> =
            self.buckets[(slice % BUCKETS) as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The outcomes of the window up to `now`.
    pub fn tally(&self, now: Nanos, window: Nanos) -> Tally {
        let slice = slice_at(now, window);
        let mut sum = Tally::default();
        for word in &self.buckets {
            let bucket = Bucket::unpack(word.load(Ordering::Relaxed)); // relaxed: as above
            // Another thread's clock reading may be ahead of this one.
            if after(slice, bucket.slice) < BUCKETS || after(bucket.slice, slice) < BUCKETS {
                sum.total = sum.total.saturating_add(bucket.tally.total);
                sum.failed = sum.failed.saturating_add(bucket.tally.failed);
            }
        }
        sum
    }

    /// When the first slice of the window began that has a failure; `now` if none has.
    pub fn failing_since(&self, now: Nanos, window: Nanos) -> Nanos {
        let (slice, width) = (slice_at(now, window), (window / Nanos::from(BUCKETS)).max(1));
        let age = |word: &AtomicU64| {
            let bucket = Bucket::unpack(word.load(Ordering::Relaxed)); // relaxed: as above
            let age = after(slice, bucket.slice);
            (bucket.tally.failed > 0 && age < BUCKETS).then_some(age)
        };
        let oldest = self.buckets.iter().filter_map(age).max();
        oldest.map_or(now, |age| (now / width).saturating_sub(Nanos::from(age)) * width)
    }

    /// Whether the rate was not judged in this slice yet; it counts as judged from then on. So a destination that
    /// fails and may not be ejected is judged ten times a window and not at every failure.
    pub fn is_due(&self, now: Nanos, window: Nanos) -> bool {
        let mark = slice_at(now, window) + 1;
        self.judged.swap(mark, Ordering::Relaxed) != mark // relaxed: the swap alone decides
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed)); // relaxed: as above
        self.judged.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Nanos = 10_000;

    #[test]
    fn a_window_holds_its_slice_and_the_nine_before() {
        let rate = Rate::default();
        for slice in 0..25 {
            rate.record(slice % 2 == 0, slice * 1_000, WINDOW);
        }
        assert_eq!(rate.tally(24_999, WINDOW), Tally { total: 10, failed: 5 });
        assert_eq!(rate.tally(32_000, WINDOW), Tally { total: 2, failed: 1 });
        assert_eq!(rate.tally(34_000, WINDOW), Tally::default());
    }

    #[test]
    fn outcomes_older_than_the_window_do_not_replace_newer_ones() {
        let rate = Rate::default();
        rate.record(true, 25_000, WINDOW);
        rate.record(true, 5_000, WINDOW);
        assert_eq!(rate.tally(25_000, WINDOW), Tally { total: 1, failed: 1 });
    }

    #[test]
    fn a_full_bucket_keeps_its_rate() {
        let full = Bucket { slice: 3, tally: Tally { total: COUNT_MASK as u32, failed: COUNT_MASK as u32 / 2 } };
        let next = full.with(true);
        assert!((next.tally.success() - 0.5).abs() < 1e-4 && next.tally.total < full.tally.total);
        assert_eq!(Bucket::unpack(next.pack()).tally, next.tally);
    }

    #[test]
    fn a_rate_is_judged_once_a_slice() {
        let rate = Rate::default();
        let due: Vec<bool> = [0, 500, 1_000, 1_999, 2_000].map(|now| rate.is_due(now, WINDOW)).into();
        assert_eq!(due, [true, false, true, false, true]);
    }

    #[test]
    fn nothing_is_lost_when_threads_count_into_new_slices_together() {
        let rate = Rate::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let rate = &rate;
                // Ten slices, all begun by all threads at about the same time.
                scope.spawn(move || (0..20_000).for_each(|step| rate.record(thread == 0, step / 2, WINDOW)));
            }
        });
        assert_eq!(rate.tally(9_999, WINDOW), Tally { total: 80_000, failed: 20_000 });
    }

    proptest! {
        #[test]
        fn tallies_equal_a_list_of_all_outcomes(
            steps in prop::collection::vec((0u64..4_000, any::<bool>()), 1..200)
        ) {
            let (rate, mut now, mut all) = (Rate::default(), 0, Vec::new());
            for (step, failed) in steps {
                now += step;
                rate.record(failed, now, WINDOW);
                all.push((now / 1_000, failed));
                let inside = all.iter().filter(|(slice, _)| slice + 10 > now / 1_000);
                let expected = Tally {
                    total: inside.clone().count() as u32,
                    failed: inside.filter(|(_, failed)| *failed).count() as u32,
                };
                prop_assert_eq!(rate.tally(now, WINDOW), expected);
            }
        }
    }
}

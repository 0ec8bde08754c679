//! A mean of late: samples weigh a tenth each, however close in time, and the whole is forgotten after a while.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::ewma::{TICKS_PER_SECOND, pack, tick, unpack};

/// Weight of one sample: half of the mean is the last 7 samples.
const WEIGHT: f32 = 0.1;

/// A mean that expires so many seconds after its last sample. 8 bytes; reading writes nothing, writing is one
/// compare-and-swap.
#[derive(Debug, Default)]
pub struct ExpiringMean<const SECONDS: u32>(AtomicU64);

impl<const SECONDS: u32> ExpiringMean<SECONDS> {
    /// Adds a sample taken at `now` ns.
    #[inline]
    pub fn observe(&self, sample: f32, now: u64) {
        let now = tick(now).max(1); // so that no word is all zeros, which means "no sample yet"
        let next = |word: u64| {
            let mean = known::<SECONDS>(word, now);
            Some(pack(mean.map_or(sample, |mean| mean + (sample - mean) * WEIGHT), now))
        };
        // Relaxed: the word holds value and time together, and nothing else is published by it.
        let _: Result<u64, u64> = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The mean at `now` ns; `None` before any sample, and when the last one is too long ago.
    #[inline]
    pub fn at(&self, now: u64) -> Option<f32> {
        known::<SECONDS>(self.0.load(Ordering::Relaxed), tick(now)) // relaxed: as in `observe`
    }
}

/// The mean in a word, if it has one that holds. A time that lies ahead (another thread's clock reading) counts as now.
#[inline]
fn known<const SECONDS: u32>(word: u64, now: u32) -> Option<f32> {
    let (mean, then) = unpack(word);
    let age = now.wrapping_sub(then);
    let expired = age > (SECONDS as f32 * TICKS_PER_SECOND) as u32 && age <= u32::MAX / 2;
    (word != 0 && !expired).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn samples_weigh_a_tenth_and_zero_is_one() {
        let mean = ExpiringMean::<180>::default();
        assert_eq!(mean.at(0), None);
        mean.observe(0.0, 0);
        assert_eq!(mean.at(0), Some(0.0));
        mean.observe(1.0, SECOND);
        assert_eq!(mean.at(SECOND), Some(0.1));
        assert_eq!(mean.at(0), Some(0.1), "a clock reading from before");
    }

    #[test]
    fn it_expires_and_starts_anew() {
        let mean = ExpiringMean::<180>::default();
        mean.observe(0.5, SECOND);
        assert_eq!(mean.at(180 * SECOND), Some(0.5));
        assert_eq!(mean.at(182 * SECOND), None);
        mean.observe(0.9, 182 * SECOND);
        assert_eq!(mean.at(182 * SECOND), Some(0.9));
    }
}

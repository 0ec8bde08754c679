//! Mean latency by how many messages were in flight: what a destination takes under load says little of what it takes
//! when idle.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::stats::ExpiringMean;

/// Seconds after which a mean says nothing any longer.
const EXPIRY: u32 = 10;
/// Powers of two of messages in flight: 0, 1, 2-3, 4-7, .. 64-127, 128 and more.
const LEVELS: usize = 9;

/// Means of latency at nine levels of messages in flight. 80 bytes; reading writes nothing, writing is one
/// compare-and-swap.
#[derive(Debug, Default)]
pub struct LatencyByLoad {
    means: [ExpiringMean<EXPIRY>; LEVELS],
    /// A bit for each level that ever had a sample, so that no others are looked at.
    sampled: AtomicU32,
}

fn level(in_flight: u32) -> usize {
    ((u32::BITS - in_flight.leading_zeros()) as usize).min(LEVELS - 1)
}

/// The bit of `levels`, which is not 0, nearest to `level`, of two the higher.
#[inline]
fn nearest(levels: u32, level: usize) -> usize {
    let above = (levels >> level).trailing_zeros() as usize;
    let below = (levels << (u32::BITS as usize - 1 - level)).leading_zeros() as usize;
    if above <= below { level + above } else { level - below }
}

impl LatencyByLoad {
    /// Adds a sample of `latency` ns, taken at `now` ns with so many others in flight.
    #[inline]
    pub fn observe(&self, latency: u64, in_flight: u32, now: u64) {
        let level = level(in_flight);
        self.means[level].observe(latency as f32, now);
        // Relaxed, here and below: a hint. Who sees it without the mean finds none there.
        if self.sampled.load(Ordering::Relaxed) & (1 << level) == 0 {
            self.sampled.fetch_or(1 << level, Ordering::Relaxed);
        }
    }

    /// The mean in ns at the level nearest to `in_flight` that has one no older than 10 s, of two the busier; `None` if
    /// there is none.
    #[inline]
    pub fn at(&self, in_flight: u32, now: u64) -> Option<f32> {
        let level = level(in_flight);
        let mut sampled = self.sampled.load(Ordering::Relaxed);
        while sampled != 0 {
            let nearest = nearest(sampled, level);
            if let Some(mean) = self.means.get(nearest)?.at(now) {
                return Some(mean);
            }
            sampled &= !(1 << nearest);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_nearest_level_is_found_from_each_side() {
        for (levels, level, expected) in [(0b1, 0, 0), (0b1, 8, 0), (0b1_0000_0001, 4, 8), (0b101, 1, 2), (0b11, 1, 1)]
        {
            assert_eq!(nearest(levels, level), expected, "{levels:b} {level}");
        }
        for levels in 1..1u32 << LEVELS {
            for level in 0..LEVELS {
                let set = (0..LEVELS).filter(|other| levels & (1 << other) != 0);
                let expected = set.min_by_key(|other| (other.abs_diff(level), usize::MAX - other));
                assert_eq!(Some(nearest(levels, level)), expected, "{levels:b} {level}");
            }
        }
    }

    #[test]
    fn each_level_has_its_own_mean_and_borrows_the_nearest() {
        let latency = LatencyByLoad::default();
        assert_eq!(latency.at(0, SECOND), None);
        latency.observe(1_000, 0, SECOND);
        latency.observe(9_000, 100, SECOND);
        // In flight, expected.
        for (in_flight, expected) in [(0, 1_000.0), (1, 1_000.0), (70, 9_000.0), (1_000, 9_000.0), (20, 9_000.0)] {
            assert_eq!(latency.at(in_flight, SECOND), Some(expected), "{in_flight}");
        }
        latency.observe(2_000, 0, SECOND);
        assert_eq!(latency.at(0, SECOND), Some(1_100.0));
    }

    #[test]
    fn a_mean_expires_and_starts_anew() {
        let latency = LatencyByLoad::default();
        latency.observe(1_000_000, 3, SECOND);
        assert_eq!(latency.at(3, 10 * SECOND), Some(1_000_000.0));
        assert_eq!(latency.at(3, 12 * SECOND), None);
        latency.observe(1_000, 3, 12 * SECOND);
        assert_eq!(latency.at(3, 12 * SECOND), Some(1_000.0));
    }
}

//! Mean latency by how many messages were in flight: what a destination takes under load says little of what it takes
//! when idle.

use crate::stats::ExpiringMean;

/// Seconds after which a mean says nothing any longer.
const EXPIRY: u32 = 10;
/// Powers of two of messages in flight: 0, 1, 2-3, 4-7, .. 64-127, 128 and more.
const LEVELS: usize = 9;

/// Means of latency at nine levels of messages in flight. 72 bytes; reading writes nothing, writing is one
/// compare-and-swap.
#[derive(Debug, Default)]
pub struct LatencyByLoad([ExpiringMean<EXPIRY>; LEVELS]);

fn level(in_flight: u32) -> usize {
    ((u32::BITS - in_flight.leading_zeros()) as usize).min(LEVELS - 1)
}

impl LatencyByLoad {
    /// Adds a sample of `latency` ns, taken at `now` ns with so many others in flight.
    #[inline]
    pub fn observe(&self, latency: u64, in_flight: u32, now: u64) {
        self.0[level(in_flight)].observe(latency as f32, now);
    }

    /// The mean in ns at the level nearest to `in_flight` that has one no older than 10 s, of two the busier; `None` if
    /// there is none.
    #[inline]
    pub fn at(&self, in_flight: u32, now: u64) -> Option<f32> {
        let level = level(in_flight);
        let known = |level: usize| self.0.get(level)?.at(now);
        known(level)
            .or_else(|| (1..LEVELS).find_map(|away| known(level + away).or_else(|| known(level.checked_sub(away)?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

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

//! Exponentially weighted averages that threads share: an `f32` value and a `u32` time in one `AtomicU64`.
//!
//! Reading decays the value to the present without writing, so readers never contend; writing is one
//! compare-and-swap. Time is counted in ticks of 2^20 ns (1.05 ms), which wrap after 52 days: a value that nobody
//! has written for more than 26 days reads as if it were fresh, which only postpones its decay.
//!
//! Source: the peak EWMA of Finagle and tower (`tower/src/load/peak_ewma.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

/// A tick is 2^20 ns.
const TICK_SHIFT: u32 = 20;
pub(super) const TICKS_PER_SECOND: f32 = 1e9 / (1u64 << TICK_SHIFT) as f32;
/// How fast an old latency is forgotten: tower's and Finagle's default.
const LATENCY_TAU: f32 = 10.0 * TICKS_PER_SECOND;
/// How fast old failures are forgiven. Longer than latency, so that a destination that fails fast is tried again
/// about as often as an ejected one.
const FAILURE_TAU: f32 = 30.0 * TICKS_PER_SECOND;
/// Weight of one outcome: half of the average is the last 7 outcomes.
const FAILURE_WEIGHT: f32 = 0.1;

#[inline]
pub(super) fn tick(now: u64) -> u32 {
    (now >> TICK_SHIFT) as u32
}

#[inline]
pub(super) fn pack(value: f32, tick: u32) -> u64 {
    (u64::from(value.to_bits()) << 32) | u64::from(tick)
}

#[inline]
pub(super) fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

/// What is left at `now` of a value written at `then`: e^(-elapsed/tau). A `then` that lies ahead (another thread's
/// clock reading) counts as now.
#[inline]
fn decay(now: u32, then: u32, tau: f32) -> f32 {
    let elapsed = now.wrapping_sub(then);
    if elapsed > u32::MAX / 2 {
        return 1.0;
    }
    let x = elapsed as f32 / tau;
    // Where messages flow x is small, and a pick asks this of every candidate: up to 1/16 the first four terms of e^x
    // are off by less than a millionth, at a fifth of the time.
    if x <= 0.0625 { 1.0 / (1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0)))) } else { (-x).exp() }
}

/// Latency, rising at once to any higher sample and sinking slowly: an estimate that reacts to trouble first.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Adds a sample of `latency` ns, taken at `now` ns.
    #[inline]
    pub fn observe(&self, latency: u64, now: u64) {
        let sample = (latency as f32).max(1.0); // never 0, which means "no sample yet"
        let now = tick(now);
        let next = |word: u64| {
            let (estimate, then) = unpack(word);
            if sample >= estimate {
                return Some(pack(sample, now));
            }
            let kept = decay(now, then, LATENCY_TAU);
            Some(pack(estimate * kept + sample * (1.0 - kept), now))
        };
        // Relaxed: the word holds value and time together, and nothing else is published by it.
        let _: Result<u64, u64> = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed); // relaxed: as in `observe`
    }

    /// The estimate in ns, decayed to `now` so that a destination once slow is tried again; `None` before any sample.
    #[inline]
    pub fn at(&self, now: u64) -> Option<f32> {
        let (estimate, then) = self.word()?;
        Some(estimate * decay(tick(now), then, LATENCY_TAU))
    }

    /// The estimate in ns as of its last sample; `None` before any sample.
    pub fn last(&self) -> Option<f32> {
        self.word().map(|(estimate, _)| estimate)
    }

    #[inline]
    fn word(&self) -> Option<(f32, u32)> {
        // Relaxed: as in `observe`.
        let (estimate, then) = unpack(self.0.load(Ordering::Relaxed));
        (estimate > 0.0).then_some((estimate, then))
    }
}

/// Share of failures among outcomes, 0 before any. Each outcome weighs a tenth, however close in time to the last;
/// the average is forgiven with time, so that a destination that is avoided for its failures is tried again.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct FailureEwma(AtomicU64);

impl FailureEwma {
    /// Adds an outcome observed at `now` ns.
    #[inline]
    pub fn observe(&self, failed: bool, now: u64) {
        // Relaxed, here and below: as in `PeakEwma::observe`.
        if !failed && self.0.load(Ordering::Relaxed) >> 32 == 0 {
            return; // nothing to forgive: the usual case writes nothing
        }
        let now = tick(now);
        let next = |word: u64| {
            let (share, then) = unpack(word);
            let share = share * decay(now, then, FAILURE_TAU);
            let share = share + (f32::from(u8::from(failed)) - share) * FAILURE_WEIGHT;
            // Below a millionth is none: the word becomes all zeros in its upper half, and the next success is free.
            Some(pack(if share < 1e-6 { 0.0 } else { share }, now))
        };
        let _: Result<u64, u64> = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed); // relaxed: as in `observe`
    }

    /// Share of successes to expect at `now`, 0..=1.
    #[inline]
    pub fn success_at(&self, now: u64) -> f32 {
        let word = self.0.load(Ordering::Relaxed);
        if word >> 32 == 0 {
            return 1.0;
        }
        let (share, then) = unpack(word);
        1.0 - share * decay(tick(now), then, FAILURE_TAU)
    }

    /// Share of successes as of the last outcome, 0..=1; 1.0 before any.
    pub fn success(&self) -> f32 {
        1.0 - unpack(self.0.load(Ordering::Relaxed)).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn peak_rises_at_once_and_sinks_with_its_time_constant() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.at(0), None);
        ewma.observe(10 * MS, SECOND);
        ewma.observe(50 * MS, SECOND);
        assert_eq!(ewma.last(), Some(50e6));
        ewma.observe(10 * MS, 11 * SECOND); // 10 s later: 1/e of the old estimate is left
        let expected = 50e6 / std::f32::consts::E + 10e6 * (1.0 - 1.0 / std::f32::consts::E);
        let got = ewma.last().unwrap();
        assert!((got / expected - 1.0).abs() < 1e-3, "{got} {expected}");
    }

    #[test]
    fn decay_is_exponential_for_short_and_long_times() {
        for elapsed in [0, 1, 10, 100, 596, 597, 1_000, 10_000, 100_000] {
            let exact = (-f64::from(elapsed) / f64::from(LATENCY_TAU)).exp();
            let got = f64::from(decay(elapsed, 0, LATENCY_TAU));
            assert!((got / exact - 1.0).abs() < 2e-6, "{elapsed}: {got} {exact}");
        }
    }

    #[test]
    fn reading_decays_without_writing() {
        let ewma = PeakEwma::default();
        ewma.observe(SECOND, 0);
        let later = ewma.at(10 * SECOND).unwrap();
        assert!((later * std::f32::consts::E / 1e9 - 1.0).abs() < 1e-3, "{later}");
        assert_eq!(ewma.last(), Some(1e9));
    }

    #[test]
    fn time_does_not_wrap_within_weeks_nor_break_when_it_runs_backwards() {
        let ewma = PeakEwma::default();
        let start = u64::from(u32::MAX) << TICK_SHIFT; // one tick before the wrap
        ewma.observe(SECOND, start);
        let later = ewma.at(start + 10 * SECOND).unwrap();
        assert!((later * std::f32::consts::E / 1e9 - 1.0).abs() < 1e-3, "{later}");
        assert_eq!(ewma.at(start - 5 * SECOND), Some(1e9));
        assert!(ewma.at(start + 7200 * SECOND).unwrap() < 1.0, "71 minutes are no wrap");
    }

    #[test]
    fn failures_close_in_time_all_count_and_are_forgiven_with_time() {
        let ewma = FailureEwma::default();
        assert_eq!((ewma.success(), ewma.success_at(5)), (1.0, 1.0));
        for _ in 0..50 {
            ewma.observe(true, SECOND);
        }
        assert!(ewma.success_at(SECOND) < 0.01);
        assert!(ewma.success_at(SECOND + 30 * SECOND) > 0.6);
        assert!(ewma.success_at(400 * SECOND) > 0.99);
        assert!(ewma.success() < 0.01, "the last known rate stays");
        for _ in 0..200 {
            ewma.observe(false, 2 * SECOND);
        }
        assert_eq!(ewma.success(), 1.0);
    }

    #[test]
    fn concurrent_samples_never_tear() {
        let ewma = PeakEwma::default();
        std::thread::scope(|scope| {
            for thread in 1..=4u64 {
                let ewma = &ewma;
                scope.spawn(move || (0..5_000).for_each(|step| ewma.observe(thread * MS, step * MS)));
            }
            for step in 0..5_000 {
                if let Some(estimate) = ewma.at(step * MS) {
                    assert!(estimate <= 4e6, "{estimate}");
                }
            }
        });
    }
}

//! `response_time`: the cheaper of two different candidates drawn by weight, where a candidate costs
//!
//! > peak latency × (in flight + 1) ÷ (success rate × ramp × weight)
//!
//! Source: the peak EWMA balancer of Finagle and tower, with its cost divided by the success rate: failures are left
//! out of latency, and without the division a destination that fails at once would look like the fastest.
//!
//! A candidate without a sample is presumed as fast as the one it is compared with. A fixed guess would starve it
//! where the others are faster (tower issue 134) and flood it where they are slower; this way its messages in flight
//! and its failures decide until the first success is in.

use crate::balance::Candidate;
use crate::balance::connections::best_of_two;
use crate::balance::random::Sampler;

/// Lowest success rate that counts: a candidate that only fails costs a thousand times as much, and is still tried
/// when all others do as well.
const MIN_SUCCESS: f32 = 1e-3;
/// Latencies decay towards 0 while nothing is sent; below 1 ns they no longer tell candidates apart by in-flight.
const MIN_LATENCY: f32 = 1.0;

/// Peak EWMA over one list of candidates.
#[derive(Debug)]
pub struct PeakLatency {
    sampler: Sampler,
}

impl PeakLatency {
    /// For candidates of these weights, all at least 1.
    pub fn build(weights: &[u32]) -> Self {
        Self { sampler: Sampler::build(weights) }
    }

    /// See [`Policy::pick`](crate::balance::Policy::pick).
    #[inline]
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        now: u64,
        rng: &mut fastrand::Rng,
        usable: impl Fn(&C) -> bool,
    ) -> Option<usize> {
        if candidates.len() < 2 {
            return candidates.first().filter(|candidate| usable(candidate)).map(|_| 0);
        }
        let (first, second) = self.sampler.two(rng);
        let (a, b) = (&candidates[first], &candidates[second]);
        if usable(a) && usable(b) {
            let (a_latency, b_latency) = match (a.latency(now), b.latency(now)) {
                (Some(a), Some(b)) => (a, b),
                (None, None) => (1.0, 1.0),
                (Some(known), None) | (None, Some(known)) => (known, known),
            };
            let (a_cost, b_cost) = (cost(a, a_latency, now), cost(b, b_latency, now));
            return Some(if a_cost <= b_cost { first } else { second });
        }
        best_of_two(&self.sampler, candidates, rng, usable, |candidate| {
            cost(candidate, candidate.latency(now).unwrap_or(MIN_LATENCY), now)
        })
    }
}

#[inline]
fn cost<C: Candidate>(candidate: &C, latency: f32, now: u64) -> f64 {
    let share = candidate.success(now).max(MIN_SUCCESS) * candidate.ramp(now);
    let load = f64::from(candidate.in_flight()) + 1.0;
    f64::from(latency.max(MIN_LATENCY)) * load / (f64::from(share) * f64::from(candidate.weight()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::Fake;

    fn shares(candidates: &[Fake], picks: usize) -> Vec<f64> {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        let (policy, mut rng) = (PeakLatency::build(&weights), fastrand::Rng::with_seed(9));
        let mut counts = vec![0; candidates.len()];
        (0..picks).for_each(|_| counts[policy.pick(candidates, 0, &mut rng, |_| true).unwrap()] += 1);
        counts.into_iter().map(|count: usize| count as f64 / picks as f64).collect()
    }

    #[test]
    fn the_slowest_is_not_chosen_while_another_is_as_free() {
        let mut candidates = Fake::all(&[1; 10]);
        candidates.iter_mut().for_each(|candidate| candidate.latency = Some(10e6));
        candidates[3].latency = Some(100e6);
        assert_eq!(shares(&candidates, 5_000)[3], 0.0);
        candidates.iter_mut().for_each(|candidate| candidate.in_flight = 30);
        candidates[3].in_flight = 1;
        assert!(shares(&candidates, 5_000)[3] > 0.15, "a free slow one is better than a full fast one");
    }

    #[test]
    fn failing_fast_attracts_nothing() {
        let mut candidates = Fake::all(&[1; 10]);
        candidates.iter_mut().for_each(|candidate| (candidate.latency, candidate.in_flight) = (Some(10e6), 8));
        for latency in [None, Some(1e6)] {
            (candidates[0].latency, candidates[0].in_flight, candidates[0].success) = (latency, 0, 0.0);
            assert_eq!(shares(&candidates, 5_000)[0], 0.0, "{latency:?}");
        }
    }

    #[test]
    fn a_candidate_without_samples_is_neither_starved_nor_flooded() {
        for latency in [1e5, 10e6, 60e9] {
            let mut candidates = Fake::all(&[1; 5]);
            candidates.iter_mut().for_each(|candidate| (candidate.latency, candidate.in_flight) = (Some(latency), 3));
            candidates[4].latency = None;
            let share = shares(&candidates, 20_000)[4];
            assert!((0.17..0.43).contains(&share), "{share}");
            candidates[4].in_flight = 4;
            assert_eq!(shares(&candidates, 5_000)[4], 0.0);
        }
    }

    #[test]
    fn weight_draws_and_discounts() {
        let mut candidates = Fake::all(&[3, 1, 1]);
        candidates.iter_mut().for_each(|candidate| candidate.latency = Some(5e6));
        candidates[0].in_flight = 2; // 3 for weight 3: as loaded as the others
        let heavy = shares(&candidates, 10_000)[0];
        assert!(heavy > 0.5, "{heavy}");
    }

    /// Identical servers, one message at a time each, in simulated time: shares converge to within 10 %.
    #[test]
    fn identical_servers_converge_to_equal_shares() {
        use crate::stats::PeakEwma;
        let mut rng = fastrand::Rng::with_seed(11);
        let policy = PeakLatency::build(&[1; 5]);
        let averages: Vec<PeakEwma> = (0..5).map(|_| PeakEwma::default()).collect();
        let (mut counts, mut now) = ([0u32; 5], 0u64);
        for _ in 0..50_000 {
            now += 2_000_000;
            let mut candidates = Fake::all(&[1; 5]);
            for (candidate, average) in candidates.iter_mut().zip(&averages) {
                candidate.latency = average.at(now);
            }
            let picked = policy.pick(&candidates, now, &mut rng, |_| true).unwrap();
            counts[picked] += 1;
            averages[picked].observe(1_000_000 + rng.u64(..200_000), now);
        }
        assert!(counts.iter().all(|count| (9_000..=11_000).contains(count)), "{counts:?}");
    }
}

//! `prequal`: of three different candidates drawn by weight, the one with the lowest latency among the cold ones; if
//! all are hot, the one with fewest in flight. A candidate is hot if more is in flight for it than for
//! [`COLD_SHARE`] of those drawn of late.
//!
//! Source: B. Wydrowski, R. Kleinberg, S. M. Rumble, A. Archer, "Load is not what you should balance: Introducing
//! Prequal", NSDI 2024, whose hot-cold lexicographic rule and quantile these are. What differs: in flight and latency
//! are this process's own, always at hand, so there are no probes, no pool of probes to keep fresh and none that is
//! used up; the quantile is estimated over the candidates drawn; and latency is divided by the success rate, so that
//! a candidate that fails fast attracts nothing.
//!
//! Latency is the mean of late with about as many in flight as now; it expires, and a candidate without one is
//! presumed as fast as the fastest it is compared with. That cannot flood it: soon it is hot.
//! Cost: three candidates, one write; no locks.

use crate::balance::random::{SEVERAL, Sampler, any_usable};
use crate::balance::{Candidate, MIN_SUCCESS, Occasion};

/// The paper's default of its quantile of requests in flight.
pub const COLD_SHARE: f32 = 0.84;

/// Prequal over one list of candidates.
#[derive(Debug)]
pub struct Prequal {
    sampler: Sampler,
    mean_weight: f32,
}

impl Prequal {
    /// For candidates of these weights, all at least 1.
    pub fn build(weights: &[u32]) -> Self {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        Self { sampler: Sampler::build(weights), mean_weight: (total / weights.len().max(1) as f64) as f32 }
    }

    /// See [`Policy::pick`](crate::balance::Policy::pick).
    #[inline]
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        occasion: &Occasion<'_>,
        rng: &mut fastrand::Rng,
        usable: impl Fn(&C) -> bool,
    ) -> Option<usize> {
        let now = occasion.now;
        let (drawn, count) = self.sampler.several(rng);
        let drawn = &drawn[..count];
        // In flight for its share: a candidate of twice the weight is as hot with twice as much.
        let load = |index: &usize| {
            let candidate = &candidates[*index];
            candidate.in_flight() as f32 * self.mean_weight / (candidate.weight() as f32 * candidate.ramp(now))
        };
        let mut loads = [0.0; SEVERAL];
        loads.iter_mut().zip(drawn).for_each(|(into, index)| *into = load(index));
        // Loads are mostly small whole numbers: the estimate wavers about one, and means it.
        let limit = (occasion.cursor.crowd.get() + 0.5) as u32 as f32;
        occasion.cursor.crowd.observe(&loads[..count]);

        let mut coolest: Option<(f32, usize)> = None;
        let mut cold: [(usize, Option<f32>); SEVERAL] = [(0, None); SEVERAL];
        let mut colds = 0;
        let mut fastest = f32::INFINITY;
        for (index, load) in drawn.iter().zip(loads) {
            let candidate = &candidates[*index];
            if !usable(candidate) {
                continue;
            }
            // They come in random order, so ties are broken at random by taking the first, here and below.
            if coolest.is_none_or(|(least, _)| load < least) {
                coolest = Some((load, *index));
            }
            if load <= limit {
                let latency = candidate.latency_under_load(now);
                fastest = fastest.min(latency.unwrap_or(f32::INFINITY));
                cold[colds] = (*index, latency);
                colds += 1;
            }
        }
        let presumed = if fastest.is_finite() { fastest } else { 1.0 };
        let mut best: Option<(f32, usize)> = None;
        for (index, latency) in &cold[..colds] {
            let cost = latency.unwrap_or(presumed) / candidates[*index].success(now).max(MIN_SUCCESS);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, *index));
            }
        }
        best.or(coolest).map(|(_, index)| index).or_else(|| {
            any_usable(candidates, rng, &|rng| self.sampler.draw(rng), |candidate| {
                if usable(candidate) { candidate.weight() as f32 / (candidate.in_flight() as f32 + 1.0) } else { 0.0 }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Cursor;
    use crate::balance::testing::{Fake, occasion};

    fn shares(candidates: &[Fake], picks: usize) -> Vec<f64> {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        let (policy, cursor) = (Prequal::build(&weights), Cursor::default());
        let mut rng = fastrand::Rng::with_seed(9);
        let mut counts = vec![0; candidates.len()];
        for pick in 0..picks + 1_000 {
            let picked = policy.pick(candidates, &occasion(&cursor), &mut rng, |_| true).unwrap();
            if pick >= 1_000 {
                counts[picked] += 1; // the quantile has settled
            }
        }
        counts.into_iter().map(|count: usize| count as f64 / picks as f64).collect()
    }

    #[test]
    fn a_hot_candidate_is_passed_over_however_fast_it_is() {
        let mut candidates = Fake::all(&[1; 20]);
        candidates.iter_mut().for_each(|candidate| (candidate.in_flight, candidate.latency) = (2, Some(10e6)));
        (candidates[0].in_flight, candidates[0].latency) = (9, Some(1e6));
        assert_eq!(shares(&candidates, 5_000)[0], 0.0);
    }

    #[test]
    fn among_the_cold_the_fastest_is_chosen_whatever_it_holds() {
        let mut candidates = Fake::all(&[1; 20]);
        candidates.iter_mut().for_each(|candidate| (candidate.in_flight, candidate.latency) = (3, Some(10e6)));
        candidates[0].latency = Some(9e6);
        let fast = shares(&candidates, 20_000)[0];
        assert!((0.13..0.17).contains(&fast), "chosen each time it is among the three of 20: {fast}");
        candidates[1].latency = Some(100e6);
        assert_eq!(shares(&candidates, 5_000)[1], 0.0);
    }

    #[test]
    fn if_all_are_hot_the_one_with_fewest_in_flight_is_chosen() {
        let mut candidates = Fake::all(&[1; 3]);
        for (index, candidate) in candidates.iter_mut().enumerate() {
            (candidate.in_flight, candidate.latency) = (30 - index as u32, Some(1e6 * index as f32 + 1e6));
        }
        let (policy, cursor) = (Prequal::build(&[1; 3]), Cursor::default());
        let picked = policy.pick(&candidates, &occasion(&cursor), &mut fastrand::Rng::with_seed(1), |_| true);
        assert_eq!(picked, Some(2), "nothing was seen yet, so all are above");
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

    /// In simulated time, each server works at one message after the other.
    #[test]
    fn identical_servers_converge_to_equal_shares() {
        use crate::stats::LatencyByLoad;
        const COUNT: usize = 10;
        let mut rng = fastrand::Rng::with_seed(11);
        let (policy, cursor) = (Prequal::build(&[1; COUNT]), Cursor::default());
        let averages: Vec<LatencyByLoad> = (0..COUNT).map(|_| LatencyByLoad::default()).collect();
        let (mut counts, mut now) = ([0u32; COUNT], 0u64);
        let mut ends: Vec<std::collections::VecDeque<u64>> = vec![Default::default(); COUNT];
        let mut longest = 0;
        for _ in 0..100_000 {
            now += rng.u64(..250_000); // 8,000 a second for 10,000 a second of capacity
            let mut candidates = Fake::all(&[1; COUNT]);
            for (index, candidate) in candidates.iter_mut().enumerate() {
                while ends[index].front().is_some_and(|end| *end <= now) {
                    ends[index].pop_front();
                }
                candidate.in_flight = ends[index].len() as u32;
                candidate.latency = averages[index].at(candidate.in_flight, now);
            }
            let index = policy.pick(&candidates, &occasion(&cursor), &mut rng, |_| true).unwrap();
            counts[index] += 1;
            let work = (-(rng.f64().max(1e-12)).ln() * 1e6) as u64;
            let end = ends[index].back().copied().unwrap_or(now).max(now) + work;
            averages[index].observe(end - now, candidates[index].in_flight, now);
            ends[index].push_back(end);
            longest = longest.max(ends[index].len());
        }
        assert!(counts.iter().all(|count| (9_000..=11_000).contains(count)), "{counts:?}");
        assert!(longest < 20, "{longest}");
    }
}

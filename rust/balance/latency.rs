//! `response_time`: the cheapest candidate of up to [`EXACT_UP_TO`], or the cheaper of two different ones drawn by
//! weight where there are more, where a candidate costs
//!
//! > peak latency × (in flight + 1) ÷ (success rate × ramp × weight)
//!
//! Source: the peak EWMA balancer of Finagle and tower, with its cost divided by the success rate: failures are left
//! out of latency, and without the division a destination that fails at once would look like the fastest. Of two, a
//! slow one is taken whenever the other has a few messages in flight; in a small pool that is seen in the tail, and
//! there a look at all costs little more.
//!
//! A candidate without a sample is presumed as fast as the fastest it is compared with. A fixed guess would starve it
//! where the others are faster (tower issue 134) and flood it where they are slower; this way its messages in flight
//! and its failures decide until the first success is in. Ties are broken at random.
//!
//! Where all are compared, latencies within a factor of [`ALIKE`] of the lowest count as the lowest. Peaks of identical
//! servers differ by chance, and a peak lasts for seconds: the one that had the highest would be chosen last for all
//! that time, a whole pool of idle servers by the luck of one message each. Two drawn at random dampen that by
//! themselves.

use crate::balance::connections::{best_of_two, cheapest};
use crate::balance::random::Sampler;
use crate::balance::{Candidate, MIN_SUCCESS};

/// Up to here all candidates are compared, about 6 ns each.
pub const EXACT_UP_TO: usize = 16;
/// Within this factor two peaks say nothing: one more message in flight weighs as much.
const ALIKE: f32 = 2.0;
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
        if candidates.len() <= EXACT_UP_TO {
            return exactly(candidates, now, rng, usable);
        }
        let (first, second) = self.sampler.two(rng);
        let (a, b) = (&candidates[first], &candidates[second]);
        if usable(a) && usable(b) {
            let (a_latency, b_latency) = match (a.latency(now), b.latency(now)) {
                (Some(a), Some(b)) => (a, b),
                (None, None) => (MIN_LATENCY, MIN_LATENCY),
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

/// The cheapest of all.
#[inline]
fn exactly<C: Candidate>(
    candidates: &[C],
    now: u64,
    rng: &mut fastrand::Rng,
    usable: impl Fn(&C) -> bool,
) -> Option<usize> {
    // Candidates are read once: the fastest is known only after all of them. Infinite: unknown, and not usable.
    let mut latencies = [f32::INFINITY; EXACT_UP_TO];
    let mut loads = [f64::INFINITY; EXACT_UP_TO];
    let mut fastest = f32::INFINITY;
    for ((latency, load), candidate) in latencies.iter_mut().zip(&mut loads).zip(candidates) {
        if !usable(candidate) {
            continue;
        }
        *load = load_of(candidate, now);
        if let Some(known) = candidate.latency(now) {
            *latency = known;
            fastest = if known < fastest { known } else { fastest };
        }
    }
    let alike = fastest * ALIKE;
    let presumed = f64::from(if fastest == f32::INFINITY { MIN_LATENCY } else { fastest.max(MIN_LATENCY) });
    cheapest(&loads[..candidates.len()], rng, |index, load| {
        let latency = latencies[index];
        let slow = latency > alike && latency < f32::INFINITY;
        let latency = if slow { f64::from(latency.max(MIN_LATENCY)) } else { presumed };
        (*load < f64::INFINITY).then_some(latency * load)
    })
}

#[inline]
fn cost<C: Candidate>(candidate: &C, latency: f32, now: u64) -> f64 {
    f64::from(latency.max(MIN_LATENCY)) * load_of(candidate, now)
}

/// What the latency is multiplied by: messages in flight, this one included, for the candidate's share and success.
#[inline]
fn load_of<C: Candidate>(candidate: &C, now: u64) -> f64 {
    let share = candidate.success(now).max(MIN_SUCCESS) * candidate.ramp(now) * candidate.weight() as f32;
    let load = f64::from(candidate.in_flight()) + 1.0;
    if share == 1.0 { load } else { load / f64::from(share) } // the usual case is spared a division
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
        for count in [10, 40] {
            let mut candidates = Fake::all(&vec![1; count]);
            candidates.iter_mut().for_each(|candidate| candidate.latency = Some(10e6));
            candidates[3].latency = Some(100e6);
            assert_eq!(shares(&candidates, 5_000)[3], 0.0);
            candidates.iter_mut().for_each(|candidate| candidate.in_flight = 30);
            candidates[3].in_flight = 1;
            let share = shares(&candidates, 5_000)[3];
            assert!(share > 1.5 / count as f64, "a free slow one is better than a full fast one: {share}");
        }
    }

    #[test]
    fn failing_fast_attracts_nothing() {
        for count in [10, 40] {
            let mut candidates = Fake::all(&vec![1; count]);
            candidates.iter_mut().for_each(|candidate| (candidate.latency, candidate.in_flight) = (Some(10e6), 8));
            for latency in [None, Some(1e6)] {
                (candidates[0].latency, candidates[0].in_flight, candidates[0].success) = (latency, 0, 0.0);
                assert_eq!(shares(&candidates, 5_000)[0], 0.0, "{latency:?}");
            }
        }
    }

    #[test]
    fn a_candidate_without_samples_is_neither_starved_nor_flooded() {
        for (count, latency) in [(5, 1e5), (5, 10e6), (5, 60e9), (20, 10e6)] {
            let mut candidates = Fake::all(&vec![1; count]);
            candidates.iter_mut().for_each(|candidate| (candidate.latency, candidate.in_flight) = (Some(latency), 3));
            candidates[4].latency = None;
            let (share, fair) = (shares(&candidates, 20_000)[4], 1.0 / count as f64);
            assert!((0.85 * fair..2.15 * fair).contains(&share), "{share}");
            candidates[4].in_flight = 4;
            assert_eq!(shares(&candidates, 5_000)[4], 0.0);
        }
    }

    #[test]
    fn a_candidate_without_samples_is_presumed_as_fast_as_the_fastest_that_is_usable() {
        let mut candidates = Fake::all(&[1; 4]);
        for (candidate, latency) in candidates.iter_mut().zip([None, Some(5e6), Some(2e6), Some(1e6)]) {
            candidate.latency = latency;
        }
        // In flight of the unknown and of the one of 2 ms -> who is chosen; the one of 1 ms has no room.
        for (unknown, known, chosen) in [(1, 2, 0), (2, 1, 2), (2, 5, 1)] {
            (candidates[0].in_flight, candidates[2].in_flight) = (unknown, known);
            let (policy, mut rng) = (PeakLatency::build(&[1; 4]), fastrand::Rng::with_seed(1));
            let usable = |candidate: &Fake| candidate.latency != Some(1e6);
            assert_eq!(policy.pick(&candidates, 0, &mut rng, usable), Some(chosen), "{unknown} {known}");
        }
    }

    #[test]
    fn peaks_that_differ_by_chance_are_a_tie_where_all_are_compared() {
        let mut candidates = Fake::all(&[1; 4]);
        for (candidate, latency) in candidates.iter_mut().zip([5e6, 9e6, 10e6, 10.1e6]) {
            candidate.latency = Some(latency);
        }
        let shares = shares(&candidates, 9_000);
        assert!(shares[..3].iter().all(|share| (0.31..0.36).contains(share)), "{shares:?}");
        assert_eq!(shares[3], 0.0);
    }

    #[test]
    fn ties_are_broken_at_random() {
        for latency in [None, Some(5e6)] {
            let mut candidates = Fake::all(&[1; 16]);
            candidates.iter_mut().for_each(|candidate| candidate.latency = latency);
            let shares = shares(&candidates, 32_000);
            assert!(shares.iter().all(|share| (0.055..0.07).contains(share)), "{shares:?}");
        }
    }

    #[test]
    fn weight_and_ramp_discount() {
        // In flight of the one with weight 3 and its ramp -> its share.
        for (in_flight, ramp, least, most) in
            [(1, 1.0, 1.0, 1.0), (2, 1.0, 0.3, 0.37), (3, 1.0, 0.0, 0.0), (1, 0.5, 0.0, 0.0)]
        {
            let mut candidates = Fake::all(&[3, 1, 1]);
            candidates.iter_mut().for_each(|candidate| candidate.latency = Some(5e6));
            (candidates[0].in_flight, candidates[0].ramp) = (in_flight, ramp);
            let share = shares(&candidates, 10_000)[0];
            assert!((least..=most).contains(&share), "{in_flight} {ramp}: {share}");
        }
    }

    /// Identical servers, one message at a time each, in simulated time: shares converge to within 10 %.
    #[test]
    fn identical_servers_converge_to_equal_shares() {
        use crate::stats::PeakEwma;
        for count in [5, 16, 20] {
            let mut rng = fastrand::Rng::with_seed(11);
            let policy = PeakLatency::build(&vec![1; count]);
            let averages: Vec<PeakEwma> = (0..count).map(|_| PeakEwma::default()).collect();
            let (mut counts, mut now) = (vec![0usize; count], 0u64);
            let mut candidates = Fake::all(&vec![1; count]);
            for _ in 0..10_000 * count {
                now += 2_000_000;
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
}

//! `least_connections` and `weighted_least_connections`: fewest messages in flight, for its weight if weighted.
//!
//! Up to [`EXACT_UP_TO`] candidates all are compared (about 1 ns each); beyond, the better of two different ones drawn
//! by weight ("the power of two choices", M. Mitzenmacher 1996): the longest queue of n grows like log log n.
//! Weighted, a candidate costs (in flight + 1) / weight, so that an idle pool fills in proportion to weight.
//! Ties are broken at random, so that many routers, or many idle destinations, do not all start with the first.
//!
//! One that fails at once is always idle, and would attract what the others have no time for. So (in flight + 1) is
//! divided by the success rate of late and rounded to whole messages: three failures in a row count as one more in
//! flight, only failures as a thousand; a failure now and then counts as nothing, and costs no share.

use crate::balance::random::{Sampler, any_usable, first_from};
use crate::balance::{Candidate, MIN_SUCCESS};

/// Where comparing all candidates starts to cost more than the cache misses of two. Fits one bit a candidate in a u64.
pub const EXACT_UP_TO: usize = 64;
/// Pairs drawn before all candidates are walked for a usable one.
const PAIRS: usize = 8;

/// Least connections over one list of candidates.
#[derive(Debug)]
pub struct LeastConnections {
    sampler: Sampler,
}

impl LeastConnections {
    /// For candidates of these weights, all at least 1; unweighted, all are 1.
    pub fn build(weights: &[u32]) -> Self {
        Self { sampler: Sampler::build(weights) }
    }

    /// Messages in flight, this one included, for the candidate's share; in 2^-32 of a message, so that equal
    /// fractions are equal and integers are compared.
    #[inline]
    fn cost<C: Candidate>(candidate: &C, now: u64) -> u64 {
        let load = u64::from(candidate.in_flight()) + 1;
        let success = candidate.success(now);
        let load = if success < 1.0 { (load as f32 / success.max(MIN_SUCCESS)).round() as u64 } else { load };
        let weight = candidate.weight();
        let load = if weight == 1 { load << 32 } else { (load << 32) / u64::from(weight) };
        let ramp = candidate.ramp(now);
        // A candidate that just recovered is empty; without this it would get every message until it is as full as
        // the others.
        if ramp < 1.0 { (load as f64 / f64::from(ramp)) as u64 } else { load }
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
        if candidates.len() > EXACT_UP_TO {
            return best_of_two(&self.sampler, candidates, rng, usable, |candidate| Self::cost(candidate, now) as f64);
        }
        cheapest(candidates, rng, |_, candidate| usable(candidate).then(|| Self::cost(candidate, now)))
    }
}

/// The candidate of the lowest `cost`, ties at random; `None` costs are not candidates. Of at most [`EXACT_UP_TO`].
#[inline]
pub(super) fn cheapest<C, T: PartialOrd + Copy>(
    candidates: &[C],
    rng: &mut fastrand::Rng,
    cost: impl Fn(usize, &C) -> Option<T>,
) -> Option<usize> {
    let mut best: Option<T> = None;
    let mut ties = 0u64;
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(cost) = cost(index, candidate) else { continue };
        if best.is_none_or(|best| cost < best) {
            best = Some(cost);
            ties = 0;
        }
        if best.is_some_and(|best| cost <= best) {
            ties |= 1 << index;
        }
    }
    match ties.count_ones() {
        0 => None,
        1 => Some(ties.trailing_zeros() as usize),
        // All of them, as where all are idle: the number drawn is the index.
        count if count as usize == candidates.len() => Some(rng.u32(..count) as usize),
        count => {
            for _ in 0..rng.u32(..count) {
                ties &= ties - 1; // drops the lowest bit
            }
            Some(ties.trailing_zeros() as usize)
        }
    }
}

/// The cheaper of two different candidates; of one usable the only, and `None` only if no candidate is usable. The
/// two come in random order, so a tie is broken at random by taking the first.
#[inline]
pub(super) fn best_of_two<C: Candidate>(
    sampler: &Sampler,
    candidates: &[C],
    rng: &mut fastrand::Rng,
    usable: impl Fn(&C) -> bool,
    cost: impl Fn(&C) -> f64,
) -> Option<usize> {
    if candidates.len() < 2 {
        return candidates.first().filter(|candidate| usable(candidate)).map(|_| 0);
    }
    for _ in 0..PAIRS {
        let (first, second) = sampler.two(rng);
        match (usable(&candidates[first]), usable(&candidates[second])) {
            (true, true) => {
                return Some(if cost(&candidates[first]) <= cost(&candidates[second]) { first } else { second });
            }
            (true, false) => return Some(first),
            (false, true) => return Some(second),
            (false, false) => {}
        }
    }
    if candidates.len() <= EXACT_UP_TO {
        return any_usable(candidates, rng, &|rng| sampler.draw(rng), |candidate| {
            if usable(candidate) { (1.0 / cost(candidate).max(f64::MIN_POSITIVE)) as f32 } else { 0.0 }
        });
    }
    first_from(candidates, rng, usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::Fake;

    fn pick(policy: &LeastConnections, candidates: &[Fake], rng: &mut fastrand::Rng) -> usize {
        policy.pick(candidates, 0, rng, |_| true).unwrap()
    }

    #[test]
    fn the_least_loaded_is_found_exactly_up_to_64() {
        for count in [1, 2, 10, 64] {
            let mut candidates = Fake::all(&vec![1; count]);
            candidates.iter_mut().for_each(|candidate| candidate.in_flight = 5);
            candidates[count - 1].in_flight = 4;
            let policy = LeastConnections::build(&vec![1; count]);
            assert_eq!(pick(&policy, &candidates, &mut fastrand::Rng::with_seed(1)), count - 1);
        }
    }

    #[test]
    fn ties_are_broken_at_random() {
        for count in [3usize, 64, 100] {
            let candidates = Fake::all(&vec![1; count]);
            let policy = LeastConnections::build(&vec![1; count]);
            let mut rng = fastrand::Rng::with_seed(1);
            let mut counts = vec![0usize; count];
            (0..1_000 * count).for_each(|_| counts[pick(&policy, &candidates, &mut rng)] += 1);
            assert!(counts.iter().all(|picks| (850..1_150).contains(picks)), "{counts:?}");
        }
    }

    #[test]
    fn an_idle_pool_fills_in_proportion_to_weight() {
        for copies in [1, 40] {
            let weights: Vec<u32> = [5, 3, 2].repeat(copies);
            let mut candidates = Fake::all(&weights);
            let policy = LeastConnections::build(&weights);
            let mut rng = fastrand::Rng::with_seed(2);
            (0..100 * copies).for_each(|_| {
                let picked = pick(&policy, &candidates, &mut rng);
                candidates[picked].in_flight += 1;
            });
            for candidate in &candidates {
                let share = candidate.weight * 10;
                let slack = if copies == 1 { 1 } else { 12 };
                assert!(candidate.in_flight.abs_diff(share) <= slack, "{} {share}", candidate.in_flight);
            }
        }
    }

    #[test]
    fn a_recovering_candidate_is_not_flooded() {
        let mut candidates = Fake::all(&[1; 5]);
        candidates.iter_mut().for_each(|candidate| candidate.in_flight = 40);
        candidates[0].in_flight = 0;
        candidates[0].ramp = 0.1;
        let policy = LeastConnections::build(&[1; 5]);
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..40 {
            let picked = pick(&policy, &candidates, &mut rng);
            candidates[picked].in_flight += 1;
        }
        assert!(candidates[0].in_flight <= 5, "a tenth of the others' load, not all of it");
    }

    #[test]
    fn failures_count_as_load_in_whole_messages() {
        // In flight of the others, success rate and in flight of the one that fails -> whether it is chosen.
        let table = [(0, 0.9, 0, true), (1, 0.9, 0, true), (0, 0.5, 0, false), (1, 0.3, 0, false), (3, 0.3, 0, true)];
        for count in [5, 100] {
            for (others, success, in_flight, expected) in table {
                let mut candidates = Fake::all(&vec![1; count]);
                candidates.iter_mut().for_each(|candidate| candidate.in_flight = others);
                (candidates[2].success, candidates[2].in_flight) = (success, in_flight);
                let policy = LeastConnections::build(&vec![1; count]);
                let mut rng = fastrand::Rng::with_seed(2);
                let chosen = (0..2_000).filter(|_| pick(&policy, &candidates, &mut rng) == 2).count();
                assert_eq!(chosen > 0, expected, "{others} {success} {in_flight}");
                if (others, count) == (0, 5) && expected {
                    assert!((340..460).contains(&chosen), "a fair share: {chosen}");
                }
            }
        }
    }

    #[test]
    fn where_all_fail_the_least_loaded_is_still_found() {
        let mut candidates = vec![Fake { success: 0.0, in_flight: 2, ..Fake::of_weight(1) }; 5];
        candidates[3].in_flight = 1;
        assert_eq!(pick(&LeastConnections::build(&[1; 5]), &candidates, &mut fastrand::Rng::with_seed(1)), 3);
    }

    #[test]
    fn two_choices_keep_the_longest_queue_short() {
        let mut candidates = Fake::all(&[1; 1_000]);
        let policy = LeastConnections::build(&[1; 1_000]);
        let mut rng = fastrand::Rng::with_seed(4);
        for _ in 0..1_000 {
            let picked = pick(&policy, &candidates, &mut rng);
            candidates[picked].in_flight += 1;
        }
        assert!(candidates.iter().map(|candidate| candidate.in_flight).max() <= Some(4));
    }
}

//! `health_based`: at random, by weight × success rate × health (1 healthy, 0.5 degraded) × ramp.
//!
//! Weights are fixed and drawn from an alias table; the rest changes with every outcome, so it is a probability of
//! accepting the draw instead of a table to rebuild. Rejection sampling gives exactly the stated shares.

use crate::balance::Candidate;
use crate::balance::random::{Sampler, any_usable};

/// Draws before the choice is made among all candidates. Fewer than one pick in 10^4 comes so far if scores average
/// one half.
const DRAWS: usize = 14;
/// Lowest score: a destination that only fails still gets a message now and then, which is how it is found again.
const MIN_SCORE: f32 = 1e-3;

/// Weighted random by score over one list of candidates.
#[derive(Debug)]
pub struct Scored {
    sampler: Sampler,
}

impl Scored {
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
        let score = |candidate: &C| (candidate.success(now) * candidate.health()).max(MIN_SCORE) * candidate.ramp(now);
        for _ in 0..DRAWS {
            let index = self.sampler.draw(rng);
            let candidate = &candidates[index];
            if usable(candidate) {
                let score = score(candidate);
                if score >= 1.0 || rng.f32() < score {
                    return Some(index);
                }
            }
        }
        any_usable(candidates, rng, &|rng| self.sampler.draw(rng), |candidate| {
            if usable(candidate) { candidate.weight() as f32 * score(candidate) } else { 0.0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::Fake;

    fn shares(candidates: &[Fake]) -> Vec<f64> {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        let (policy, mut rng) = (Scored::build(&weights), fastrand::Rng::with_seed(3));
        let mut counts = vec![0u32; candidates.len()];
        (0..40_000).for_each(|_| counts[policy.pick(candidates, 0, &mut rng, |_| true).unwrap()] += 1);
        counts.into_iter().map(|count| f64::from(count) / 40_000.0).collect()
    }

    #[test]
    fn shares_follow_weight_times_score() {
        // weight, success, health -> share
        type Row = (&'static [(u32, f32, f32)], &'static [f64]);
        let table: [Row; 4] = [
            (&[(1, 1.0, 1.0), (1, 1.0, 1.0)], &[0.5, 0.5]),
            (&[(1, 1.0, 1.0), (1, 1.0, 0.5)], &[2.0 / 3.0, 1.0 / 3.0]),
            (&[(1, 0.25, 1.0), (3, 0.5, 0.5)], &[0.25, 0.75]),
            (&[(1, 0.01, 1.0), (1, 0.03, 1.0)], &[0.25, 0.75]),
        ];
        for (states, expected) in table {
            let make =
                |&(weight, success, health): &(u32, f32, f32)| Fake { success, health, ..Fake::of_weight(weight) };
            let candidates: Vec<Fake> = states.iter().map(make).collect();
            for (share, expected) in shares(&candidates).into_iter().zip(expected) {
                assert!((share - expected).abs() < 0.01, "{states:?} {share} {expected}");
            }
        }
    }

    #[test]
    fn all_failing_still_picks() {
        let candidates = vec![Fake { success: 0.0, ..Fake::of_weight(1) }; 3];
        assert!(shares(&candidates).iter().all(|share| (share - 1.0 / 3.0).abs() < 0.02));
    }
}

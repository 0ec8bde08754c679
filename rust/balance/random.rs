//! `random`: independent draws by weight, in constant time.
//!
//! Unequal weights use an alias table (A. J. Walker 1977, built as M. D. Vose 1991): 8 bytes a candidate, one random
//! number a draw. Shares are exact to 2^-32.

use crate::balance::Candidate;

/// Up to here a second choice looks at all candidates, exactly by weight.
const SCAN_UP_TO: usize = 64;
/// Beyond, so many draws before all candidates are walked in order.
const DRAWS: usize = 32;

/// Draws indices by weight.
#[derive(Debug)]
pub enum Sampler {
    /// All weights are equal: 0..n.
    Uniform(usize),
    /// For each slot: the share of it that is its own, of 2^32, and the index that has the rest.
    Alias(Box<[(u32, u32)]>),
}

impl Sampler {
    /// For these weights, all at least 1.
    pub fn build(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self::Uniform(weights.len().max(1));
        }
        let count = weights.len();
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut share: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) * count as f64 / total).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|index| share[*index] < 1.0);
        let mut slots: Box<[(u32, u32)]> = (0..count).map(|index| (u32::MAX, index as u32)).collect();
        while let (Some(low), Some(high)) = (small.pop(), large.last().copied()) {
            slots[low] = ((share[low] * 4_294_967_296.0) as u32, high as u32);
            share[high] -= 1.0 - share[low];
            if share[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        // What is left over is 1 up to rounding: those slots are their own.
        Self::Alias(slots)
    }

    /// An index, by weight.
    #[inline]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        match self {
            Self::Uniform(count) => rng.usize(..*count),
            Self::Alias(slots) => {
                // The high half of one number chooses the slot, the low half decides within it.
                let number = rng.u64(..);
                let slot = (((number >> 32) * slots.len() as u64) >> 32) as usize;
                let (own, other) = slots[slot];
                if (number as u32) < own { slot } else { other as usize }
            }
        }
    }

    /// How many indices there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Uniform(count) => *count,
            Self::Alias(slots) => slots.len(),
        }
    }

    /// Whether there is nothing to draw. Never true: a sampler is built for at least one candidate.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Two different indices in random order, drawn by weight; needs at least two.
    #[inline]
    pub fn two(&self, rng: &mut fastrand::Rng) -> (usize, usize) {
        match self {
            Self::Uniform(count) => {
                let first = rng.usize(..*count);
                let second = rng.usize(..*count - 1);
                (first, second + usize::from(second >= first))
            }
            Self::Alias(slots) => {
                let first = self.draw(rng);
                // With one weight above all others a second draw may repeat the first for long.
                for _ in 0..4 {
                    let second = self.draw(rng);
                    if second != first {
                        return (first, second);
                    }
                }
                let second = rng.usize(..slots.len() - 1);
                (first, second + usize::from(second >= first))
            }
        }
    }
}

/// One of the candidates whose `weight` is above 0, drawn by it; `None` if all are 0. Exact up to 64 candidates;
/// beyond, by `draw` and acceptance, and in the end the first one after a random place.
#[cold]
pub fn any_usable<C: Candidate>(
    candidates: &[C],
    rng: &mut fastrand::Rng,
    draw: &impl Fn(&mut fastrand::Rng) -> usize,
    weight: impl Fn(&C) -> f32,
) -> Option<usize> {
    if candidates.len() <= SCAN_UP_TO {
        let mut total = 0.0;
        let mut chosen = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let weight = weight(candidate);
            if weight > 0.0 {
                total += weight;
                // Replaces the chosen one with the probability of its own share so far: one pass, no memory.
                if chosen.is_none() || rng.f32() * total < weight {
                    chosen = Some(index);
                }
            }
        }
        return chosen;
    }
    for _ in 0..DRAWS {
        let index = draw(rng);
        let candidate = &candidates[index];
        let accepted = weight(candidate) / candidate.weight().max(1) as f32;
        if accepted >= 1.0 || rng.f32() < accepted {
            return Some(index);
        }
    }
    first_from(candidates, rng, |candidate| weight(candidate) > 0.0)
}

/// The first candidate that `usable` accepts, from a random place on; `None` if there is none.
pub fn first_from<C>(candidates: &[C], rng: &mut fastrand::Rng, usable: impl Fn(&C) -> bool) -> Option<usize> {
    let count = candidates.len();
    let from = if count == 0 { 0 } else { rng.usize(..count) };
    (from..count).chain(0..from).find(|index| usable(&candidates[*index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_alias_table_holds_exactly_the_weights(weights in prop::collection::vec(1u32..=1_000_000, 2..50)) {
            let Sampler::Alias(slots) = Sampler::build(&weights) else { return Ok(()) };
            let mut shares = vec![0.0; weights.len()];
            for (slot, (own, other)) in slots.iter().enumerate() {
                let own = f64::from(*own) / 4_294_967_296.0;
                shares[slot] += own / slots.len() as f64;
                shares[*other as usize] += (1.0 - own) / slots.len() as f64;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!((share - f64::from(*weight) / total).abs() < 1e-6);
            }
        }

        #[test]
        fn two_choices_are_never_the_same(weights in prop::collection::vec(prop_oneof![Just(1u32), Just(9_999)], 2..9)) {
            let (sampler, mut rng) = (Sampler::build(&weights), fastrand::Rng::with_seed(3));
            for _ in 0..200 {
                let (first, second) = sampler.two(&mut rng);
                prop_assert!(first != second && first < weights.len() && second < weights.len());
            }
        }
    }

    #[test]
    fn draws_follow_the_weights() {
        let (sampler, mut rng) = (Sampler::build(&[1, 2, 7]), fastrand::Rng::with_seed(5));
        let mut counts = [0; 3];
        (0..100_000).for_each(|_| counts[sampler.draw(&mut rng)] += 1);
        for (count, expected) in counts.into_iter().zip([10_000i32, 20_000, 70_000]) {
            assert!((count - expected).abs() < 600, "{counts:?}");
        }
    }

    #[test]
    fn every_pair_of_equal_candidates_is_drawn_equally_often() {
        let (sampler, mut rng) = (Sampler::build(&[1; 3]), fastrand::Rng::with_seed(5));
        let mut counts = std::collections::HashMap::new();
        (0..60_000).for_each(|_| *counts.entry(sampler.two(&mut rng)).or_insert(0) += 1);
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }
}

//! `random`, `weighted_random` and `adaptive`: independent draws by weight, in constant time.
//!
//! Unequal weights use an alias table (A. J. Walker 1977, built as M. D. Vose 1991): 8 bytes a candidate, one random
//! number a draw. Shares are exact to 2^-32.
//!
//! Where all candidates are open, each is drawn with the probability weight / total weight, and the draw says so.
//! Else with weight × ramp / the sum of that over the usable ones; only `adaptive`, whose weights are learnt from such
//! numbers, then looks at all candidates to know the sum.

use crate::balance::{Candidate, Draw, Occasion, take_or_else};

/// Up to here a second choice looks at all candidates, exactly by weight.
const SCAN_UP_TO: usize = 64;
/// Beyond, so many draws before all candidates are walked in order.
const DRAWS: usize = 32;

/// How many candidates [`Sampler::several`] draws.
pub const SEVERAL: usize = 3;

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

    /// Up to [`SEVERAL`] different indices in random order, drawn by weight, and how many there are: all of them where
    /// there are fewer.
    #[inline]
    pub fn several(&self, rng: &mut fastrand::Rng) -> ([usize; SEVERAL], usize) {
        if self.len() < 2 {
            return ([0; SEVERAL], self.len());
        }
        let (first, second) = self.two(rng);
        if self.len() < SEVERAL {
            return ([first, second, 0], 2);
        }
        for _ in 0..4 {
            let third = self.draw(rng);
            if third != first && third != second {
                return ([first, second, third], SEVERAL);
            }
        }
        // As in `two`: drawn evenly among the others.
        let (low, high) = (first.min(second), first.max(second));
        let mut third = rng.usize(..self.len() - 2);
        third += usize::from(third >= low);
        third += usize::from(third >= high);
        ([first, second, third], SEVERAL)
    }
}

/// Random by weight over one list of candidates.
#[derive(Debug)]
pub struct Weighted {
    sampler: Sampler,
    total: f64,
    /// Whether the probability of a draw is always stated, at the price of looking at all candidates.
    exact: bool,
}

impl Weighted {
    /// For candidates of these weights, all at least 1.
    pub fn build(weights: &[u32], exact: bool) -> Self {
        let total = weights.iter().map(|weight| f64::from(*weight)).sum();
        Self { sampler: Sampler::build(weights), total, exact }
    }

    /// See [`Policy::pick`](crate::balance::Policy::pick).
    #[inline]
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        occasion: &Occasion<'_>,
        rng: &mut fastrand::Rng,
        usable: impl Fn(&C) -> bool,
    ) -> Option<Draw> {
        if occasion.open {
            let index = self.sampler.draw(rng);
            return Some(Draw { index, propensity: Some(f64::from(candidates[index].weight()) / self.total) });
        }
        let now = occasion.now;
        if self.exact {
            return exactly(candidates, rng, |candidate| {
                if usable(candidate) { f64::from(candidate.weight()) * f64::from(candidate.ramp(now)) } else { 0.0 }
            });
        }
        let first = self.sampler.draw(rng);
        take_or_else(candidates, first, now, rng, usable, |rng| self.sampler.draw(rng)).map(Draw::at)
    }
}

/// One of the candidates whose `weight` is above 0, drawn by it; `None` if all are 0. Each weight is asked for once,
/// so the probability is that of the weights as they were seen.
fn exactly<C>(candidates: &[C], rng: &mut fastrand::Rng, weight: impl Fn(&C) -> f64) -> Option<Draw> {
    let mut total = 0.0;
    let mut chosen: Option<(usize, f64)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        let weight = weight(candidate);
        if weight > 0.0 {
            total += weight;
            // Replaces the chosen one with the probability of its own share so far: one pass, no memory.
            if chosen.is_none() || rng.f64() * total < weight {
                chosen = Some((index, weight));
            }
        }
    }
    chosen.map(|(index, weight)| Draw { index, propensity: Some(weight / total) })
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
        return exactly(candidates, rng, |candidate| f64::from(weight(candidate))).map(|draw| draw.index);
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
    use crate::balance::Cursor;
    use crate::balance::testing::{Fake, occasion};
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
        fn several_choices_are_never_the_same(weights in prop::collection::vec(prop_oneof![Just(1u32), Just(9_999)], 1..9)) {
            let (sampler, mut rng) = (Sampler::build(&weights), fastrand::Rng::with_seed(3));
            for _ in 0..200 {
                let (drawn, count) = sampler.several(&mut rng);
                prop_assert_eq!(count, weights.len().min(SEVERAL));
                let different: std::collections::HashSet<usize> = drawn[..count].iter().copied().collect();
                prop_assert!(different.len() == count && different.iter().all(|index| *index < weights.len()));
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

    /// Pearson's statistic of `picks` draws against the stated probabilities, and the number of candidates drawn.
    fn chi_square(policy: &Weighted, candidates: &[Fake], open: bool, usable: impl Fn(&Fake) -> bool) -> (f64, usize) {
        let (cursor, mut rng) = (Cursor::default(), fastrand::Rng::with_seed(17));
        let occasion = Occasion { open, ..occasion(&cursor) };
        let mut seen = vec![(0u32, 0.0); candidates.len()];
        for _ in 0..100_000 {
            let draw = policy.pick(candidates, &occasion, &mut rng, &usable).unwrap();
            let propensity = draw.propensity.unwrap();
            let (count, stated) = &mut seen[draw.index];
            assert!(*count == 0 || *stated == propensity, "the same each time");
            (*count, *stated) = (*count + 1, propensity);
        }
        assert!((seen.iter().map(|(_, stated)| stated).sum::<f64>() - 1.0).abs() < 1e-9, "{seen:?}");
        let term = |(count, stated): &(u32, f64)| (f64::from(*count) - stated * 1e5).powi(2) / (stated * 1e5);
        let drawn = seen.iter().filter(|(count, _)| *count > 0);
        (drawn.clone().map(term).sum(), drawn.count())
    }

    #[test]
    fn draws_come_with_the_probability_stated() {
        let weights: Vec<u32> = (1..=20).collect();
        let policy = Weighted::build(&weights, true);
        let mut candidates = Fake::all(&weights);
        // 43.8 is exceeded by chance once in 1,000 times at 19 degrees of freedom; with fewer, more rarely.
        let (statistic, drawn) = chi_square(&policy, &candidates, true, |_| true);
        assert!(drawn == 20 && statistic < 43.8, "all open: {statistic}");
        candidates[19].ramp = 0.25;
        candidates[3].in_flight = 1; // marks those that have no room
        candidates[18].in_flight = 1;
        let (statistic, drawn) = chi_square(&policy, &candidates, false, |candidate| candidate.in_flight == 0);
        assert!(drawn == 18 && statistic < 43.8, "two full, one ramping: {statistic}");
    }

    #[test]
    fn a_probability_that_is_not_known_is_not_stated() {
        let (policy, cursor) = (Weighted::build(&[1, 2], false), Cursor::default());
        let (candidates, mut rng) = (Fake::all(&[1, 2]), fastrand::Rng::with_seed(1));
        let mut pick = |open| {
            let occasion = Occasion { open, ..occasion(&cursor) };
            policy.pick(&candidates, &occasion, &mut rng, |_| true).unwrap().propensity
        };
        assert!(pick(true).is_some());
        assert_eq!(pick(false), None);
    }

    #[test]
    fn all_of_two_come_in_random_order_by_weight() {
        for (weights, expected) in [([1, 1], 5_000), ([1, 4], 2_000)] {
            let (sampler, mut rng) = (Sampler::build(&weights), fastrand::Rng::with_seed(5));
            let first = (0..10_000).filter(|_| sampler.several(&mut rng).0[0] == 0).count() as i32;
            assert!((first - expected).abs() < 200, "{weights:?}: {first}");
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

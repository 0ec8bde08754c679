//! `rendezvous`: a key goes to the candidate with the highest score for it, −weight / ln(hash of key and candidate).
//!
//! A candidate that is out loses its keys to the others by weight, and no other key moves; no table is kept. A candidate
//! that ramps up wins its keys back little by little. The price is that a pick looks at all candidates: some
//! ns each where weights are equal (then the hash is the score), some tens, for the logarithm, where they are not.
//!
//! Source: D. G. Thaler and C. V. Ravishankar, "Using name-based mappings to increase hit rates", 1998; weighted as by
//! J. Resch, "New hashing algorithms for data storage", 2015.

use crate::balance::hash::{fraction, mix};
use crate::balance::random::Weighted;
use crate::balance::{Candidate, Draw, Occasion, Seat};

/// Rendezvous hashing over one list of candidates.
#[derive(Debug)]
pub struct Rendezvous {
    salts: Box<[u64]>,
    equal: bool,
    without_key: Weighted,
}

impl Rendezvous {
    /// For candidates in these seats, of these weights, all at least 1.
    pub fn build(seats: &[Seat], weights: &[u32]) -> Self {
        Self {
            salts: seats.iter().map(|seat| seat.salt).collect(),
            equal: weights.windows(2).all(|pair| pair[0] == pair[1]),
            without_key: Weighted::build(weights, false),
        }
    }

    /// See [`Policy::pick`](crate::balance::Policy::pick). Without a key at random by weight.
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        occasion: &Occasion<'_>,
        rng: &mut fastrand::Rng,
        usable: impl Fn(&C) -> bool,
    ) -> Option<Draw> {
        let Some(key) = occasion.key else { return self.without_key.pick(candidates, occasion, rng, usable) };
        let all = || self.salts.iter().zip(candidates).enumerate().filter(|(_, (_, candidate))| usable(candidate));
        let best = if self.equal && occasion.open {
            all().max_by_key(|(_, (salt, _))| mix(key, **salt)).map(|(index, _)| index)
        } else {
            let score = |(index, (salt, candidate)): (usize, (&u64, &C))| {
                let share = f64::from(candidate.weight()) * f64::from(candidate.ramp(occasion.now));
                (index, -share / fraction(mix(key, *salt)).ln())
            };
            all().map(score).max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
        };
        best.map(Draw::at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Cursor;
    use crate::balance::hash::xxh64;
    use crate::balance::testing::{Fake, occasion, seats};

    fn places(seats: &[Seat], keys: u64, out: Option<usize>) -> Vec<usize> {
        let weights: Vec<u32> = seats.iter().map(|seat| seat.weight).collect();
        let mut candidates = Fake::all(&weights);
        if let Some(out) = out {
            candidates[out].in_flight = 1;
        }
        let (policy, cursor) = (Rendezvous::build(seats, &weights), Cursor::default());
        let mut rng = fastrand::Rng::with_seed(1);
        let mut place = |key: u64| {
            let occasion = Occasion { key: Some(xxh64(&key.to_le_bytes())), ..occasion(&cursor) };
            policy.pick(&candidates, &occasion, &mut rng, |candidate| candidate.in_flight == 0).unwrap().index
        };
        (0..keys).map(&mut place).collect()
    }

    #[test]
    fn a_candidate_that_is_out_or_gone_moves_its_own_keys_and_no_other() {
        for (count, moved_at_most) in [(10usize, 0.11), (100, 0.013)] {
            let all = seats(&vec![1; count]);
            let before = places(&all, 20_000, None);
            let victim = count / 3;
            let out = places(&all, 20_000, Some(victim));
            let mut left = all.clone();
            left.remove(victim);
            let gone = places(&left, 20_000, None);
            let mut moved = 0;
            for ((before, out), gone) in before.iter().zip(&out).zip(&gone) {
                assert_eq!(*out, gone + usize::from(*gone >= victim), "out and gone come to the same");
                assert!(before == out || *before == victim);
                moved += usize::from(before != out);
            }
            let share = moved as f64 / before.len() as f64;
            assert!(share < moved_at_most && share > 0.5 / count as f64, "{share}");
        }
    }

    #[test]
    fn keys_follow_the_weights() {
        let places = places(&seats(&[1, 2, 7]), 100_000, None);
        for (index, expected) in [10_000i32, 20_000, 70_000].into_iter().enumerate() {
            let count = places.iter().filter(|place| **place == index).count() as i32;
            assert!((count - expected).abs() < 600, "{index} {count}");
        }
    }

    #[test]
    fn more_weight_moves_keys_to_it_alone() {
        let before = places(&seats(&[2, 2, 2, 3]), 20_000, None);
        let after = places(&seats(&[2, 4, 2, 3]), 20_000, None);
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 1));
        assert!(before != after);
    }
}

//! What a list of candidates remembers from pick to pick.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::balance::prequal::COLD_SHARE;

/// Step of the quantile's estimate, relative to it: it settles within a few hundred picks and then wavers by a few
/// percent.
const STEP: f32 = 1.0 / 32.0;

/// What a list of candidates remembers from pick to pick: the turn of a rotation, starting at 0, or how full is full
/// for [`prequal`](mod@crate::balance::prequal). Lives longer than the policy, so that a rebuilt rotation, one with new
/// weights too, goes on where the old one was instead of favouring its first candidates after each rebuild.
#[derive(Debug, Default)]
#[repr(align(64))] // on a cache line of its own: every pick writes it
pub struct Cursor {
    turn: AtomicU64,
    /// Of what [`prequal`](mod@crate::balance::prequal) has seen.
    pub(super) crowd: Quantile,
}

impl Cursor {
    /// One at the same turn, whose use leaves this one where it is: to know who would be next.
    pub fn copied(&self) -> Self {
        let turn = AtomicU64::new(self.turn.load(Ordering::Relaxed)); // relaxed: as below
        Self { turn, crowd: Quantile(AtomicU32::new(self.crowd.0.load(Ordering::Relaxed))) }
    }

    /// The turn now; the next caller gets the next one.
    #[inline]
    pub fn advance(&self) -> u64 {
        // Relaxed: each turn is given out once, and no other data hangs on it.
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// A running estimate of a quantile: up by a step for a sample above it, down for one below, in the proportion that
/// balances at the quantile (stochastic approximation, H. Robbins and S. Monro 1951).
#[derive(Debug, Default)]
pub struct Quantile(AtomicU32);

impl Quantile {
    /// The estimate; 0 before any sample.
    #[inline]
    pub fn get(&self) -> f32 {
        // Relaxed, here and below: an estimate that carries no other data. A step that two threads take at once may
        // be lost, which only slows it down.
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Adds samples.
    #[inline]
    pub fn observe(&self, samples: &[f32]) {
        let before = self.get();
        let direction: f32 =
            samples.iter().map(|sample| if *sample > before { COLD_SHARE } else { COLD_SHARE - 1.0 }).sum();
        let after = (before + direction * before.max(1.0) * STEP).max(0.0);
        if after != before {
            self.0.store(after.to_bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_settles_where_it_should() {
        let (quantile, mut rng) = (Quantile::default(), fastrand::Rng::with_seed(1));
        for _ in 0..3_000 {
            quantile.observe(&[(); 3].map(|()| rng.u32(0..100) as f32));
        }
        let mean = (0..3_000).map(|_| {
            quantile.observe(&[(); 3].map(|()| rng.u32(0..100) as f32));
            quantile.get()
        });
        let mean = mean.sum::<f32>() / 3_000.0;
        assert!((80.0..88.0).contains(&mean), "{mean}");
    }
}

//! What is random: times of service and of arrivals, and keys.

use std::f64::consts::TAU;

use crate::balance::hash::xxh64;
use crate::pool::Nanos;
use crate::simulate::spec::{Arrivals, Keys, Service, Shape};

/// A number above 0 and at most 1.
fn unit(rng: &mut fastrand::Rng) -> f64 {
    1.0 - rng.f64()
}

impl Service {
    /// A time of service in ns, at least 1.
    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> f64 {
        let factor = match self.shape {
            Shape::Constant => 1.0,
            Shape::Uniform => 2.0 * unit(rng),
            Shape::Exponential => -unit(rng).ln(),
            Shape::Lognormal { sigma } => {
                // Box and Muller's normal; the shift makes the mean 1.
                let normal = (-2.0 * unit(rng).ln()).sqrt() * (TAU * rng.f64()).cos();
                (sigma * normal - sigma * sigma / 2.0).exp()
            }
            Shape::Pareto { alpha } => (alpha - 1.0) / alpha * unit(rng).powf(-1.0 / alpha),
            Shape::Bimodal { share, factor } => {
                let short = 1.0 / (1.0 + share * (factor - 1.0));
                if rng.f64() < share { short * factor } else { short }
            }
        };
        (self.mean * factor).max(1.0)
    }
}

impl Arrivals {
    /// The time of the next arrival after `now`, both ns from the start; `None` where messages follow from others.
    pub(super) fn next(&self, now: Nanos, rng: &mut fastrand::Rng) -> Option<Nanos> {
        let gap = |rate: f64, rng: &mut fastrand::Rng| (-unit(rng).ln() * 1e9 / rate) as Nanos;
        match *self {
            Self::Closed { .. } => None,
            Self::Constant { rate } => Some(now + ((1e9 / rate) as Nanos).max(1)),
            Self::Poisson { rate } => Some(now + gap(rate, rng)),
            Self::Bursts { rate, every, lasting, factor } => {
                // Thinning: arrivals at the highest rate, of which each is kept with the share of the rate at its time.
                let highest = rate * factor.max(1.0);
                let mut at = now;
                loop {
                    at += gap(highest, rng);
                    let here = if at % every < lasting { rate * factor } else { rate };
                    if rng.f64() * highest < here {
                        return Some(at);
                    }
                }
            }
        }
    }
}

/// Keys to draw from: by how many of all messages a key or a more frequent one has, ascending to 1. 8 bytes a key, a
/// draw is a search.
#[derive(Debug)]
pub(super) struct Ring(Box<[f64]>);

impl Ring {
    pub(super) fn new(keys: Keys) -> Self {
        let shares: Vec<f64> = (1..=keys.count).map(|rank| f64::from(rank).powf(-keys.exponent)).collect();
        let all: f64 = shares.iter().sum();
        let mut sum = 0.0;
        let running = |share: f64| {
            sum += share / all;
            sum
        };
        Self(shares.into_iter().map(running).collect())
    }

    /// The hash of a key.
    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> u64 {
        let point = rng.f64();
        let rank = self.0.partition_point(|upto| *upto <= point).min(self.0.len().saturating_sub(1));
        xxh64(&(rank as u64).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_the_mean_it_is_given() {
        let shapes = [
            Shape::Constant,
            Shape::Uniform,
            Shape::Exponential,
            Shape::Lognormal { sigma: 1.0 },
            Shape::Pareto { alpha: 2.5 },
            Shape::Bimodal { share: 0.05, factor: 20.0 },
        ];
        for shape in shapes {
            let (service, mut rng) = (Service { mean: 1e6, shape }, fastrand::Rng::with_seed(1));
            let mean = (0..400_000).map(|_| service.draw(&mut rng)).sum::<f64>() / 400_000.0;
            assert!((mean / 1e6 - 1.0).abs() < 0.02, "{shape:?} {mean}");
        }
    }

    #[test]
    fn arrivals_have_their_rate_and_bursts_their_factor() {
        let bursts = Arrivals::Bursts { rate: 100.0, every: 1_000_000_000, lasting: 100_000_000, factor: 5.0 };
        let table = [(Arrivals::Constant { rate: 100.0 }, 100.0), (Arrivals::Poisson { rate: 100.0 }, 100.0)];
        let times = |arrivals: Arrivals| {
            let (mut rng, mut at, mut times) = (fastrand::Rng::with_seed(2), 0, Vec::new());
            while let Some(next) = arrivals.next(at, &mut rng).filter(|next| *next < 1_000_000_000_000) {
                at = next;
                times.push(at);
            }
            times
        };
        for (arrivals, rate) in table {
            let got = times(arrivals).len() as f64 / 1_000.0;
            assert!((got / rate - 1.0).abs() < 0.02, "{arrivals:?} {got}");
        }
        let (inside, outside): (Vec<u64>, Vec<u64>) =
            times(bursts).into_iter().partition(|at| at % 1_000_000_000 < 100_000_000);
        let ratio = (inside.len() as f64 / 0.1) / (outside.len() as f64 / 0.9);
        assert!((ratio / 5.0 - 1.0).abs() < 0.03, "{ratio}");
    }

    #[test]
    fn keys_have_the_shares_of_their_law() {
        for (exponent, first, second) in [(0.0, 0.01, 0.01), (1.0, 1.0 / 5.187_377_5, 0.5 / 5.187_377_5)] {
            let (ring, mut rng) = (Ring::new(Keys { count: 100, exponent }), fastrand::Rng::with_seed(3));
            let mut counts = std::collections::HashMap::<u64, u32>::new();
            (0..400_000).for_each(|_| *counts.entry(ring.draw(&mut rng)).or_default() += 1);
            assert_eq!(counts.len(), 100);
            for (rank, expected) in [(0u64, first), (1, second)] {
                let share = f64::from(counts[&xxh64(&rank.to_le_bytes())]) / 400_000.0;
                assert!((share / expected - 1.0).abs() < 0.06, "{exponent} {rank}: {share}");
            }
        }
    }
}

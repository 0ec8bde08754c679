//! Random times: of service and of arrivals.

use std::f64::consts::TAU;

use crate::pool::Nanos;
use crate::simulate::spec::{Arrivals, Service, Shape};

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
}

//! What is simulated: arrivals, servers and their troubles; and what is refused.

use crate::error::PoolError;
use crate::pool::{Admin, Nanos, PoolSpec};

/// The most destinations × routers: each router has its own view of every destination.
const MOST_VIEWS: usize = 4_000_000;
/// As above where they share: 4 kB each, as in use.
const MOST_SHARED_VIEWS: usize = 100_000;
/// The most routers that share, as of processes.
const MOST_SHARING: usize = 64;
/// The most points of the time series.
const MOST_BUCKETS: usize = 1_000;
/// The most keys: 8 MB of shares.
const MOST_KEYS: u32 = 1_000_000;
/// The most places of one server.
const MOST_PLACES: u32 = 100_000;

/// A pool, the servers behind its destinations, and the load on them.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The pool, as it would be in use.
    pub pool: PoolSpec,
    /// The server behind each of the pool's members, in their order.
    pub servers: Vec<ServerSpec>,
    /// What the operator wants of members that are not just in use, by id.
    pub admin: Vec<(String, Admin)>,
    /// When messages come.
    pub arrivals: Arrivals,
    /// How long they come, ns. What is in flight then is finished.
    pub duration: Nanos,
    /// Messages that come before this, ns, are served but not counted.
    pub warmup: Nanos,
    /// How many routers there are; a message comes to any of them at random.
    pub routers: usize,
    /// Whether the routers share what processes do that share state: messages in flight, averages of latency and of
    /// failures, ejections, pauses and trials; and not counters, utilisation, latency by load, turns or weights.
    pub shared: bool,
    /// How long a router waits for an answer; `None`: for ever. The server works on a message given up on to its end.
    pub timeout: Option<Nanos>,
    /// Attempts for one message, each on another destination, at least 1.
    pub attempts: u32,
    /// Longest wait before the second attempt, drawn evenly from 0 up; doubles with each further one.
    pub backoff: Nanos,
    /// Points of the time series, 1 to 1,000.
    pub buckets: usize,
    /// The keys of messages, for policies by key; `None`: they have none.
    pub keys: Option<Keys>,
    /// Everything random follows from it. Equal seeds give every policy the same arrivals and the same work.
    pub seed: u64,
}

/// Keys of messages: the k-th most frequent of `count` has a share in proportion to k^-exponent, as Zipf's law has it;
/// with exponent 0 all are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keys {
    /// How many there are, 1 to 1,000,000.
    pub count: u32,
    /// 0 to 10.
    pub exponent: f64,
}

/// When messages come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Independently of each other, so many a second on average.
    Poisson {
        /// Messages a second.
        rate: f64,
    },
    /// At equal distances.
    Constant {
        /// Messages a second.
        rate: f64,
    },
    /// As `Poisson`, `factor` times as many in the first `lasting` of every `every`.
    Bursts {
        /// Messages a second outside of bursts.
        rate: f64,
        /// From the start of one burst to that of the next, ns.
        every: Nanos,
        /// Length of a burst, ns.
        lasting: Nanos,
        /// How many times as many come in a burst.
        factor: f64,
    },
    /// So many clients, each of which sends its next message once its last is settled.
    Closed {
        /// Clients.
        clients: u32,
    },
}

/// How long a server works on a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// On average, ns, above 0.
    pub mean: f64,
    /// How it varies.
    pub shape: Shape,
}

/// How the time of service varies around its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Not at all.
    Constant,
    /// Evenly between 0 and twice the mean.
    Uniform,
    /// Exponentially: without memory.
    Exponential,
    /// Its logarithm is normal, with this standard deviation.
    Lognormal {
        /// Above 0.
        sigma: f64,
    },
    /// A heavy tail: P(longer than x) falls like x^-alpha.
    Pareto {
        /// Above 1; below 2 the variance is infinite.
        alpha: f64,
    },
    /// Most are short, and a `share` takes `factor` times as long.
    Bimodal {
        /// 0..=1.
        share: f64,
        /// At least 1.
        factor: f64,
    },
}

/// The server behind a destination: first come, first served, at a number of places.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpec {
    /// Time of service.
    pub service: Service,
    /// Messages served at once; the others wait in line. `None`: all of them.
    pub places: Option<u32>,
    /// What is wrong with it, and when.
    pub troubles: Vec<Trouble>,
}

/// Something wrong with a server, for some time or again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trouble {
    /// What.
    pub kind: TroubleKind,
    /// Since when, ns from the start.
    pub from: Nanos,
    /// Until when; `Nanos::MAX`: to the end.
    pub until: Nanos,
    /// Within that time: the first so many ns of each period (`lasting`, `every`); `None`: all of it.
    pub flapping: Option<(Nanos, Nanos)>,
}

/// What may be wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TroubleKind {
    /// Work takes so many times as long.
    Slow(f64),
    /// This share of messages fails, after the usual work.
    Failing(f64),
    /// This share of messages fails at once ([`super::REFUSAL`]), without work.
    FailingFast(f64),
    /// No answer ever comes: attempts end by their time-out.
    Dead,
    /// With more messages than this waiting in line, it asks for a pause.
    Overloaded {
        /// Messages in line, those in service not counted.
        line: usize,
        /// The pause asked for, if one is named.
        retry_after: Option<Nanos>,
    },
}

impl Trouble {
    /// Whether it holds at `at`, ns from the start.
    pub(super) fn holds(&self, at: Nanos) -> bool {
        let within = (self.from..self.until).contains(&at);
        within && self.flapping.is_none_or(|(lasting, every)| (at - self.from) % every < lasting)
    }
}

/// What cannot be simulated, and how to write it instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// The scenario.
    #[error("{place}: {problem}")]
    Scenario {
        /// The key at fault.
        place: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// The pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

fn refuse(place: impl Into<String>, problem: &str) -> Result<(), SimulationError> {
    Err(SimulationError::Scenario { place: place.into(), problem: problem.to_owned() })
}

/// Whether `value` is a number above `low` that can be computed with.
fn above(low: f64, value: f64) -> bool {
    value.is_finite() && value > low
}

impl Simulation {
    /// Checks what the types leave open, but for the pool.
    ///
    /// # Errors
    /// [`SimulationError`], naming the key and the remedy.
    pub fn check(&self) -> Result<(), SimulationError> {
        if self.servers.len() != self.pool.members.len() {
            return refuse("servers", "give one for each destination of the pool");
        }
        if self.duration == 0 || self.warmup >= self.duration {
            return refuse("duration", "must be above 0 and longer than warmup");
        }
        if self.routers == 0 || self.routers.saturating_mul(self.servers.len()) > MOST_VIEWS {
            return refuse("routers", "must be at least 1; routers × destinations at most 4,000,000");
        }
        if self.shared && (self.routers > MOST_SHARING || self.routers * self.servers.len() > MOST_SHARED_VIEWS) {
            return refuse("routers", "at most 64 share what they know; routers × destinations at most 100,000 then");
        }
        if self.attempts == 0 {
            return refuse("attempts", "must be at least 1, the first included");
        }
        if !(1..=MOST_BUCKETS).contains(&self.buckets) {
            return refuse("points", "must be 1 to 1,000");
        }
        if self.timeout == Some(0) {
            return refuse("timeout", "must be above 0");
        }
        if self.keys.is_some_and(|keys| !(1..=MOST_KEYS).contains(&keys.count)) {
            return refuse("keys.count", "must be 1 to 1,000,000");
        }
        if self.keys.is_some_and(|keys| !(0.0..=10.0).contains(&keys.exponent)) {
            return refuse("keys.exponent", "must be 0 to 10");
        }
        self.arrivals.check()?;
        for (server, member) in self.servers.iter().zip(&self.pool.members) {
            server.check(&member.id, self.timeout.is_some())?;
        }
        Ok(())
    }
}

impl Arrivals {
    fn check(&self) -> Result<(), SimulationError> {
        let rate = match *self {
            Self::Poisson { rate } | Self::Constant { rate } => rate,
            Self::Bursts { rate, every, lasting, factor } => {
                if lasting == 0 || lasting >= every || !above(0.0, factor) {
                    return refuse("arrivals", "lasting must be above 0 and below every, factor above 0");
                }
                rate * factor.max(1.0)
            }
            Self::Closed { clients } if (1..=1_000_000).contains(&clients) => return Ok(()),
            Self::Closed { .. } => return refuse("arrivals", "clients must be 1 to 1,000,000"),
        };
        if above(0.0, rate) && rate <= 1e9 {
            Ok(())
        } else {
            refuse("rate", "must be above 0 and at most 10^9 a second")
        }
    }
}

impl ServerSpec {
    fn check(&self, id: &str, has_timeout: bool) -> Result<(), SimulationError> {
        if !above(0.0, self.service.mean) || self.service.mean > 1e15 {
            return refuse(format!("destinations.{id}.service.mean"), "must be above 0 and at most 11 days");
        }
        let fine = match self.service.shape {
            Shape::Constant | Shape::Uniform | Shape::Exponential => true,
            Shape::Lognormal { sigma } => above(0.0, sigma) && sigma <= 10.0,
            Shape::Pareto { alpha } => above(1.0, alpha),
            Shape::Bimodal { share, factor } => (0.0..=1.0).contains(&share) && above(0.0, factor) && factor >= 1.0,
        };
        if !fine {
            return refuse(
                format!("destinations.{id}.service"),
                "sigma must be above 0 and at most 10, alpha above 1, share 0 to 1, factor at least 1",
            );
        }
        if self.places.is_some_and(|places| !(1..=MOST_PLACES).contains(&places)) {
            return refuse(format!("destinations.{id}.concurrency"), "must be 1 to 100,000, or unlimited");
        }
        let place = || format!("troubles of {id}");
        for trouble in &self.troubles {
            if trouble.from >= trouble.until {
                return refuse(place(), "until must be later than from");
            }
            if trouble.flapping.is_some_and(|(lasting, every)| lasting == 0 || lasting >= every) {
                return refuse(place(), "lasting must be above 0 and below every");
            }
            match trouble.kind {
                TroubleKind::Slow(factor) if !above(0.0, factor) => return refuse(place(), "factor must be above 0"),
                TroubleKind::Failing(share) | TroubleKind::FailingFast(share) if !(0.0..=1.0).contains(&share) => {
                    return refuse(place(), "share must be 0 to 1");
                }
                TroubleKind::Dead if !has_timeout => {
                    return refuse(place(), "a dead destination never answers; set timeout, so that attempts end");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::testing::simulation;

    #[test]
    fn what_cannot_be_simulated_is_refused_with_the_key_at_fault() {
        type Spoil = fn(&mut Simulation);
        let trouble = |kind| Trouble { kind, from: 0, until: Nanos::MAX, flapping: None };
        let table: [(Spoil, &str); 17] = [
            (|spec| spec.servers.truncate(1), "servers"),
            (|spec| spec.warmup = spec.duration, "duration"),
            (|spec| spec.routers = 0, "routers"),
            (|spec| (spec.routers, spec.shared) = (65, true), "routers"),
            (|spec| spec.attempts = 0, "attempts"),
            (|spec| spec.buckets = 0, "points"),
            (|spec| spec.timeout = Some(0), "timeout"),
            (|spec| spec.keys = Some(Keys { count: 0, exponent: 1.0 }), "keys.count"),
            (|spec| spec.keys = Some(Keys { count: 9, exponent: -1.0 }), "keys.exponent"),
            (|spec| spec.arrivals = Arrivals::Poisson { rate: f64::NAN }, "rate"),
            (|spec| spec.arrivals = Arrivals::Bursts { rate: 1.0, every: 5, lasting: 5, factor: 2.0 }, "arrivals"),
            (|spec| spec.arrivals = Arrivals::Closed { clients: 0 }, "arrivals"),
            (|spec| spec.servers[0].service.mean = 0.0, "destinations.d0.service.mean"),
            (|spec| spec.servers[0].service.shape = Shape::Pareto { alpha: 1.0 }, "destinations.d0.service"),
            (|spec| spec.servers[1].places = Some(0), "destinations.d1.concurrency"),
            (|spec| spec.servers[1].troubles[0].until = 0, "troubles of d1"),
            (|spec| spec.servers[1].troubles[0].kind = TroubleKind::Dead, "troubles of d1"),
        ];
        let mut good = simulation(crate::balance::Choice::default(), 2, 100.0);
        good.servers[1].troubles.push(trouble(TroubleKind::Slow(2.0)));
        assert_eq!(good.check(), Ok(()));
        for (spoil, expected) in table {
            let mut spec = good.clone();
            spoil(&mut spec);
            match spec.check() {
                Err(SimulationError::Scenario { place, .. }) => assert_eq!(place, expected),
                other => unreachable!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn flapping_repeats_from_its_start_to_its_end() {
        let kind = TroubleKind::Dead;
        let trouble = Trouble { kind, from: 100, until: 200, flapping: Some((10, 25)) };
        let held: Vec<u64> = (0..300).filter(|at| trouble.holds(*at)).collect();
        let expected: Vec<u64> = [100, 125, 150, 175].into_iter().flat_map(|from| from..from + 10).collect();
        assert_eq!(held, expected);
    }
}

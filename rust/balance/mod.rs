//! How one of several candidates is picked: one file per family of policy.
//!
//! - `round_robin` and `weighted_round_robin` are in [`rotation`].
//! - `random` is in [`mod@random`], with the alias table that other families sample from.
//! - `least_connections` and `weighted_least_connections` are in [`connections`].
//! - `response_time` is in [`latency`].
//! - `health_based` is in [`score`].
//!
//! A [`Policy`] is built once for a fixed list of candidates and never changes; what changes between picks is the
//! candidates' own live state ([`Candidate`]) and the [`Cursor`]. No policy takes a lock. A pick costs O(1), except
//! for least connections up to [`connections::EXACT_UP_TO`] candidates, which looks at all of them.
//!
//! Every family answers the same contract: of the candidates that `usable` accepts, one is returned, and `None` only
//! if there is none. Ties are broken at random. A candidate that is ramping up (see [`Candidate::ramp`]) gets that
//! fraction of its share.

pub mod connections;
pub mod latency;
pub mod random;
pub mod rotation;
pub mod score;

use std::fmt;
use std::str::FromStr;

pub use rotation::Cursor;

/// The balancing policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PolicyKind {
    /// In turn. Weights other than 0 are ignored.
    #[default]
    RoundRobin,
    /// In turn, by weight, smoothly: at every prefix of the cycle each count is within 1 of its exact share.
    WeightedRoundRobin,
    /// At random, by weight.
    Random,
    /// Fewest messages in flight. Weights other than 0 are ignored.
    LeastConnections,
    /// Fewest messages in flight for its weight.
    WeightedLeastConnections,
    /// Lowest peak latency × messages in flight ÷ success rate, of two drawn at random.
    ResponseTime,
    /// At random, by weight × success rate, halved for degraded destinations.
    HealthBased,
}

impl PolicyKind {
    /// All policies, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::Random,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
        Self::ResponseTime,
        Self::HealthBased,
    ];

    /// The name in configurations and decisions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::WeightedLeastConnections => "weighted_least_connections",
            Self::ResponseTime => "response_time",
            Self::HealthBased => "health_based",
        }
    }

    /// Whether weights other than 0 matter. Where they do not, candidates are built with weight 1.
    pub const fn uses_weights(self) -> bool {
        !matches!(self, Self::RoundRobin | Self::LeastConnections)
    }

    /// Whether degraded candidates share with the healthy ones (at half their score) instead of waiting behind them.
    pub const fn mixes_degraded(self) -> bool {
        matches!(self, Self::HealthBased)
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no policy {0:?}; there are round_robin, weighted_round_robin, random, least_connections, \
         weighted_least_connections, response_time and health_based"
)]
pub struct UnknownPolicy(pub String);

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// What a policy may ask of a candidate. Times are in ns.
pub trait Candidate {
    /// Share, at least 1; 1 for all where the policy does not use weights.
    fn weight(&self) -> u32;
    /// Messages held now.
    fn in_flight(&self) -> u32;
    /// Estimated latency in ns, decayed to `now`; `None` before any sample.
    fn latency(&self, now: u64) -> Option<f32>;
    /// Share of successes to expect, 0..=1.
    fn success(&self, now: u64) -> f32;
    /// Health as a factor: 1 healthy, 0.5 degraded.
    fn health(&self) -> f32;
    /// Slow start: the fraction (0.1..=1) of its share that the candidate may take after a recovery.
    fn ramp(&self, now: u64) -> f32;
}

/// A policy with what it precomputes for one list of candidates.
#[derive(Debug)]
pub enum Policy {
    /// In turn.
    Rotation(rotation::Rotation),
    /// At random.
    Random(random::Sampler),
    /// Fewest in flight.
    Connections(connections::LeastConnections),
    /// Lowest cost of two.
    Latency(latency::PeakLatency),
    /// At random, by score.
    Score(score::Scored),
}

impl Policy {
    /// Precomputes a policy for candidates of these weights (at least one; a weight of 0 counts as 1).
    pub fn build(kind: PolicyKind, weights: &[u32]) -> Self {
        let weights: Vec<u32> =
            weights.iter().map(|weight| if kind.uses_weights() { (*weight).max(1) } else { 1 }).collect();
        match kind {
            PolicyKind::RoundRobin | PolicyKind::WeightedRoundRobin => {
                Self::Rotation(rotation::Rotation::build(&weights))
            }
            PolicyKind::Random => Self::Random(random::Sampler::build(&weights)),
            PolicyKind::LeastConnections | PolicyKind::WeightedLeastConnections => {
                Self::Connections(connections::LeastConnections::build(&weights))
            }
            PolicyKind::ResponseTime => Self::Latency(latency::PeakLatency::build(&weights)),
            PolicyKind::HealthBased => Self::Score(score::Scored::build(&weights)),
        }
    }

    /// Picks one of the `candidates` (the list the policy was built for) that `usable` accepts; `None` if none is.
    #[inline]
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        cursor: &Cursor,
        now: u64,
        rng: &mut fastrand::Rng,
        usable: impl Fn(&C) -> bool,
    ) -> Option<usize> {
        match self {
            Self::Rotation(rotation) => {
                let first = rotation.next(cursor);
                take_or_else(candidates, first, now, rng, usable, |rng| rng.usize(..candidates.len()))
            }
            Self::Random(sampler) => {
                let first = sampler.draw(rng);
                take_or_else(candidates, first, now, rng, usable, |rng| sampler.draw(rng))
            }
            Self::Connections(policy) => policy.pick(candidates, now, rng, usable),
            Self::Latency(policy) => policy.pick(candidates, now, rng, usable),
            Self::Score(policy) => policy.pick(candidates, now, rng, usable),
        }
    }
}

/// `first` if it is usable and its ramp lets it through; else another usable one at random, by weight and ramp, so
/// that the share of one that is out is spread over all others and not heaped on its neighbour.
#[inline]
fn take_or_else<C: Candidate>(
    candidates: &[C],
    first: usize,
    now: u64,
    rng: &mut fastrand::Rng,
    usable: impl Fn(&C) -> bool,
    draw: impl Fn(&mut fastrand::Rng) -> usize,
) -> Option<usize> {
    let candidate = candidates.get(first)?;
    if usable(candidate) {
        let ramp = candidate.ramp(now);
        if ramp >= 1.0 || rng.f32() < ramp {
            return Some(first);
        }
    }
    random::any_usable(candidates, rng, &draw, |candidate| {
        if usable(candidate) { candidate.weight() as f32 * candidate.ramp(now) } else { 0.0 }
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Candidate;

    /// A candidate whose state is set by hand.
    #[derive(Debug, Clone)]
    pub(crate) struct Fake {
        pub(crate) weight: u32,
        pub(crate) in_flight: u32,
        pub(crate) latency: Option<f32>,
        pub(crate) success: f32,
        pub(crate) health: f32,
        pub(crate) ramp: f32,
    }

    impl Fake {
        pub(crate) fn of_weight(weight: u32) -> Self {
            Self { weight, in_flight: 0, latency: None, success: 1.0, health: 1.0, ramp: 1.0 }
        }

        pub(crate) fn all(weights: &[u32]) -> Vec<Self> {
            weights.iter().map(|weight| Self::of_weight(*weight)).collect()
        }
    }

    impl Candidate for Fake {
        fn weight(&self) -> u32 {
            self.weight
        }
        fn in_flight(&self) -> u32 {
            self.in_flight
        }
        fn latency(&self, _now: u64) -> Option<f32> {
            self.latency
        }
        fn success(&self, _now: u64) -> f32 {
            self.success
        }
        fn health(&self) -> f32 {
            self.health
        }
        fn ramp(&self, _now: u64) -> f32 {
            self.ramp
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Fake;
    use super::*;

    fn shares(kind: PolicyKind, candidates: &[Fake], picks: usize, usable: impl Fn(&Fake) -> bool) -> Vec<usize> {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        let (policy, cursor, mut rng) = (Policy::build(kind, &weights), Cursor::default(), fastrand::Rng::with_seed(7));
        let mut counts = vec![0; candidates.len()];
        for _ in 0..picks {
            counts[policy.pick(candidates, &cursor, 0, &mut rng, &usable).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn names_round_trip_and_unknown_ones_are_listed() {
        for kind in PolicyKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("fastest".parse::<PolicyKind>().unwrap_err().to_string().contains("health_based"));
    }

    #[test]
    fn every_policy_finds_the_only_usable_candidate_and_none_if_there_is_none() {
        for kind in PolicyKind::ALL {
            for count in [1, 2, 3, 64, 65, 1_000] {
                let mut candidates = Fake::all(&vec![2; count]);
                candidates[count / 2].weight = 3;
                let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
                let (policy, cursor) = (Policy::build(kind, &weights), Cursor::default());
                let mut rng = fastrand::Rng::with_seed(1);
                let only = policy.pick(&candidates, &cursor, 0, &mut rng, |candidate| candidate.weight == 3);
                assert_eq!(only, Some(count / 2), "{kind} {count}");
                assert_eq!(policy.pick(&candidates, &cursor, 0, &mut rng, |_| false), None, "{kind} {count}");
            }
        }
    }

    #[test]
    fn every_policy_spreads_the_share_of_an_unusable_candidate_evenly() {
        for kind in PolicyKind::ALL {
            let mut candidates = Fake::all(&[1; 5]);
            candidates[0].health = 0.25; // marks the one that is out
            let counts = shares(kind, &candidates, 8_000, |candidate| candidate.health == 1.0);
            assert_eq!(counts[0], 0);
            assert!(counts[1..].iter().all(|count| (1_850..2_150).contains(count)), "{kind} {counts:?}");
        }
    }

    #[test]
    fn a_ramping_candidate_gets_its_fraction_of_random_and_rotating_policies() {
        for kind in [PolicyKind::RoundRobin, PolicyKind::Random, PolicyKind::HealthBased] {
            let mut candidates = Fake::all(&[1; 4]);
            candidates[2].ramp = 0.1;
            let counts = shares(kind, &candidates, 40_000, |_| true);
            assert!((800..1_400).contains(&counts[2]), "{kind} {counts:?}");
        }
    }
}

//! The policies by name.

use std::fmt;
use std::str::FromStr;

/// How a pool comes by its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is this one.
    Fixed(PolicyKind),
    /// By the pool's shape, and by what is observed; see [`auto`](crate::balance::auto).
    Auto {
        /// Whether messages go by key.
        keyed: bool,
    },
}

impl Choice {
    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed(kind) => kind.as_str(),
            Self::Auto { .. } => AUTO,
        }
    }

    /// Whether a message's key decides.
    pub const fn uses_key(self) -> bool {
        match self {
            Self::Fixed(kind) => kind.uses_key(),
            Self::Auto { keyed } => keyed,
        }
    }

    /// As [`PolicyKind::takes_adjustment`].
    pub const fn takes_adjustment(self) -> bool {
        match self {
            Self::Fixed(kind) => kind.takes_adjustment(),
            Self::Auto { keyed } => !keyed,
        }
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::Fixed(PolicyKind::default())
    }
}

impl From<PolicyKind> for Choice {
    fn from(kind: PolicyKind) -> Self {
        Self::Fixed(kind)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Choice {
    type Err = UnknownPolicy;

    /// `auto` by itself is without keys.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        if name == AUTO { Ok(Self::Auto { keyed: false }) } else { name.parse().map(Self::Fixed) }
    }
}

const AUTO: &str = "auto";

/// The balancing policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PolicyKind {
    /// In turn. Weights other than 0 are ignored.
    #[default]
    RoundRobin,
    /// In turn, by weight, smoothly: at every prefix of the cycle each count is within 1 of its exact share.
    WeightedRoundRobin,
    /// At random. Weights other than 0 are ignored.
    Random,
    /// At random, by weight.
    WeightedRandom,
    /// Fewest messages in flight ÷ success rate: of all up to 64, then of two drawn at random. Weights other than 0 are
    /// ignored.
    LeastConnections,
    /// As `LeastConnections`, for its weight.
    WeightedLeastConnections,
    /// Lowest peak latency × messages in flight ÷ success rate: of all up to 16, where latencies within a factor of two
    /// count as equal, then of two drawn at random.
    ResponseTime,
    /// Of three drawn at random, the fastest ÷ success rate that is not among those with most in flight; else the one
    /// with fewest.
    Prequal,
    /// At random, by weight × success rate, halved for degraded destinations.
    HealthBased,
    /// By the message's key, through a table: the same key to the same destination.
    Maglev,
    /// By the message's key, by the highest score.
    Rendezvous,
    /// At random, by weights that something else learns and publishes, with the probability of every choice.
    Adaptive,
}

impl PolicyKind {
    /// All policies, in the order of the documentation and of their declaration.
    pub const ALL: [Self; 12] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::Random,
        Self::WeightedRandom,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
        Self::ResponseTime,
        Self::Prequal,
        Self::HealthBased,
        Self::Maglev,
        Self::Rendezvous,
        Self::Adaptive,
    ];

    /// The name in configurations and decisions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Random => "random",
            Self::WeightedRandom => "weighted_random",
            Self::LeastConnections => "least_connections",
            Self::WeightedLeastConnections => "weighted_least_connections",
            Self::ResponseTime => "response_time",
            Self::Prequal => "prequal",
            Self::HealthBased => "health_based",
            Self::Maglev => "maglev",
            Self::Rendezvous => "rendezvous",
            Self::Adaptive => "adaptive",
        }
    }

    /// Whether weights other than 0 matter. Where they do not, candidates are built with weight 1.
    pub const fn uses_weights(self) -> bool {
        !matches!(self, Self::RoundRobin | Self::Random | Self::LeastConnections)
    }

    /// Whether weights may change all the time: they matter, and no key would change its place by it.
    pub const fn takes_adjustment(self) -> bool {
        self.uses_weights() && !self.uses_key()
    }

    /// Whether a message's key decides.
    pub const fn uses_key(self) -> bool {
        matches!(self, Self::Maglev | Self::Rendezvous)
    }

    /// Whether it asks for latencies by messages in flight ([`Candidate::latency_under_load`]).
    ///
    /// [`Candidate::latency_under_load`]: crate::balance::Candidate::latency_under_load
    pub const fn uses_latency_by_load(self) -> bool {
        matches!(self, Self::Prequal)
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
#[error("there is no policy {0:?}; there are {names}", names = names())]
pub struct UnknownPolicy(pub String);

fn names() -> String {
    format!("{}, {AUTO}", PolicyKind::ALL.map(PolicyKind::as_str).join(", "))
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_are_listed() {
        for (place, kind) in PolicyKind::ALL.into_iter().enumerate() {
            assert_eq!((kind.as_str().parse(), kind as usize), (Ok(kind), place));
            assert_eq!(kind.as_str().parse(), Ok(Choice::Fixed(kind)));
        }
        assert_eq!("auto".parse(), Ok(Choice::Auto { keyed: false }));
        assert!("automatic".parse::<Choice>().unwrap_err().to_string().ends_with("adaptive, auto"));
        assert!("fastest".parse::<PolicyKind>().unwrap_err().to_string().contains("health_based, maglev"));
    }
}

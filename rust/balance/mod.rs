//! How one of several candidates is picked: one file per family of policy.
//!
//! - `round_robin` and `weighted_round_robin` are in [`rotation`].
//! - `random`, `weighted_random` and `adaptive` are in [`mod@random`], with the alias table that others sample from.
//! - `least_connections` and `weighted_least_connections` are in [`connections`].
//! - `response_time` is in [`latency`], `prequal` in [`mod@prequal`].
//! - `health_based` is in [`score`].
//! - [`mod@cursor`]: what a list of candidates remembers from pick to pick.
//! - [`mod@auto`] says which of them a pool begins with, and when it goes on to another.
//! - `maglev` is in [`mod@maglev`], `rendezvous` in [`mod@rendezvous`]; the hash of both is in [`hash`].
//!
//! A [`Policy`] is built once for a fixed list of candidates and never changes; what changes between picks is the
//! candidates' own live state ([`Candidate`]) and the [`Cursor`]. No policy takes a lock. A pick costs O(1), except
//! for least connections and response time, which look at all candidates up to [`connections::EXACT_UP_TO`] and
//! [`latency::EXACT_UP_TO`], `rendezvous`, which always does, and `adaptive` where candidates have caps, ramp up or are
//! excluded.
//!
//! Every family answers the same contract: of the candidates that `usable` accepts, one is returned, and `None` only
//! if there is none. Ties are broken at random. A candidate that is ramping up (see [`Candidate::ramp`]) gets that
//! fraction of its share.

pub mod auto;
pub mod connections;
pub mod cursor;
pub mod hash;
mod kind;
pub mod latency;
pub mod maglev;
pub mod prequal;
pub mod random;
pub mod rendezvous;
pub mod rotation;
pub mod score;

use std::sync::Arc;

pub use cursor::Cursor;
pub use kind::{Choice, PolicyKind, UnknownPolicy};

/// Lowest success rate that costs are divided by: a candidate that only fails costs a thousand times as much, and is
/// still tried where all others do as well.
const MIN_SUCCESS: f32 = 1e-3;

/// What a policy may ask of a candidate. Times are in ns.
pub trait Candidate {
    /// Share, at least 1; 1 for all where the policy does not use weights.
    fn weight(&self) -> u32;
    /// Messages held now.
    fn in_flight(&self) -> u32;
    /// Estimated latency in ns, decayed to `now`; `None` before any sample.
    fn latency(&self, now: u64) -> Option<f32>;
    /// Mean latency in ns of late with about as many messages in flight as now; `None` where nothing is known.
    fn latency_under_load(&self, now: u64) -> Option<f32>;
    /// Share of successes to expect, 0..=1.
    fn success(&self, now: u64) -> f32;
    /// Health as a factor: 1 healthy, 0.5 degraded.
    fn health(&self) -> f32;
    /// Slow start: the fraction (0.1..=1) of its share that the candidate may take after a recovery.
    fn ramp(&self, now: u64) -> f32;
}

/// A candidate's place in the list that a policy is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Share; 0 counts as 1.
    pub weight: u32,
    /// The hash of its id, which affinity tells it by.
    pub salt: u64,
}

/// What one pick goes by, besides the candidates.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// What the list remembers from pick to pick.
    pub cursor: &'a Cursor,
    /// The hash of the message's key, if it has one.
    pub key: Option<u64>,
    /// The time, in ns.
    pub now: u64,
    /// Whether surely all candidates are usable and none is ramping up: then probabilities follow from weights alone.
    pub open: bool,
}

/// Which candidate was picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Its index.
    pub index: usize,
    /// The probability with which it was drawn, where weights alone decide and it is known exactly.
    pub propensity: Option<f64>,
}

impl Draw {
    fn at(index: usize) -> Self {
        Self { index, propensity: None }
    }
}

/// A policy with what it precomputes for one list of candidates.
#[derive(Debug)]
pub enum Policy {
    /// In turn.
    Rotation(rotation::Rotation),
    /// At random.
    Random(random::Weighted),
    /// Fewest in flight.
    Connections(connections::LeastConnections),
    /// Lowest cost of all, or of two.
    Latency(latency::PeakLatency),
    /// Fastest cold one of three.
    Prequal(prequal::Prequal),
    /// At random, by score.
    Score(score::Scored),
    /// By key, through a table.
    Maglev(maglev::Maglev),
    /// By key, highest score.
    Rendezvous(rendezvous::Rendezvous),
}

impl Policy {
    /// Precomputes a policy for candidates in these seats (at least one), in little time: a pick may wait for it. `table`
    /// is what `maglev` goes by, made of these seats or of more; other policies need none, and without one its keys are
    /// found by `rendezvous`.
    pub fn build(kind: PolicyKind, seats: &[Seat], table: Option<&Arc<maglev::Table>>) -> Self {
        let weights: Vec<u32> =
            seats.iter().map(|seat| if kind.uses_weights() { seat.weight.max(1) } else { 1 }).collect();
        match kind {
            PolicyKind::RoundRobin | PolicyKind::WeightedRoundRobin => {
                Self::Rotation(rotation::Rotation::build(&weights))
            }
            PolicyKind::Random | PolicyKind::WeightedRandom => Self::Random(random::Weighted::build(&weights, false)),
            PolicyKind::Adaptive => Self::Random(random::Weighted::build(&weights, true)),
            PolicyKind::LeastConnections | PolicyKind::WeightedLeastConnections => {
                Self::Connections(connections::LeastConnections::build(&weights))
            }
            PolicyKind::ResponseTime => Self::Latency(latency::PeakLatency::build(&weights)),
            PolicyKind::Prequal => Self::Prequal(prequal::Prequal::build(&weights)),
            PolicyKind::HealthBased => Self::Score(score::Scored::build(&weights)),
            PolicyKind::Maglev | PolicyKind::Rendezvous => match table.filter(|_| kind == PolicyKind::Maglev) {
                Some(table) => Self::Maglev(maglev::Maglev::build(Arc::clone(table), seats, &weights)),
                None => Self::Rendezvous(rendezvous::Rendezvous::build(seats, &weights)),
            },
        }
    }

    /// Picks one of the `candidates` (the list the policy was built for) that `usable` accepts; `None` if none is.
    #[inline]
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        occasion: &Occasion<'_>,
        rng: &mut fastrand::Rng,
        usable: impl Fn(&C) -> bool,
    ) -> Option<Draw> {
        let now = occasion.now;
        match self {
            Self::Rotation(rotation) => {
                let first = rotation.next(occasion.cursor);
                take_or_else(candidates, first, now, rng, usable, |rng| rng.usize(..candidates.len())).map(Draw::at)
            }
            Self::Random(policy) => policy.pick(candidates, occasion, rng, usable),
            Self::Connections(policy) => policy.pick(candidates, now, rng, usable).map(Draw::at),
            Self::Latency(policy) => policy.pick(candidates, now, rng, usable).map(Draw::at),
            Self::Prequal(policy) => policy.pick(candidates, occasion, rng, usable).map(Draw::at),
            Self::Score(policy) => policy.pick(candidates, now, rng, usable).map(Draw::at),
            Self::Maglev(policy) => policy.pick(candidates, occasion, rng, usable),
            Self::Rendezvous(policy) => policy.pick(candidates, occasion, rng, usable),
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
    use super::{Candidate, Cursor, Occasion, Seat, hash};

    /// Seats of these weights, each with an id of its own.
    pub(crate) fn seats(weights: &[u32]) -> Vec<Seat> {
        let seat = |(index, weight): (usize, &u32)| Seat { weight: *weight, salt: salt(index) };
        weights.iter().enumerate().map(seat).collect()
    }

    pub(crate) fn salt(index: usize) -> u64 {
        hash::xxh64(format!("destination-{index}").as_bytes())
    }

    /// A pick at time 0 without a key.
    pub(crate) fn occasion(cursor: &Cursor) -> Occasion<'_> {
        Occasion { cursor, key: None, now: 0, open: false }
    }

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
        fn latency_under_load(&self, _now: u64) -> Option<f32> {
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
    use super::testing::{Fake, occasion, seats};
    use super::*;

    /// As a pool builds it.
    fn built(kind: PolicyKind, weights: &[u32]) -> Policy {
        let seats = seats(weights);
        let table = (kind == PolicyKind::Maglev).then(|| Arc::new(maglev::Table::build(&seats)));
        Policy::build(kind, &seats, table.as_ref())
    }

    fn shares(kind: PolicyKind, candidates: &[Fake], picks: usize, usable: impl Fn(&Fake) -> bool) -> Vec<usize> {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        let policy = built(kind, &weights);
        let (cursor, mut rng) = (Cursor::default(), fastrand::Rng::with_seed(7));
        let mut counts = vec![0; candidates.len()];
        for number in 0..picks {
            let key = Some(hash::xxh64(&number.to_le_bytes()));
            let occasion = Occasion { key, ..occasion(&cursor) };
            counts[policy.pick(candidates, &occasion, &mut rng, &usable).unwrap().index] += 1;
        }
        counts
    }

    #[test]
    fn every_policy_finds_the_only_usable_candidate_and_none_if_there_is_none() {
        for kind in PolicyKind::ALL {
            for count in [1, 2, 3, 64, 65, 1_000] {
                let mut candidates = Fake::all(&vec![2; count]);
                candidates[count / 2].weight = 3;
                let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
                let (policy, cursor) = (built(kind, &weights), Cursor::default());
                let mut rng = fastrand::Rng::with_seed(1);
                for key in [None, Some(hash::mix(1, 2))] {
                    let occasion = Occasion { key, ..occasion(&cursor) };
                    let only = policy.pick(&candidates, &occasion, &mut rng, |candidate| candidate.weight == 3);
                    assert_eq!(only.map(|draw| draw.index), Some(count / 2), "{kind} {count}");
                    assert_eq!(policy.pick(&candidates, &occasion, &mut rng, |_| false), None, "{kind} {count}");
                }
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
    fn a_ramping_candidate_gets_its_fraction_of_random_rotating_and_keyed_policies() {
        for kind in [
            PolicyKind::RoundRobin,
            PolicyKind::Random,
            PolicyKind::Adaptive,
            PolicyKind::HealthBased,
            PolicyKind::Maglev,
            PolicyKind::Rendezvous,
        ] {
            let mut candidates = Fake::all(&[1; 4]);
            candidates[2].ramp = 0.1;
            let counts = shares(kind, &candidates, 40_000, |_| true);
            assert!((800..1_400).contains(&counts[2]), "{kind} {counts:?}");
        }
    }

    #[test]
    fn weights_count_where_they_are_said_to() {
        for kind in PolicyKind::ALL {
            let weights = if kind.uses_weights() { [6, 1, 1] } else { [1; 3] };
            let counts = shares(kind, &Fake::all(&weights), 8_000, |_| true);
            let heavy = if kind.uses_weights() { 5_600..8_001 } else { 2_400..2_950 };
            assert!(heavy.contains(&counts[0]), "{kind} {counts:?}");
        }
    }
}

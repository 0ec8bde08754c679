//! Who may receive a message, who is picked, and what its outcome does.
//!
//! - [`spec`]: what a pool is configured to be.
//! - [`destination`]: one destination's live state, in atomics; [`registry`] holds all of them by id.
//! - [`breaker`]: ejection, probation, recovery; [`rate`] counts what [`judge`] decides on; [`tiers`]: spill-over and panic.
//! - [`aside`]: manual failover; [`record`]: how long troubles took.
//! - [`weights`]: weights that change while the pool is in use; [`tuner`] and `adjust`: by what is observed;
//!   `switching`: the policy does so; `bound`: bounded load.
//! - `hot`: what every pick touches of a destination, one cache line each; [`shared`]: what of it the processes of a
//!   machine share.
//! - `eligible`: a pool's view of its members, immutable, swapped whole; `choose`: the way of a pick through it.
//! - [`lease`]: a destination held for one message; [`events`]: what happened; [`view`]: state for people.
//!
//! A pick takes no lock. It reads the pool's view, which is rebuilt when the registry's epoch or the next deadline
//! says so, by one thread, while the others go on with the old one.
//!
//! Two ways to use a pool: [`Pool::select`] decides and changes nothing (but the turn of a rotation);
//! [`Pool::acquire`] decides and holds, and only leases give outcomes. Destinations on probation are for leases only.

mod adjust;
pub mod aside;
mod bound;
pub mod breaker;
mod choose;
pub mod destination;
mod eligible;
pub mod events;
mod history;
mod hot;
pub mod judge;
pub mod lease;
pub mod rate;
pub mod record;
mod refusal;
pub mod registry;
#[cfg(all(target_os = "linux", not(feature = "model")))]
pub mod shared;
#[cfg(not(all(target_os = "linux", not(feature = "model"))))]
#[path = "elsewhere.rs"]
pub mod shared;
pub mod spec;
mod state;
mod switching;
mod sync;
pub mod tiers;
pub mod tuner;
pub mod view;
pub mod weights;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;

use crate::balance::maglev::Table;
use crate::balance::{Choice, PolicyKind};
use crate::error::{NoDestination, PoolError};
use adjust::Adjusting;
use bound::Bound;
use choose::Purpose;
use eligible::Eligible;
use events::EventKind;
use switching::Switching;

pub use destination::{Admin, Destination, Health};
pub use events::{Event, Events};
pub use lease::{Lease, Outcome};
pub use registry::Registry;
pub use spec::{FailoverSpec, MemberSpec, OnExhausted, PoolSpec};

/// Nanoseconds of a monotonic clock, or between two of its readings.
pub type Nanos = u64;

/// What a message asks of a pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Only destinations with at least this clearance; 0 is public.
    pub classification: u8,
    /// Ids not to use, such as those already tried.
    pub exclude: &'a [&'a str],
    /// The only id to use.
    pub pinned: Option<&'a str>,
    /// The hash of the message's key, for policies by key.
    pub key: Option<u64>,
}

impl Request<'_> {
    #[inline]
    pub(crate) fn excludes(&self, id: &str) -> bool {
        self.exclude.contains(&id)
    }
}

/// Which destination, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Index of the member, for [`Pool::member`].
    pub member: usize,
    /// Its tier.
    pub tier: u8,
    /// Whether its fitness was ignored because too few are fit.
    pub panic: bool,
    /// Whether it is the trial of a destination on probation.
    pub probe: bool,
    /// Why this one.
    pub reason: Reason,
    /// The probability with which it was drawn among those that could be, where chance and weights alone decide
    /// (`random`, `weighted_random`, `adaptive`) and it is known exactly.
    pub propensity: Option<f64>,
}

/// Why a destination was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// By the policy, among several.
    Policy(PolicyKind),
    /// The policy goes by key and the message has none: at random, by weight.
    NoKey,
    /// It stands in for another that an operator failed over.
    Operator,
    /// It was the only one fit in its tier.
    OnlyChoice,
    /// The tiers before its own could not carry the message.
    Spilled,
    /// No healthy one of its tier had room.
    Degraded,
    /// Too few are fit, so all are used.
    Panic,
    /// It is on probation, and this is its trial.
    Probe,
    /// The message named it.
    Pinned,
}

impl Reason {
    /// The reason's name; the policy's name where it was the policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy(kind) => kind.as_str(),
            Self::NoKey => "no_key",
            Self::Operator => "operator",
            Self::OnlyChoice => "only_choice",
            Self::Spilled => "spilled",
            Self::Degraded => "degraded",
            Self::Panic => "panic",
            Self::Probe => "probe",
            Self::Pinned => "pinned",
        }
    }
}

/// A destination's place in a pool.
#[derive(Debug)]
#[repr(align(32))] // never on two cache lines
pub struct Member {
    destination: Arc<Destination>,
    /// Weight as configured.
    configured: u32,
    /// Weight as it was last set, an f64. Relaxed, as the next: the view that is built of them publishes them.
    weight: AtomicU64,
    /// What that is multiplied by, an f64; 1 where weights are not adjusted.
    factor: AtomicU64,
    /// Weight as it is used, a whole number; see [`weights`].
    share: AtomicU32,
    pub(crate) tier: u8,
    /// In-flight cap; `u32::MAX`: none.
    pub(crate) cap: u32,
    pub(crate) clearance: u8,
}

impl Member {
    /// Its live state.
    #[inline]
    pub fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// The destination's id.
    #[inline]
    pub fn id(&self) -> &Arc<str> {
        self.destination.id()
    }

    /// Its weight as configured.
    pub fn configured(&self) -> u32 {
        self.configured
    }

    /// Its weight as it was last set, or as configured.
    pub fn weight(&self) -> f64 {
        f64::from_bits(self.weight.load(Ordering::Relaxed))
    }

    /// Its weight as it is used; 0: nothing new.
    #[inline]
    pub(crate) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    /// What its weight is multiplied by, as adjusted to what was observed.
    pub fn factor(&self) -> f64 {
        f64::from_bits(self.factor.load(Ordering::Relaxed))
    }

    /// Its weight as adjusted.
    pub fn effective_weight(&self) -> f64 {
        self.weight() * self.factor()
    }

    pub(crate) fn set_factor(&self, factor: f64) {
        self.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn set_weight(&self, weight: f64, share: u32) {
        self.weight.store(weight.to_bits(), Ordering::Relaxed);
        self.share.store(share, Ordering::Relaxed);
    }

    /// Its tier.
    pub fn tier(&self) -> u8 {
        self.tier
    }

    /// Its in-flight cap in this pool.
    pub fn max_in_flight(&self) -> Option<u32> {
        Some(self.cap).filter(|cap| *cap != u32::MAX)
    }

    /// Its clearance.
    pub fn clearance(&self) -> u8 {
        self.clearance
    }
}

/// Destinations under one balancing policy.
#[derive(Debug)]
pub struct Pool {
    id: Arc<str>,
    choice: Choice,
    failover: FailoverSpec,
    members: Box<[Member]>,
    by_id: HashMap<Arc<str>, u32>,
    registry: Arc<Registry>,
    generation: u64,
    /// Never `None` after `build`.
    eligible: ArcSwapOption<Eligible>,
    /// Held by the one thread that rebuilds the view, looks for outliers, adjusts weights or switches the policy.
    rebuilding: Mutex<()>,
    /// Held while weights are replaced; taken before `rebuilding`, or tried.
    reweighing: Mutex<()>,
    /// By tier, what `maglev` goes by. Never taken by a pick.
    tables: Mutex<BTreeMap<u8, Arc<Table>>>,
    bound: Option<Bound>,
    sweep: judge::Sweep,
    /// Set where weights are adjusted.
    adjusting: Option<Adjusting>,
    /// Set where the policy is chosen by what is observed.
    switching: Option<Switching>,
}

impl Pool {
    /// Builds a pool over the registry's destinations, making those it does not have. `generation` numbers the
    /// configuration; tell [`Registry::publish`] when it is live.
    ///
    /// # Errors
    /// See [`PoolSpec::check`]; or the file that processes share has no room for another destination.
    pub fn build(spec: PoolSpec, registry: &Arc<Registry>, generation: u64, now: Nanos) -> Result<Self, PoolError> {
        spec.check()?;
        let weights: Vec<f64> = spec.members.iter().map(|member| f64::from(member.weight)).collect();
        let shares = weights::shares(&weights);
        let destinations = spec.members.iter().map(|member| registry.get_or_insert(&member.id));
        let destinations = destinations.collect::<Result<Vec<_>, _>>();
        let destinations =
            destinations.map_err(|error| PoolError { pool: spec.id.to_string(), problem: error.to_string() })?;
        let members: Box<[Member]> = spec
            .members
            .iter()
            .zip(destinations)
            .zip(&shares)
            .map(|((member, destination), share)| Member {
                destination,
                configured: member.weight,
                weight: AtomicU64::new(f64::from(member.weight).to_bits()),
                factor: AtomicU64::new(1f64.to_bits()),
                share: AtomicU32::new(*share),
                tier: member.tier,
                cap: member.max_in_flight.unwrap_or(u32::MAX),
                clearance: member.clearance,
            })
            .collect();
        let by_id = members.iter().enumerate().map(|(index, member)| (Arc::clone(member.id()), index as u32)).collect();
        let sweep = judge::Sweep::new(&spec.failover, registry.shared().is_some(), now);
        let adjusts = spec.dynamic_adjustment && spec.policy.takes_adjustment();
        let switching = match spec.policy {
            Choice::Auto { keyed } => {
                let shape = switching::shape(&members, keyed, adjusts);
                Some(Switching::new(&members, shape, adjusts, now))
            }
            Choice::Fixed(_) => None,
        };
        let pool = Self {
            switching,
            adjusting: adjusts.then(|| Adjusting::new(&members, now)),
            id: spec.id,
            choice: spec.policy,
            failover: spec.failover,
            bound: spec.bounded_load.map(|factor| Bound::new(factor, &members)),
            members,
            by_id,
            registry: Arc::clone(registry),
            generation,
            eligible: ArcSwapOption::empty(),
            rebuilding: Mutex::new(()),
            reweighing: Mutex::new(()),
            tables: Mutex::new(BTreeMap::new()),
            sweep,
        };
        if pool.makes_tables() {
            *pool.tables.lock() = weights::tables(&pool.members, &shares);
        }
        pool.rebuild(now);
        Ok(pool)
    }

    /// Decides where a message goes. Holds nothing, takes no trial.
    ///
    /// # Errors
    /// [`NoDestination`] if none may receive the message now, with why and for how long.
    #[inline]
    pub fn select(&self, request: &Request<'_>, now: Nanos, rng: &mut fastrand::Rng) -> Result<Pick, NoDestination> {
        let (pick, _) = self.choose(request, Purpose::Decide, now, rng)?;
        self.count_failover(&pick);
        Ok(pick)
    }

    /// Decides where a message goes and holds the destination for it.
    ///
    /// # Errors
    /// As [`Pool::select`].
    #[inline]
    pub fn acquire(
        self: &Arc<Self>,
        request: &Request<'_>,
        now: Nanos,
        rng: &mut fastrand::Rng,
    ) -> Result<Lease, NoDestination> {
        let (pick, permit) = self.choose(request, Purpose::Hold, now, rng)?;
        self.count_failover(&pick);
        Ok(Lease::new(Arc::clone(self), pick, permit, now))
    }

    /// Counts a pick that stands in for others.
    #[inline]
    fn count_failover(&self, pick: &Pick) {
        if matches!(pick.reason, Reason::Spilled | Reason::Operator) {
            self.members[pick.member].destination.counts().failovers.increment();
        }
    }

    /// The pool's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How it comes by its policy.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// The policy in force.
    #[inline]
    pub fn policy(&self) -> PolicyKind {
        match (self.choice, &self.switching) {
            (Choice::Fixed(kind), _) => kind,
            (Choice::Auto { .. }, switching) => switching.as_ref().map(Switching::in_force).unwrap_or_default(),
        }
    }

    /// When its destinations are taken out and brought back.
    pub fn failover(&self) -> &FailoverSpec {
        &self.failover
    }

    /// What it holds, if its load is bounded.
    #[inline]
    pub(crate) fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
    }

    /// Number of its configuration.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The registry its destinations live in.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Its members, in the order configured.
    #[inline]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member by its index, such as [`Pick::member`].
    pub fn member(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }

    /// The index of the member with this destination.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).map(|index| *index as usize)
    }

    /// The view as of `now`. If it is out of date one thread rebuilds it, and the others go on with the old one, in
    /// doubt: they look at the live state of whom they pick.
    #[inline]
    fn view(&self, now: Nanos) -> View {
        let view = self.eligible.load();
        if self.is_current(&view, now) { View { view, in_doubt: false } } else { self.refresh(now) }
    }

    #[inline]
    fn is_current(&self, view: &Guard<Option<Arc<Eligible>>>, now: Nanos) -> bool {
        let known = |view: &Arc<Eligible>| view.epoch == self.registry.epoch() && now < view.valid_until;
        view.as_ref().is_some_and(known) && !self.review_is_due(now)
    }

    /// Whether something other than a state of its members makes the view old.
    #[inline]
    fn review_is_due(&self, now: Nanos) -> bool {
        self.sweep.is_due(now) || self.adjusting_is_due(now) || self.switching_is_due(now)
    }

    #[cold]
    fn refresh(&self, now: Nanos) -> View {
        match self.rebuilding.try_lock() {
            Some(_rebuilding) => self.rebuild_if_due(now),
            None => View { view: self.eligible.load(), in_doubt: true },
        }
    }

    /// The view as of `now`, waited for.
    #[cold]
    fn fresh_view(&self, now: Nanos) -> View {
        let _rebuilding = self.rebuilding.lock();
        self.rebuild_if_due(now)
    }

    fn rebuild_if_due(&self, now: Nanos) -> View {
        if self.sweep.is_due(now) {
            self.sweep(now);
        }
        let adjusted = self.adjusting_is_due(now) && self.adjust(now);
        let switched = self.switching_is_due(now) && self.switch(now);
        if adjusted || switched {
            self.rebuild(now);
        }
        // Another thread may have been through here since the view was found out of date.
        if !self.is_current(&self.eligible.load(), now) {
            self.rebuild(now);
        }
        View { view: self.eligible.load(), in_doubt: false }
    }

    fn rebuild(&self, now: Nanos) {
        for member in &self.members {
            let breaker = member.destination.breaker();
            if member.destination.aside().lapse(now) {
                self.registry.noted(now, &member.destination, EventKind::FailedBack, "the hold is over");
            }
            if breaker.phase(now) == breaker::Phase::Probation && breaker.announce_probation() {
                self.registry.noted(now, &member.destination, EventKind::Probation, "time is up");
            }
        }
        self.eligible.store(Some(Arc::new(Eligible::build(self, now))));
    }
}

/// A view held for the time of one pick.
struct View {
    view: Guard<Option<Arc<Eligible>>>,
    /// Whether it is out of date and another thread is at work on the next.
    in_doubt: bool,
}

impl View {
    #[inline]
    fn level(&self, classification: u8) -> Option<&eligible::Level> {
        self.view.as_ref()?.level(classification)
    }

    fn healthy_ratio(&self) -> f32 {
        self.view.as_ref().map_or(0.0, |view| view.healthy_ratio)
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;

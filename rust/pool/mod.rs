//! Who may receive a message, who is picked, and what its outcome does.
//!
//! - [`spec`]: what a pool is configured to be.
//! - [`destination`]: one destination's live state, in atomics; [`registry`] holds all of them by id.
//! - [`breaker`]: ejection, probation, recovery; [`rate`] counts what [`judge`] decides on; [`tiers`]: spill-over and panic.
//! - [`aside`]: manual failover; [`outages`]: how long troubles took; [`record`]: the last change.
//! - [`weights`]: weights that change while the pool is in use; [`tuner`] and `adjust`: by what is observed;
//!   `switching`: the policy does so; `bound`: bounded load; [`pace`]: limits on messages a second.
//! - `hot`: what every pick touches of a destination, one cache line each; [`shared`]: what of it the processes of a
//!   machine share.
//! - [`member`]: a destination's place in a pool; `status`: whether it may receive something new, and why not.
//! - `eligible`: a pool's view of its members, immutable, swapped whole, of `entry` after `entry`; `current`: who makes
//!   the next one, and when, and how a caller keeps one ([`Seen`]); `choose`: the way of a pick through it. [`pick`]: what is asked, and answered.
//! - [`lease`]: a destination held for one message; [`events`]: what happened; [`view`]: state for people.
//!
//! A pick takes no lock. It reads the pool's view, which is rebuilt when the registry's epoch or the next deadline
//! says so, by one thread, while the others go on with the old one.
//!
//! Three ways to ask a pool: [`Pool::peek`] tells who would be next, and changes nothing; [`Pool::select`] decides: it
//! takes a turn and is counted, as a pick and where it is one as a failover; [`Pool::acquire`] decides and holds, and
//! only leases give outcomes. Destinations on probation are for leases only. Whichever is the first after a deadline
//! brings the pool up to date: its view, and what it does once a window ([`judge`], `adjust`, `switching`).

mod adjust;
mod arrivals;
pub mod aside;
mod bound;
pub mod breaker;
mod choose;
mod current;
pub mod destination;
mod eligible;
mod entry;
pub mod events;
mod group;
mod history;
mod hot;
mod ids;
pub mod judge;
pub mod lease;
pub mod member;
mod membership;
pub mod outages;
pub mod pace;
pub mod pick;
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
pub mod standing;
mod state;
mod status;
mod survey;
mod switching;
mod sync;
pub mod tiers;
pub mod tuner;
pub mod view;
pub mod weights;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::balance::maglev::Table;
use crate::balance::{Choice, PolicyKind};
use crate::error::{NoDestination, PoolError};
use adjust::Adjusting;
use arrivals::Arrivals;
use bound::Bound;
use choose::Purpose;
use eligible::Eligible;
use ids::Ids;
use pace::{Limiter, Limiters};
use switching::Switching;

pub use current::Seen;
pub use destination::{Admin, Destination, Health};
pub use events::{Event, Events};
pub use lease::{Lease, Outcome};
pub use member::Member;
pub use pace::RateLimit;
pub use pick::{Pick, Reason, Request};
pub use registry::Registry;
pub use spec::{FailoverSpec, MemberSpec, OnExhausted, PoolSpec};

/// Nanoseconds of a monotonic clock, or between two of its readings.
pub type Nanos = u64;

/// Destinations under one balancing policy.
#[derive(Debug)]
pub struct Pool {
    id: Arc<str>,
    choice: Choice,
    failover: FailoverSpec,
    members: Box<[Member]>,
    ids: Ids,
    arrivals: Arrivals,
    registry: Arc<Registry>,
    generation: u64,
    built_at: Nanos,
    /// Never `None` after `build`.
    eligible: ArcSwapOption<Eligible>,
    /// Views made so far.
    views: AtomicU64,
    /// Held by the one thread that rebuilds the view, looks for outliers, adjusts weights or switches the policy.
    rebuilding: Mutex<()>,
    /// Held while weights are replaced; taken before `rebuilding`, or tried.
    reweighing: Mutex<()>,
    /// By tier, what `maglev` goes by. Never taken by a pick.
    tables: Mutex<BTreeMap<u8, Arc<Table>>>,
    bound: Option<Bound>,
    limiters: Limiters,
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
        let predecessor = registry.live(&spec.id);
        let arrivals = Arrivals::of(&spec, predecessor.as_deref(), now);
        let members: Box<[Member]> = spec
            .members
            .iter()
            .zip(destinations)
            .zip(&shares)
            .map(|((member, destination), share)| Member::new(member, destination, *share))
            .collect();
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
            limiters: pace::limiters(
                spec.members
                    .iter()
                    .zip(&members)
                    .map(|(member, made)| Limiter::of(member, made.destination()))
                    .collect(),
            ),
            ids: Ids::of(&members),
            arrivals,
            members,
            registry: Arc::clone(registry),
            generation,
            built_at: now,
            eligible: ArcSwapOption::empty(),
            views: AtomicU64::new(0),
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

    /// As [`Pool::select`], by a view that the caller keeps; `None` if that is out of date or has nobody for the message,
    /// and then `select` is to be asked.
    #[inline]
    pub fn select_by(&self, seen: &Seen, request: &Request<'_>, now: Nanos, rng: &mut fastrand::Rng) -> Option<Pick> {
        let (pick, _) = self.choose_by(seen, request, Purpose::Decide, now, rng)?;
        self.count_failover(&pick);
        Some(pick)
    }

    /// As [`Pool::acquire`], by a view that the caller keeps; `None` as from [`Pool::select_by`].
    #[inline]
    pub fn acquire_by(
        self: &Arc<Self>,
        seen: &Seen,
        request: &Request<'_>,
        now: Nanos,
        rng: &mut fastrand::Rng,
    ) -> Option<Lease> {
        let (pick, permit) = self.choose_by(seen, request, Purpose::Hold, now, rng)?;
        self.count_failover(&pick);
        Some(Lease::new(Arc::clone(self), pick, permit, now))
    }

    /// Where a message would go, for a report: nothing is counted, and no turn of a rotation taken.
    ///
    /// # Errors
    /// As [`Pool::select`].
    pub fn peek(&self, request: &Request<'_>, now: Nanos, rng: &mut fastrand::Rng) -> Result<Pick, NoDestination> {
        self.choose(request, Purpose::Look, now, rng).map(|(pick, _)| pick)
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
            self.members[pick.member].destination().counts().failovers.increment();
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

    /// Who of its members came while others were in use.
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// When it was built.
    pub(crate) fn built_at(&self) -> Nanos {
        self.built_at
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
        self.ids.find(id, &self.members)
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;

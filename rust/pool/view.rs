//! State for people: destinations and pools as plain values, read without stopping anybody.

use std::sync::Arc;

use crate::balance::{Choice, PolicyKind};
use crate::pool::breaker::Phase;
use crate::pool::destination::{Admin, Destination, Health};
use crate::pool::outages::Outages;
use crate::pool::record::Change;
use crate::pool::standing::Standing;
use crate::pool::status::Status;
use crate::pool::{Nanos, Pool};

/// A destination at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationView {
    /// Its id.
    pub id: Arc<str>,
    /// What the operator wants.
    pub admin: Admin,
    /// What health checks say.
    pub health: Health,
    /// `closed`, `ejected` (a pause included) or `probation`.
    pub breaker: &'static str,
    /// ns left of an ejection or pause.
    pub ejected_for: Option<Nanos>,
    /// Whether an operator failed it over.
    pub failed_over: bool,
    /// ns left of that; `None` if it ends by word alone, or there is none.
    pub failed_over_for: Option<Nanos>,
    /// Who receives its messages first.
    pub failed_over_to: Option<Arc<str>>,
    /// Messages held for it.
    pub in_flight: u32,
    /// Times it was picked: leases taken, and decisions without a lease.
    pub picks: u64,
    /// Leases taken.
    pub attempts: u64,
    /// Leases ended in success.
    pub successes: u64,
    /// Leases ended in failure.
    pub failures: u64,
    /// Leases ended because it asked for a pause.
    pub overloaded: u64,
    /// Leases ended without an outcome.
    pub cancelled: u64,
    /// Times it was picked because those before it could not serve.
    pub failovers: u64,
    /// Its outages. (Trials that neither passed nor failed are under way, were cancelled, or met an overload.)
    pub outages: Outages,
    /// Its last change, as far as this process made or noticed it.
    pub change: Option<Change>,
    /// Average share of successes, 0..=1; 1.0 before any outcome.
    pub success_rate: f32,
    /// Peak EWMA of latency, ns; `None` before any success.
    pub latency: Option<Nanos>,
    /// Median, 95th and 99th percentile of latency, ns; `None` before any success.
    pub percentiles: Option<[Nanos; 3]>,
    /// Mean of the utilisation it reported of late, 1: all it can do; `None` if it did not for 3 minutes.
    pub utilisation: Option<f32>,
    /// Failures by name.
    pub failure_kinds: Vec<(Box<str>, u64)>,
}

impl Destination {
    /// Its state at `now`.
    pub fn view(&self, now: Nanos) -> DestinationView {
        let (breaker, ejected_for) = match self.breaker().phase(now) {
            Phase::Closed => ("closed", None),
            Phase::Out(until) => ("ejected", Some(until - now)),
            Phase::Probation => ("probation", None),
        };
        let (hot, counts) = (self.hot(), self.counts());
        let held = self.aside().until(now);
        DestinationView {
            id: Arc::clone(self.id()),
            admin: self.admin(),
            health: self.health(),
            breaker,
            ejected_for,
            failed_over: held.is_some(),
            failed_over_for: held.filter(|until| *until != Nanos::MAX).map(|until| until - now),
            failed_over_to: self.aside().to(now),
            in_flight: self.in_flight(),
            picks: hot.attempts.get() + hot.selections.get(),
            attempts: hot.attempts.get(),
            successes: hot.successes.get(),
            failures: counts.failures.get(),
            overloaded: counts.overloaded.get(),
            cancelled: counts.cancelled.get(),
            failovers: counts.failovers.get(),
            outages: self.breaker().outages(),
            change: self.record().read(),
            success_rate: self.failures().success(),
            latency: self.latency().last().map(|latency| latency as Nanos),
            percentiles: self.histogram().and_then(|histogram| histogram.quantiles([0.5, 0.95, 0.99])),
            utilisation: self.utilisation(now),
            failure_kinds: counts.failure_kinds.counts(),
        }
    }
}

/// A pool at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolView {
    /// Its id.
    pub id: Arc<str>,
    /// How it comes by its policy.
    pub policy: Choice,
    /// The policy in force.
    pub in_force: PolicyKind,
    /// Its members, in the order configured.
    pub members: Vec<MemberView>,
    /// Fit members of those enabled with a weight above 0, 0..=1.
    pub healthy_ratio: f32,
    /// Who serves.
    pub standing: Standing,
    /// Since when; `None`: since the pool exists.
    pub standing_since: Option<Nanos>,
}

/// A member of a pool at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberView {
    /// The destination's id.
    pub id: Arc<str>,
    /// Weight as it was last set, or as configured.
    pub weight: f64,
    /// Weight as it is used: adjusted to what was observed, where the pool does so.
    pub effective_weight: f64,
    /// Tier.
    pub tier: u8,
    /// Clearance.
    pub clearance: u8,
    /// In-flight cap in this pool.
    pub max_in_flight: Option<u32>,
    /// Whether it may receive a message it is cleared for: enabled, fit, and below its cap and rate limit. (On probation it may
    /// not, except for its trial.)
    pub eligible: bool,
}

impl Pool {
    /// Its state at `now`.
    pub fn describe(&self, now: Nanos) -> PoolView {
        let member = |(index, member): (usize, &crate::pool::Member)| MemberView {
            id: Arc::clone(member.id()),
            weight: member.weight(),
            effective_weight: member.effective_weight(),
            tier: member.tier(),
            clearance: member.clearance(),
            max_in_flight: member.max_in_flight(),
            eligible: Status::of(member, self.failover(), now).is_fit() && self.has_room(index, now),
        };
        let healthy_ratio = self.healthy_ratio(now); // which takes note of who serves
        let stand = self.registry().stand(self).and_then(|stand| stand.read());
        let (standing, standing_since) = stand.unwrap_or_else(|| (self.standing_at(now), None));
        PoolView {
            standing,
            standing_since,
            id: Arc::clone(self.id()),
            policy: self.choice(),
            in_force: self.policy(),
            members: self.members().iter().enumerate().map(member).collect(),
            healthy_ratio,
        }
    }

    /// Fit members (healthy or degraded, breaker closed) of those enabled with a weight above 0, 0..=1. As fast as a
    /// pick, for rules that read it.
    #[inline]
    pub fn healthy_ratio(&self, now: Nanos) -> f32 {
        self.view(now).healthy_ratio()
    }
}

//! A member as a pick meets it: what of it changes between views is read live, what does not lies beside that.

use std::sync::Arc;

use crate::balance::Candidate;
use crate::pool::bound::Bound;
use crate::pool::breaker::ramp;
use crate::pool::hot::{Hot, Slot};
use crate::pool::pace::Limiter;
use crate::pool::status::Status;
use crate::pool::survey::Look;
use crate::pool::{Nanos, Pool, Request};
use crate::stats::LatencyByLoad;

/// A member in a list, on one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Entry {
    slot: Slot,
    /// Set where the policy asks for it.
    by_load: Option<Arc<LatencyByLoad>>,
    pub(crate) member: u32,
    weight: u32,
    cap: u32,
    /// Slow start: since when, and how long; 0: none.
    ramp_from: Nanos,
    ramp_window: Nanos,
    /// Messages a second; `None`: no limit.
    limit: Option<Arc<Limiter>>,
    degraded: bool,
    /// Whether it is used whatever its fitness.
    panic: bool,
}

/// What a pick asks of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) pool: &'a Pool,
    pub(crate) now: Nanos,
    /// Whether the view is out of date: then the members' live state has the last word.
    pub(crate) in_doubt: bool,
    /// Set where the pool's load is bounded.
    pub(crate) bound: Option<&'a Bound>,
}

impl Ask<'_> {
    /// Whether all that counts is room: the usual case.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.request.exclude.is_empty() && !self.in_doubt
    }
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    pub(crate) fn of(pool: &Pool, index: usize, look: &Look, panic: bool, now: Nanos) -> Self {
        let (member, policy, window) = (&pool.members()[index], pool.policy(), pool.failover().slow_start);
        let ramp = look.returned.filter(|at| at.saturating_add(window) > now);
        Self {
            member: index as u32,
            weight: if policy.uses_weights() { member.share() } else { 1 },
            cap: member.cap,
            ramp_from: ramp.unwrap_or(0),
            ramp_window: if ramp.is_some() { window } else { 0 },
            limit: pool.limiter(index).cloned(),
            degraded: look.degraded,
            panic,
            slot: member.slot().clone(),
            by_load: policy.uses_latency_by_load().then(|| Arc::clone(member.destination().by_load())),
        }
    }

    /// Whether it has room at any time that the view is valid.
    pub(crate) fn is_roomy(&self) -> bool {
        self.cap == u32::MAX && self.ramp_window == 0 && self.limit.is_none()
    }

    #[inline]
    pub(crate) fn hot(&self) -> &Hot {
        self.slot.get()
    }

    #[inline]
    fn cap_at(&self, now: Nanos) -> u32 {
        if self.cap == u32::MAX || self.ramp_window == 0 {
            return self.cap;
        }
        ((self.cap as f32 * self.ramp(now)) as u32).max(1)
    }

    /// Whether it is below its cap, and within its rate.
    #[inline]
    pub(crate) fn has_room(&self, now: Nanos) -> bool {
        (self.cap == u32::MAX || self.hot().in_flight() < self.cap_at(now))
            && self.limit.as_ref().is_none_or(|limit| limit.wait(now) == 0)
    }

    /// Whether the request does not exclude it, and it is still fit where that is in doubt.
    pub(crate) fn is_allowed(&self, ask: &Ask<'_>) -> bool {
        let member = self.member as usize;
        !ask.request.excludes(ask.pool.members()[member].id())
            && (!ask.in_doubt || self.is_still_fit(ask.pool, ask.now))
    }

    #[cold]
    fn is_still_fit(&self, pool: &Pool, now: Nanos) -> bool {
        let status = Status::of(&pool.members()[self.member as usize], pool.failover(), now);
        status.is_fit() || self.panic && status.counts()
    }

    #[inline]
    pub(crate) fn hold(&self, now: Nanos) -> bool {
        self.hot().hold(self.cap_at(now))
    }

    /// Counts a message to its rate, if that allows it. The last thing asked of it: what is counted is not given back.
    #[inline]
    pub(crate) fn take_turn(&self, now: Nanos) -> bool {
        self.limit.as_ref().is_none_or(|limit| limit.take(now))
    }

    /// Lets go of what was just held.
    pub(crate) fn release(&self) {
        self.hot().release();
    }
}

impl Candidate for Entry {
    #[inline]
    fn weight(&self) -> u32 {
        self.weight
    }
    #[inline]
    fn in_flight(&self) -> u32 {
        self.hot().in_flight()
    }
    #[inline]
    fn latency(&self, now: Nanos) -> Option<f32> {
        self.hot().latency().at(now)
    }
    #[inline]
    fn latency_under_load(&self, now: Nanos) -> Option<f32> {
        self.by_load.as_ref()?.at(self.in_flight(), now)
    }
    #[inline]
    fn success(&self, now: Nanos) -> f32 {
        self.hot().failures().success_at(now)
    }
    #[inline]
    fn health(&self) -> f32 {
        if self.degraded { 0.5 } else { 1.0 }
    }
    #[inline]
    fn ramp(&self, now: Nanos) -> f32 {
        if self.ramp_window == 0 { 1.0 } else { ramp(self.ramp_from, self.ramp_window, now) }
    }
}

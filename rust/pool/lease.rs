//! A destination held for one message, and what its outcome does.
//!
//! A lease ends exactly once: by [`Lease::finish`], or by being dropped, which is a cancellation. Ending it again
//! changes nothing. Whatever way it ends, the in-flight count goes down by one and a permit of probation goes back.

use std::sync::Arc;

use crate::pool::breaker::Permit;
use crate::pool::destination::Destination;
use crate::pool::events::EventKind;
use crate::pool::sync::{AtomicBool, Ordering};
use crate::pool::{Nanos, Pick, Pool};

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered.
    Success,
    /// Not delivered, by the destination's fault.
    Failure,
    /// The destination asks for a pause.
    Overloaded {
        /// Of so many ns, if it said so.
        retry_after: Option<Nanos>,
    },
    /// Neither its credit nor its fault.
    Cancelled,
}

/// A destination held for one message in flight.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    pick: Pick,
    permit: Permit,
    started: Nanos,
    ended: AtomicBool,
}

impl Lease {
    pub(crate) fn new(pool: Arc<Pool>, pick: Pick, permit: Permit, started: Nanos) -> Self {
        Self { pool, pick, permit, started, ended: AtomicBool::new(false) }
    }

    /// The destination held.
    #[inline]
    pub fn destination(&self) -> &Arc<Destination> {
        self.pool.members()[self.pick.member].destination()
    }

    /// The pool it was taken from.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// How it was picked.
    pub fn pick(&self) -> &Pick {
        &self.pick
    }

    /// When it was taken.
    pub fn started(&self) -> Nanos {
        self.started
    }

    /// The generation of the pool it was taken from.
    pub fn generation(&self) -> u64 {
        self.pool.generation()
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) // relaxed: a flag that guards no other data
    }

    /// Ends the lease. False, and nothing else, if it had ended.
    #[inline]
    pub fn finish(&self, outcome: Outcome, now: Nanos) -> bool {
        // Relaxed: the swap alone decides who ends it, and what follows is atomic by itself.
        if self.ended.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.pool.settle(self, outcome, now);
        true
    }

    /// Ends the lease in success, with what the destination says of its load: 1 is all it can do. False, and nothing
    /// else, if it had ended.
    pub fn succeed(&self, utilisation: f32, now: Nanos) -> bool {
        let first = self.finish(Outcome::Success, now);
        if first {
            self.destination().report_utilisation(utilisation, now);
        }
        first
    }

    /// Ends the lease in failure, counted under `kind` (64 names a destination). False if it had ended.
    pub fn fail(&self, kind: &str, now: Nanos) -> bool {
        let first = self.finish(Outcome::Failure, now);
        if first {
            self.destination().counts().failure_kinds.increment(kind);
        }
        first
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A cancellation reads no clock: it gives no credit, so it needs no time.
        self.finish(Outcome::Cancelled, self.started);
    }
}

impl Pool {
    #[inline]
    fn settle(&self, lease: &Lease, outcome: Outcome, now: Nanos) {
        let destination = lease.destination();
        let hot = destination.hot();
        hot.release();
        if let Some(bound) = self.bound() {
            bound.release(lease.pick.member);
        }
        if let Some(switching) = &self.switching {
            switching.observe(outcome, lease.started, now);
        }
        let counts = destination.counts();
        match outcome {
            Outcome::Success => {
                hot.successes.increment();
                let latency = now.saturating_sub(lease.started);
                destination.observe_latency(latency, now);
                if self.policy().uses_latency_by_load() {
                    destination.observe_under_load(latency, now);
                }
                destination.failures().observe(false, now);
            }
            Outcome::Failure => {
                counts.failures.increment();
                destination.failures().observe(true, now);
            }
            Outcome::Overloaded { .. } => counts.overloaded.increment(),
            Outcome::Cancelled => counts.cancelled.increment(),
        }
        let breaker = destination.breaker();
        if outcome == Outcome::Cancelled || destination.is_stale(lease.generation()) {
            if lease.permit != 0 {
                breaker.return_permit(lease.permit);
            }
        } else if lease.permit != 0 {
            self.settle_trial(lease, outcome, now);
        } else if outcome == Outcome::Success {
            breaker.success(now, self.failover());
            if !self.failover().eject && breaker.paused_until().is_some() && breaker.end_pause(now) {
                self.registry().changed(now, destination, EventKind::Recovered, "the pause is over");
            }
        } else {
            self.settle_trouble(lease, outcome, now);
        }
    }

    #[cold]
    fn settle_trial(&self, lease: &Lease, outcome: Outcome, now: Nanos) {
        let (destination, failover) = (lease.destination(), self.failover());
        match outcome {
            Outcome::Success => {
                destination.breaker().trial_ended(true);
                if destination.breaker().probe_succeeded(lease.permit, now, failover.probation_successes) {
                    self.registry().changed(now, destination, EventKind::Recovered, "probation passed");
                }
            }
            Outcome::Failure => {
                destination.breaker().trial_ended(false);
                let seed = destination.salt();
                if let Some(ejection) = destination.breaker().probe_failed(lease.permit, now, failover, seed) {
                    let kind = EventKind::Ejected { until: ejection.until, times: ejection.times };
                    self.registry().changed(now, destination, kind, "probation failed");
                }
            }
            Outcome::Overloaded { .. } => self.settle_trouble(lease, outcome, now),
            Outcome::Cancelled => {
                destination.breaker().return_permit(lease.permit);
            }
        }
    }

    #[cold]
    fn settle_trouble(&self, lease: &Lease, outcome: Outcome, now: Nanos) {
        let destination = lease.destination();
        // Before the pause: only a destination in use is judged. If it is ejected, the later deadline wins.
        if self.failover().eject {
            self.judge_failure(lease.pick.member, outcome == Outcome::Failure, now);
        }
        if let Outcome::Overloaded { retry_after } = outcome {
            let paused = destination.breaker().pause(lease.permit, now, retry_after, self.failover());
            if let Some(until) = paused {
                let kind = EventKind::Overloaded { until };
                self.registry().changed(now, destination, kind, "asked for a pause");
            }
        }
    }
}

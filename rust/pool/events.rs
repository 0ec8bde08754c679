//! What happened to destinations, in order: a bounded ring that observers read by sequence number.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::balance::PolicyKind;
use crate::pool::{Admin, Health, Nanos};

/// How many events are kept.
pub const KEPT: usize = 1_024;

/// A change of a destination's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number of the event, from 1, without gaps.
    pub seq: u64,
    /// When, in the caller's monotonic time.
    pub at: Nanos,
    /// The destination's id; for [`EventKind::Weights`] and [`EventKind::Policy`] the pool's.
    pub destination: Arc<str>,
    /// What changed.
    pub kind: EventKind,
    /// Why, in a few words, with the figures that decided.
    pub reason: Cow<'static, str>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Taken out.
    Ejected {
        /// Until then.
        until: Nanos,
        /// For the n-th time.
        times: u32,
    },
    /// The ejection or pause is over; trials begin.
    Probation,
    /// Probation was passed, or an operator ended it.
    Recovered,
    /// The destination asked for a pause.
    Overloaded {
        /// Until then.
        until: Nanos,
    },
    /// Should have been ejected and was not: too many are, or it is the last.
    Spared,
    /// Enabled, draining or disabled.
    Admin(Admin),
    /// Healthy, degraded or unhealthy.
    Health(Health),
    /// Weights of a pool were adjusted to what was observed.
    Weights,
    /// The policy of a pool under `auto` was put on trial, kept or replaced; this one is in force now.
    Policy(PolicyKind),
}

impl EventKind {
    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ejected { .. } => "ejected",
            Self::Probation => "probation",
            Self::Recovered => "recovered",
            Self::Overloaded { .. } => "overloaded",
            Self::Spared => "spared",
            Self::Admin(_) => "admin",
            Self::Health(_) => "health",
            Self::Weights => "weights",
            Self::Policy(_) => "policy",
        }
    }
}

/// The events after some sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
    /// How many events after that number are no longer kept.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    last: u64,
}

/// The last [`KEPT`] events. Behind a lock: state changes are rare, and no pick takes it.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Ring>);

impl EventLog {
    pub(crate) fn add(&self, at: Nanos, destination: &Arc<str>, kind: EventKind, reason: Cow<'static, str>) {
        let mut ring = self.0.lock();
        ring.last += 1;
        if ring.events.len() == KEPT {
            ring.events.pop_front();
        }
        let event = Event { seq: ring.last, at, destination: Arc::clone(destination), kind, reason };
        ring.events.push_back(event);
    }

    /// The events with a number above `seq`; 0 for all that are kept.
    pub fn since(&self, seq: u64) -> Events {
        let ring = self.0.lock();
        let events: Vec<Event> = ring.events.iter().filter(|event| event.seq > seq).cloned().collect();
        let dropped = ring.last.saturating_sub(seq) - events.len() as u64;
        Events { events, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_dropped_and_counted() {
        let (log, id) = (EventLog::default(), Arc::from("a"));
        (0..KEPT as u64 + 10).for_each(|at| log.add(at, &id, EventKind::Probation, "over".into()));
        let all = log.since(0);
        assert_eq!((all.events.len(), all.dropped), (KEPT, 10));
        assert_eq!(all.events[0].seq, 11);
        let tail = log.since(KEPT as u64 + 8);
        assert_eq!((tail.events.len(), tail.dropped), (2, 0));
        assert_eq!(log.since(1 << 40), Events::default());
    }
}

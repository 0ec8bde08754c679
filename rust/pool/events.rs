//! What happened to destinations, in order: a bounded ring that observers read by sequence number.
//!
//! An observer keeps nothing but the number of the last event it read: the ring is everybody's queue. One that waits
//! does so on a [`Watch`], in a thread of its own: events are added under locks, by threads that may hold Python's, so
//! whoever adds one only wakes and never calls.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

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
    /// Taken out by an operator in favour of others.
    FailedOver {
        /// Until then; `Nanos::MAX`: until the operator takes it back.
        until: Nanos,
    },
    /// That is over.
    FailedBack,
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
            Self::FailedOver { .. } => "failed_over",
            Self::FailedBack => "failed_back",
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

/// Somebody who waits for events; see [`EventLog::wait`]. Its atomics are relaxed: they are used under the log's lock.
#[derive(Debug)]
pub struct Watch {
    /// Events with a number above are waited for; `u64::MAX`: none.
    after: AtomicU64,
    stopped: AtomicBool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { after: AtomicU64::new(u64::MAX), stopped: AtomicBool::new(false) }
    }
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    last: u64,
}

/// The last [`KEPT`] events. Behind a lock: state changes are rare, and no pick takes it.
#[derive(Debug, Default)]
pub struct EventLog {
    ring: Mutex<Ring>,
    /// An event was added, or a watch changed.
    news: Condvar,
}

impl EventLog {
    pub(crate) fn add(&self, at: Nanos, destination: &Arc<str>, kind: EventKind, reason: Cow<'static, str>) {
        let mut ring = self.ring.lock();
        ring.last += 1;
        if ring.events.len() == KEPT {
            ring.events.pop_front();
        }
        let event = Event { seq: ring.last, at, destination: Arc::clone(destination), kind, reason };
        ring.events.push_back(event);
        drop(ring);
        self.news.notify_all();
    }

    /// The events with a number above `seq`; 0 for all that are kept.
    pub fn since(&self, seq: u64) -> Events {
        let ring = self.ring.lock();
        let events: Vec<Event> = ring.events.iter().filter(|event| event.seq > seq).cloned().collect();
        let dropped = ring.last.saturating_sub(seq) - events.len() as u64;
        Events { events, dropped }
    }

    /// Number of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.ring.lock().last
    }

    /// The first event with a number above `seq` of an observer that may be `size` events behind at most, and how many
    /// it missed by being further behind, or behind what is kept. O(1).
    pub fn next(&self, seq: u64, size: usize) -> Option<(Event, u64)> {
        let ring = self.ring.lock();
        let unread = ring.last.saturating_sub(seq);
        let left = unread.min(size.min(ring.events.len()) as u64);
        let event = ring.events.get(ring.events.len() - left as usize)?;
        Some((event.clone(), unread - left))
    }

    /// Waits until there is an event that the watch asks for; it asks for none afterwards. False once it is stopped.
    pub fn wait(&self, watch: &Watch) -> bool {
        let mut ring = self.ring.lock();
        loop {
            if watch.stopped.load(Ordering::Relaxed) {
                return false;
            }
            if ring.last > watch.after.load(Ordering::Relaxed) {
                watch.after.store(u64::MAX, Ordering::Relaxed);
                return true;
            }
            self.news.wait(&mut ring);
        }
    }

    /// Asks for events with a number above `seq`, besides those that were asked for before.
    pub fn ask(&self, watch: &Watch, seq: u64) {
        let ring = self.ring.lock();
        watch.after.fetch_min(seq, Ordering::Relaxed);
        drop(ring);
        self.news.notify_all();
    }

    /// Ends the waiting for good.
    pub fn stop(&self, watch: &Watch) {
        let ring = self.ring.lock();
        watch.stopped.store(true, Ordering::Relaxed);
        drop(ring);
        self.news.notify_all();
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

    #[test]
    fn an_observer_reads_in_order_and_misses_what_it_is_too_far_behind_for() {
        let (log, id) = (EventLog::default(), Arc::from("a"));
        let add = |count: u64| (0..count).for_each(|at| log.add(at, &id, EventKind::Probation, "over".into()));
        let next = |seq, size| log.next(seq, size).map(|(event, missed)| (event.seq, missed));
        assert_eq!((next(0, 9), log.last()), (None, 0));
        add(5);
        assert_eq!(
            [next(0, 9), next(0, 5), next(0, 2), next(4, 1)],
            [Some((1, 0)), Some((1, 0)), Some((4, 3)), Some((5, 0))]
        );
        assert_eq!([next(5, 9), next(1 << 40, 9), next(0, 0)], [None; 3]);
        add(KEPT as u64);
        assert_eq!(next(0, usize::MAX), Some((6, 5)), "of what is no longer kept");
        assert_eq!(next(KEPT as u64, KEPT), Some((KEPT as u64 + 1, 0)));
    }

    #[test]
    fn a_watch_wakes_for_what_it_asked_for_once_and_ends_when_stopped() {
        let (log, id, watch) = (EventLog::default(), Arc::from("a"), Watch::default());
        log.add(1, &id, EventKind::Probation, "over".into());
        log.ask(&watch, 0);
        assert!(log.wait(&watch), "it is there already");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| (log.wait(&watch), log.wait(&watch)));
            log.add(2, &id, EventKind::Probation, "over".into());
            log.ask(&watch, 2); // the second event was there before it was asked for
            log.add(3, &id, EventKind::Probation, "over".into());
            while watch.after.load(Ordering::Relaxed) != u64::MAX {
                std::thread::yield_now();
            }
            log.stop(&watch);
            assert_eq!(waiter.join().unwrap(), (true, false));
        });
    }
}

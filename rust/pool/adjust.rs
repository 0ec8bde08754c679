//! Dynamic adjustment: the pool's weights follow what its members' outcomes show. [`tuner`](crate::pool::tuner) says
//! what the weights should be; here is when it is asked and how they become the pool's.
//!
//! There is no timer: the first pick of a new window (a second, or 0.1 ms a member if that is longer) makes the
//! adjustment, so it happens in simulated time too. O(members); picks of other threads go on with the view before.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::pool::events::EventKind;
use crate::pool::membership::Turnover;
use crate::pool::tuner::{Change, Observed, Place, Tuner};
use crate::pool::{Member, Nanos, Pool, weights, windows};

/// The shortest time between two adjustments.
const WINDOW: Nanos = 1_000_000_000;
/// How many changes of weight an event tells.
const TOLD: usize = 3;

/// When weights are adjusted, and what is known for it.
#[derive(Debug)]
pub(crate) struct Adjusting {
    next: AtomicU64,
    window: Nanos,
    tuner: Mutex<Tuner>,
}

impl Adjusting {
    pub(crate) fn new(members: &[Member], now: Nanos) -> Self {
        let observed: Vec<Observed> = members.iter().map(|member| observed(member, now)).collect();
        let window = windows::length(WINDOW, members.len());
        Self { next: AtomicU64::new(windows::end(window, now)), window, tuner: Mutex::new(Tuner::new(&observed, now)) }
    }

    /// Goes on for a pool of these members; this one adjusts nothing any more. The caller holds the locks of reweighing
    /// and of rebuilding.
    pub(crate) fn succeeded_by(&self, members: &[Member], change: Turnover, now: Nanos) -> Self {
        let new = || members.last().map(|member| observed(member, now)).unwrap_or_default();
        Self {
            next: AtomicU64::new(self.next.swap(u64::MAX, Ordering::Relaxed)), // relaxed: as in `adjusting_is_due`
            window: windows::length(WINDOW, members.len()),
            tuner: Mutex::new(self.tuner.lock().succeeded_by(change, new, now)),
        }
    }
}

fn observed(member: &Member, now: Nanos) -> Observed {
    let destination = member.destination();
    let counts = destination.counts();
    Observed {
        successes: destination.hot().successes.get(),
        failures: counts.failures.get() + counts.overloaded.get(),
        latency_sum: destination.histogram().map_or(0, crate::stats::Histogram::sum),
        utilisation: destination.utilisation(now),
    }
}

impl Pool {
    #[inline]
    pub(crate) fn adjusting_is_due(&self, now: Nanos) -> bool {
        // Relaxed: a deadline; the adjustment itself is under a lock.
        self.adjusting.as_ref().is_some_and(|adjusting| now >= adjusting.next.load(Ordering::Relaxed))
    }

    /// Adjusts the weights; whether they changed. The caller holds the lock of rebuilding, and rebuilds.
    #[cold]
    pub(crate) fn adjust(&self, now: Nanos) -> bool {
        let Some(adjusting) = &self.adjusting else { return false };
        adjusting.next.store(windows::end(adjusting.window, now), Ordering::Relaxed); // relaxed: as in `adjusting_is_due`
        // Where weights are being replaced the next window is soon enough.
        let Some(_reweighing) = self.reweighing.try_lock() else { return false };
        let members = self.members();
        let observed: Vec<Observed> = members.iter().map(|member| observed(member, now)).collect();
        let places: Vec<Place> =
            members.iter().map(|member| Place { tier: member.tier, weight: member.weight() }).collect();
        let Some(changes) = adjusting.tuner.lock().step(&places, &observed, now) else { return false };
        let effective: Vec<f64> =
            places.iter().zip(&changes.factors).map(|(place, factor)| place.weight * factor).collect();
        for (index, share) in weights::shares(&effective).into_iter().enumerate() {
            members[index].set_factor(changes.factors[index]);
            members[index].set_weight(places[index].weight, share);
        }
        if !changes.notable.is_empty() {
            self.registry().noted_of(now, self, EventKind::Weights, told(members, &changes.notable));
        }
        true
    }

    /// Takes over what the predecessor observed and made of it; whether there was any.
    pub(crate) fn adopt_adjustment(&self, predecessor: &Self) -> bool {
        let (Some(adjusting), Some(before)) = (&self.adjusting, &predecessor.adjusting) else { return false };
        let (mut tuner, before) = (adjusting.tuner.lock(), before.tuner.lock());
        for (index, member) in self.members().iter().enumerate() {
            if let Some(place) = predecessor.index_of(member.id()) {
                tuner.adopt(index, &before, place);
                member.set_factor(tuner.factor(index));
            }
        }
        true
    }
}

/// The greatest changes in words.
fn told(members: &[Member], changes: &[Change]) -> String {
    let one = |change: &Change| {
        let member = &members[change.index];
        let weight = member.weight();
        let id = member.id();
        format!("{id} {:.4} -> {:.4} ({})", weight * change.from, weight * change.to, change.why)
    };
    let mut text = changes.iter().take(TOLD).map(one).collect::<Vec<_>>().join(", ");
    if changes.len() > TOLD {
        text += &format!(", and {} more", changes.len() - TOLD);
    }
    text
}

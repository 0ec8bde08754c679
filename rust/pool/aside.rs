//! An operator's word that a destination stands aside for a while: manual failover.
//!
//! A destination that was failed over receives nothing, in every pool that has it, whatever its health and its breaker
//! say: a hold outranks recovery and panic. Its messages go where its pools' tiers send them, or first of all to the
//! destination that the operator named.
//!
//! There is no timer: a hold whose time is up is over, and the first view that is built after that tells of it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::pool::sync::{AtomicU64, Ordering};
use crate::pool::{Nanos, Pool};

/// A hold, or none.
#[derive(Debug, Default)]
pub struct Aside {
    /// Until when; `Nanos::MAX`: until it is ended; 0: none. Relaxed, as the next: published by the registry's epoch.
    until: AtomicU64,
    /// When the last hold ended, for the ramp; 0: never, or at once.
    ended_at: AtomicU64,
    /// Who receives the messages first.
    to: Mutex<Option<Arc<str>>>,
}

impl Aside {
    /// Until when the destination is failed over: `Nanos::MAX` if until it is ended; `None` if it is not.
    #[inline]
    pub fn until(&self, now: Nanos) -> Option<Nanos> {
        Some(self.until.load(Ordering::Relaxed)).filter(|until| *until > now)
    }

    /// Who receives its messages first, while it is failed over.
    pub fn to(&self, now: Nanos) -> Option<Arc<str>> {
        self.until(now)?;
        self.to.lock().clone()
    }

    /// When the last hold ended, if with a ramp.
    pub fn ended_at(&self) -> Option<Nanos> {
        Some(self.ended_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    pub(crate) fn begin(&self, until: Nanos, to: Option<Arc<str>>) {
        *self.to.lock() = to;
        self.until.store(until, Ordering::Relaxed);
    }

    /// Whether there was one to end.
    pub(crate) fn end(&self, ramp: bool, now: Nanos) -> bool {
        let was_on = self.until.swap(0, Ordering::Relaxed) != 0;
        if was_on {
            self.ended_at.store(if ramp { now.max(1) } else { 0 }, Ordering::Relaxed);
        }
        was_on
    }

    /// Ends a hold whose time is up, with a ramp from then on. True for the first to notice.
    pub(crate) fn lapse(&self, now: Nanos) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 || until > now {
            return false;
        }
        // Relaxed: the swap alone decides who is first; all who try write the same time.
        self.ended_at.store(until, Ordering::Relaxed);
        self.until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Who of a pool serves first by the operator's word, and who if backups are not used.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Members that stand in for others.
    leads: Vec<usize>,
    /// The lowest tier that has a member which is not failed over.
    tier: u8,
    spill: bool,
}

impl Serving {
    pub(crate) fn of(pool: &Pool, now: Nanos) -> Self {
        let members = pool.members();
        let aside = |index: usize| members[index].destination().aside();
        let stays = |index: &usize| aside(*index).until(now).is_none();
        let named = (0..members.len()).filter_map(|index| pool.index_of(&aside(index).to(now)?));
        let mut leads: Vec<usize> = named.filter(|index| stays(index) && pool.may_serve(*index, now)).collect();
        leads.sort_unstable();
        leads.dedup();
        let tiers = (0..members.len()).filter(stays).map(|index| members[index].tier);
        let lowest = || members.iter().map(|member| member.tier).min().unwrap_or(0);
        Self { leads, tier: tiers.min().unwrap_or_else(lowest), spill: pool.failover().spill }
    }

    /// Where no member is failed over.
    pub(crate) fn plain(pool: &Pool) -> Self {
        let lowest = pool.members().iter().map(|member| member.tier).min().unwrap_or(0);
        Self { leads: Vec::new(), tier: lowest, spill: pool.failover().spill }
    }

    /// Whether the member stands in for others.
    pub(crate) fn is_lead(&self, member: usize) -> bool {
        self.leads.contains(&member)
    }

    /// Whether the member of that tier is used, were it fit.
    pub(crate) fn uses(&self, member: usize, tier: u8) -> bool {
        self.spill || if self.leads.is_empty() { tier == self.tier } else { self.is_lead(member) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_by_itself_or_by_word_and_is_noticed_once() {
        let hold = Aside::default();
        assert!(!hold.lapse(5) && !hold.end(true, 5));
        hold.begin(10, Some("b".into()));
        assert_eq!((hold.until(9), hold.to(9).as_deref(), hold.lapse(9)), (Some(10), Some("b"), false));
        assert_eq!((hold.until(10), hold.to(10)), (None, None));
        assert_eq!((hold.lapse(15), hold.lapse(15), hold.ended_at()), (true, false, Some(10)));
        hold.begin(Nanos::MAX, None);
        assert_eq!((hold.until(1 << 62), hold.lapse(1 << 62)), (Some(Nanos::MAX), false));
        assert_eq!((hold.end(false, 20), hold.end(false, 20), hold.ended_at()), (true, false, None));
    }
}

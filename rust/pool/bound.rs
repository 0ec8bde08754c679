//! Bounded load: no destination holds more than so many times its share of what the pool holds in its tier.
//!
//! Affinity alone lets one busy key fill one destination. With a bound of c, a destination of share s in a tier that
//! holds m messages for this pool takes another one only below ceil(c·s·(m + 1)); the key goes on to the next.
//! Threads that hold at once count themselves first, so for a moment each may let others in as one message more would.
//! Counted are the leases of this pool since it was configured, whatever else the destination holds.
//!
//! Source: V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::pool::Member;
use crate::pool::membership::Turnover;

/// What a bounded pool holds, by member and by tier. Relaxed throughout: counts that carry no other data.
#[derive(Debug)]
pub(crate) struct Bound {
    factor: f64,
    members: Box<[(u8, Arc<AtomicU32>)]>,
    /// By number of the tier.
    tiers: Arc<[AtomicU32; 256]>,
}

impl Bound {
    pub(crate) fn new(factor: f64, members: &[Member]) -> Self {
        Self {
            factor,
            members: members.iter().map(|member| (member.tier, Arc::default())).collect(),
            tiers: Arc::new([const { AtomicU32::new(0) }; 256]),
        }
    }

    /// The same counts for a pool of these members: leases taken before the change end in them.
    pub(crate) fn succeeded_by(&self, members: &[Member], change: Turnover) -> Self {
        let new = || (members.last().map_or(0, |member| member.tier), Arc::default());
        Self { factor: self.factor, members: change.applied(&self.members, new).into(), tiers: Arc::clone(&self.tiers) }
    }

    fn tier_of(&self, member: usize) -> &AtomicU32 {
        &self.tiers[usize::from(self.members[member].0)]
    }

    /// The most that a destination of this share may hold of so many.
    fn limit(&self, share: f64, total: u32) -> u32 {
        // Rounding may make 2.0000000000000004 of an exact 2; a limit one too high would be no bound.
        ((self.factor * share * f64::from(total)) * (1.0 - 1e-12)).ceil().max(1.0) as u32
    }

    /// Whether the member may take one more, with this share of its list.
    #[inline]
    pub(crate) fn has_room(&self, member: usize, share: f64) -> bool {
        let total = self.tier_of(member).load(Ordering::Relaxed).saturating_add(1);
        self.members[member].1.load(Ordering::Relaxed) < self.limit(share, total)
    }

    /// Counts a lease of the member, if it may take one more.
    #[inline]
    pub(crate) fn hold(&self, member: usize, share: f64) -> bool {
        let total = self.tier_of(member).fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let limit = self.limit(share, total);
        let below = |held: u32| (held < limit).then_some(held + 1);
        let held = self.members[member].1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok();
        if !held {
            self.tier_of(member).fetch_sub(1, Ordering::Relaxed);
        }
        held
    }

    /// Counts a lease of the member whatever the bound: trials, messages that name it, and where nobody else has room.
    pub(crate) fn hold_anyway(&self, member: usize) {
        self.tier_of(member).fetch_add(1, Ordering::Relaxed);
        self.members[member].1.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets go of one; once for each hold, so neither count is ever below 0.
    #[inline]
    pub(crate) fn release(&self, member: usize) {
        self.tier_of(member).fetch_sub(1, Ordering::Relaxed);
        self.members[member].1.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the member holds.
    #[cfg(all(test, not(feature = "model")))]
    pub(crate) fn held(&self, member: usize) -> u32 {
        self.members[member].1.load(Ordering::Relaxed)
    }
}

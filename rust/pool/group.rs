//! The members of one clearance by tier, with how many are in which state: one pass over all of them.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::pool::Pool;
use crate::pool::aside::Serving;
use crate::pool::status::Status;
use crate::pool::survey::Survey;
use crate::pool::tiers::{TierHealth, TierLoad, loads};

/// The members of a tier, or those that stand in for others.
#[derive(Debug)]
pub(crate) struct Group {
    /// `None`: they stand in for others, and come before all tiers.
    tier: Option<u8>,
    /// In the order of the pool.
    pub(crate) members: Vec<usize>,
    /// Members by state; see [`Status`].
    pub(crate) ready: usize,
    pub(crate) fit: usize,
    pub(crate) counted: usize,
    pub(crate) trials: usize,
    aside: usize,
}

/// The groups that serve messages of one clearance, in order of preference.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) groups: SmallVec<[Group; 2]>,
    /// By group.
    pub(crate) loads: SmallVec<[TierLoad; 4]>,
    /// Whether the first of them is the first of all.
    pub(crate) first: bool,
}

impl Served {
    pub(crate) fn of(pool: &Pool, survey: &Survey, serving: &Serving, clearance: u8) -> Self {
        let mut groups = Group::all(pool, survey, serving, clearance);
        let mut first = true;
        if !pool.failover().spill {
            // Only an operator moves on from the first tier; with all of it failed over the next serves in its stead.
            let at = groups.iter().position(|group| !group.is_aside()).unwrap_or(0);
            groups = groups.into_iter().skip(at).take(1).collect();
            first = at == 0;
        }
        let health: SmallVec<[TierHealth; 4]> = groups.iter().map(Group::health).collect();
        Self { loads: loads(&health, pool.failover().panic_percent()), groups, first }
    }

    /// The groups with their loads.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Group, &TierLoad)> {
        self.groups.iter().zip(&self.loads)
    }
}

impl Group {
    /// Those cleared for `clearance`, in order of preference.
    fn all(pool: &Pool, survey: &Survey, serving: &Serving, clearance: u8) -> SmallVec<[Self; 2]> {
        let mut groups: SmallVec<[Self; 2]> = SmallVec::new();
        let mut at = 0;
        for (index, (member, look)) in pool.members().iter().zip(&survey.looks).enumerate() {
            if member.clearance < clearance {
                continue;
            }
            let tier = (!serving.is_lead(index)).then_some(member.tier);
            // Mostly that of the one before.
            if groups.get(at).is_none_or(|group| group.tier != tier) {
                at = groups.iter().position(|group| group.tier == tier).unwrap_or_else(|| {
                    groups.push(Self::new(tier, if groups.is_empty() { survey.looks.len() } else { 0 }));
                    groups.len() - 1
                });
            }
            groups[at].add(index, look.status);
        }
        groups.sort_by_key(|group| group.tier);
        groups
    }

    fn new(tier: Option<u8>, room: usize) -> Self {
        Self { tier, members: Vec::with_capacity(room), ready: 0, fit: 0, counted: 0, trials: 0, aside: 0 }
    }

    #[inline]
    fn add(&mut self, member: usize, status: Status) {
        self.members.push(member);
        self.ready += usize::from(status == Status::Ready);
        self.fit += usize::from(status.is_fit());
        self.counted += usize::from(status.counts());
        self.trials += usize::from(status == Status::Probation);
        self.aside += usize::from(matches!(status, Status::FailedOver { .. }));
    }

    fn health(&self) -> TierHealth {
        TierHealth { fit: self.fit as u32, total: self.counted as u32 }
    }

    /// The tier of its members; `None`: they stand in for others.
    pub(crate) fn tier(&self) -> Option<u8> {
        self.tier
    }

    /// Whether its members stand in for others.
    pub(crate) fn leads(&self) -> bool {
        self.tier.is_none()
    }

    /// Whether an operator has failed all of it over.
    fn is_aside(&self) -> bool {
        self.aside == self.members.len()
    }

    /// The members in a state, of which there are `count`.
    pub(crate) fn only(&self, survey: &Survey, count: usize, wanted: fn(Status) -> bool) -> Cow<'_, [usize]> {
        if count == self.members.len() {
            return Cow::Borrowed(&self.members);
        }
        let mut found = Vec::with_capacity(count);
        if count > 0 {
            found.extend(self.members.iter().copied().filter(|index| wanted(survey.status(*index))));
        }
        Cow::Owned(found)
    }
}

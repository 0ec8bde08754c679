//! Who may receive a message: a pool's view of its members, dense and immutable, swapped whole.
//!
//! One [`Level`] for each distinct clearance holds the members cleared for it; a level has tiers, a tier has one list
//! or two (fit, then degraded; or everybody, in panic), and a list has its policy precomputed. A pick therefore never
//! meets a member that is out; only in-flight caps and excluded ids are looked at on the way.
//!
//! A view is valid for one epoch of the registry and until the next deadline (an ejection or a ramp ends). Building
//! costs O(members × clearances), 10,000 destinations take about 0.5 ms.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::balance::{Candidate, Cursor, Policy, Seat};
use crate::pool::entry::Entry;
use crate::pool::group::{Group, Served};
use crate::pool::registry::CursorKey;
use crate::pool::standing::Standing;
use crate::pool::status::Status;
use crate::pool::survey::Survey;
use crate::pool::tiers::TierLoad;
use crate::pool::{Nanos, Pool, Reason};

/// Candidates of equal standing, under the pool's policy.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) entries: Box<[Entry]>,
    pub(crate) policy: Policy,
    pub(crate) cursor: Arc<Cursor>,
    pub(crate) reason: Reason,
    /// Whether no entry has a cap or ramps up: all have room at any time that the view is valid.
    pub(crate) roomy: bool,
    /// Sum of the entries' weights.
    total: f64,
}

impl List {
    /// The entry's part of the list's weight, 0..=1.
    #[inline]
    pub(crate) fn part(&self, entry: &Entry) -> f64 {
        f64::from(entry.weight()) / self.total
    }
}

/// The lists of one tier, tried in order.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) number: u8,
    /// Percent of messages.
    pub(crate) load: u8,
    pub(crate) panic: bool,
    pub(crate) lists: SmallVec<[List; 2]>,
}

/// The members cleared for one classification.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) clearance: u8,
    pub(crate) tiers: Box<[Tier]>,
    /// Members on probation (member, tier), by tier.
    pub(crate) probation: Box<[(u32, u8)]>,
    /// How many of them are in tiers that are needed: those are tried before all others.
    pub(crate) eager: usize,
}

/// A pool's view of its members.
#[derive(Debug)]
pub(crate) struct Eligible {
    /// Counts the pool's views.
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    /// When the view ends by itself.
    pub(crate) valid_until: Nanos,
    /// By clearance, ascending; each holds all members cleared for it or more.
    pub(crate) levels: SmallVec<[Level; 1]>,
    /// Fit members of those that count, 0..=1.
    pub(crate) healthy_ratio: f32,
    /// Who serves.
    pub(crate) standing: Standing,
}

impl Eligible {
    pub(crate) fn build(pool: &Pool, number: u64, now: Nanos) -> Self {
        // Before the states are read: a change after this read makes the view stale again, never wrong for good.
        let epoch = pool.registry().epoch();
        let survey = Survey::of(pool, now);
        let mut clearances: Vec<u8> = pool.members().iter().map(|member| member.clearance).collect();
        clearances.sort_unstable();
        clearances.dedup();
        let serving = survey.serving(pool, now);
        let mut standing = Standing::Exhausted; // as a pool without members
        let level = |(number, clearance): (usize, &u8)| {
            let served = Served::of(pool, &survey, &serving, *clearance);
            if number == 0 {
                standing = Standing::of(pool, &served);
            }
            Level::build(pool, &survey, &served, *clearance, now)
        };
        let levels = clearances.iter().enumerate().map(level).collect();
        let counted = survey.looks.iter().filter(|look| look.status.counts()).count();
        let fit = survey.looks.iter().filter(|look| look.status.is_fit()).count();
        Self {
            number,
            epoch,
            valid_until: survey.until,
            levels,
            standing,
            healthy_ratio: if counted == 0 { 0.0 } else { fit as f32 / counted as f32 },
        }
    }

    /// The members that a message of this classification may go to.
    #[inline]
    pub(crate) fn level(&self, classification: u8) -> Option<&Level> {
        self.levels.iter().find(|level| level.clearance >= classification)
    }
}

impl Level {
    fn build(pool: &Pool, survey: &Survey, served: &Served, clearance: u8, now: Nanos) -> Self {
        let mut builder = TierBuilder { pool, survey, clearance, now, first: served.first };
        let tiers = served.iter().map(|(group, load)| builder.tier(group, *load)).collect();
        let mut probation = Vec::new();
        let mut eager = 0;
        for (group, load) in served.iter() {
            let trials = group.only(survey, group.trials, |status| status == Status::Probation);
            probation.extend(trials.iter().map(|index| (*index as u32, pool.members()[*index].tier)));
            if load.needed {
                eager = probation.len();
            }
        }
        Self { clearance, tiers, probation: probation.into(), eager }
    }

    /// The tier that this message falls to.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        match self.tiers.first() {
            Some(first) if first.load < 100 => {
                let mut point = rng.u8(..100);
                let covers = |tier: &Tier| {
                    let here = point < tier.load;
                    point = point.wrapping_sub(if here { 0 } else { tier.load });
                    here
                };
                self.tiers.iter().position(covers).unwrap_or(0)
            }
            _ => 0,
        }
    }
}

struct TierBuilder<'a> {
    pool: &'a Pool,
    survey: &'a Survey,
    clearance: u8,
    now: Nanos,
    /// Whether the next tier is the primary one.
    first: bool,
}

impl TierBuilder<'_> {
    fn tier(&mut self, group: &Group, load: TierLoad) -> Tier {
        let number = group.members.first().map_or(0, |index| self.pool.members()[*index].tier);
        let spilled = !std::mem::replace(&mut self.first, false);
        let leads = group.leads();
        let plans: SmallVec<[(Cow<'_, [usize]>, Reason); 2]> = if load.panic {
            // What a destination says of itself is believed even in panic; what others say of it is not.
            let members = self.pool.members();
            let asked = |index: &usize| members[*index].destination().breaker().paused_until().is_some();
            let mut all = group.only(self.survey, group.counted, Status::counts).into_owned();
            all.retain(|index| !asked(index) || self.survey.status(*index).is_fit());
            SmallVec::from_iter([(Cow::Owned(all), Reason::Panic)])
        } else {
            let policy = Reason::Policy(self.pool.policy());
            if self.pool.policy().mixes_degraded() {
                SmallVec::from_iter([(group.only(self.survey, group.fit, Status::is_fit), policy)])
            } else {
                let ready = group.only(self.survey, group.ready, |status| status == Status::Ready);
                let degraded = group.only(self.survey, group.fit - group.ready, |status| status == Status::Degraded);
                SmallVec::from_iter([(ready, policy), (degraded, Reason::Degraded)])
            }
        };
        let lists = plans
            .into_iter()
            .enumerate()
            .filter(|(_, (members, _))| !members.is_empty())
            .map(|(list, (members, reason))| {
                let reason = match reason {
                    Reason::Panic => Reason::Panic,
                    _ if leads => Reason::Operator,
                    _ if spilled => Reason::Spilled,
                    Reason::Policy(_) if members.len() == 1 => Reason::OnlyChoice,
                    other => other,
                };
                let list = list as u8 + if load.panic { 2 } else { 0 } + if leads { 4 } else { 0 };
                self.list(&members, reason, number, list)
            })
            .collect();
        Tier { number, load: load.load, panic: load.panic, lists }
    }

    fn list(&self, members: &[usize], reason: Reason, tier: u8, list: u8) -> List {
        let panic = reason == Reason::Panic;
        let entry = |index: &usize| Entry::of(self.pool, *index, &self.survey.looks[*index], panic, self.now);
        let entries: Box<[Entry]> = members.iter().map(entry).collect();
        let salt = |index: &usize| self.pool.members()[*index].salt();
        let seat = |(entry, index)| Seat { weight: Entry::weight(entry), salt: salt(index) };
        let seats: Vec<Seat> = entries.iter().zip(members).map(seat).collect();
        let key = CursorKey { pool: Arc::clone(self.pool.id()), clearance: self.clearance, tier, list };
        // Those that stand in for others may be of several tiers, which have no table together; a table is not made here,
        // where a pick waits. They are few, as an operator names them: their keys are found by `rendezvous`.
        let one_tier = members.iter().all(|index| self.pool.members()[*index].tier == tier);
        let table = if one_tier { self.pool.table(tier) } else { None };
        List {
            policy: Policy::build(self.pool.policy(), &seats, table.as_ref()),
            cursor: self.pool.registry().cursor(key),
            reason,
            roomy: entries.iter().all(Entry::is_roomy),
            total: seats.iter().map(|seat| f64::from(seat.weight)).sum(),
            entries,
        }
    }
}

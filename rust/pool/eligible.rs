//! Who may receive a message: a pool's view of its members, dense and immutable, swapped whole.
//!
//! One [`Level`] for each distinct clearance holds the members cleared for it; a level has tiers, a tier has one list
//! or two (fit, then degraded; or everybody, in panic), and a list has its policy precomputed. A pick therefore never
//! meets a member that is out; only in-flight caps and excluded ids are looked at on the way.
//!
//! A view is valid for one epoch of the registry and until the next deadline (an ejection or a ramp ends). Building
//! costs O(members × clearances), 1,000 destinations take about 0.1 ms.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::balance::{Candidate, Cursor, Policy, Seat};
use crate::pool::aside::Serving;
use crate::pool::bound::Bound;
use crate::pool::breaker::{Phase, ramp};
use crate::pool::destination::{Admin, Destination, Health};
use crate::pool::hot::{Hot, Slot};
use crate::pool::registry::CursorKey;
use crate::pool::tiers::{TierHealth, TierLoad, loads};
use crate::pool::{FailoverSpec, Member, Nanos, Pool, Reason, Request};

/// Why a member may or may not receive something new, whatever its cap and clearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ready,
    Degraded,
    Probation,
    Out { until: Nanos, asked: bool },
    Unhealthy,
    Draining,
    Disabled,
    FailedOver { until: Nanos },
    Weightless,
}

impl Status {
    pub(crate) fn of(member: &Member, failover: &FailoverSpec, now: Nanos) -> Self {
        let destination = member.destination();
        match destination.admin() {
            Admin::Disabled => return Self::Disabled,
            Admin::Draining => return Self::Draining,
            Admin::Enabled => {}
        }
        if let Some(until) = destination.aside().until(now) {
            return Self::FailedOver { until };
        }
        if member.share() == 0 {
            return Self::Weightless;
        }
        let health = if failover.health { destination.health() } else { Health::Healthy };
        if health == Health::Unhealthy {
            return Self::Unhealthy;
        }
        let breaker = destination.breaker();
        let asked = breaker.paused_until();
        match breaker.phase(now) {
            Phase::Closed => {}
            Phase::Out(until) if failover.eject => {
                return Self::Out { until, asked: asked.is_some_and(|asked| asked > now) };
            }
            Phase::Probation if failover.eject => return Self::Probation,
            // A pool that does not eject heeds only what the destination asked for.
            Phase::Out(_) | Phase::Probation => {
                if let Some(until) = asked.filter(|asked| *asked > now) {
                    return Self::Out { until, asked: true };
                }
            }
        }
        if health == Health::Degraded { Self::Degraded } else { Self::Ready }
    }

    pub(crate) fn is_fit(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// Whether the member counts in its tier: what an operator took out is not missing.
    pub(crate) fn counts(self) -> bool {
        !matches!(self, Self::Draining | Self::Disabled | Self::FailedOver { .. } | Self::Weightless)
    }
}

impl Pool {
    /// Whether nobody has taken the member out of use: neither an operator nor a weight of 0.
    pub(crate) fn may_serve(&self, member: usize, now: Nanos) -> bool {
        self.member(member).is_some_and(|member| Status::of(member, self.failover(), now).counts())
    }
}

/// A member in a list, on one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Entry {
    slot: Slot,
    destination: Arc<Destination>,
    pub(crate) member: u32,
    weight: u32,
    cap: u32,
    /// 1 healthy, 0.5 degraded.
    health: f32,
    /// Slow start: since when, and how long; 0: none.
    ramp_from: Nanos,
    ramp_window: Nanos,
    /// Whether it is used whatever its fitness.
    panic: bool,
}

/// What a pick asks of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) now: Nanos,
    /// Set where the view is out of date: the pool whose members' live state has the last word.
    pub(crate) doubt: Option<&'a Pool>,
    /// Set where the pool's load is bounded.
    pub(crate) bound: Option<&'a Bound>,
}

impl Ask<'_> {
    /// Whether all that counts is room: the usual case.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.request.exclude.is_empty() && self.doubt.is_none()
    }
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
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

    /// Whether it is below its cap.
    #[inline]
    pub(crate) fn has_room(&self, now: Nanos) -> bool {
        self.cap == u32::MAX || self.hot().in_flight() < self.cap_at(now)
    }

    /// Whether the request does not exclude it, and it is still fit where that is in doubt.
    pub(crate) fn is_allowed(&self, ask: &Ask<'_>) -> bool {
        !ask.request.excludes(self.destination.id()) && ask.doubt.is_none_or(|pool| self.is_still_fit(pool, ask.now))
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
        self.destination.latency_under_load(now)
    }
    #[inline]
    fn success(&self, now: Nanos) -> f32 {
        self.hot().failures().success_at(now)
    }
    #[inline]
    fn health(&self) -> f32 {
        self.health
    }
    #[inline]
    fn ramp(&self, now: Nanos) -> f32 {
        if self.ramp_window == 0 { 1.0 } else { ramp(self.ramp_from, self.ramp_window, now) }
    }
}

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
        f64::from(entry.weight) / self.total
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
    pub(crate) epoch: u64,
    /// When the view ends by itself.
    pub(crate) valid_until: Nanos,
    /// By clearance, ascending; each holds all members cleared for it or more.
    pub(crate) levels: SmallVec<[Level; 1]>,
    /// Fit members of those that count, 0..=1.
    pub(crate) healthy_ratio: f32,
}

impl Eligible {
    pub(crate) fn build(pool: &Pool, now: Nanos) -> Self {
        // Before the states are read: a change after this read makes the view stale again, never wrong for good.
        let epoch = pool.registry().epoch();
        let failover = pool.failover();
        let statuses: Vec<Status> = pool.members().iter().map(|member| Status::of(member, failover, now)).collect();
        let mut clearances: Vec<u8> = pool.members().iter().map(|member| member.clearance).collect();
        clearances.sort_unstable();
        clearances.dedup();
        let serving = Serving::of(pool, now);
        let level = |clearance: &u8| Level::build(pool, &statuses, &serving, *clearance, now);
        let levels = clearances.iter().map(level).collect();
        let counted = statuses.iter().filter(|status| status.counts()).count();
        let fit = statuses.iter().filter(|status| status.is_fit()).count();
        Self {
            epoch,
            valid_until: next_deadline(pool, now),
            levels,
            healthy_ratio: if counted == 0 { 0.0 } else { fit as f32 / counted as f32 },
        }
    }

    /// The members that a message of this classification may go to.
    #[inline]
    pub(crate) fn level(&self, classification: u8) -> Option<&Level> {
        self.levels.iter().find(|level| level.clearance >= classification)
    }
}

/// The next time at which a member's state changes without anybody changing it.
fn next_deadline(pool: &Pool, now: Nanos) -> Nanos {
    let window = pool.failover().slow_start;
    let deadline = |member: &Member| {
        let breaker = member.destination().breaker();
        let out = match breaker.phase(now) {
            Phase::Out(until) => until.min(breaker.paused_until().filter(|asked| *asked > now).unwrap_or(until)),
            Phase::Closed | Phase::Probation => Nanos::MAX,
        };
        let hold = member.destination().aside().until(now).unwrap_or(Nanos::MAX);
        let ramp = member.destination().returned_at(true).map_or(Nanos::MAX, |at| at.saturating_add(window));
        if ramp > now { out.min(ramp).min(hold) } else { out.min(hold) }
    };
    pool.members().iter().map(deadline).min().unwrap_or(Nanos::MAX)
}

impl Level {
    fn build(pool: &Pool, statuses: &[Status], serving: &Serving, clearance: u8, now: Nanos) -> Self {
        let cleared = |index: &usize| pool.members()[*index].clearance >= clearance;
        let mut members: Vec<usize> = (0..statuses.len()).filter(cleared).collect();
        // Those that stand in for others come before all tiers.
        let place = |index: &usize| (!serving.is_lead(*index)).then(|| pool.members()[*index].tier);
        members.sort_by_key(place);
        let mut groups: Vec<&[usize]> = members.chunk_by(|a, b| place(a) == place(b)).collect();
        let aside = |group: &&[usize]| group.iter().all(|i| matches!(statuses[*i], Status::FailedOver { .. }));
        let mut first = true;
        if !pool.failover().spill {
            // Only an operator moves on from the first tier; with all of it failed over the next serves in its stead.
            let at = groups.iter().position(|group| !aside(group)).unwrap_or(0);
            groups = groups.get(at..=at).map(<[_]>::to_vec).unwrap_or_default();
            first = at == 0;
        }
        let health: SmallVec<[TierHealth; 4]> = groups
            .iter()
            .map(|group| TierHealth {
                fit: group.iter().filter(|index| statuses[**index].is_fit()).count() as u32,
                total: group.iter().filter(|index| statuses[**index].counts()).count() as u32,
            })
            .collect();
        let loads = loads(&health, pool.failover().panic_percent());
        let mut builder = TierBuilder { pool, statuses, serving, clearance, now, first };
        let tiers = groups.iter().zip(&loads).map(|(group, load)| builder.tier(group, *load)).collect();
        let mut probation = Vec::new();
        let mut eager = 0;
        for (group, load) in groups.iter().zip(&loads) {
            let trials = group.iter().filter(|index| statuses[**index] == Status::Probation);
            probation.extend(trials.map(|index| (*index as u32, pool.members()[*index].tier)));
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
    statuses: &'a [Status],
    serving: &'a Serving,
    clearance: u8,
    now: Nanos,
    /// Whether the next tier is the primary one.
    first: bool,
}

impl TierBuilder<'_> {
    fn tier(&mut self, group: &[usize], load: TierLoad) -> Tier {
        let number = group.first().map_or(0, |index| self.pool.members()[*index].tier);
        let spilled = !std::mem::replace(&mut self.first, false);
        let leads = group.first().is_some_and(|index| self.serving.is_lead(*index));
        let only = |wanted: fn(Status) -> bool| -> Vec<usize> {
            group.iter().copied().filter(|index| wanted(self.statuses[*index])).collect()
        };
        let plans: SmallVec<[(Vec<usize>, Reason); 2]> = if load.panic {
            // What a destination says of itself is believed even in panic; what others say of it is not.
            let members = self.pool.members();
            let asked = |index: &usize| members[*index].destination().breaker().paused_until().is_some();
            let mut all = only(Status::counts);
            all.retain(|index| !asked(index) || self.statuses[*index].is_fit());
            SmallVec::from_iter([(all, Reason::Panic)])
        } else {
            let policy = Reason::Policy(self.pool.policy());
            if self.pool.policy().mixes_degraded() {
                SmallVec::from_iter([(only(Status::is_fit), policy)])
            } else {
                let ready = only(|status| status == Status::Ready);
                SmallVec::from_iter([(ready, policy), (only(|status| status == Status::Degraded), Reason::Degraded)])
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
        let entries: Box<[Entry]> = members.iter().map(|index| self.entry(*index, panic)).collect();
        let seat = |entry: &Entry| Seat { weight: entry.weight, salt: entry.destination.salt() };
        let seats: Vec<Seat> = entries.iter().map(seat).collect();
        let key = CursorKey { pool: Arc::clone(self.pool.id()), clearance: self.clearance, tier, list };
        // Those that stand in for others may be of several tiers, which have no table together.
        let one_tier = members.iter().all(|index| self.pool.members()[*index].tier == tier);
        let table = if one_tier { self.pool.table(tier) } else { None };
        List {
            policy: Policy::build(self.pool.policy(), &seats, table.as_ref()),
            cursor: self.pool.registry().cursor(key),
            reason,
            roomy: entries.iter().all(|entry| entry.cap == u32::MAX && entry.ramp_window == 0),
            total: seats.iter().map(|seat| f64::from(seat.weight)).sum(),
            entries,
        }
    }

    fn entry(&self, index: usize, panic: bool) -> Entry {
        let member = &self.pool.members()[index];
        let destination = Arc::clone(member.destination());
        let window = self.pool.failover().slow_start;
        let returned = destination.returned_at(self.pool.failover().eject);
        let ramp = returned.filter(|at| at.saturating_add(window) > self.now);
        let degraded = self.pool.failover().health && destination.health() == Health::Degraded;
        Entry {
            member: index as u32,
            weight: if self.pool.policy().uses_weights() { member.share() } else { 1 },
            cap: member.cap,
            health: if degraded { 0.5 } else { 1.0 },
            ramp_from: ramp.unwrap_or(0),
            ramp_window: if ramp.is_some() { window } else { 0 },
            panic,
            slot: destination.slot().clone(),
            destination,
        }
    }
}

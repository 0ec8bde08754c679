//! The way of a pick: view, tier, list, policy. No locks.
//!
//! Order of precedence: the pinned destination; a trial (only with a lease, and only on a first attempt: a message
//! that failed already is not risked); the tier drawn by load; the other tiers in order, where caps or exclusions
//! leave nothing; at last a trial even so.

use crate::balance::{Draw, Occasion};
use crate::error::NoDestination;
use crate::pool::bound::Bound;
use crate::pool::breaker::Permit;
use crate::pool::current::Seen;
use crate::pool::eligible::{Eligible, Level, List, Tier};
use crate::pool::entry::{Ask, Entry};
use crate::pool::hot::Hot;
use crate::pool::status::Status;
use crate::pool::{Nanos, Pick, Pool, Reason, Request};

/// Picks that lose the last place under a cap to another thread before all candidates are walked.
const RACES: usize = 3;

/// What a pick is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To know for a report: nothing is counted, and no turn is taken.
    Look,
    /// To decide: nothing is held and no permit is taken.
    Decide,
    /// To hold: the destination's in-flight count is taken, and a permit on probation.
    Hold,
}

impl Purpose {
    /// Counts a pick.
    #[inline]
    fn count(self, hot: &Hot) {
        match self {
            Self::Look => {}
            Self::Decide => hot.selections.increment(),
            Self::Hold => hot.attempts.increment(),
        }
    }
}

impl List {
    /// One of the list, held if that is the purpose; `None` if none has room. A bound of load gives way where caps and
    /// exclusions leave nobody within it: it moves messages elsewhere, and never refuses them.
    #[inline]
    fn take(&self, ask: &Ask<'_>, purpose: Purpose, rng: &mut fastrand::Rng) -> Option<(&Entry, Draw)> {
        self.take_within(ask, ask.bound, purpose, rng).or_else(|| {
            ask.bound?;
            self.take_within(ask, None, purpose, rng)
        })
    }

    #[inline]
    fn take_within(
        &self,
        ask: &Ask<'_>,
        bound: Option<&Bound>,
        purpose: Purpose,
        rng: &mut fastrand::Rng,
    ) -> Option<(&Entry, Draw)> {
        let (now, plain) = (ask.now, ask.is_plain());
        let open = plain && bound.is_none() && self.roomy;
        let spare;
        let cursor = if purpose == Purpose::Look {
            spare = self.cursor.copied();
            &spare
        } else {
            &*self.cursor
        };
        let occasion = Occasion { cursor, key: ask.request.key, now, open };
        let usable = |entry: &Entry| {
            entry.has_room(now)
                && (plain || entry.is_allowed(ask))
                && bound.is_none_or(|bound| bound.has_room(entry.member as usize, self.part(entry)))
        };
        for _ in 0..RACES {
            // Where all are usable at any time, nobody is asked.
            let draw = if open {
                self.policy.pick(&self.entries, &occasion, rng, |_| true)?
            } else {
                self.policy.pick(&self.entries, &occasion, rng, usable)?
            };
            let entry = &self.entries[draw.index];
            if purpose != Purpose::Hold || self.hold(entry, ask, bound) {
                return Some((entry, draw));
            }
        }
        self.walk(ask, bound, rng)
    }

    /// Holds the first that can be held, from a random place on.
    #[cold]
    fn walk(&self, ask: &Ask<'_>, bound: Option<&Bound>, rng: &mut fastrand::Rng) -> Option<(&Entry, Draw)> {
        let hold = |entry: &Entry| entry.is_allowed(ask) && self.hold(entry, ask, bound);
        let index = crate::balance::random::first_from(&self.entries, rng, hold)?;
        Some((&self.entries[index], Draw { index, propensity: None }))
    }

    /// Holds an entry; `bound` is `None` where a bound that the pool may have gives way.
    #[inline]
    fn hold(&self, entry: &Entry, ask: &Ask<'_>, bound: Option<&Bound>) -> bool {
        if !entry.hold(ask.now) {
            return false;
        }
        let member = entry.member as usize;
        match (bound, ask.bound) {
            (Some(bound), _) if !bound.hold(member, self.part(entry)) => {
                entry.release();
                return false;
            }
            (None, Some(bound)) => bound.hold_anyway(member),
            _ => {}
        }
        let allowed = entry.take_turn(ask.now);
        if !allowed {
            entry.release();
            if let Some(bound) = ask.bound {
                bound.release(member);
            }
        }
        allowed
    }
}

impl Level {
    /// The probability that this message comes to that tier, which has somebody for it: the tier's load, and, as it is
    /// the first of those, the load of all tiers that have nobody. O(tiers), where tiers are full O(destinations).
    #[cold]
    fn part(&self, number: usize, ask: &Ask<'_>) -> f64 {
        let without = |(other, tier): &(usize, &Tier)| *other != number && !tier.has_room(ask);
        let is_heir = self.tiers.iter().take(number).all(|tier| !tier.has_room(ask));
        let own = u32::from(self.tiers[number].load);
        let passed_on = || self.tiers.iter().enumerate().filter(without).map(|(_, tier)| u32::from(tier.load)).sum();
        let percent: u32 = own + if is_heir { passed_on() } else { 0 };
        f64::from(percent) / 100.0
    }
}

impl Tier {
    /// Whether anybody of it may have the message.
    fn has_room(&self, ask: &Ask<'_>) -> bool {
        let plain = ask.is_plain();
        let may = |entry: &Entry| entry.has_room(ask.now) && (plain || entry.is_allowed(ask));
        self.lists.iter().any(|list| plain && list.roomy || list.entries.iter().any(may))
    }

    #[inline]
    fn take(&self, ask: &Ask<'_>, purpose: Purpose, rng: &mut fastrand::Rng) -> Option<Pick> {
        for list in &self.lists {
            if let Some((entry, draw)) = list.take(ask, purpose, rng) {
                purpose.count(entry.hot());
                let reason = match list.reason {
                    Reason::Policy(kind) if kind.uses_key() && ask.request.key.is_none() => Reason::NoKey,
                    reason => reason,
                };
                let (member, propensity) = (entry.member as usize, draw.propensity);
                return Some(Pick { member, tier: self.number, panic: self.panic, probe: false, reason, propensity });
            }
        }
        None
    }
}

impl Pool {
    /// Picks a destination, and the permit if it is a trial (0 otherwise).
    #[inline]
    pub(crate) fn choose(
        &self,
        request: &Request<'_>,
        purpose: Purpose,
        now: Nanos,
        rng: &mut fastrand::Rng,
    ) -> Result<(Pick, Permit), NoDestination> {
        let mut view = self.view(now);
        let mut found = self.choose_in(view.eligible(), view.in_doubt, request, purpose, now, rng);
        if found.is_none() && view.in_doubt {
            // The old view may lack those who are fit now, or not know of panic yet.
            view = self.fresh_view(now);
            found = self.choose_in(view.eligible(), false, request, purpose, now, rng);
        }
        drop(view);
        found.ok_or_else(|| self.refusal(request, now))
    }

    /// The same by a view that the caller has; `None` if it is out of date or has nobody for the message.
    #[inline]
    pub(crate) fn choose_by(
        &self,
        seen: &Seen,
        request: &Request<'_>,
        purpose: Purpose,
        now: Nanos,
        rng: &mut fastrand::Rng,
    ) -> Option<(Pick, Permit)> {
        let view = self.shown(seen, now)?;
        self.choose_in(Some(view), false, request, purpose, now, rng)
    }

    #[inline]
    fn choose_in(
        &self,
        view: Option<&Eligible>,
        in_doubt: bool,
        request: &Request<'_>,
        purpose: Purpose,
        now: Nanos,
        rng: &mut fastrand::Rng,
    ) -> Option<(Pick, Permit)> {
        let level = view?.level(request.classification)?;
        if let Some(pinned) = request.pinned {
            return self.choose_pinned(level, pinned, request, purpose, now);
        }
        let ask = Ask { request, pool: self, now, in_doubt, bound: self.bound() };
        let hold = purpose == Purpose::Hold;
        if hold
            && level.eager > 0
            && request.exclude.is_empty()
            && let Some(found) = self.trial(&level.probation[..level.eager], request, now)
        {
            return Some(found);
        }
        let drawn = level.draw(rng);
        let others = (0..level.tiers.len()).filter(|tier| *tier != drawn);
        for number in std::iter::once(drawn).chain(others) {
            let tier = level.tiers.get(number)?;
            if let Some(mut pick) = tier.take(&ask, purpose, rng) {
                if tier.load < 100 {
                    pick.propensity = pick.propensity.map(|within| within * level.part(number, &ask));
                }
                return Some((pick, 0));
            }
        }
        if hold { self.trial(&level.probation, request, now) } else { None }
    }

    /// Takes the first free permit among members on probation.
    #[cold]
    fn trial(&self, probation: &[(u32, u8)], request: &Request<'_>, now: Nanos) -> Option<(Pick, Permit)> {
        probation.iter().find_map(|&(member, tier)| {
            let member = member as usize;
            let destination = self.members()[member].destination();
            if request.excludes(destination.id()) {
                return None;
            }
            let permit = destination.breaker().take_permit(now, self.failover().permit_time())?;
            if !self.hold(member, now) {
                destination.breaker().return_permit(permit);
                return None;
            }
            if let Some(bound) = self.bound() {
                bound.hold_anyway(member);
            }
            destination.breaker().trial_began();
            Purpose::Hold.count(destination.hot());
            let reason = Reason::Probe;
            Some((Pick { member, tier, panic: false, probe: true, reason, propensity: None }, permit))
        })
    }

    #[cold]
    fn choose_pinned(
        &self,
        level: &Level,
        pinned: &str,
        request: &Request<'_>,
        purpose: Purpose,
        now: Nanos,
    ) -> Option<(Pick, Permit)> {
        let index = self.index_of(pinned)?;
        let member = &self.members()[index];
        if member.clearance < request.classification || request.excludes(member.id()) {
            return None;
        }
        let status = Status::of(member, self.failover(), now);
        if status == Status::Probation
            && purpose == Purpose::Hold
            && let Some(found) = self.trial(&[(index as u32, member.tier)], request, now)
        {
            return Some(found);
        }
        let in_panic = |tier: &Tier| {
            let all = tier.lists.iter().flat_map(|list| &list.entries);
            tier.panic && all.into_iter().any(|entry| entry.member as usize == index)
        };
        let panic = !status.is_fit() && level.tiers.iter().any(in_panic);
        if !status.is_fit() && !panic {
            return None;
        }
        let destination = member.destination();
        let held = match purpose {
            Purpose::Hold => self.hold(index, now),
            Purpose::Look | Purpose::Decide => self.has_room(index, now),
        };
        if !held {
            return None;
        }
        if let Some(bound) = self.bound().filter(|_| purpose == Purpose::Hold) {
            bound.hold_anyway(index);
        }
        purpose.count(destination.hot());
        let reason = Reason::Pinned;
        Some((Pick { member: index, tier: member.tier, panic, probe: false, reason, propensity: None }, 0))
    }
}

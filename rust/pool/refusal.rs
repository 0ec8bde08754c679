//! Why nobody may receive a message, in words and counts, and for how long. Only built when that is so: O(members).

use crate::error::NoDestination;
use crate::pool::aside::Serving;
use crate::pool::status::Status;
use crate::pool::{Nanos, Pool, Request};

impl Pool {
    /// Why nothing was found, member by member.
    #[cold]
    pub(crate) fn refusal(&self, request: &Request<'_>, now: Nanos) -> NoDestination {
        let mut tally = Tally::default();
        let serving = Serving::of(self, now);
        let mut considered = 0;
        for (index, member) in self.members().iter().enumerate() {
            if request.pinned.is_some_and(|pinned| *pinned != **member.id()) {
                continue;
            }
            considered += 1;
            let (destination, status) = (member.destination(), Status::of(member, self.failover(), now));
            let what = if member.clearance < request.classification {
                "not cleared for the message's classification"
            } else if request.excludes(member.id()) {
                "excluded"
            } else if !serving.uses(index, member.tier)
                && request.pinned.is_none()
                && !matches!(status, Status::FailedOver { .. })
            {
                tally.moved = true;
                "in a backup tier that is not used"
            } else {
                match status {
                    Status::Disabled => "disabled",
                    Status::Draining => "draining",
                    Status::FailedOver { until } => {
                        tally.moved = true;
                        if until != Nanos::MAX {
                            tally.wait(until - now);
                        }
                        "failed over by an operator"
                    }
                    Status::Weightless => "of weight 0",
                    Status::Unhealthy => "unhealthy",
                    Status::Out { until, asked } => {
                        tally.wait(until - now);
                        tally.overloaded |= asked;
                        if asked { "overloaded" } else { "ejected" }
                    }
                    Status::Probation if self.has_room(index, now) => {
                        let taken = destination.breaker().permit_taken_until(now).map_or(0, |until| until - now);
                        tally.wait(taken.min(TRIAL_WAIT));
                        "on probation with its trial under way"
                    }
                    Status::Probation | Status::Ready | Status::Degraded => {
                        tally.full = true;
                        match self.rate_wait(index, now) {
                            0 => "at the in-flight cap",
                            wait => {
                                tally.overloaded = true;
                                tally.wait(wait);
                                "at the rate limit"
                            }
                        }
                    }
                }
            };
            tally.count(what);
        }
        if let Some(pinned) = request.pinned.filter(|_| considered == 0) {
            let reason = format!("it has no destination {pinned:?}");
            return NoDestination { pool: self.id().to_string(), reason, ..NoDestination::default() };
        }
        tally.into_refusal(self.id(), considered)
    }
}

/// How long to wait at most for a trial that is under way: most end well before their permit lapses.
const TRIAL_WAIT: Nanos = 1_000_000_000;

/// Members by what keeps them from receiving the message.
#[derive(Debug, Default)]
struct Tally {
    counts: Vec<(&'static str, usize)>,
    retry_in: Option<Nanos>,
    full: bool,
    moved: bool,
    overloaded: bool,
}

impl Tally {
    fn count(&mut self, what: &'static str) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((what, 1)),
        }
    }

    fn wait(&mut self, time: Nanos) {
        self.retry_in = Some(self.retry_in.map_or(time, |before| before.min(time)));
    }

    fn into_refusal(mut self, pool: &str, members: usize) -> NoDestination {
        self.counts.sort_by_key(|(what, count)| (std::cmp::Reverse(*count), *what));
        let parts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let plural = if members == 1 { "" } else { "s" };
        let all = format!("{members} destination{plural}: {}", parts.join(", "));
        NoDestination {
            pool: pool.to_owned(),
            reason: if members == 0 { "it has no destinations".to_owned() } else { all },
            retry_in: self.retry_in.map(std::time::Duration::from_nanos),
            full: self.full,
            moved: self.moved,
            overloaded: self.overloaded,
        }
    }
}

//! The live state of a pool's members, looked at once for a view: where there are many each look waits for memory, and
//! a second one would cost as much again.

use crate::pool::aside::Serving;
use crate::pool::breaker::Phase;
use crate::pool::destination::Health;
use crate::pool::events::EventKind;
use crate::pool::status::Status;
use crate::pool::{Nanos, Pool};

/// What a view needs of one member's live state.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) status: Status,
    /// When it last came into use, or back into it, while others went on: what slow start begins at.
    pub(crate) returned: Option<Nanos>,
    /// Whether health checks say so, where the pool heeds those.
    pub(crate) degraded: bool,
}

/// What a view needs of all members, in their order.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) looks: Vec<Look>,
    /// The next time at which a member's state changes without anybody changing it.
    pub(crate) until: Nanos,
    /// Whether an operator has failed any of them over.
    pub(crate) any_aside: bool,
}

impl Survey {
    /// Looks at the members, and tells of what time alone has changed.
    pub(crate) fn of(pool: &Pool, now: Nanos) -> Self {
        let (failover, registry) = (pool.failover(), pool.registry());
        let mut survey = Self { looks: Vec::with_capacity(pool.members().len()), until: Nanos::MAX, any_aside: false };
        for (index, member) in pool.members().iter().enumerate() {
            let destination = member.destination();
            let (aside, breaker) = (destination.aside(), destination.breaker());
            if aside.lapse(now) {
                registry.noted(now, destination, EventKind::FailedBack, "the hold is over");
            }
            let phase = breaker.phase(now);
            if phase == Phase::Probation && breaker.announce_probation() {
                registry.noted(now, destination, EventKind::Probation, "time is up");
            }
            let out = match phase {
                Phase::Out(until) => until.min(breaker.paused_until().filter(|asked| *asked > now).unwrap_or(until)),
                Phase::Closed | Phase::Probation => Nanos::MAX,
            };
            let hold = aside.until(now);
            let returned = pool.arrivals().at(index).max(destination.returned_at(failover));
            let ramp = returned.map(|at| at.saturating_add(failover.slow_start));
            let ramp = ramp.filter(|end| *end > now).unwrap_or(Nanos::MAX);
            survey.until = survey.until.min(out).min(ramp).min(hold.unwrap_or(Nanos::MAX));
            survey.any_aside |= hold.is_some();
            survey.looks.push(Look {
                status: Status::of(member, failover, now),
                returned,
                degraded: failover.health && destination.health() == Health::Degraded,
            });
        }
        survey
    }

    /// Who serves first by an operator's word, as looked at.
    pub(crate) fn serving(&self, pool: &Pool, now: Nanos) -> Serving {
        if self.any_aside { Serving::of(pool, now) } else { Serving::plain(pool) }
    }

    pub(crate) fn status(&self, member: usize) -> Status {
        self.looks[member].status
    }
}

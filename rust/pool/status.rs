//! Why a member may or may not receive something new: the four axes of its state in one word.

use crate::pool::breaker::Phase;
use crate::pool::destination::{Admin, Health};
use crate::pool::{FailoverSpec, Member, Nanos, Pool};

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

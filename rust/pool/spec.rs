//! What a pool is configured to be, and what is refused.

use std::collections::HashSet;
use std::sync::Arc;

use crate::balance::PolicyKind;
use crate::error::PoolError;
use crate::pool::Nanos;

const SECOND: Nanos = 1_000_000_000;

/// A destination's place in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSpec {
    /// The destination's id.
    pub id: Arc<str>,
    /// Share of messages; 0: nothing new, unless all weights of the pool are 0 (then all are equal).
    pub weight: u32,
    /// 0: primary; 1 and up: backups. Gaps are allowed.
    pub tier: u8,
    /// Messages held at once, at least 1; `None`: no cap.
    pub max_in_flight: Option<u32>,
    /// Highest classification of messages it may receive; 0 is public.
    pub clearance: u8,
}

impl MemberSpec {
    /// A primary destination of weight 1 for public messages, without a cap.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), weight: 1, tier: 0, max_in_flight: None, clearance: 0 }
    }
}

/// Destinations under one balancing policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSpec {
    /// The pool's id.
    pub id: Arc<str>,
    /// How one of several is picked.
    pub policy: PolicyKind,
    /// For policies by key: a destination holds at most ceil(this × its share by weight of what its tier holds for
    /// this pool), at least 1; `None`: no bound.
    pub bounded_load: Option<f64>,
    /// At least one; ids are unique.
    pub members: Vec<MemberSpec>,
    /// When destinations are taken out and brought back.
    pub failover: FailoverSpec,
}

/// When destinations are taken out and brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverSpec {
    /// Whether failures eject. If not, this pool neither ejects nor heeds ejections by other pools; a pause that the
    /// destination asked for (overloaded) is heeded all the same.
    pub eject: bool,
    /// Failures in a row that eject a destination.
    pub streak: u32,
    /// How long the first ejection lasts; the n-th lasts n times as long. Each such span of health forgets one.
    pub ejection_time: Nanos,
    /// The longest an ejection lasts, before up to 10 % of jitter.
    pub max_ejection_time: Nanos,
    /// Share of the pool's destinations, in percent, that may be ejected at once; at least one may.
    pub max_ejected_percent: u8,
    /// Whether the last eligible destination of the pool may be ejected.
    pub allow_last: bool,
    /// Successes in a row that end a probation.
    pub probation_successes: u32,
    /// Whether backup tiers are used. If not, only the lowest tier of the pool serves.
    pub spill: bool,
    /// Share of healthy destinations of a tier, in percent, below which all of it is used when there is nowhere left
    /// to spill; 0: never.
    pub panic_threshold_percent: u8,
    /// Whether the health axis is considered.
    pub health: bool,
    /// After a recovery, the time in which share and in-flight cap grow from a tenth to the whole; 0: at once.
    pub slow_start: Nanos,
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self {
            eject: true,
            streak: 5,
            ejection_time: 30 * SECOND,
            max_ejection_time: 300 * SECOND,
            max_ejected_percent: 10,
            allow_last: false,
            probation_successes: 2,
            spill: true,
            panic_threshold_percent: 50,
            health: true,
            slow_start: 10 * SECOND,
        }
    }
}

impl FailoverSpec {
    /// How long the permit of a probation is held at most: a lease that is lost without an end (its owner hangs)
    /// frees it then. As long as the first ejection, but no less than a second.
    pub fn permit_time(&self) -> Nanos {
        self.ejection_time.max(SECOND)
    }
}

impl PoolSpec {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`PoolError`] for an empty pool, an empty or repeated id, a cap, streak or number of successes of 0, percentages
    /// above 100, and a bound of load below 1 or where there is no affinity.
    pub fn check(&self) -> Result<(), PoolError> {
        let error = |problem: String| Err(PoolError { pool: self.id.to_string(), problem });
        if self.members.is_empty() {
            return error("it has no destinations; name at least one".to_owned());
        }
        if u32::try_from(self.members.len()).is_err() {
            return error("it has more than 2^32 destinations".to_owned());
        }
        if let Some(bound) = self.bounded_load {
            if !self.policy.uses_key() {
                return error(format!(
                    "bounded_load is for maglev and rendezvous, not for {}; leave it out",
                    self.policy
                ));
            }
            if !(1.0..=100.0).contains(&bound) {
                return error(format!("bounded_load is {bound}; write 1 to 100, such as 1.25"));
            }
        }
        let mut seen = HashSet::new();
        for member in &self.members {
            if member.id.is_empty() {
                return error("a destination's id is empty; name it".to_owned());
            }
            if !seen.insert(&member.id) {
                return error(format!(
                    "destination {:?} is named twice; give it one entry with more weight",
                    member.id
                ));
            }
            if member.max_in_flight == Some(0) {
                let id = &member.id;
                return error(format!("destination {id:?}: max_in_flight is 0; write 1 or more, or drain it"));
            }
        }
        let failover = &self.failover;
        if failover.streak == 0 || failover.probation_successes == 0 {
            return error(
                "streak and probation_successes must be at least 1; eject: false turns ejection off".to_owned(),
            );
        }
        if failover.ejection_time == 0 || failover.max_ejection_time < failover.ejection_time {
            return error("ejection_time must be above 0 and no longer than max_ejection_time".to_owned());
        }
        if failover.max_ejected_percent > 100 || failover.panic_threshold_percent > 100 {
            return error("percentages must be 0 to 100".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_a_remedy() {
        type Break = fn(&mut PoolSpec);
        let table: [(Break, &str); 9] = [
            (|spec| spec.members.clear(), "no destinations"),
            (|spec| spec.members.push(MemberSpec::new("a")), "named twice"),
            (|spec| spec.members.push(MemberSpec::new("")), "empty"),
            (|spec| spec.members[0].max_in_flight = Some(0), "max_in_flight"),
            (|spec| spec.bounded_load = Some(1.25), "maglev"),
            (|spec| (spec.policy, spec.bounded_load) = (PolicyKind::Maglev, Some(0.9)), "1.25"),
            (|spec| spec.failover.streak = 0, "at least 1"),
            (|spec| spec.failover.max_ejection_time = 1, "max_ejection_time"),
            (|spec| spec.failover.panic_threshold_percent = 101, "percentages"),
        ];
        let good = PoolSpec {
            id: "p".into(),
            policy: PolicyKind::RoundRobin,
            bounded_load: None,
            members: vec![MemberSpec::new("a")],
            failover: FailoverSpec::default(),
        };
        assert_eq!(good.check(), Ok(()));
        for (spoil, problem) in table {
            let mut spec = good.clone();
            spoil(&mut spec);
            let error = spec.check().unwrap_err();
            assert!(error.pool == "p" && error.problem.contains(problem), "{error}");
        }
    }
}

//! What a pool is configured to be, and what is refused.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use crate::balance::Choice;
use crate::error::PoolError;
use crate::pool::Nanos;
use crate::pool::pace::RateLimit;

const SECOND: Nanos = 1_000_000_000;
/// Below, a bucket of the rate would be shorter than the ticks by which people measure latency.
const SHORTEST_WINDOW: Nanos = SECOND / 10;
/// A bucket counts up to a million and is halved then, so no more may be asked of it.
const MOST_REQUESTS: u32 = 500_000;

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
    /// Messages a second; `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Highest classification of messages it may receive; 0 is public.
    pub clearance: u8,
}

impl MemberSpec {
    /// A primary destination of weight 1 for public messages, without a cap.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), weight: 1, tier: 0, max_in_flight: None, rate_limit: None, clearance: 0 }
    }
}

impl MemberSpec {
    /// What is wrong with it by itself, and the remedy.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.id.is_empty() {
            return Err("a destination's id is empty; name it".to_owned());
        }
        if self.max_in_flight == Some(0) {
            return Err(format!("destination {:?}: max_in_flight is 0; write 1 or more, or drain it", self.id));
        }
        Ok(())
    }
}

/// Destinations under one balancing policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSpec {
    /// The pool's id.
    pub id: Arc<str>,
    /// How one of several is picked.
    pub policy: Choice,
    /// For policies by key: a destination holds at most ceil(this × its share by weight of what its tier holds for
    /// this pool), at least 1; `None`: no bound.
    pub bounded_load: Option<f64>,
    /// Whether weights follow what is observed of the members; without effect where the policy does not go by weights,
    /// or by keys.
    pub dynamic_adjustment: bool,
    /// At least one; ids are unique.
    pub members: Vec<MemberSpec>,
    /// When destinations are taken out and brought back.
    pub failover: FailoverSpec,
}

/// What happens to messages when too few destinations are fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExhausted {
    /// Below the panic threshold, with nowhere left to spill, all are used, the unfit included.
    #[default]
    Panic,
    /// Unfit ones are never used. With none fit a pick is refused, with the time of the earliest recovery; a
    /// delivery waits for it.
    Wait,
    /// As `Wait`, but a delivery does not wait either.
    Raise,
}

impl OnExhausted {
    /// Its name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Wait => "wait",
            Self::Raise => "raise",
        }
    }
}

impl FromStr for OnExhausted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Self::Panic, Self::Wait, Self::Raise].into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| format!("{name:?} is not one of panic, wait, raise"))
    }
}

/// When destinations are taken out and brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverSpec {
    /// Whether failures eject. If not, this pool neither ejects nor heeds ejections by other pools; a pause that the
    /// destination asked for (overloaded) is heeded all the same.
    pub eject: bool,
    /// Failures in a row that eject a destination.
    pub streak: u32,
    /// Time over which outcomes are counted for the next four, in ten buckets; and between two looks for outliers.
    pub rate_window: Nanos,
    /// Share of failures and overload in the window, in percent, that ejects a destination; 0: none does.
    pub failure_percent: u8,
    /// Outcomes in the window below which that share says nothing.
    pub min_requests: u32,
    /// How many thousandths of a standard deviation below the pool's mean success rate an outlier begins; 0: none is
    /// looked for.
    pub outlier_stdev_milli: u32,
    /// Outcomes of a destination in the window below which it is not compared; with fewer than
    /// [`OUTLIER_MIN_DESTINATIONS`](crate::pool::judge::OUTLIER_MIN_DESTINATIONS) to compare, none is an outlier.
    pub outlier_min_requests: u32,
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
    /// What happens to messages when too few destinations are fit.
    pub on_exhausted: OnExhausted,
    /// Whether the health axis is considered.
    pub health: bool,
    /// The time in which share and in-flight cap of a destination that comes into use while others go on grow from a
    /// tenth to the whole: after an ejection, being unhealthy, drained, disabled or failed over, or when it is added to
    /// the pool; 0: at once.
    pub slow_start: Nanos,
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self {
            eject: true,
            streak: 5,
            rate_window: 10 * SECOND,
            failure_percent: 50,
            min_requests: 20,
            outlier_stdev_milli: 1_900,
            outlier_min_requests: 100,
            ejection_time: 30 * SECOND,
            max_ejection_time: 300 * SECOND,
            max_ejected_percent: 10,
            allow_last: false,
            probation_successes: 2,
            spill: true,
            panic_threshold_percent: 50,
            on_exhausted: OnExhausted::Panic,
            health: true,
            slow_start: 10 * SECOND,
        }
    }
}

impl FailoverSpec {
    /// Whether outcomes are counted by time at all.
    #[inline]
    pub(crate) fn counts_rates(&self) -> bool {
        self.eject && (self.failure_percent > 0 || self.outlier_stdev_milli > 0)
    }

    /// The panic threshold in force; 0: unfit destinations are never used.
    pub(crate) fn panic_percent(&self) -> u8 {
        if self.on_exhausted == OnExhausted::Panic { self.panic_threshold_percent } else { 0 }
    }

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
    /// above 100, a window shorter than 0.1 s, numbers of requests that no window holds, and a bound of load below 1 or
    /// where there is no affinity.
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
                    "bounded_load is for maglev, rendezvous and auto, not for {}; leave it out",
                    self.policy
                ));
            }
            if !(1.0..=100.0).contains(&bound) {
                return error(format!("bounded_load is {bound}; write 1 to 100, such as 1.25"));
            }
        }
        let mut seen = HashSet::new();
        for member in &self.members {
            member.check().or_else(error)?;
            if !seen.insert(&member.id) {
                return error(format!(
                    "destination {:?} is named twice; give it one entry with more weight",
                    member.id
                ));
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
        let percents = [failover.max_ejected_percent, failover.panic_threshold_percent, failover.failure_percent];
        if percents.iter().any(|percent| *percent > 100) {
            return error("percentages must be 0 to 100".to_owned());
        }
        if failover.rate_window < SHORTEST_WINDOW {
            return error("rate_window must be at least 0.1 s".to_owned());
        }
        let counts = [failover.min_requests, failover.outlier_min_requests];
        if counts.iter().any(|count| !(1..=MOST_REQUESTS).contains(count)) {
            return error(format!("min_requests and outlier_min_requests must be 1 to {MOST_REQUESTS}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::PolicyKind;

    #[test]
    fn what_cannot_work_is_refused_with_a_remedy() {
        type Break = fn(&mut PoolSpec);
        let table: [(Break, &str); 12] = [
            (|spec| spec.members.clear(), "no destinations"),
            (|spec| spec.members.push(MemberSpec::new("a")), "named twice"),
            (|spec| spec.members.push(MemberSpec::new("")), "empty"),
            (|spec| spec.members[0].max_in_flight = Some(0), "max_in_flight"),
            (|spec| spec.bounded_load = Some(1.25), "maglev"),
            (|spec| (spec.policy, spec.bounded_load) = (PolicyKind::Maglev.into(), Some(0.9)), "1.25"),
            (|spec| spec.failover.streak = 0, "at least 1"),
            (|spec| spec.failover.max_ejection_time = 1, "max_ejection_time"),
            (|spec| spec.failover.panic_threshold_percent = 101, "percentages"),
            (|spec| spec.failover.failure_percent = 101, "percentages"),
            (|spec| spec.failover.rate_window = 1, "rate_window"),
            (|spec| spec.failover.min_requests = 0, "min_requests"),
        ];
        let good = PoolSpec {
            id: "p".into(),
            policy: Choice::default(),
            bounded_load: None,
            dynamic_adjustment: false,
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

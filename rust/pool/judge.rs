//! Who is ejected: by a streak of failures, by the rate of failures, or for being an outlier of its pool.
//!
//! A failure judges its own destination: after a whole streak, and, at most ten times a window, by its rate. Outliers
//! are looked for in a sweep over the pool once a window: a destination whose success rate lies further below the
//! mean of all than so many standard deviations. There is no timer: the first pick of a new window makes the sweep,
//! so it happens in simulated time too; a window without a failure in the pool makes none. A sweep costs O(members).
//!
//! However bad, a destination stays if as many of its pool are ejected as may be, or if it is the last that is fit.
//!
//! Source: Envoy and gRPC A50 (consecutive errors, success rate, at most 10 % ejected); Linkerd (rate).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::pool::aside::Serving;
use crate::pool::breaker::Phase;
use crate::pool::destination::Admin;
use crate::pool::events::EventKind;
use crate::pool::rate::Tally;
use crate::pool::shared::RECLAIM_EVERY;
use crate::pool::status::Status;
use crate::pool::{FailoverSpec, Member, Nanos, Pool, windows};

/// Destinations with enough outcomes that a mean and a deviation take, as Envoy's `success_rate_minimum_hosts`.
pub const OUTLIER_MIN_DESTINATIONS: usize = 5;
/// How far below the mean an outlier is at least. Of n destinations that differ from one another in one failure alone,
/// the one that had it is √(n−1) deviations below the mean, however many its successes: Envoy's rule by itself ejects it.
const OUTLIER_GAP: f64 = 0.05;

/// When a pool looks for outliers.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// `u64::MAX`: never.
    next: AtomicU64,
    /// When outliers are looked for; as above.
    outliers: AtomicU64,
    /// Whether anything failed since the last sweep.
    troubled: AtomicBool,
}

impl Sweep {
    /// `shared`: whether other processes have a part in the pool's destinations.
    pub(crate) fn new(failover: &FailoverSpec, shared: bool, now: Nanos) -> Self {
        let wanted = failover.eject && failover.outlier_stdev_milli > 0;
        let outliers = if wanted { windows::end(failover.rate_window, now) } else { Nanos::MAX };
        Self {
            next: AtomicU64::new(if shared { now } else { outliers }),
            outliers: AtomicU64::new(outliers),
            troubled: AtomicBool::new(false),
        }
    }

    /// Goes on for a pool whose members have changed.
    pub(crate) fn succeeded_by(&self) -> Self {
        let copy = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed)); // relaxed: as in `is_due`
        let troubled = AtomicBool::new(self.troubled.load(Ordering::Relaxed));
        Self { next: copy(&self.next), outliers: copy(&self.outliers), troubled }
    }

    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.next.load(Ordering::Relaxed) // relaxed: a deadline; the sweep itself is under a lock
    }
}

/// What speaks against a destination.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Streak(u32),
    Rate(Tally),
    Outlier { success: f64, mean: f64, deviation: f64 },
}

impl Cause {
    fn text(self, failover: &FailoverSpec) -> String {
        let seconds = failover.rate_window as f64 / 1e9;
        match self {
            Self::Streak(count) => format!("{count} failures in a row"),
            Self::Rate(Tally { total, failed }) => {
                let percent = 100.0 * f64::from(failed) / f64::from(total.max(1));
                format!("{failed} of {total} outcomes failed in {seconds} s ({percent:.1} %)")
            }
            Self::Outlier { success, mean, deviation } => format!(
                "success rate {:.1} % in {seconds} s is an outlier: mean {:.1} %, deviation {:.1} %, limit {} deviations",
                100.0 * success,
                100.0 * mean,
                100.0 * deviation,
                f64::from(failover.outlier_stdev_milli) / 1e3,
            ),
        }
    }
}

impl Pool {
    /// Counts a failure, or an answer of overload, of a member and judges it.
    pub(crate) fn judge_failure(&self, member: usize, failed: bool, now: Nanos) {
        let (failover, breaker) = (self.failover(), self.members()[member].destination().breaker());
        self.sweep.troubled.store(true, Ordering::Relaxed); // relaxed: a sweep that misses it is followed by another
        if failover.counts_rates() {
            breaker.rate().record(true, now, failover.rate_window);
        }
        if failed {
            let streak = breaker.failure(now);
            // One that was spared is judged again after another whole streak, not at every failure.
            if streak > 0 && streak.is_multiple_of(failover.streak) {
                self.judge(member, Cause::Streak(streak), now);
            }
        }
        // While it is out the rate grows and decides nothing: a burst of overload is one pause.
        if failover.failure_percent > 0 && breaker.phase(now) == Phase::Closed {
            let tally = breaker.rate().tally(now, failover.rate_window);
            let limit = u64::from(failover.failure_percent) * u64::from(tally.total);
            if tally.total >= failover.min_requests
                && u64::from(tally.failed) * 100 >= limit
                && breaker.rate().is_due(now, failover.rate_window)
            {
                self.judge(member, Cause::Rate(tally), now);
            }
        }
    }

    /// Takes back what dead processes hold, and looks for outliers. The caller holds the lock of rebuilding.
    #[cold]
    pub(crate) fn sweep(&self, now: Nanos) {
        let failover = self.failover();
        let mut next = Nanos::MAX;
        if let Some(map) = self.registry().shared() {
            map.reclaim(now);
            next = now.saturating_add(RECLAIM_EVERY);
        }
        // Relaxed, here and below: as in `is_due`.
        let due = self.sweep.outliers.load(Ordering::Relaxed);
        let outliers = if now < due { due } else { windows::end(failover.rate_window, now) };
        self.sweep.outliers.store(outliers, Ordering::Relaxed);
        self.sweep.next.store(next.min(outliers), Ordering::Relaxed);
        if now < due {
            return;
        }
        if !self.sweep.troubled.swap(false, Ordering::Relaxed) {
            return; // nothing failed: all rates are equal
        }
        let rate = |(index, member): (usize, &crate::pool::Member)| {
            let destination = member.destination();
            let breaker = destination.breaker();
            if destination.admin() != Admin::Enabled || breaker.phase(now) != Phase::Closed {
                return None;
            }
            let tally = breaker.rate().tally(now, failover.rate_window);
            (tally.total >= failover.outlier_min_requests).then(|| (index, tally.success()))
        };
        let mut rates: Vec<(usize, f64)> = self.members().iter().enumerate().filter_map(rate).collect();
        if rates.len() < OUTLIER_MIN_DESTINATIONS {
            return;
        }
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(_, success)| success).sum::<f64>() / count;
        let variance = rates.iter().map(|(_, success)| (success - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt();
        let gap = (deviation * f64::from(failover.outlier_stdev_milli) / 1e3).max(OUTLIER_GAP);
        rates.retain(|(_, success)| *success < mean - gap);
        // The worst first: only so many may be ejected.
        rates.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (member, success) in rates {
            self.judge(member, Cause::Outlier { success, mean, deviation }, now);
        }
    }

    /// Ejects the member, unless it is the last or too many are out.
    fn judge(&self, member: usize, cause: Cause, now: Nanos) {
        let failover = self.failover();
        let destination = self.members()[member].destination();
        let _judging = self.registry().judging();
        let serving = Serving::of(self, now);
        let (mut ejected, mut fit, mut members) = (0, 0, 1);
        // Those that are gone since are of a later generation.
        let stays = |other: &Member| !other.destination().is_stale(self.generation());
        let others = self.members().iter().enumerate().filter(|(index, other)| *index != member && stays(other));
        for (index, other) in others {
            members += 1;
            ejected += usize::from(other.destination().breaker().is_ejected());
            fit += usize::from(serving.uses(index, other.tier) && Status::of(other, failover, now).is_fit());
        }
        let limit = (members * usize::from(failover.max_ejected_percent) / 100).max(1);
        let spared = if ejected >= limit {
            Some("as many are ejected as may be")
        } else if fit == 0 && !failover.allow_last {
            Some("it is the last of its pool")
        } else {
            None
        };
        if let Some(why) = spared {
            // A long streak is told of once; rates and outliers come at most ten times a window.
            if !matches!(cause, Cause::Streak(streak) if streak != failover.streak) {
                let reason = format!("{why}: {}", cause.text(failover));
                self.registry().noted(now, destination, EventKind::Spared, reason);
            }
            return;
        }
        let breaker = destination.breaker();
        let since = match cause {
            Cause::Streak(_) => breaker.failing_since(),
            Cause::Rate(_) | Cause::Outlier { .. } => breaker.rate().failing_since(now, failover.rate_window),
        };
        if let Some(ejection) = breaker.eject(now, since, failover, destination.salt()) {
            let kind = EventKind::Ejected { until: ejection.until, times: ejection.times };
            self.registry().changed(now, destination, kind, cause.text(failover));
        }
    }
}

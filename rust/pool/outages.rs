//! What outages a destination had: how many, how long until they were noticed, and until they were over.
//!
//! Written in transitions of the breaker and lying beside it, so that processes that share the breaker share these
//! too: whoever ejects and whoever passes the trial, the time between the two is measured once, and all tell the same.

use crate::pool::Nanos;
use crate::pool::sync::{AtomicU64, Ordering};

/// Lengths of time, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// All together, ns.
    pub sum: Nanos,
    /// The last, ns.
    pub last: Nanos,
    /// The longest, ns.
    pub longest: Nanos,
}

/// A destination's outages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outages {
    /// Times it was ejected.
    pub ejections: u64,
    /// Times it passed probation, or an operator ended its ejection, pause or probation.
    pub recoveries: u64,
    /// Trials begun on probation.
    pub trials: u64,
    /// Trials that ended in success.
    pub trials_passed: u64,
    /// Trials that ended in failure.
    pub trials_failed: u64,
    /// From the first failure of the streak or window to the ejection.
    pub detection: Times,
    /// From an ejection to the return to use, further ejections on probation included.
    pub recovery: Times,
}

/// [`Times`] at rest.
#[derive(Debug, Default)]
#[repr(C)]
struct TimesWords {
    count: AtomicU64,
    sum: AtomicU64,
    last: AtomicU64,
    longest: AtomicU64,
}

impl TimesWords {
    fn add(&self, time: Nanos) {
        let before = self.read();
        self.count.store(before.count.saturating_add(1), Ordering::Relaxed);
        self.sum.store(before.sum.saturating_add(time), Ordering::Relaxed);
        self.last.store(time, Ordering::Relaxed);
        self.longest.store(before.longest.max(time), Ordering::Relaxed);
    }

    fn read(&self) -> Times {
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Times { count: read(&self.count), sum: read(&self.sum), last: read(&self.last), longest: read(&self.longest) }
    }

    fn words(&self) -> [&AtomicU64; 4] {
        [&self.count, &self.sum, &self.last, &self.longest]
    }
}

/// [`Outages`] at rest, in words that processes may share. Relaxed throughout: the breaker's latch orders them, and
/// trials are counts that carry no other data.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Words {
    /// When the outage that is under way began; 0: none is.
    since: AtomicU64,
    ejections: AtomicU64,
    recoveries: AtomicU64,
    trials: AtomicU64,
    trials_passed: AtomicU64,
    trials_failed: AtomicU64,
    detection: TimesWords,
    recovery: TimesWords,
}

impl Words {
    /// As new.
    pub(crate) fn clear(&self) {
        let counts = [&self.ejections, &self.recoveries, &self.trials, &self.trials_passed, &self.trials_failed];
        let times = [self.detection.words(), self.recovery.words()];
        let words = counts.into_iter().chain(times.into_iter().flatten()).chain([&self.since]);
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// An ejection, so long after the first failure that led to it: the first of its outage, or on probation. Under the
    /// breaker's latch, as [`Words::end`] and [`Words::read`].
    pub(crate) fn begin(&self, now: Nanos, detected_after: Option<Nanos>) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
        if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(now.max(1), Ordering::Relaxed);
        }
        if let Some(after) = detected_after {
            self.detection.add(after);
        }
    }

    /// The return to use.
    pub(crate) fn end(&self, now: Nanos) {
        self.recoveries.fetch_add(1, Ordering::Relaxed);
        let since = self.since.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.recovery.add(now.saturating_sub(since));
        }
    }

    /// A trial began.
    pub(crate) fn trial(&self) {
        self.trials.fetch_add(1, Ordering::Relaxed);
    }

    /// A trial ended, in success or in failure.
    pub(crate) fn tried(&self, passed: bool) {
        let count = if passed { &self.trials_passed } else { &self.trials_failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Outages {
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Outages {
            ejections: read(&self.ejections),
            recoveries: read(&self.recoveries),
            trials: read(&self.trials),
            trials_passed: read(&self.trials_passed),
            trials_failed: read(&self.trials_failed),
            detection: self.detection.read(),
            recovery: self.recovery.read(),
        }
    }
}

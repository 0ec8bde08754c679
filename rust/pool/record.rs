//! What a destination went through: how long troubles took to be noticed and to end, and the last change and its cause.
//!
//! Of fixed size, behind a lock that only changes of state and reports take.

use std::borrow::Cow;

use parking_lot::Mutex;

use crate::pool::Nanos;
use crate::pool::events::EventKind;

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

impl Times {
    fn add(&mut self, time: Nanos) {
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
        self.last = time;
        self.longest = self.longest.max(time);
    }
}

/// The last change of a destination's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Nanos,
    /// Why, as its event said.
    pub reason: Cow<'static, str>,
}

/// What was written down of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// From the first failure of the streak or window to the ejection.
    pub detection: Times,
    /// From an ejection to the return to use, further ejections on probation included.
    pub recovery: Times,
    /// The last change; `None` before the first.
    pub change: Option<Change>,
    /// When the outage that is under way began.
    out_since: Option<Nanos>,
}

/// A destination's record.
#[derive(Debug, Default)]
pub struct Record(Mutex<Page>);

impl Record {
    /// What is written so far.
    pub fn read(&self) -> Page {
        self.0.lock().clone()
    }

    /// An ejection came so long after the first failure that led to it.
    pub(crate) fn detected(&self, after: Nanos) {
        self.0.lock().detection.add(after);
    }

    /// An event.
    pub(crate) fn note(&self, at: Nanos, kind: EventKind, reason: Cow<'static, str>) {
        let mut page = self.0.lock();
        match kind {
            EventKind::Spared => return, // nothing changed
            EventKind::Ejected { .. } => page.out_since = page.out_since.or(Some(at)),
            EventKind::Recovered => {
                if let Some(since) = page.out_since.take() {
                    page.recovery.add(at.saturating_sub(since));
                }
            }
            _ => {}
        }
        page.change = Some(Change { at, reason });
    }
}

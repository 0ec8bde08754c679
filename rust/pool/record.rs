//! The last change of a destination's state and its cause, as far as this process made or noticed it.
//!
//! Of fixed size, behind a lock that only changes of state and reports take.

use std::borrow::Cow;

use parking_lot::Mutex;

use crate::pool::Nanos;
use crate::pool::events::EventKind;

/// The last change of a destination's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Nanos,
    /// Why, as its event said.
    pub reason: Cow<'static, str>,
}

/// A destination's record.
#[derive(Debug, Default)]
pub struct Record(Mutex<Option<Change>>);

impl Record {
    /// The last change; `None` before the first.
    pub fn read(&self) -> Option<Change> {
        self.0.lock().clone()
    }

    /// An event.
    pub(crate) fn note(&self, at: Nanos, kind: EventKind, reason: Cow<'static, str>) {
        if kind != EventKind::Spared {
            *self.0.lock() = Some(Change { at, reason });
        }
    }
}

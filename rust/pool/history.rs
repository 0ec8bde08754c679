//! What transitions of a breaker remember, read and written under its latch.

use std::ops::{Deref, DerefMut};

use crate::pool::Nanos;
use crate::pool::sync::{AtomicU32, AtomicU64, Latch, Latched, Ordering};

/// What a transition goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    /// Ejections not yet forgotten.
    pub(crate) times: u32,
    /// Successes in this probation.
    pub(crate) successes: u32,
    /// Pauses in a row, for the length of the next.
    pub(crate) pauses: u32,
    pub(crate) closed_at: Nanos,
}

/// A history at rest, in words that processes may share. Relaxed throughout: the latch orders them.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Words {
    latch: Latch,
    times: AtomicU32,
    successes: AtomicU32,
    pauses: AtomicU32,
    closed_at: AtomicU64,
}

/// A history being changed; written back when it is dropped.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    record: &'a Words,
    history: History,
    /// Dropped last, after what it guards is written.
    _latched: Latched<'a>,
}

impl Words {
    /// As new, with a latch between processes.
    pub(crate) fn begin_shared(&self) {
        self.latch.share();
        *self.lock() = History { times: 0, successes: 0, pauses: 0, closed_at: 0 };
    }

    pub(crate) fn lock(&self) -> Open<'_> {
        let latched = self.latch.lock();
        let history = History {
            times: self.times.load(Ordering::Relaxed),
            successes: self.successes.load(Ordering::Relaxed),
            pauses: self.pauses.load(Ordering::Relaxed),
            closed_at: self.closed_at.load(Ordering::Relaxed),
        };
        Open { record: self, history, _latched: latched }
    }
}

impl Deref for Open<'_> {
    type Target = History;

    fn deref(&self) -> &History {
        &self.history
    }
}

impl DerefMut for Open<'_> {
    fn deref_mut(&mut self) -> &mut History {
        &mut self.history
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.record.times.store(self.history.times, Ordering::Relaxed);
        self.record.successes.store(self.history.successes, Ordering::Relaxed);
        self.record.pauses.store(self.history.pauses, Ordering::Relaxed);
        self.record.closed_at.store(self.history.closed_at, Ordering::Relaxed);
    }
}

//! The state that processes share, where it cannot be: on systems other than Linux.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::pool::Nanos;
use crate::pool::state::Shared;

/// As on Linux.
pub(crate) const RECLAIM_EVERY: Nanos = 1_000_000_000;

/// There is no such file here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state.shared: sharing state between processes needs Linux; leave it out")]
pub struct SharedError;

/// A file that cannot be.
#[derive(Debug)]
pub enum Map {}

/// A place in it.
#[derive(Debug)]
pub(crate) enum Place {}

impl Map {
    /// # Errors
    /// Always.
    pub fn join(_path: &Path, _capacity: u32) -> Result<Arc<Self>, SharedError> {
        Err(SharedError)
    }

    /// # Errors
    /// Never.
    pub fn rejoin(&self) -> Result<(), SharedError> {
        match *self {}
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn place(this: &Arc<Self>, _id: &str) -> Result<Place, SharedError> {
        match **this {}
    }

    pub(crate) fn reclaim(&self, _now: Nanos) {
        match *self {}
    }

    pub(crate) fn epoch(&self) -> &AtomicU64 {
        match *self {}
    }

    pub(crate) fn judging(&self) {
        match *self {}
    }
}

impl Place {
    pub(crate) fn shared(&self) -> &Shared {
        match *self {}
    }

    pub(crate) fn in_flight(&self) -> u32 {
        match *self {}
    }

    pub(crate) fn hold(&self, _cap: u32) -> bool {
        match *self {}
    }

    pub(crate) fn release(&self) -> bool {
        match *self {}
    }
}

/// Nanoseconds of a clock that begins with this process, at one second: none is shared.
pub fn machine_clock() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed() + Duration::from_secs(1);
    Nanos::try_from(elapsed.as_nanos()).unwrap_or(Nanos::MAX / 2)
}

/// The same: there is none that costs less.
pub fn coarse_clock() -> Nanos {
    machine_clock()
}

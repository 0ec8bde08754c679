//! The state that processes share, where it cannot be: on systems other than Linux.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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

/// Nanoseconds of a clock that begins with this process: none is shared.
pub fn machine_clock() -> Nanos {
    0
}

//! What of a destination those share who balance over it: messages in flight, averages, the breaker.
//!
//! It lies in the destination itself, or in a file that processes share ([`shared`](crate::pool::shared)); either way
//! the same words, read and written in the same way.

use crate::pool::breaker::Breaker;
use crate::pool::shared::Place;
use crate::pool::sync::{AtomicU32, Ordering};
use crate::stats::{FailureEwma, PeakEwma};

/// Everything but the count of messages. Words alone, all of which may have any value.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) latency: PeakEwma,
    pub(crate) failures: FailureEwma,
    pub(crate) breaker: Breaker,
}

/// Where the state lies.
#[derive(Debug)]
pub(crate) enum State {
    /// In this process.
    Own { in_flight: AtomicU32, shared: Shared },
    /// In a file.
    Mapped(Place),
}

impl Default for State {
    fn default() -> Self {
        Self::Own { in_flight: AtomicU32::new(0), shared: Shared::default() }
    }
}

impl State {
    #[inline]
    pub(crate) fn shared(&self) -> &Shared {
        match self {
            Self::Own { shared, .. } => shared,
            Self::Mapped(place) => place.shared(),
        }
    }

    /// Messages held now.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        match self {
            // Relaxed: a count that carries no other data.
            Self::Own { in_flight, .. } => in_flight.load(Ordering::Relaxed),
            Self::Mapped(place) => place.in_flight(),
        }
    }

    /// One message more, unless `cap` are held.
    #[inline]
    pub(crate) fn hold(&self, cap: u32) -> bool {
        let in_flight = match self {
            Self::Own { in_flight, .. } => in_flight,
            Self::Mapped(place) => return place.hold(cap),
        };
        // Relaxed, here and in `release`: one atomic word decides alone, and the lease itself is not shared by it.
        if cap == u32::MAX {
            in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let below = |held: u32| (held < cap).then_some(held + 1);
        in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }

    /// One message less. If none is held, nothing; whether one was.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        let in_flight = match self {
            Self::Own { in_flight, .. } => in_flight,
            Self::Mapped(place) => return place.release(),
        };
        let less = |held: u32| held.checked_sub(1);
        in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

//! Whether a pool's messages go where they should: to its first tier, elsewhere, or nowhere, and since when.
//!
//! A pool has one standing through all of its generations. It is looked at whenever something changes that could
//! change it, so the time is that of the change and not of the first pick after it; what another process changed is
//! seen at the next pick. In-flight caps do not count: who is full for a moment is not out.

use parking_lot::Mutex;

use crate::pool::group::Served;
use crate::pool::{Nanos, Pool};

/// Who serves a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The first tier.
    Primary,
    /// A backup, or who stands in by an operator's word.
    FailedOver,
    /// Whoever there is, for too few are fit.
    Panic,
    /// Nobody.
    Exhausted,
}

impl Standing {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::FailedOver => "failed_over",
            Self::Panic => "panic",
            Self::Exhausted => "exhausted",
        }
    }

    /// By the groups of all of the pool's members.
    pub(crate) fn of(pool: &Pool, served: &Served) -> Self {
        let lowest = pool.members().iter().map(|member| member.tier).min();
        match served.iter().find(|(_, load)| load.load > 0) {
            None => Self::Exhausted,
            Some((_, load)) if load.panic => Self::Panic,
            Some((group, _)) if group.tier() == lowest => Self::Primary,
            Some(_) => Self::FailedOver, // to another tier, or to who stands in for others
        }
    }
}

/// A pool's standing, and since when it is so; `None`: since the pool exists.
#[derive(Debug, Default)]
pub(crate) struct Stand(Mutex<Option<(Standing, Option<Nanos>)>>);

impl Stand {
    /// As looked at.
    pub(crate) fn note(&self, standing: Standing, at: Nanos) {
        let mut known = self.0.lock();
        match *known {
            Some((before, _)) if before == standing => {}
            // Clocks of two threads may be read in one order and come here in the other.
            Some((_, since)) => *known = Some((standing, since.max(Some(at)))),
            None => *known = Some((standing, None)),
        }
    }

    pub(crate) fn read(&self) -> Option<(Standing, Option<Nanos>)> {
        *self.0.lock()
    }
}

//! How often a pool looks at itself: for outliers, at its weights, at its policy.

use crate::pool::Nanos;

/// Windows of large pools, by member: at most a few percent of one core's time go into a look at all of them.
const BY_MEMBER: Nanos = 100_000;

/// The window of a pool of so many members.
pub(crate) fn length(shortest: Nanos, members: usize) -> Nanos {
    shortest.max(members as Nanos * BY_MEMBER)
}

/// The end of the window that is under way. At whole multiples of it, so that a reload does not put the look off.
pub(crate) fn end(window: Nanos, now: Nanos) -> Nanos {
    let window = window.max(1);
    (now / window).saturating_add(1).saturating_mul(window)
}

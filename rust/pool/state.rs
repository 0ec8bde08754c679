//! What of a destination those share who balance over it, besides the count of messages: averages and the breaker.
//!
//! Usually these lie in the destination and in its line ([`Hot`](crate::pool::hot::Hot)); if processes
//! share them, together in a file ([`shared`](crate::pool::shared)). Either way the same words, read and written in the
//! same way.

use crate::pool::breaker::Breaker;
use crate::stats::{FailureEwma, PeakEwma};

/// A destination's part of the file. Words alone, all of which may have any value.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) latency: PeakEwma,
    pub(crate) failures: FailureEwma,
    pub(crate) breaker: Breaker,
}

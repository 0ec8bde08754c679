//! Counters, averages and histograms that are read without stopping their writers. A leaf of the crate.
//!
//! - [`Histogram`]: latencies in log-linear buckets, relative error at most 1.6 %.
//! - [`PeakEwma`] and [`FailureEwma`]: an average and the time it was taken at, in one atomic word.
//! - [`ExpiringMean`]: a mean of late; [`LatencyByLoad`]: one for each level of messages in flight.
//! - [`KindCounts`]: failures by name, at most 64 names.
//!
//! Every counter is read and written with relaxed ordering: a count carries no other data, so nothing has to be
//! seen before or after it. A reader may therefore see one event in one counter and not yet in another.

mod by_load;
mod ewma;
mod histogram;
mod kinds;
mod mean;

pub use by_load::LatencyByLoad;
pub use ewma::{FailureEwma, PeakEwma};
pub use histogram::{Bucket, Histogram};
pub use kinds::{KindCounts, OTHER};
pub use mean::ExpiringMean;

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    #[inline]
    pub fn increment(&self) {
        // Relaxed: a count carries no other data.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        // Relaxed: as above.
        self.0.load(Ordering::Relaxed)
    }
}

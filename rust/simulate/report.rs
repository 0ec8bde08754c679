//! What a simulation measured: counts, latencies, and how both and the states of destinations went over time.
//!
//! A message counts in the point of the series, and after the warm-up, by when it came. Quantiles are off by at most
//! 1.6 % (see [`Histogram`]), means and maxima are exact. Memory: a histogram a point and a destination, 2 kB each.

use std::sync::Arc;

use crate::balance::{Choice, PolicyKind};
use crate::pool::Nanos;
use crate::stats::Histogram;

/// Latencies of messages or attempts, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Mean.
    pub mean: Nanos,
    /// Median.
    pub p50: Nanos,
    /// 90th percentile.
    pub p90: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// 99.9th percentile.
    pub p999: Nanos,
    /// Longest.
    pub max: Nanos,
}

/// What became of messages. `messages = delivered + failed + unrouted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that came after the warm-up.
    pub messages: u64,
    /// Those delivered, at whatever attempt.
    pub delivered: u64,
    /// Those whose last attempt failed.
    pub failed: u64,
    /// Those that no destination could take when they came, or when it was time for another attempt.
    pub unrouted: u64,
    /// Attempts made for them.
    pub attempts: u64,
    /// Attempts that were given up for want of an answer.
    pub timeouts: u64,
}

/// One destination, all routers together.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationReport {
    /// Its id.
    pub id: Arc<str>,
    /// Attempts sent to it.
    pub attempts: u64,
    /// Its part of all attempts, 0..=1.
    pub share: f64,
    /// Attempts that succeeded.
    pub successes: u64,
    /// Attempts that failed, time-outs included.
    pub failures: u64,
    /// Attempts that were given up for want of an answer.
    pub timeouts: u64,
    /// Attempts answered with a request for a pause.
    pub overloaded: u64,
    /// Times that a router ejected it, or all that share did, the warm-up included.
    pub ejections: u64,
    /// Times that it recovered for a router, the warm-up included.
    pub recoveries: u64,
    /// The most attempts that waited for its answer at once, the warm-up included.
    pub most_in_flight: u32,
    /// Latencies of its successes; `None` without any.
    pub latency: Option<Latency>,
}

/// How many routers see a destination in which state at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct States {
    /// In use, wholly.
    pub in_use: u32,
    /// In use, its share growing after a recovery.
    pub ramping: u32,
    /// A trial at a time.
    pub probation: u32,
    /// Ejected, in a pause that it asked for, or taken out of use by the configuration.
    pub out: u32,
}

/// One point of the time series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its start, ns from the start of the simulation.
    pub at: Nanos,
    /// Messages that came in it.
    pub messages: u64,
    /// Of these, not delivered.
    pub undelivered: u64,
    /// Median and 99th percentile of the latency of those delivered, ns.
    pub quantiles: Option<[Nanos; 2]>,
    /// Attempts by destination.
    pub attempts: Box<[u64]>,
    /// States by destination, at its end.
    pub states: Box<[States]>,
}

/// A policy put on trial, kept or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// When, ns from the start.
    pub at: Nanos,
    /// The router's pool.
    pub pool: Arc<str>,
    /// The policy in force from then on.
    pub to: PolicyKind,
    /// Why, with the figures.
    pub reason: String,
}

/// Everything a simulation measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The policy.
    pub policy: Choice,
    /// The bound of load, if it had one.
    pub bounded_load: Option<f64>,
    /// Counts of messages.
    pub totals: Totals,
    /// From the arrival of a message to its delivery, failed attempts included; `None` if none was delivered.
    pub latency: Option<Latency>,
    /// By destination, in the order of the pool.
    pub destinations: Vec<DestinationReport>,
    /// Over time, the warm-up included.
    pub series: Vec<Point>,
    /// What became of the policy of pools under `auto`, in the order of time; of the last 1,024 events of each router.
    pub switches: Vec<Switch>,
    /// Events processed: arrivals, answers, further attempts.
    pub events: u64,
    /// Why it ended before its time, if it did.
    pub ended_early: Option<&'static str>,
}

/// Latencies as they are collected.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    histogram: Histogram,
    max: Nanos,
    count: u64,
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Nanos) {
        self.histogram.record(latency);
        self.max = self.max.max(latency);
        self.count += 1;
    }

    pub(super) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[Nanos; N]> {
        // A bucket's middle may lie above the largest value in it.
        self.histogram.quantiles(shares).map(|found| found.map(|value| value.min(self.max)))
    }

    pub(super) fn summary(&self) -> Option<Latency> {
        let [p50, p90, p99, p999] = self.quantiles([0.5, 0.9, 0.99, 0.999])?;
        let mean = self.histogram.sum() / self.count.max(1);
        Some(Latency { mean, p50, p90, p99, p999, max: self.max })
    }
}

//! One destination's live state, in atomics. It is shared by id between pools and generations, so that what is in
//! flight, what was learnt and what was decided about it survive a reload; what processes may share is in [`state`](crate::pool::state).
//!
//! Writers and readers never wait for each other, except in transitions of the breaker. About 0.5 kB; the latency
//! histogram is allocated with the first success. What every pick reads lies apart, see `hot`.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use crate::balance::hash::xxh64;
use crate::pool::FailoverSpec;
use crate::pool::aside::Aside;
use crate::pool::breaker::Breaker;
use crate::pool::hot::{Hot, Slot};
use crate::pool::pace::Pace;
use crate::pool::record::Record;
use crate::pool::sync::{AtomicU8, AtomicU64, Ordering};
use crate::stats::{Counter, ExpiringMean, FailureEwma, Histogram, KindCounts, LatencyByLoad, PeakEwma};

/// Seconds after which what a destination said of its utilisation no longer holds, as gRPC's A58 has it.
const UTILISATION_EXPIRY: u32 = 180;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Admin {
    /// In use.
    #[default]
    Enabled,
    /// Nothing new; what is held finishes.
    Draining,
    /// Out of use: nothing new either, and not meant to come back by itself.
    Disabled,
}

/// What health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Health {
    /// Fit.
    #[default]
    Healthy,
    /// Works badly: serves after the healthy ones of its tier.
    Degraded,
    /// Does not work.
    Unhealthy,
}

/// A name that is not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not one of {states}")]
pub struct UnknownState {
    name: String,
    states: &'static str,
}

impl Admin {
    /// The state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Enabled,
            1 => Self::Draining,
            _ => Self::Disabled,
        }
    }
}

impl Health {
    /// The state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Healthy,
            1 => Self::Degraded,
            _ => Self::Unhealthy,
        }
    }
}

impl FromStr for Admin {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        let found = [Self::Enabled, Self::Draining, Self::Disabled].into_iter().find(|state| state.as_str() == name);
        found.ok_or_else(|| UnknownState { name: name.to_owned(), states: "enabled, draining, disabled" })
    }
}

impl FromStr for Health {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        let found = [Self::Healthy, Self::Degraded, Self::Unhealthy].into_iter().find(|state| state.as_str() == name);
        found.ok_or_else(|| UnknownState { name: name.to_owned(), states: "healthy, degraded, unhealthy" })
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was counted about a destination, apart from what goes well.
#[derive(Debug, Default)]
pub struct Counts {
    /// Leases that ended in failure.
    pub failures: Counter,
    /// Leases that ended because the destination asked for a pause.
    pub overloaded: Counter,
    /// Leases that ended without an outcome.
    pub cancelled: Counter,
    /// Times it was picked because those before it could not serve: out, full, or failed over by an operator.
    pub failovers: Counter,
    /// Failures by name.
    pub failure_kinds: KindCounts,
}

/// One sendable target.
#[derive(Debug)]
#[repr(C, align(64))] // destinations do not share cache lines: each is written by those who use it
pub struct Destination {
    // The fields that an outcome touches are the first.
    slot: Slot,
    histogram: OnceLock<Box<Histogram>>,
    breaker: Breaker,
    admin: AtomicU8,
    health: AtomicU8,
    /// When it was last enabled again, and last no longer unhealthy, for the ramp; 0: never.
    enabled_at: AtomicU64,
    well_at: AtomicU64,
    utilisation: ExpiringMean<UTILISATION_EXPIRY>,
    id: Arc<str>,
    /// The hash of the id, the same in every process: affinity knows it by this, and ejections are jittered by it.
    salt: u64,
    aside: Aside,
    record: Record,
    pace: Pace,
    counts: Counts,
    /// Made by the first pool that asks for it.
    by_load: OnceLock<Arc<LatencyByLoad>>,
}

impl Destination {
    pub(crate) fn new(id: Arc<str>, slot: Slot) -> Self {
        Self {
            slot,
            histogram: OnceLock::new(),
            breaker: Breaker::default(),
            admin: AtomicU8::new(Admin::Enabled as u8),
            health: AtomicU8::new(Health::Healthy as u8),
            enabled_at: AtomicU64::new(0),
            well_at: AtomicU64::new(0),
            utilisation: ExpiringMean::default(),
            salt: xxh64(id.as_bytes()),
            id,
            aside: Aside::default(),
            record: Record::default(),
            pace: Pace::default(),
            counts: Counts::default(),
            by_load: OnceLock::new(),
        }
    }

    /// Its id.
    #[inline]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What picks and outcomes touch.
    #[inline]
    pub(crate) fn hot(&self) -> &Hot {
        self.slot.get()
    }

    /// Where that lies.
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Messages held for it now.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.hot().in_flight()
    }

    /// What the operator wants.
    pub fn admin(&self) -> Admin {
        Admin::from_u8(self.admin.load(Ordering::Relaxed)) // relaxed: published by the registry's epoch
    }

    /// What health checks say.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Ordering::Relaxed)) // relaxed: as above
    }

    pub(crate) fn swap_admin(&self, admin: Admin, now: u64) -> Admin {
        let before = Admin::from_u8(self.admin.swap(admin as u8, Ordering::Relaxed)); // relaxed: as above
        if admin == Admin::Enabled && before != Admin::Enabled {
            self.enabled_at.store(now.max(1), Ordering::Relaxed); // relaxed: as above
        }
        before
    }

    pub(crate) fn swap_health(&self, health: Health, now: u64) -> Health {
        let before = Health::from_u8(self.health.swap(health as u8, Ordering::Relaxed)); // relaxed: as above
        if health != Health::Unhealthy && before == Health::Unhealthy {
            self.well_at.store(now.max(1), Ordering::Relaxed); // relaxed: as above
        }
        before
    }

    /// The breaker.
    #[inline]
    pub fn breaker(&self) -> &Breaker {
        self.hot().place().map_or(&self.breaker, |place| &place.shared().breaker)
    }

    /// Whether an operator failed it over.
    #[inline]
    pub fn aside(&self) -> &Aside {
        &self.aside
    }

    /// Its last change.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// When its next message is due, where it has a rate limit.
    #[inline]
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// When it last came back into use, for the ramp, of what a pool heeds: from an ejection, from being unhealthy, from
    /// a failover, or from being drained or disabled.
    pub(crate) fn returned_at(&self, failover: &FailoverSpec) -> Option<u64> {
        let at = |word: &AtomicU64| Some(word.load(Ordering::Relaxed)).filter(|at| *at != 0); // relaxed: as above
        let recovered = self.breaker().recovered_at().filter(|_| failover.eject);
        let well = at(&self.well_at).filter(|_| failover.health);
        recovered.max(well).max(at(&self.enabled_at)).max(self.aside.ended_at())
    }

    /// What was counted.
    #[inline]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Average of latency.
    #[inline]
    pub fn latency(&self) -> &PeakEwma {
        self.hot().latency()
    }

    /// Average of failures.
    #[inline]
    pub fn failures(&self) -> &FailureEwma {
        self.hot().failures()
    }

    /// Adds what it says of its own load: 1 is all it can do, more is too much. Finite, at least 0.
    pub fn report_utilisation(&self, utilisation: f32, now: u64) {
        self.utilisation.observe(utilisation, now);
    }

    /// Mean of the utilisation it reported of late; `None` if it did not for 3 minutes.
    pub fn utilisation(&self, now: u64) -> Option<f32> {
        self.utilisation.at(now)
    }

    /// Latencies of successes; `None` before the first.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.get().map(Box::as_ref)
    }

    #[inline]
    pub(crate) fn observe_latency(&self, latency: u64, now: u64) {
        self.hot().latency().observe(latency, now);
        self.histogram.get_or_init(Box::default).record(latency);
    }

    /// Adds a latency under the load there is now.
    #[inline]
    pub(crate) fn observe_under_load(&self, latency: u64, now: u64) {
        self.by_load().observe(latency, self.in_flight(), now);
    }

    /// Mean latencies by messages in flight.
    #[inline]
    pub(crate) fn by_load(&self) -> &Arc<LatencyByLoad> {
        self.by_load.get_or_init(Arc::default)
    }

    /// The hash of its id.
    #[inline]
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// Marks that `generation` is live and has it.
    pub(crate) fn publish(&self, generation: u64) {
        self.hot().generation.fetch_max(generation, Ordering::Relaxed); // relaxed: late readers judge by the one before
    }

    /// Whether a lease of `generation` is older than the configuration the destination now lives under.
    #[inline]
    pub fn is_stale(&self, generation: u64) -> bool {
        generation < self.hot().generation.load(Ordering::Relaxed) // relaxed: as above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_names() {
        for name in ["enabled", "draining", "disabled"] {
            assert_eq!(name.parse::<Admin>().unwrap().to_string(), name);
        }
        for name in ["healthy", "degraded", "unhealthy"] {
            assert_eq!(name.parse::<Health>().unwrap().to_string(), name);
        }
        assert!("up".parse::<Health>().unwrap_err().to_string().contains("degraded"));
    }
}

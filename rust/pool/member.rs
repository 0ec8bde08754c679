//! A destination's place in a pool: its weight, tier, cap and clearance there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::pool::MemberSpec;
use crate::pool::destination::Destination;
use crate::pool::hot::Slot;

/// A destination's place in a pool, on one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct Member {
    destination: Arc<Destination>,
    /// The destination's, as is the next: a view of many members is built without a look at each destination for them.
    slot: Slot,
    salt: u64,
    /// Weight as configured.
    configured: u32,
    /// Weight as it was last set, an f64. Relaxed, as the next: the view that is built of them publishes them.
    weight: AtomicU64,
    /// What that is multiplied by, an f64; 1 where weights are not adjusted.
    factor: AtomicU64,
    /// Weight as it is used, a whole number; see [`weights`](crate::pool::weights).
    share: AtomicU32,
    pub(crate) tier: u8,
    /// In-flight cap; `u32::MAX`: none.
    pub(crate) cap: u32,
    pub(crate) clearance: u8,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<Member>() == 64);

impl Member {
    pub(crate) fn new(spec: &MemberSpec, destination: Arc<Destination>, share: u32) -> Self {
        Self {
            slot: destination.slot().clone(),
            salt: destination.salt(),
            destination,
            configured: spec.weight,
            weight: AtomicU64::new(f64::from(spec.weight).to_bits()),
            factor: AtomicU64::new(1f64.to_bits()),
            share: AtomicU32::new(share),
            tier: spec.tier,
            cap: spec.max_in_flight.unwrap_or(u32::MAX),
            clearance: spec.clearance,
        }
    }

    /// The same place as it is now, for another pool.
    pub(crate) fn copied(&self) -> Self {
        let copy = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        Self {
            destination: Arc::clone(&self.destination),
            slot: self.slot.clone(),
            weight: copy(&self.weight),
            factor: copy(&self.factor),
            share: AtomicU32::new(self.share()),
            ..*self
        }
    }

    /// Where what picks touch of it lies.
    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The hash of its id.
    #[inline]
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// Its live state.
    #[inline]
    pub fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// The destination's id.
    #[inline]
    pub fn id(&self) -> &Arc<str> {
        self.destination.id()
    }

    /// Its weight as configured.
    pub fn configured(&self) -> u32 {
        self.configured
    }

    /// Its weight as it was last set, or as configured.
    pub fn weight(&self) -> f64 {
        f64::from_bits(self.weight.load(Ordering::Relaxed))
    }

    /// Its weight as it is used; 0: nothing new.
    #[inline]
    pub(crate) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    /// What its weight is multiplied by, as adjusted to what was observed.
    pub fn factor(&self) -> f64 {
        f64::from_bits(self.factor.load(Ordering::Relaxed))
    }

    /// Its weight as adjusted.
    pub fn effective_weight(&self) -> f64 {
        self.weight() * self.factor()
    }

    pub(crate) fn set_factor(&self, factor: f64) {
        self.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn set_weight(&self, weight: f64, share: u32) {
        self.weight.store(weight.to_bits(), Ordering::Relaxed);
        self.share.store(share, Ordering::Relaxed);
    }

    /// Its tier.
    pub fn tier(&self) -> u8 {
        self.tier
    }

    /// Its in-flight cap in this pool.
    pub fn max_in_flight(&self) -> Option<u32> {
        Some(self.cap).filter(|cap| *cap != u32::MAX)
    }

    /// Its clearance.
    pub fn clearance(&self) -> u8 {
        self.clearance
    }
}

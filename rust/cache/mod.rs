//! The decision cache: what a message says in the fields that rules name -> the first rule that matched.
//!
//! - [`projection`]: the key, a canonical text in bytes of exactly those values. Two messages share a key only if no
//!   rule can tell them apart; keys are compared, not only their hashes.
//! - [`store`]: a bounded map from keys to answers that a scan does not flush.
//! - [`appraisal`]: whether looking up pays, decided from timed messages.
//!
//! # What is never remembered
//! Answers that depend on more than the message (a router whose rules read live facts has no cache), errors, messages
//! with a field that cannot be read, and messages whose key is too long. Those are matched as without a cache. "No rule
//! matches" is an answer. A cache belongs to one generation of the configuration and is dropped with it, so no answer
//! outlives the rules that gave it.
//!
//! # Consistency
//! A Python object may change, or answer differently, each time it is asked. What is remembered under a key is
//! therefore matched on the values that the key was made of ([`projection::Projected`]), which were read once.
//!
//! # Cost
//! A hit reads all fields that rules name, hashes the key and compares it; no allocation up to 8 fields and 256 bytes.
//! Matching reads only the fields it comes to, and an index is often faster than that, so [`Caching::Auto`] times both
//! on a few messages and looks messages up only where that is cheaper on the whole. While it is off, a message
//! costs one relaxed load and a comparison with the time that the router has taken anyway.
//!
//! Nobody waits: where another thread holds the part of the map that is needed, the message counts as a miss.

mod appraisal;
mod projection;
mod store;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::message::Fields;
use crate::message::path::FieldTable;
use crate::stats::Counter;
use appraisal::{Appraisal, BURST, Sample, Tally};
use projection::{Key, Projection};
use store::Store;

/// A monotonic clock, in nanoseconds: the one that `now` is read from.
pub type Clock = fn() -> u64;

/// How much may be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Answers, at most.
    pub entries: usize,
    /// Bytes, at most, of keys and what the map needs for them.
    pub bytes: usize,
}

/// What a configuration says about remembering.
#[derive(Debug, Clone, Copy)]
pub enum Caching {
    /// Nothing is remembered.
    Off,
    /// Every message is looked up.
    On(Bounds),
    /// Messages are looked up while that is cheaper than matching, by this clock.
    Auto(Bounds, Clock),
}

impl Caching {
    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On(_) => "on",
            Self::Auto(..) => "auto",
        }
    }
}

/// A cache's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether messages are looked up now.
    pub on: bool,
    /// Why, or why not.
    pub reason: String,
    /// Lookups that gave the answer.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Messages that could not be looked up while the cache was on: a field cannot be read, or the key is too long.
    pub bypassed: u64,
    /// Answers remembered.
    pub entries: usize,
    /// Bytes they are charged for.
    pub bytes: u64,
}

/// Remembers which rule was the first to match, by what the message says. Safe to share between threads.
#[derive(Debug)]
pub struct Cache {
    /// Before this time nothing is looked up. On a cache line that is read by all and rarely written.
    rests_until: AtomicU64,
    projection: Projection,
    store: Store,
    auto: Option<Auto>,
    counts: Counts,
}

#[derive(Debug, Default)]
#[repr(align(64))] // away from what every message reads
struct Counts {
    lookups: AtomicU64,
    hits: Counter,
    bypassed: Counter,
}

#[derive(Debug)]
struct Auto {
    clock: Clock,
    /// One burst of lookups in so many is timed beside matches.
    spacing: AtomicU64,
    /// Whether answers are remembered: not while lookups are only weighed.
    remembers: AtomicBool,
    appraisal: Mutex<Appraisal>,
}

impl Cache {
    /// A cache for rules that name the first `fields` fields of `table` and no others; `None` where it is off.
    pub fn new(caching: Caching, table: &FieldTable, fields: usize) -> Option<Self> {
        let (bounds, clock) = match caching {
            Caching::Off => return None,
            Caching::On(bounds) => (bounds, None),
            Caching::Auto(bounds, clock) => (bounds, Some(clock)),
        };
        Some(Self {
            rests_until: AtomicU64::new(0),
            projection: Projection::new(table, fields),
            store: Store::new(bounds),
            auto: clock.map(|clock| Auto::new(clock, bounds.entries)),
            counts: Counts::default(),
        })
    }

    /// The first rule that matches `message`, remembered or found by `find`.
    ///
    /// # Errors
    /// Those of `find`.
    #[inline]
    pub fn first<'m, E>(
        &self,
        message: &dyn Fields<'m>,
        now: u64,
        find: impl Fn(&dyn Fields<'m>) -> Result<Option<usize>, E>,
    ) -> Result<Option<usize>, E> {
        // Relaxed: a thread that sees it late looks up, or matches, a few messages more; either is right.
        if now < self.rests_until.load(Ordering::Relaxed) {
            return find(message);
        }
        self.look_up(message, now, &find)
    }

    #[inline(never)] // the way past a resting cache stays short
    fn look_up<'m, E>(
        &self,
        message: &dyn Fields<'m>,
        now: u64,
        find: &impl Fn(&dyn Fields<'m>) -> Result<Option<usize>, E>,
    ) -> Result<Option<usize>, E> {
        // Relaxed, as all counts: they carry no other data.
        let lookups = self.counts.lookups.fetch_add(1, Ordering::Relaxed);
        if let Some(auto) = &self.auto
            && (lookups / BURST as u64).is_multiple_of(auto.spacing.load(Ordering::Relaxed))
        {
            // Whichever comes second finds the message in the processor's caches, so they take turns.
            return self.compare(auto, lookups.is_multiple_of(2), message, now, find);
        }
        let mut key = Key::new();
        let Some(projected) = self.projection.of(message, &mut key, self.store.longest_key()) else {
            self.counts.bypassed.increment();
            return find(message);
        };
        if let Some(answer) = self.store.get(&key) {
            self.counts.hits.increment();
            return Ok(answer);
        }
        let answer = find(&projected)?;
        self.store.insert(&key, answer);
        Ok(answer)
    }

    /// Matches and looks up the same message, times both, and goes by what that comes to.
    fn compare<'m, E>(
        &self,
        auto: &Auto,
        lookup_first: bool,
        message: &dyn Fields<'m>,
        now: u64,
        find: &impl Fn(&dyn Fields<'m>) -> Result<Option<usize>, E>,
    ) -> Result<Option<usize>, E> {
        let plain = || {
            let began = (auto.clock)();
            let answer = find(message)?;
            Ok((answer, (auto.clock)() - began))
        };
        let ((answer, plain), lookup) = if lookup_first {
            let lookup = self.timed_lookup(auto, message, find)?;
            (plain()?, lookup)
        } else {
            (plain()?, self.timed_lookup(auto, message, find)?)
        };
        // Skipped where another thread is at it: its sample is as good.
        if let Some(mut appraisal) = auto.appraisal.try_lock() {
            let tally = Tally { lookups: self.counts.lookups.load(Ordering::Relaxed), hits: self.counts.hits.get() };
            appraisal.add(Sample { lookup, plain }, tally, now);
            auto.spacing.store(appraisal.spacing(), Ordering::Relaxed);
            auto.remembers.store(appraisal.remembers(), Ordering::Relaxed);
            self.rests_until.store(appraisal.rests_until(), Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// Nanoseconds for all that looking a message up adds to matching it: reading, looking up, remembering.
    fn timed_lookup<'m, E>(
        &self,
        auto: &Auto,
        message: &dyn Fields<'m>,
        find: &impl Fn(&dyn Fields<'m>) -> Result<Option<usize>, E>,
    ) -> Result<u64, E> {
        let mut key = Key::new();
        let began = (auto.clock)();
        let Some(projected) = self.projection.of(message, &mut key, self.store.longest_key()) else {
            self.counts.bypassed.increment();
            return Ok((auto.clock)() - began);
        };
        let found = self.store.get(&key);
        let looked_up = (auto.clock)() - began;
        if found.is_some() {
            self.counts.hits.increment();
            return Ok(looked_up);
        }
        if !auto.remembers.load(Ordering::Relaxed) {
            return Ok(looked_up);
        }
        let answer = find(&projected)?;
        let began = (auto.clock)();
        self.store.insert(&key, answer);
        Ok(looked_up + (auto.clock)() - began)
    }

    /// The figures since the cache was made.
    pub fn report(&self) -> Report {
        let (hits, bypassed) = (self.counts.hits.get(), self.counts.bypassed.get());
        // Read last: every hit has been counted as a lookup before.
        let lookups = self.counts.lookups.load(Ordering::Relaxed);
        let (on, reason) = match &self.auto {
            Some(auto) => {
                let appraisal = auto.appraisal.lock();
                (appraisal.remembers(), appraisal.reason())
            }
            None => (true, "on in the configuration".to_owned()),
        };
        Report {
            on,
            reason,
            hits,
            misses: lookups.saturating_sub(hits + bypassed),
            bypassed,
            entries: self.store.len(),
            bytes: self.store.bytes(),
        }
    }
}

impl Auto {
    fn new(clock: Clock, entries: usize) -> Self {
        let appraisal = Appraisal::new(entries as u64);
        Self {
            clock,
            spacing: AtomicU64::new(appraisal.spacing()),
            remembers: appraisal.remembers().into(),
            appraisal: Mutex::new(appraisal),
        }
    }
}

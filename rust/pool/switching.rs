//! Policy `auto` at work: what this pool's leases show, window by window, and the policy that follows from it.
//! [`auto`](crate::balance::auto) decides; here is what it is asked with and when.
//!
//! There is no timer: the first pick of a new window (5 s, or 0.1 ms a member if that is longer) with at least 500
//! outcomes judges it, so it happens in simulated time too. O(members); picks of other threads go on with the view
//! before. A pick knows nothing of all this: the policy in force is part of the view, and changes with it.
//!
//! Outcomes of leases that were taken under the policy before do not count for the one in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::balance::PolicyKind;
use crate::balance::auto::{Auto, Figures, Shape, Verdict};
use crate::pool::events::EventKind;
use crate::pool::membership::Turnover;
use crate::pool::{Member, Nanos, Outcome, Pool, windows};
use crate::stats::{Bucket, Counter, Histogram};

/// The shortest window.
const WINDOW: Nanos = 5_000_000_000;
/// Outcomes below which a 99th percentile is a matter of chance.
const OUTCOMES: u64 = 500;
/// Outcomes a destination below which it is a matter of chance who is busiest.
const OUTCOMES_BY_MEMBER: u64 = 20;
/// Successes from which on what is known of a destination from before counts.
const KNOWN: u64 = 30;

/// What a pool under `auto` keeps.
#[derive(Debug)]
pub(crate) struct Switching {
    next: AtomicU64,
    window: Nanos,
    /// The policy in force, by its place in [`PolicyKind::ALL`]. Written under the lock of rebuilding.
    in_force: AtomicU8,
    /// Since when it is; older leases do not count.
    since: AtomicU64,
    /// Shared with the pool before and after a change of members, as is the next: leases of either count.
    latencies: Arc<Histogram>,
    failures: Arc<Counter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    auto: Auto,
    /// All weights are heeded, for they are adjusted.
    adjusts: bool,
    /// What was counted when the window began.
    buckets: Vec<Bucket>,
    failures: u64,
    latency_sums: Box<[u64]>,
}

impl Switching {
    pub(crate) fn new(members: &[Member], shape: Shape, adjusts: bool, now: Nanos) -> Self {
        let window = windows::length(WINDOW, members.len());
        let auto = Auto::new(shape);
        Self {
            next: AtomicU64::new(now.saturating_add(window)),
            window,
            in_force: AtomicU8::new(auto.kind() as u8),
            since: AtomicU64::new(now),
            latencies: Arc::default(),
            failures: Arc::default(),
            state: Mutex::new(State {
                auto,
                adjusts,
                buckets: Vec::new(),
                failures: 0,
                latency_sums: latency_sums(members),
            }),
        }
    }

    /// Goes on for a pool of these members; this one judges nothing any more. The caller holds the lock of rebuilding.
    pub(crate) fn succeeded_by(&self, members: &[Member], change: Turnover) -> Self {
        let state = self.state.lock();
        let new = || members.last().map_or(0, latency_sum);
        // Relaxed, as in `is_due`, `in_force` and `observe`.
        Self {
            next: AtomicU64::new(self.next.swap(u64::MAX, Ordering::Relaxed)),
            window: windows::length(WINDOW, members.len()),
            in_force: AtomicU8::new(self.in_force.load(Ordering::Relaxed)),
            since: AtomicU64::new(self.since.load(Ordering::Relaxed)),
            latencies: Arc::clone(&self.latencies),
            failures: Arc::clone(&self.failures),
            state: Mutex::new(State {
                auto: state.auto.clone(),
                adjusts: state.adjusts,
                buckets: state.buckets.clone(),
                failures: state.failures,
                latency_sums: change.applied(&state.latency_sums, new).into(),
            }),
        }
    }

    /// The policy in force.
    #[inline]
    pub(crate) fn in_force(&self) -> PolicyKind {
        // Relaxed: who needs it to agree with a view reads it under the lock of rebuilding.
        PolicyKind::ALL.get(usize::from(self.in_force.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }

    #[inline]
    fn is_due(&self, now: Nanos) -> bool {
        now >= self.next.load(Ordering::Relaxed) // relaxed: a deadline; the judgement itself is under a lock
    }

    /// Counts how a lease ended.
    #[inline]
    pub(crate) fn observe(&self, outcome: Outcome, started: Nanos, now: Nanos) {
        if started < self.since.load(Ordering::Relaxed) {
            return; // relaxed: a lease more or less
        }
        match outcome {
            Outcome::Success => self.latencies.record(now.saturating_sub(started)),
            Outcome::Failure | Outcome::Overloaded { .. } => self.failures.increment(),
            Outcome::Cancelled => {}
        }
    }

    fn put_in_force(&self, kind: PolicyKind) {
        self.in_force.store(kind as u8, Ordering::Relaxed); // relaxed: as in `in_force`
    }
}

fn latency_sum(member: &Member) -> u64 {
    member.destination().histogram().map_or(0, Histogram::sum)
}

fn latency_sums(members: &[Member]) -> Box<[u64]> {
    members.iter().map(latency_sum).collect()
}

/// What a pool of these members looks like.
pub(crate) fn shape(members: &[Member], keyed: bool, adjusts: bool) -> Shape {
    let known = |member: &Member| {
        let histogram = member.destination().histogram()?;
        (histogram.count() >= KNOWN).then(|| histogram.quantile(0.5))?
    };
    let medians = || members.iter().filter_map(known);
    let uneven = medians().max().zip(medians().min()).is_some_and(|(most, least)| most > 2 * least.max(1));
    Shape {
        destinations: members.len(),
        weighted: adjusts || !has_equal_weights(members),
        keyed,
        capped: members.iter().any(|member| member.max_in_flight().is_some()),
        uneven,
    }
}

/// Weights of 0 aside, which receive nothing under any policy.
fn has_equal_weights(members: &[Member]) -> bool {
    let mut shares = members.iter().map(Member::share).filter(|share| *share > 0);
    let first = shares.next();
    shares.all(|share| Some(share) == first)
}

/// By Little's law what a destination held on average is the latencies of its successes ÷ the time, which is the same
/// for all: the busiest one's for its weight ÷ the mean, in the tier that held most.
fn imbalance(members: &[Member], before: &[u64], after: &[u64]) -> Option<f64> {
    let mut tiers: BTreeMap<u8, (f64, f64, f64)> = BTreeMap::new();
    for (member, (before, after)) in members.iter().zip(before.iter().zip(after)) {
        let held = after.saturating_sub(*before) as f64;
        if held > 0.0 && member.share() > 0 {
            let (sum, weights, most) = tiers.entry(member.tier()).or_default();
            let weight = f64::from(member.share());
            (*sum, *weights, *most) = (*sum + held, *weights + weight, most.max(held / weight));
        }
    }
    let (sum, weights, most) = tiers.into_values().max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(most * weights / sum)
}

impl Pool {
    #[inline]
    pub(crate) fn switching_is_due(&self, now: Nanos) -> bool {
        self.switching.as_ref().is_some_and(|switching| switching.is_due(now))
    }

    /// Judges the window; whether another policy is in force now. The caller holds the lock of rebuilding, and
    /// rebuilds.
    #[cold]
    pub(crate) fn switch(&self, now: Nanos) -> bool {
        let Some(switching) = &self.switching else { return false };
        switching.next.store(now.saturating_add(switching.window), Ordering::Relaxed); // relaxed: as in `is_due`
        let mut state = switching.state.lock();
        let fresh = switching.latencies.buckets_since(&state.buckets);
        let successes: u64 = fresh.iter().map(|bucket| bucket.count).sum();
        let failures = switching.failures.get().saturating_sub(state.failures);
        let outcomes = successes + failures;
        if outcomes < OUTCOMES {
            return false;
        }
        let members = self.members();
        let latency_sums = latency_sums(members);
        let tells = outcomes >= OUTCOMES_BY_MEMBER * members.len() as u64;
        let window = Figures {
            tail: Histogram::quantile_of(&fresh, 0.99).map(|tail| tail as f64),
            failures: failures as f64 / outcomes as f64,
            imbalance: if tells { imbalance(members, &state.latency_sums, &latency_sums) } else { None },
        };
        state.latency_sums = latency_sums;
        state.buckets = switching.latencies.buckets();
        state.failures += failures;
        let verdict = state.auto.step(window, now);
        verdict.is_some_and(|verdict| self.follow(switching, &verdict, now))
    }

    /// Takes note of new weights; the caller holds the lock of rebuilding, and rebuilds.
    pub(crate) fn weigh_anew(&self, now: Nanos) {
        let Some(switching) = &self.switching else { return };
        let mut state = switching.state.lock();
        let weighted = state.adjusts || !has_equal_weights(self.members());
        if let Some(verdict) = state.auto.weigh(weighted) {
            self.follow(switching, &verdict, now);
        }
    }

    /// Puts a verdict into force; whether it changes anything.
    fn follow(&self, switching: &Switching, verdict: &Verdict, now: Nanos) -> bool {
        self.registry().noted_of(now, self, EventKind::Policy(verdict.to), verdict.reason.clone());
        switching.put_in_force(verdict.to);
        if verdict.from != verdict.to {
            switching.since.store(now, Ordering::Relaxed); // relaxed: as in `observe`
        }
        verdict.from != verdict.to
    }

    /// Goes on with what the predecessor chose; whether that is another policy than this pool started with.
    pub(crate) fn adopt_choice(&self, predecessor: &Self) -> bool {
        let (Some(switching), Some(before)) = (&self.switching, &predecessor.switching) else { return false };
        let (mut state, started) = (switching.state.lock(), switching.in_force());
        state.auto.adopt(&before.state.lock().auto);
        switching.put_in_force(state.auto.kind());
        state.auto.kind() != started
    }
}

//! A destination's breaker: ejection, probation, recovery.
//!
//! ```text
//! closed --streak, rate or outlier--> ejected until t --t--> probation --k successes--> closed, ramping up
//!    \------ overloaded --> paused until t -------/   ^-- one failure --/ (longer)
//! ```
//!
//! There is no timer: a deadline that has passed *is* probation. In probation there is one permit; whoever takes it
//! by compare-and-swap makes the trial. A permit is the time at which it lapses, so that a lost lease cannot hold it
//! forever, and that time also tells it from every permit before it: whose permit has lapsed and been given to
//! another no longer moves the breaker. Deadlines only ever move later until the breaker closes.
//!
//! Hot paths read one or two atomics; transitions happen under a lock, and the caller bumps the registry's epoch
//! after each, which is what publishes them (see [`Registry`](crate::pool::Registry)).
//!
//! Source: outlier detection of Envoy and gRPC A50 (streak, multiplier), with Linkerd's single probe. Envoy forgets one
//! ejection at every sweep that finds a destination in use; here each ejection time spent in use forgets one, which
//! needs no sweep and does not depend on how often there is one.

use crate::balance::hash::scramble;
use crate::pool::history::{History, Words};
use crate::pool::outages::{self, Outages};
use crate::pool::rate::Rate;
use crate::pool::sync::{AtomicU32, AtomicU64, Ordering};
use crate::pool::{FailoverSpec, Nanos};

/// First pause of a destination that is overloaded and does not say for how long; doubles with each further one.
const PAUSE: Nanos = 1_000_000_000;
/// Longest pause that a destination may ask for: a day. A mistaken header must not take it out for good.
const LONGEST_PAUSE: Nanos = 86_400_000_000_000;
/// Share that a recovered destination starts with.
const RAMP_START: f32 = 0.1;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In use.
    Closed,
    /// Out until then.
    Out(Nanos),
    /// A trial at a time.
    Probation,
}

/// An ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Out until then.
    pub until: Nanos,
    /// For the n-th time, what health has made forgotten left out.
    pub times: u32,
}

/// The right to make the trial of a destination on probation; 0 is none.
pub type Permit = u64;

/// The breaker of one destination. Words alone, all of which may have any value: it may lie in memory that processes
/// share.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Breaker {
    // What a success touches is first, beside what it touches of the destination.
    /// Failures in a row.
    streak: AtomicU32,
    /// 1 if the event of this probation was written.
    announced: AtomicU32,
    /// Outcomes of the last while.
    rate: Rate,
    /// End of the ejection; 0: none. Relaxed throughout: published by the epoch, as are the next two.
    ejected_until: AtomicU64,
    /// End of the pause that the destination asked for; 0: none.
    paused_until: AtomicU64,
    /// When the destination last recovered, for the ramp; 0: never.
    recovered_at: AtomicU64,
    /// When the permit lapses; not above now: free.
    permit: AtomicU64,
    /// When the streak began.
    failing_since: AtomicU64,
    history: Words,
    outages: outages::Words,
}

impl Breaker {
    /// As new, and one between processes. Nobody else uses it meanwhile.
    #[cfg_attr(
        any(not(target_os = "linux"), feature = "model"),
        expect(dead_code, reason = "no state is shared there")
    )]
    pub(crate) fn begin_shared(&self) {
        for word in [&self.ejected_until, &self.paused_until, &self.recovered_at, &self.permit] {
            word.store(0, Ordering::Relaxed);
        }
        self.streak.store(0, Ordering::Relaxed);
        self.announced.store(0, Ordering::Relaxed);
        self.rate.clear();
        self.history.begin_shared();
        self.outages.clear();
    }

    /// The state at `now`.
    #[inline]
    pub fn phase(&self, now: Nanos) -> Phase {
        match self.deadline() {
            0 => Phase::Closed,
            until if now < until => Phase::Out(until),
            _ => Phase::Probation,
        }
    }

    fn deadline(&self) -> Nanos {
        self.ejected_until.load(Ordering::Relaxed).max(self.paused_until.load(Ordering::Relaxed))
    }

    /// Whether failures put it out, and it has not recovered yet.
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) != 0
    }

    /// End of the pause that the destination asked for, while it is out or on probation for it.
    pub fn paused_until(&self) -> Option<Nanos> {
        Some(self.paused_until.load(Ordering::Relaxed)).filter(|until| *until != 0)
    }

    /// When it last recovered from an ejection or pause; `None`: never.
    pub fn recovered_at(&self) -> Option<Nanos> {
        Some(self.recovered_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// True once for every probation: for the first to notice it.
    pub(crate) fn announce_probation(&self) -> bool {
        // Relaxed: the swap alone decides who is first.
        self.announced.swap(1, Ordering::Relaxed) == 0
    }

    /// Takes the permit of a destination on probation, for `limit` ns.
    pub(crate) fn take_permit(&self, now: Nanos, limit: Nanos) -> Option<Permit> {
        if self.phase(now) != Phase::Probation {
            return None;
        }
        let lapses = self.permit.load(Ordering::Relaxed); // relaxed: the swap below decides
        if lapses > now {
            return None;
        }
        let permit = now.saturating_add(limit);
        // Acquire: sees the deadline that whoever freed the permit (release) set before.
        self.permit.compare_exchange(lapses, permit, Ordering::Acquire, Ordering::Relaxed).ok()?;
        if self.phase(now) == Phase::Probation {
            return Some(permit);
        }
        self.return_permit(permit); // the last trial failed in between
        None
    }

    /// Gives a permit back unused. False if it had lapsed and was given to another.
    pub(crate) fn return_permit(&self, permit: Permit) -> bool {
        // Release: what its holder changed before is seen by the next (acquire above).
        self.permit.compare_exchange(permit, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// When the permit of this probation becomes free at the latest; `None` if it is free.
    pub fn permit_taken_until(&self, now: Nanos) -> Option<Nanos> {
        Some(self.permit.load(Ordering::Relaxed)).filter(|lapses| *lapses > now)
    }

    fn holds(&self, permit: Permit) -> bool {
        self.permit.load(Ordering::Relaxed) == permit // relaxed: only its holder can end it before it lapses
    }

    /// What outages it had.
    pub fn outages(&self) -> Outages {
        let _latched = self.history.lock();
        self.outages.read()
    }

    /// A trial began on probation.
    pub(crate) fn trial_began(&self) {
        self.outages.trial();
    }

    /// A trial ended, in success or in failure; whether its permit still counted or not.
    pub(crate) fn trial_ended(&self, passed: bool) {
        self.outages.tried(passed);
    }

    /// Outcomes of the last while.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// A success without a permit: ends the streak. While out or on probation it says nothing (it began before).
    #[inline]
    pub(crate) fn success(&self, now: Nanos, spec: &FailoverSpec) {
        // Relaxed: the streak is a count. Reading first keeps the line shared while all is well.
        if self.streak.load(Ordering::Relaxed) != 0 {
            self.streak.store(0, Ordering::Relaxed);
        }
        if spec.counts_rates() {
            self.rate.record(false, now, spec.rate_window);
        }
    }

    /// A failure without a permit: the length of the streak with it; 0 while out or on probation.
    pub(crate) fn failure(&self, now: Nanos) -> u32 {
        if self.phase(now) != Phase::Closed {
            return 0;
        }
        let before = self.streak.fetch_add(1, Ordering::Relaxed); // relaxed: each length is seen once
        if before == 0 {
            self.failing_since.store(now, Ordering::Relaxed); // relaxed: for people
        }
        before.saturating_add(1)
    }

    /// When the streak began that is under way, or was last.
    pub(crate) fn failing_since(&self) -> Nanos {
        self.failing_since.load(Ordering::Relaxed)
    }

    /// Ejects a destination in use, which has failed since `since`; `None` if it is no longer in use. `seed` jitters, and
    /// differs between destinations.
    pub(crate) fn eject(&self, now: Nanos, since: Nanos, spec: &FailoverSpec, seed: u64) -> Option<Ejection> {
        let mut history = self.history.lock();
        if self.phase(now) != Phase::Closed {
            return None;
        }
        let forgotten = now.saturating_sub(history.closed_at) / spec.ejection_time.max(1);
        history.times = history.times.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        self.outages.begin(now, Some(now.saturating_sub(since)));
        Some(self.put_out(&mut history, now, spec, seed))
    }

    fn put_out(&self, history: &mut History, now: Nanos, spec: &FailoverSpec, seed: u64) -> Ejection {
        history.times = history.times.saturating_add(1);
        history.successes = 0;
        let time = spec.ejection_time.saturating_mul(u64::from(history.times)).min(spec.max_ejection_time);
        // Up to a tenth longer, so that destinations that went out together do not come back together.
        let share = scramble(seed ^ u64::from(history.times)); // of 2^64
        let jitter = ((u128::from(time / 10) * u128::from(share)) >> 64) as u64;
        let until = now.saturating_add(time).saturating_add(jitter).max(self.deadline()).max(1);
        self.ejected_until.store(until, Ordering::Relaxed);
        self.announced.store(0, Ordering::Relaxed);
        self.streak.store(0, Ordering::Relaxed);
        Ejection { until, times: history.times }
    }

    /// The trial failed: out again, for longer. `None` if the permit had lapsed and was given to another.
    pub(crate) fn probe_failed(&self, permit: Permit, now: Nanos, spec: &FailoverSpec, seed: u64) -> Option<Ejection> {
        let mut history = self.history.lock();
        if !self.holds(permit) {
            return None;
        }
        self.outages.begin(now, None);
        let ejection = self.put_out(&mut history, now, spec, seed);
        self.return_permit(permit); // after the deadline is set, so that no second trial slips in between
        Some(ejection)
    }

    /// The trial succeeded. True if that closed the breaker.
    pub(crate) fn probe_succeeded(&self, permit: Permit, now: Nanos, needed: u32) -> bool {
        let mut history = self.history.lock();
        if !self.holds(permit) {
            return false;
        }
        let mut closed = false;
        // A pause that came in meanwhile is later knowledge than this success.
        if self.phase(now) == Phase::Probation {
            history.successes += 1;
            closed = history.successes >= needed;
            if closed {
                self.close(&mut history, now);
                self.outages.end(now);
                self.recovered_at.store(now.max(1), Ordering::Relaxed);
            }
        }
        self.return_permit(permit);
        closed
    }

    /// The destination asked for a pause, of `retry_after` or an unnamed time. The new deadline, or `None` if it was
    /// out for as long already: the later deadline wins.
    pub(crate) fn pause(
        &self,
        permit: Permit,
        now: Nanos,
        retry_after: Option<Nanos>,
        spec: &FailoverSpec,
    ) -> Option<Nanos> {
        let mut history = self.history.lock();
        let before = self.deadline();
        let time = match retry_after {
            Some(time) => time.min(LONGEST_PAUSE),
            // All that was in flight when it became overloaded says so at once; only the first of them counts.
            None if now < before => return self.unmoved(permit),
            None => (PAUSE << history.pauses.min(16)).min(spec.ejection_time),
        };
        let until = now.saturating_add(time).max(1);
        if now >= before {
            history.pauses = history.pauses.saturating_add(1);
        }
        if until <= before {
            return self.unmoved(permit);
        }
        history.successes = 0;
        self.paused_until.store(until, Ordering::Relaxed);
        self.announced.store(0, Ordering::Relaxed);
        self.streak.store(0, Ordering::Relaxed);
        self.return_permit(permit);
        Some(until)
    }

    fn unmoved(&self, permit: Permit) -> Option<Nanos> {
        self.return_permit(permit);
        None
    }

    /// Ends a pause that is over without a trial: for pools that do not eject, and so have no probation.
    pub(crate) fn end_pause(&self, now: Nanos) -> bool {
        let mut history = self.history.lock();
        let over = self.paused_until().is_some() && !self.is_ejected() && self.phase(now) == Phase::Probation;
        if over {
            self.close(&mut history, now);
        }
        over
    }

    /// Closes the breaker at an operator's word and forgets its past. False if it was closed.
    pub(crate) fn reset(&self, now: Nanos) -> bool {
        let mut history = self.history.lock();
        let was_out = self.deadline() != 0;
        self.close(&mut history, now);
        if was_out {
            self.outages.end(now);
        }
        history.times = 0;
        was_out
    }

    fn close(&self, history: &mut History, now: Nanos) {
        // What put it out is judged; without this a short ejection would be followed by the same verdict. A pause is
        // no verdict: a destination that asks for one again and again fails in the end.
        if self.is_ejected() {
            self.rate.clear();
        }
        history.successes = 0;
        history.pauses = 0;
        history.closed_at = now;
        self.ejected_until.store(0, Ordering::Relaxed);
        self.paused_until.store(0, Ordering::Relaxed);
        self.streak.store(0, Ordering::Relaxed);
    }
}

/// Slow start: the share at `now` of a destination that recovered at `since`, growing from a tenth to 1 in `window`.
#[inline]
pub(crate) fn ramp(since: Nanos, window: Nanos, now: Nanos) -> f32 {
    let elapsed = now.saturating_sub(since);
    if elapsed >= window { 1.0 } else { (elapsed as f32 / window as f32).max(RAMP_START) }
}

//! A limit on messages a second to one destination, in bursts of so many.
//!
//! The generic cell rate algorithm: one word holds when the next message would be due if all so far had come at the
//! rate's pace; it may go when it is no further ahead of that than a burst allows. The same as a bucket of tokens that
//! fills steadily, without anybody filling it. Lock-free; a refusal changes nothing. What was taken is not given back
//! when a lease is cancelled, for something may have been sent.
//!
//! The word belongs to the destination and survives a reload; the limit is that of the configuration.
//!
//! Source: ITU-T I.371, annex A (GCRA, virtual scheduling).

use std::sync::Arc;

use crate::pool::destination::Destination;
use crate::pool::sync::{AtomicU64, Ordering};
use crate::pool::{MemberSpec, Nanos, Pool};

const SECOND: f64 = 1e9;

/// Messages a second, and how many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// ns from message to message.
    interval: Nanos,
    /// ns that a message may come before it is due.
    tolerance: Nanos,
}

impl RateLimit {
    /// So many messages a second, and at once; `burst`: by default those of a tenth of a second, at least one.
    ///
    /// # Errors
    /// The rate is not from 0.0001 to 1,000,000, or the burst not from 1 to 1,000,000.
    pub fn new(rate: f64, burst: Option<u32>) -> Result<Self, String> {
        if !(1e-4..=1e6).contains(&rate) {
            return Err(format!("the rate is {rate}; write 0.0001 to 1000000 messages a second"));
        }
        let burst = burst.unwrap_or_else(|| ((rate / 10.0) as u32).max(1));
        if !(1..=1_000_000).contains(&burst) {
            return Err(format!("the burst is {burst}; write 1 to 1000000 messages"));
        }
        let interval = (SECOND / rate).round() as Nanos; // 1 µs to 10^13 ns: three hours
        Ok(Self { interval, tolerance: interval.saturating_mul(u64::from(burst - 1)) })
    }

    /// How far ahead the next message may be due at most, when a burst was just used up.
    fn horizon(&self) -> Nanos {
        self.tolerance.saturating_add(self.interval)
    }
}

/// When a destination's next message is due.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// ns until another message may go; 0: it may.
    #[inline]
    pub(crate) fn wait(&self, limit: &RateLimit, now: Nanos) -> Nanos {
        // Relaxed, as below: one word that carries no other data.
        let due = self.0.load(Ordering::Relaxed);
        let ahead = due.saturating_sub(now);
        let ahead = if ahead > limit.horizon() { self.bring_down(due, limit, now) } else { ahead };
        ahead.saturating_sub(limit.tolerance)
    }

    /// Counts a message, if one may go.
    #[inline]
    pub(crate) fn take(&self, limit: &RateLimit, now: Nanos) -> bool {
        let next = |due: Nanos| {
            let due = due.max(now);
            (due - now <= limit.tolerance).then(|| due.saturating_add(limit.interval))
        };
        self.wait(limit, now) == 0 && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Brings what is due down to the furthest ahead that this limit can put it, after one that was lower; how far.
    #[cold]
    fn bring_down(&self, due: Nanos, limit: &RateLimit, now: Nanos) -> Nanos {
        let horizon = limit.horizon();
        // If it fails another thread has changed it, and the next look tells.
        let _ = self.0.compare_exchange(due, now.saturating_add(horizon), Ordering::Relaxed, Ordering::Relaxed);
        horizon
    }
}

/// A member's limit, beside whose it is.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: RateLimit,
    destination: Arc<Destination>,
}

impl Limiter {
    /// Of a member, if it has a limit.
    pub(crate) fn of(spec: &MemberSpec, destination: &Arc<Destination>) -> Option<Arc<Self>> {
        let limit = spec.rate_limit?;
        Some(Arc::new(Self { limit, destination: Arc::clone(destination) }))
    }

    /// See [`Pace::wait`].
    #[inline]
    pub(crate) fn wait(&self, now: Nanos) -> Nanos {
        self.destination.pace().wait(&self.limit, now)
    }

    /// See [`Pace::take`].
    #[inline]
    pub(crate) fn take(&self, now: Nanos) -> bool {
        self.destination.pace().take(&self.limit, now)
    }
}

/// Of each member, in their order; empty where none has a limit.
pub(crate) type Limiters = Box<[Option<Arc<Limiter>>]>;

/// The same with nothing where nobody has a limit, which costs a pool of many members nothing.
pub(crate) fn limiters(all: Vec<Option<Arc<Limiter>>>) -> Limiters {
    if all.iter().all(Option::is_none) { Box::default() } else { all.into() }
}

impl Pool {
    /// The limit of a member, if it has one.
    pub(crate) fn limiter(&self, member: usize) -> Option<&Arc<Limiter>> {
        self.limiters.get(member)?.as_ref()
    }

    /// ns until the rate of a member allows another message; 0: it does.
    pub(crate) fn rate_wait(&self, member: usize, now: Nanos) -> Nanos {
        self.limiter(member).map_or(0, |limit| limit.wait(now))
    }

    /// Whether a member is below its cap and within its rate.
    pub(crate) fn has_room(&self, member: usize, now: Nanos) -> bool {
        let place = &self.members()[member];
        place.destination().in_flight() < place.cap && self.rate_wait(member, now) == 0
    }

    /// Holds a member for one message, if its cap and its rate allow that.
    pub(crate) fn hold(&self, member: usize, now: Nanos) -> bool {
        let place = &self.members()[member];
        let hot = place.destination().hot();
        if !hot.hold(place.cap) {
            return false;
        }
        let allowed = self.limiter(member).is_none_or(|limit| limit.take(now));
        if !allowed {
            hot.release();
        }
        allowed
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Nanos = 1_000_000_000;

    fn limit(rate: f64, burst: u32) -> RateLimit {
        RateLimit::new(rate, Some(burst)).unwrap()
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_each_interval() {
        let (pace, limit) = (Pace::default(), limit(10.0, 3));
        let taken: Vec<bool> = (0..5).map(|_| pace.take(&limit, START)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert_eq!(pace.wait(&limit, START), 100_000_000);
        assert!(!pace.take(&limit, START + 99_999_999));
        assert!(pace.take(&limit, START + 100_000_000));
        assert!(!pace.take(&limit, START + 100_000_000));
        let rested = START + 10_000_000_000;
        assert_eq!((0..5).filter(|_| pace.take(&limit, rested)).count(), 3, "it saves up no more than a burst");
    }

    #[test]
    fn a_limit_that_was_raised_holds_at_once() {
        let (pace, slow, fast) = (Pace::default(), limit(0.001, 1), limit(100.0, 1));
        assert!(pace.take(&slow, START));
        assert_eq!(pace.wait(&slow, START), 1_000_000_000_000);
        assert_eq!(pace.wait(&fast, START), 10_000_000);
        assert!(pace.take(&fast, START + 10_000_000));
    }

    #[test]
    fn limits_out_of_range_are_refused_and_a_burst_is_a_tenth_of_a_second_by_default() {
        assert_eq!(RateLimit::new(50.0, None), RateLimit::new(50.0, Some(5)));
        assert_eq!(RateLimit::new(0.5, None), RateLimit::new(0.5, Some(1)));
        for (rate, burst) in [(0.0, None), (f64::NAN, None), (2e6, None), (1.0, Some(0)), (1.0, Some(1_000_001))] {
            assert!(RateLimit::new(rate, burst).is_err(), "{rate} {burst:?}");
        }
    }

    proptest! {
        #[test]
        fn in_any_span_at_most_the_rate_and_a_burst_go(
            rate in 0.1f64..10_000.0,
            burst in 1u32..50,
            steps in prop::collection::vec(0u64..50_000_000, 1..400),
        ) {
            let (pace, limit) = (Pace::default(), limit(rate, burst));
            let mut now = START;
            let mut gone = Vec::new();
            for step in steps {
                now += step;
                let wait = pace.wait(&limit, now);
                let taken = pace.take(&limit, now);
                prop_assert_eq!(taken, wait == 0);
                if taken {
                    gone.push(now);
                } else {
                    prop_assert!(!pace.take(&limit, now + wait - 1));
                }
            }
            for (first, &from) in gone.iter().enumerate() {
                for (last, &to) in gone.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + (to - from) as f64 / limit.interval as f64;
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }

    #[test]
    fn threads_together_take_no_more_than_one_would() {
        let (pace, limit) = (Pace::default(), limit(1.0, 1000));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| pace.take(&limit, START)).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}

//! Whether looking messages up pays: a state machine that is fed with timed messages and has no clock of its own.
//!
//! A lookup costs L whatever comes of it, a match costs M, and of all lookups a share h hits; each hit saves a match.
//! So looking up pays where h·M > L. L and M are timed on the same messages, h is counted over all.
//!
//! Messages are timed in bursts of [`BURST`] in a row, so that both ways are timed as they run when they run often, and
//! not with all they need gone from the processor's caches.
//!
//! - **Weighing**: every message is timed, none remembered; the first [`WARM_UP`] do not count. If L is not well below
//!   M, no share of hits could help.
//! - **Trial**: messages are looked up and remembered, one burst in [`TRIED`] is timed. The first burst after which
//!   looking up pays well ends it. It fails when as many messages were looked up as the cache has room for: then the
//!   cache is as warm as it gets.
//! - **Use**: one burst in [`USED`] is timed. Ends when looking up does not pay any more.
//! - **Rest**, after each failure: nothing is looked up for so long that what was lost is 1 % of the time, at least a
//!   second; then lookups are weighed anew. What is remembered stays, so a later trial begins warm.
//!
//! Of the times that are averaged the [`OUTLIERS`] longest are left out: the first of a burst, and those of a thread
//! that was suspended meanwhile.

use std::fmt;

/// Timed messages that a judgement is made on.
pub(super) const BURST: usize = 32;

/// Of these, the longest are left out of the average.
const OUTLIERS: usize = 6;

/// Messages before the first burst is timed for good.
const WARM_UP: usize = 3 * BURST;

/// On trial, one burst in so many is timed.
const TRIED: u64 = 64;

/// In use, one burst in so many is timed: timing costs a match, and a match may cost a thousand lookups.
const USED: u64 = 4096;

/// To begin with, looking up must save one part in so many of the cost of matching.
const MARGIN: u128 = 10;

/// After a failure the rest is so many times as long as what was lost.
const REST: u64 = 100;

/// The shortest rest, in nanoseconds.
const SHORTEST_REST: u64 = 1_000_000_000;

/// One message, looked up and matched, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// What looking it up took, and remembering its answer if there was none.
    pub(super) lookup: u64,
    /// What matching it took, as without a cache.
    pub(super) plain: u64,
}

/// Lookups so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// All of them.
    pub(super) lookups: u64,
    /// Those that gave the answer.
    pub(super) hits: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Weighing,
    /// Since there were so many lookups.
    Trial {
        began: u64,
    },
    Use,
}

/// What a judgement was made on.
#[derive(Debug, Clone, Copy)]
struct Figures {
    lookup: u64,
    plain: u64,
    lookups: u64,
    hits: u64,
}

#[derive(Debug)]
pub(super) struct Appraisal {
    phase: Phase,
    rests_until: u64,
    /// The latest samples, in a ring.
    samples: [Sample; BURST],
    /// Samples taken since the last rest.
    taken: usize,
    /// When the last judgement was made.
    since: Tally,
    /// Nanoseconds lost in this trial.
    lost: u64,
    /// Lookups that a trial may take.
    most: u64,
    last: Option<Figures>,
}

impl Appraisal {
    /// `room`: messages that the cache has room for.
    pub(super) fn new(room: u64) -> Self {
        Self {
            phase: Phase::Weighing,
            rests_until: 0,
            samples: [Sample::default(); BURST],
            taken: 0,
            since: Tally::default(),
            lost: 0,
            most: room,
            last: None,
        }
    }

    /// One burst in so many is to be timed.
    pub(super) fn spacing(&self) -> u64 {
        match self.phase {
            Phase::Weighing => 1,
            Phase::Trial { .. } => TRIED,
            Phase::Use => USED,
        }
    }

    /// Whether answers are to be remembered.
    pub(super) fn remembers(&self) -> bool {
        self.phase != Phase::Weighing
    }

    /// Nothing is to be looked up before.
    pub(super) fn rests_until(&self) -> u64 {
        self.rests_until
    }

    /// Takes a timed message; `tally` is that of all lookups by now.
    pub(super) fn add(&mut self, sample: Sample, tally: Tally, now: u64) {
        self.samples[self.taken % BURST] = sample;
        self.taken += 1;
        if self.taken <= WARM_UP || !self.taken.is_multiple_of(BURST) {
            return;
        }
        let figures = Figures {
            lookup: typical(self.samples.map(|sample| sample.lookup)),
            plain: typical(self.samples.map(|sample| sample.plain)),
            lookups: tally.lookups.saturating_sub(self.since.lookups).max(1),
            hits: tally.hits.saturating_sub(self.since.hits),
        };
        self.since = tally;
        match self.phase {
            Phase::Weighing => {
                // The best that can be: every lookup hits.
                let best = Figures { hits: figures.lookups, ..figures };
                self.last = Some(best);
                if best.pays_well() {
                    self.lost = 0;
                    self.phase = Phase::Trial { began: tally.lookups };
                } else {
                    self.lost = figures.lookup.saturating_mul((WARM_UP + BURST) as u64);
                    self.rest(now);
                }
            }
            Phase::Trial { began } => {
                self.last = Some(figures);
                self.lost = self.lost.saturating_add(figures.loss());
                if figures.pays_well() {
                    self.phase = Phase::Use;
                } else if tally.lookups.saturating_sub(began) >= self.most {
                    self.rest(now);
                }
            }
            Phase::Use => {
                self.last = Some(figures);
                if !figures.pays() {
                    self.lost = figures.loss();
                    self.rest(now);
                }
            }
        }
    }

    fn rest(&mut self, now: u64) {
        self.phase = Phase::Weighing;
        self.taken = 0;
        self.rests_until = now.saturating_add(self.lost.saturating_mul(REST).max(SHORTEST_REST));
    }

    /// Why messages are looked up, or not.
    pub(super) fn reason(&self) -> String {
        match (&self.last, self.phase) {
            (None, _) => "lookups are being timed beside matches".to_owned(),
            (Some(figures), Phase::Trial { .. }) => format!("on trial: {}", figures.costs()),
            (Some(figures), _) => figures.to_string(),
        }
    }
}

impl Figures {
    fn saved(&self) -> u128 {
        u128::from(self.hits) * u128::from(self.plain)
    }

    fn spent(&self) -> u128 {
        u128::from(self.lookups) * u128::from(self.lookup)
    }

    fn pays(&self) -> bool {
        self.saved() > self.spent()
    }

    fn pays_well(&self) -> bool {
        let matching = u128::from(self.lookups) * u128::from(self.plain);
        self.saved() > self.spent() + matching / MARGIN
    }

    /// Nanoseconds that looking up cost more than it saved.
    fn loss(&self) -> u64 {
        u64::try_from(self.spent().saturating_sub(self.saved())).unwrap_or(u64::MAX)
    }

    fn costs(&self) -> String {
        format!("a lookup takes {} ns, a match {} ns", self.lookup, self.plain)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.costs())?;
        if self.hits < self.lookups {
            let (hits, lookups) = (u128::from(self.hits), u128::from(self.lookups));
            write!(f, ", and {} % of the lookups hit", (hits * 100 + lookups / 2) / lookups)?;
        }
        Ok(())
    }
}

/// The mean without the longest.
fn typical(mut times: [u64; BURST]) -> u64 {
    times.sort_unstable();
    let kept = &times[..BURST - OUTLIERS];
    kept.iter().sum::<u64>() / kept.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A router in which a lookup and a match take so long, and of each 100 lookups so many hit.
    struct Bench {
        appraisal: Appraisal,
        lookup: u64,
        plain: u64,
        hits_of_100: u64,
        tally: Tally,
        now: u64,
        /// Messages that were looked up; nanoseconds that they cost more than matching them all would have.
        extra: i128,
    }

    impl Bench {
        fn new(lookup: u64, plain: u64, hits_of_100: u64) -> Self {
            let appraisal = Appraisal::new(65_536);
            Self { appraisal, lookup, plain, hits_of_100, tally: Tally::default(), now: SECOND, extra: 0 }
        }

        /// So many messages, one after the other.
        fn messages(&mut self, count: u64) {
            for _ in 0..count {
                self.now += self.plain;
                if self.now < self.appraisal.rests_until() {
                    continue;
                }
                let number = self.tally.lookups;
                self.tally.lookups += 1;
                let hit = self.appraisal.remembers() && number % 100 < self.hits_of_100;
                self.tally.hits += u64::from(hit);
                self.extra += i128::from(self.lookup) - if hit { i128::from(self.plain) } else { 0 };
                self.now += self.lookup;
                if (number / BURST as u64).is_multiple_of(self.appraisal.spacing()) {
                    let sample = Sample { lookup: self.lookup, plain: self.plain };
                    self.appraisal.add(sample, self.tally, self.now);
                }
            }
        }

        fn is_used(&self) -> bool {
            self.appraisal.phase == Phase::Use
        }
    }

    #[test]
    fn looking_up_is_used_where_it_pays_and_only_there() {
        // lookup, match, hits of 100, used?
        for (lookup, plain, hits, used) in [
            (200, 5_000, 95, true),
            (200, 5_000, 20, true),
            (200, 5_000, 2, false),
            (200, 300, 99, true),
            (200, 210, 100, false),
            (200, 150, 100, false),
            (200, 0, 100, false),
            (0, 0, 100, false),
        ] {
            let mut bench = Bench::new(lookup, plain, hits);
            bench.messages(200_000);
            assert_eq!(bench.is_used(), used, "{lookup}, {plain}, {hits}: {}", bench.appraisal.reason());
        }
    }

    #[test]
    fn what_is_lost_stays_a_small_part_of_the_time() {
        for (lookup, plain, hits) in [(300, 250, 100), (300, 2_000, 3), (2_000, 2_500, 60), (100_000, 200_000, 10)] {
            let mut bench = Bench::new(lookup, plain, hits);
            bench.messages(2_000_000);
            // From rest to rest, trials are over by then.
            let spent = i128::from(bench.now);
            assert!(bench.extra * 40 <= spent, "{lookup}, {plain}, {hits}: {} of {spent}", bench.extra);
        }
    }

    #[test]
    fn a_trial_goes_on_while_the_cache_fills() {
        let mut bench = Bench::new(200, 5_000, 0);
        bench.messages(40_000);
        assert!(matches!(bench.appraisal.phase, Phase::Trial { .. }));
        assert_eq!(bench.appraisal.reason(), "on trial: a lookup takes 200 ns, a match 5000 ns");
        bench.hits_of_100 = 90;
        bench.messages(2 * TRIED * BURST as u64);
        assert!(bench.is_used());
        assert!(bench.appraisal.reason().starts_with("a lookup takes 200 ns, a match 5000 ns, and "));
    }

    #[test]
    fn a_cache_that_no_longer_pays_rests_and_comes_back_when_it_does() {
        let mut bench = Bench::new(200, 5_000, 90);
        bench.messages(50_000);
        assert!(bench.is_used());
        bench.hits_of_100 = 1;
        bench.messages(2 * USED * BURST as u64);
        assert!(!bench.is_used());
        assert!(bench.appraisal.rests_until() >= bench.now);
        assert_eq!(bench.appraisal.reason(), "a lookup takes 200 ns, a match 5000 ns, and 1 % of the lookups hit");
        bench.hits_of_100 = 90;
        bench.messages(1_000_000);
        assert!(bench.is_used());
    }

    #[test]
    fn a_message_suspended_while_it_was_timed_decides_nothing() {
        let mut appraisal = Appraisal::new(65_536);
        for number in 0..(WARM_UP + BURST) as u64 {
            let lookup = if number % 32 == 7 { 4_000_000 } else { 200 };
            appraisal.add(Sample { lookup, plain: 1_000 }, Tally { lookups: number + 1, hits: 0 }, SECOND);
        }
        assert!(matches!(appraisal.phase, Phase::Trial { .. }));
    }

    #[test]
    fn extreme_figures_are_no_overflow() {
        let mut appraisal = Appraisal::new(1);
        for number in 0..2_000 {
            let sample = Sample { lookup: u64::MAX / 64, plain: u64::MAX / 64 };
            appraisal.add(sample, Tally { lookups: u64::MAX - number, hits: u64::MAX }, u64::MAX - 1);
        }
        assert_eq!(appraisal.rests_until(), u64::MAX);
    }
}

//! What is measured of an outage: when it was noticed, when it was over, and what its trials came to.

use super::*;
use crate::pool::outages::{Outages, Times};

/// Ejections last 10 s to 11 s, twice that, and so on; two successes end a probation.
fn ejecting() -> PoolSpec {
    let mut spec = spec(PolicyKind::RoundRobin, 3);
    spec.failover.ejection_time = 10 * SECOND;
    spec
}

fn outages(bench: &Bench, id: &str) -> Outages {
    bench.destination(id).view(bench.now).outages
}

/// Five failures of `id`, each so long after the one before.
fn fail_every(bench: &mut Bench, id: &str, gap: Nanos) {
    for failure in 0..5 {
        bench.now += if failure > 0 { gap } else { 0 };
        bench.fail(id, 1);
    }
}

/// When the ejection ends; the bench's time is then.
fn wait_for_trial(bench: &mut Bench, id: &str) {
    bench.now += bench.destination(id).view(bench.now).ejected_for.unwrap();
}

fn trial(bench: &mut Bench, outcome: Outcome) {
    let probe = bench.acquire().unwrap();
    assert!(probe.pick().probe);
    probe.finish(outcome, bench.now);
}

#[test]
fn detection_lasts_from_the_first_failure_of_the_streak() {
    let mut bench = Bench::new(ejecting());
    bench.fail("b", 4);
    bench.now += SECOND;
    bench.lease_of("b").unwrap().finish(Outcome::Success, bench.now); // that streak came to nothing
    bench.now += SECOND;
    fail_every(&mut bench, "b", 300 * MS);
    let time = 4 * 300 * MS;
    let expected = Times { count: 1, sum: time, last: time, longest: time };
    assert_eq!((outages(&bench, "b").detection, outages(&bench, "b").ejections), (expected, 1));
    assert_eq!(outages(&bench, "a"), Outages::default());
}

#[test]
fn detection_by_rate_lasts_from_the_slice_of_the_first_failure_in_the_window() {
    let mut bench = Bench::new(ejecting());
    bench.now = 20 * SECOND + 400 * MS; // slices are of 1 s: this one began at 20 s
    bench.outcomes("b", 10, 2);
    bench.now = 23 * SECOND + 100 * MS;
    bench.outcomes("b", 10, 2);
    assert_eq!(bench.breaker("b"), "ejected");
    assert_eq!(outages(&bench, "b").detection.last, 3 * SECOND + 100 * MS);
}

#[test]
fn recovery_lasts_from_the_first_ejection_to_the_return_failed_trials_included() {
    let mut bench = Bench::new(ejecting());
    fail_every(&mut bench, "b", 0);
    let mut ejected = bench.now;
    let mut sum = 0;
    for (round, failed_trials) in [2, 0].into_iter().enumerate() {
        for _ in 0..failed_trials {
            wait_for_trial(&mut bench, "b");
            trial(&mut bench, Outcome::Failure);
        }
        wait_for_trial(&mut bench, "b");
        trial(&mut bench, Outcome::Success);
        bench.now += 250 * MS;
        trial(&mut bench, Outcome::Success);
        let last = bench.now - ejected;
        sum += last;
        let seen = outages(&bench, "b");
        assert_eq!((seen.recovery.count, seen.recovery.last, seen.recovery.sum), (round as u64 + 1, last, sum));
        bench.now += 7 * SECOND;
        fail_every(&mut bench, "b", 100 * MS);
        ejected = bench.now;
    }
    let seen = outages(&bench, "b");
    assert!(seen.recovery.longest > seen.recovery.last, "the one with failed trials");
    assert_eq!((seen.ejections, seen.recoveries), (5, 2), "three streaks and two failed trials");
    assert_eq!((seen.trials, seen.trials_passed, seen.trials_failed), (6, 4, 2));
    assert_eq!((seen.detection.count, seen.detection.last), (3, 400 * MS), "a failed trial is no detection");
}

#[test]
fn an_operator_ends_an_outage_and_a_pause_is_none() {
    let mut bench = Bench::new(ejecting());
    fail_every(&mut bench, "b", 0);
    bench.now += 3 * SECOND;
    assert_eq!(bench.registry.recover("b", bench.now), Some(true));
    assert_eq!(outages(&bench, "b").recovery.last, 3 * SECOND);
    bench.lease_of("c").unwrap().finish(Outcome::Overloaded { retry_after: Some(SECOND) }, bench.now);
    wait_for_trial(&mut bench, "c");
    trial(&mut bench, Outcome::Success);
    trial(&mut bench, Outcome::Success);
    let seen = outages(&bench, "c");
    assert_eq!((seen.ejections, seen.recoveries, seen.recovery.count), (0, 1, 0));
}

#[test]
fn they_survive_a_reload() {
    let mut bench = Bench::new(ejecting());
    fail_every(&mut bench, "b", 0);
    let ejected = bench.now;
    wait_for_trial(&mut bench, "b");
    bench.reload(ejecting());
    trial(&mut bench, Outcome::Success);
    trial(&mut bench, Outcome::Success);
    assert_eq!(outages(&bench, "b").recovery.last, bench.now - ejected);
}

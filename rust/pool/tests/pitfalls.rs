//! Pitfalls that other balancers fell into, each a test. Those about many threads are in `concurrency`.

use super::*;

/// Two destinations of which `b` was ejected and is back, `wait` after its recovery.
fn recovered(policy: PolicyKind, wait: Nanos) -> Bench {
    let mut spec = spec(policy, 4);
    spec.failover.ejection_time = SECOND;
    let mut bench = Bench::new(spec);
    bench.fail("b", 5);
    bench.now += 2 * SECOND;
    for _ in 0..2 {
        let lease = bench.acquire().unwrap();
        assert!(lease.pick().probe);
        lease.finish(Outcome::Success, bench.now);
    }
    assert_eq!(bench.breaker("b"), "closed");
    bench.now += wait;
    bench
}

#[test]
fn a_recovered_destination_is_not_overrun() {
    // Under least connections an empty destination would get all of the next messages until it holds as many as the
    // others: 50 each here. The ramp (a tenth at first) keeps it to that share of theirs.
    for policy in [PolicyKind::LeastConnections, PolicyKind::WeightedLeastConnections, PolicyKind::ResponseTime] {
        let mut bench = recovered(policy, 0);
        let busy: Vec<Lease> = (0..150).map(|turn| bench.lease_of(["a", "c", "d"][turn % 3]).unwrap()).collect();
        let next: Vec<Lease> = (0..60).map(|_| bench.acquire().unwrap()).collect();
        let herd = next.iter().filter(|lease| lease.pick().member == 1).count();
        assert!((1..=10).contains(&herd), "{policy}: {herd} of 60");
        drop((busy, next));
    }
    // Response time and health based forgive the failures themselves more slowly.
    for policy in [PolicyKind::RoundRobin, PolicyKind::Random, PolicyKind::LeastConnections] {
        let mut bench = recovered(policy, 10 * SECOND);
        let share = bench.shares(&Request::default())[1];
        assert!((share - 0.25).abs() < 0.03, "{policy}: the whole share after the ramp, {share}");
    }
}

#[test]
fn destinations_ejected_together_do_not_come_back_together() {
    let mut spec = spec(PolicyKind::RoundRobin, 20);
    spec.failover.max_ejected_percent = 50;
    let mut bench = Bench::new(spec);
    let ids: Vec<String> = bench.pool.members().iter().map(|member| member.id().to_string()).take(10).collect();
    ids.iter().for_each(|id| bench.fail(id, 5));
    let mut left: Vec<Nanos> =
        ids.iter().map(|id| bench.destination(id).view(bench.now).ejected_for.unwrap()).collect();
    left.sort_unstable();
    assert!(left[0] >= 30 * SECOND && left[9] <= 33 * SECOND);
    assert!(left[9] - left[0] > SECOND, "spread over the jitter: {left:?}");
    left.dedup();
    assert_eq!(left.len(), 10);
}

#[test]
fn the_later_deadline_always_wins() {
    // Ejected for 30 s and more, then told to pause for 5 s; then for 100 s; then for 1 s.
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    let held: Vec<Lease> = (0..3).map(|_| bench.lease_of("a").unwrap()).collect();
    bench.fail("a", 5);
    let mut before = bench.destination("a").view(bench.now).ejected_for.unwrap();
    for (lease, (pause, later)) in held.iter().zip([(5, false), (100, true), (1, false)]) {
        lease.finish(Outcome::Overloaded { retry_after: Some(pause * SECOND) }, bench.now);
        let left = bench.destination("a").view(bench.now).ejected_for.unwrap();
        assert_eq!((left > before, left >= before), (later, true), "{pause} s");
        before = left;
    }
    // And an ejection during a longer pause does not shorten it.
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    let held: Vec<Lease> = (0..6).map(|_| bench.lease_of("b").unwrap()).collect();
    held[0].finish(Outcome::Overloaded { retry_after: Some(500 * SECOND) }, bench.now);
    held[1..].iter().for_each(|lease| assert!(lease.finish(Outcome::Failure, bench.now)));
    assert_eq!(bench.destination("b").view(bench.now).ejected_for, Some(500 * SECOND));
}

#[test]
fn new_destinations_get_their_share_at_once() {
    for policy in PolicyKind::ALL {
        let mut bench = Bench::of(policy, 4);
        for _ in 0..400 {
            let lease = bench.acquire().unwrap();
            bench.now += MS;
            lease.finish(Outcome::Success, bench.now);
        }
        bench.reload(spec(policy, 5));
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            let lease = bench.acquire().unwrap();
            counts[lease.pick().member] += 1;
            bench.now += MS;
            lease.finish(Outcome::Success, bench.now);
        }
        assert!(counts.iter().all(|count| (900..=1_100).contains(count)), "{policy}: {counts:?}");
    }
}

#[test]
fn the_last_destination_stays_whatever_speaks_against_it_unless_asked() {
    type Spoil = fn(&mut Bench);
    let causes: [(&str, Spoil); 3] = [
        ("a streak", |bench| bench.fail("a", 50)),
        ("a rate", |bench| bench.outcomes("a", 500, 2)),
        ("an outlier", |bench| {
            bench.outcomes("a", 500, 3);
            bench.now = 10 * SECOND;
            bench.ids(1);
        }),
    ];
    for (cause, spoil) in causes {
        let mut bench = Bench::of(PolicyKind::RoundRobin, 1);
        spoil(&mut bench);
        assert_eq!(bench.breaker("a"), "closed", "{cause}");
        assert_eq!(bench.select(&Request::default()).map(|pick| pick.panic), Ok(false), "{cause}");
    }
}

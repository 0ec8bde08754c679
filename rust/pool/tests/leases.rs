use super::*;

#[test]
fn a_lease_ends_once() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 1);
    let lease = bench.acquire().unwrap();
    assert_eq!(bench.destination("a").in_flight(), 1);
    bench.now += 3 * MS;
    assert!(lease.finish(Outcome::Success, bench.now));
    assert!(!lease.finish(Outcome::Failure, bench.now) && !lease.fail("late", bench.now) && lease.ended());
    drop(lease);
    let view = bench.destination("a").view(bench.now);
    assert_eq!((view.in_flight, view.attempts, view.successes, view.failures, view.cancelled), (0, 1, 1, 0, 0));
    assert_eq!(view.latency, Some(3 * MS));
    let [p50, ..] = view.percentiles.unwrap();
    assert!(p50.abs_diff(3 * MS) <= 3 * MS / 64);
    assert!(view.failure_kinds.is_empty());
}

#[test]
fn failures_are_left_out_of_latency_and_counted_by_kind() {
    let mut bench = Bench::of(PolicyKind::ResponseTime, 2);
    let lease = bench.lease_of("a").unwrap();
    assert!(lease.fail("timeout", bench.now + 5 * SECOND));
    let view = bench.destination("a").view(bench.now);
    assert_eq!((view.latency, view.percentiles), (None, None));
    assert_eq!(view.failure_kinds, [("timeout".into(), 1)]);
    assert!(view.success_rate < 1.0);
}

#[test]
fn a_dropped_lease_is_cancelled_without_credit() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 1);
    drop(bench.acquire().unwrap());
    let view = bench.destination("a").view(bench.now);
    assert_eq!((view.in_flight, view.cancelled, view.successes, view.latency), (0, 1, 0, None));
    assert_eq!(view.success_rate, 1.0);
}

#[test]
fn a_dropped_trial_gives_its_permit_back() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 2);
    bench.fail("a", 5);
    bench.now += 40 * SECOND;
    for _ in 0..1_000 {
        assert!(bench.acquire().unwrap().pick().probe);
    }
    assert_eq!(bench.breaker("a"), "probation", "no credit for it");
}

#[test]
fn outcomes_of_an_older_generation_count_but_move_nothing() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    let old: Vec<Lease> = (0..10).map(|_| bench.lease_of("a").unwrap()).collect();
    bench.reload(spec(PolicyKind::RoundRobin, 3));
    old.iter().take(9).for_each(|lease| assert!(lease.finish(Outcome::Failure, bench.now)));
    old[9].finish(Outcome::Overloaded { retry_after: Some(SECOND) }, bench.now);
    assert_eq!(bench.breaker("a"), "closed");
    let view = bench.destination("a").view(bench.now);
    assert_eq!((view.in_flight, view.failures, view.overloaded), (0, 9, 1));
    bench.fail("a", 5);
    assert_eq!(bench.breaker("a"), "ejected");
}

#[test]
fn a_trial_of_an_older_generation_gives_its_permit_back() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 2);
    bench.fail("a", 5);
    bench.now += 40 * SECOND;
    let old = bench.acquire().unwrap();
    bench.reload(spec(PolicyKind::RoundRobin, 2));
    assert!(!bench.acquire().unwrap().pick().probe);
    old.finish(Outcome::Failure, bench.now);
    assert_eq!(bench.breaker("a"), "probation");
    assert!(bench.acquire().unwrap().pick().probe);
}

#[test]
fn a_pool_that_is_built_but_not_live_makes_nobody_stale() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 2);
    let _candidate = Pool::build(spec(PolicyKind::RoundRobin, 2), &bench.registry, 2, bench.now).unwrap();
    bench.fail("a", 5);
    assert_eq!(bench.breaker("a"), "ejected");
}

#[test]
fn in_flight_survives_a_reload_and_a_removal() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 2);
    let lease = bench.lease_of("b").unwrap();
    bench.reload(spec(PolicyKind::RoundRobin, 1));
    bench.registry.retain(["a"]);
    assert_eq!(bench.destination("b").in_flight(), 1);
    bench.reload(spec(PolicyKind::RoundRobin, 2));
    assert_eq!(bench.pool.members()[1].destination().in_flight(), 1);
    lease.finish(Outcome::Success, bench.now);
    bench.reload(spec(PolicyKind::RoundRobin, 1));
    bench.registry.retain(["a"]);
    assert!(bench.registry.get("b").is_none());
    assert_eq!(bench.registry.all().len(), 1);
}

#[test]
fn least_connections_follows_leases() {
    let mut bench = Bench::of(PolicyKind::LeastConnections, 3);
    let held: Vec<Lease> = (0..9).map(|_| bench.acquire().unwrap()).collect();
    assert!(["a", "b", "c"].iter().all(|id| bench.destination(id).in_flight() == 3));
    for lease in held.iter().filter(|lease| lease.pick().member == 1) {
        lease.finish(Outcome::Success, 2 * SECOND);
    }
    assert_eq!(bench.acquire().unwrap().pick().member, 1);
}

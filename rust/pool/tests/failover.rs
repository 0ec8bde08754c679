use super::*;

/// Ejection lasts 10 s (11 s with all of its jitter), up to 25 s.
fn ejecting(members: usize) -> PoolSpec {
    let mut spec = spec(PolicyKind::RoundRobin, members);
    spec.failover.ejection_time = 10 * SECOND;
    spec.failover.max_ejection_time = 25 * SECOND;
    spec.failover.slow_start = 0;
    spec
}

fn left(bench: &Bench, id: &str) -> Nanos {
    bench.destination(id).view(bench.now).ejected_for.unwrap()
}

/// Ends the ejection of `id` and passes its probation.
fn recover(bench: &mut Bench, id: &str) {
    bench.now += left(bench, id);
    for _ in 0..2 {
        let probe = bench.acquire().unwrap();
        assert!(probe.pick().probe);
        probe.finish(Outcome::Success, bench.now);
    }
    assert_eq!(bench.breaker(id), "closed");
}

#[test]
fn five_failures_in_a_row_eject_and_four_do_not() {
    let mut bench = Bench::new(ejecting(3));
    bench.fail("b", 4);
    let success = bench.lease_of("b").unwrap();
    success.finish(Outcome::Success, bench.now);
    bench.fail("b", 4);
    assert_eq!(bench.breaker("b"), "closed");
    bench.fail("b", 1);
    assert_eq!(bench.breaker("b"), "ejected");
    assert!(!bench.ids(20).contains('b'));
    let left = left(&bench, "b");
    assert!((10 * SECOND..=11 * SECOND).contains(&left), "{left}");
}

#[test]
fn destinations_ejected_together_do_not_come_back_together() {
    let mut spec = spec(PolicyKind::RoundRobin, 20);
    spec.failover.max_ejected_percent = 50;
    let mut bench = Bench::new(spec);
    let ids: Vec<String> = bench.pool.members().iter().map(|member| member.id().to_string()).take(10).collect();
    ids.iter().for_each(|id| bench.fail(id, 5));
    let mut ends: Vec<Nanos> = ids.iter().map(|id| left(&bench, id)).collect();
    ends.sort_unstable();
    assert!(ends[0] >= 30 * SECOND && ends[9] <= 33 * SECOND);
    assert!(ends[9] - ends[0] > SECOND, "spread over the jitter: {ends:?}");
    assert!(ends.windows(2).all(|pair| pair[1] - pair[0] > MS), "{ends:?}");
}

#[test]
fn cancelled_leases_neither_lengthen_nor_end_a_streak() {
    let mut bench = Bench::new(ejecting(3));
    bench.fail("b", 4);
    for _ in 0..10 {
        drop(bench.lease_of("b").unwrap());
    }
    assert_eq!(bench.breaker("b"), "closed");
    bench.fail("b", 1);
    assert_eq!(bench.breaker("b"), "ejected");
    assert_eq!(bench.destination("b").counts().cancelled.get(), 10);
}

#[test]
fn after_an_ejection_one_trial_at_a_time_until_enough_succeed() {
    let mut bench = Bench::new(ejecting(3));
    bench.fail("b", 5);
    bench.now += left(&bench, "b");
    assert!(!bench.ids(20).contains('b'), "deciding alone makes no trial");
    let probe = bench.acquire().unwrap();
    assert_eq!((probe.pick().member, probe.pick().probe, probe.pick().reason), (1, true, Reason::Probe));
    let others: Vec<Lease> = (0..20).map(|_| bench.acquire().unwrap()).collect();
    assert!(others.iter().all(|lease| lease.pick().member != 1));
    probe.finish(Outcome::Success, bench.now);
    let second = bench.acquire().unwrap();
    assert!(second.pick().probe);
    second.finish(Outcome::Success, bench.now);
    assert_eq!(bench.breaker("b"), "closed");
    assert!(bench.ids(20).contains('b'));
    assert_eq!(bench.events_of("b"), ["ejected", "probation", "recovered"]);
    assert_eq!(bench.destination("b").breaker().outages().recoveries, 1);
}

#[test]
fn a_failed_trial_ejects_for_longer_and_never_beyond_the_cap() {
    let mut bench = Bench::new(ejecting(3));
    bench.fail("b", 5);
    let mut before = left(&bench, "b");
    for bounds in [20..=22, 25..=28, 25..=28] {
        bench.now += before;
        let probe = bench.acquire().unwrap();
        probe.finish(Outcome::Failure, bench.now);
        before = left(&bench, "b");
        assert!(bounds.contains(&(before.div_ceil(SECOND))), "{before} {bounds:?}");
    }
    assert_eq!(bench.destination("b").breaker().outages().ejections, 4);
}

#[test]
fn healthy_time_makes_past_ejections_forgotten() {
    let mut bench = Bench::new(ejecting(3));
    let mut lengths = Vec::new();
    for healthy in [0, 1, 10] {
        bench.now += healthy * 10 * SECOND;
        bench.fail("b", 5);
        lengths.push(left(&bench, "b") / (10 * SECOND));
        recover(&mut bench, "b");
        if healthy == 0 {
            bench.fail("b", 5);
            lengths.push(left(&bench, "b") / (10 * SECOND));
            recover(&mut bench, "b");
        }
    }
    assert_eq!(lengths, [1, 2, 2, 1], "2 in a row; one forgotten in 10 s; all in 100 s");
}

#[test]
fn the_last_eligible_destination_is_never_ejected_unless_asked() {
    for (members, allow_last) in [(1, false), (1, true), (2, false)] {
        let mut spec = ejecting(members);
        spec.failover.allow_last = allow_last;
        let mut bench = Bench::new(spec);
        if members == 2 {
            bench.registry.set_health("b", Health::Unhealthy, "test", bench.now);
        }
        bench.fail("a", 12);
        assert_eq!(bench.breaker("a"), if allow_last { "ejected" } else { "closed" });
        if !allow_last {
            assert_eq!(bench.events_of("a"), ["spared"], "said once a streak");
        }
    }
}

#[test]
fn the_last_destination_stays_whatever_speaks_against_it() {
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

#[test]
fn a_spared_destination_is_judged_again_after_another_streak() {
    let mut bench = Bench::new(ejecting(2));
    bench.registry.set_health("b", Health::Unhealthy, "test", bench.now);
    bench.fail("a", 7);
    bench.registry.set_health("b", Health::Healthy, "test", bench.now);
    bench.fail("a", 2);
    assert_eq!(bench.breaker("a"), "closed");
    bench.fail("a", 1);
    assert_eq!(bench.breaker("a"), "ejected");
}

#[test]
fn no_more_than_the_stated_share_is_ejected_but_at_least_one() {
    for (members, percent, expected) in [(5, 10, 1), (20, 10, 2), (10, 35, 3), (4, 100, 3), (3, 0, 1)] {
        let mut spec = ejecting(members);
        spec.failover.max_ejected_percent = percent;
        let mut bench = Bench::new(spec);
        let ids: Vec<Arc<str>> = bench.pool.members().iter().map(|member| Arc::clone(member.id())).collect();
        ids.iter().for_each(|id| bench.fail(id, 5));
        let ejected = ids.iter().filter(|id| bench.breaker(id) == "ejected").count();
        assert_eq!(ejected, expected, "{members} {percent}");
    }
}

#[test]
fn overload_pauses_and_leaves_the_streak_alone() {
    let mut bench = Bench::new(ejecting(3));
    let lease = bench.lease_of("b").unwrap();
    lease.finish(Outcome::Overloaded { retry_after: Some(3 * SECOND) }, bench.now);
    assert!(!bench.ids(9).contains('b'));
    assert_eq!(left(&bench, "b"), 3 * SECOND);
    assert_eq!(bench.destination("b").breaker().outages().ejections, 0);
    bench.now += 3 * SECOND;
    assert_eq!(bench.breaker("b"), "probation");
    assert!(bench.acquire().unwrap().pick().probe);
}

#[test]
fn the_later_deadline_wins() {
    let mut bench = Bench::new(ejecting(3));
    let leases: Vec<Lease> = (0..4).map(|_| bench.lease_of("b").unwrap()).collect();
    for (lease, (asked, expected)) in leases.iter().zip([(50, 50), (20, 50), (60, 60), (0, 60)]) {
        lease.finish(Outcome::Overloaded { retry_after: Some(asked * SECOND) }, bench.now);
        assert_eq!(left(&bench, "b"), expected * SECOND);
    }
    // Pauses asked for during an ejection.
    let mut bench = Bench::new(ejecting(3));
    let late: Vec<Lease> = (0..3).map(|_| bench.lease_of("b").unwrap()).collect();
    bench.fail("b", 5);
    let ejected = left(&bench, "b");
    for (lease, (asked, expected)) in late.iter().zip([(1, ejected), (100, 100 * SECOND), (1, 100 * SECOND)]) {
        lease.finish(Outcome::Overloaded { retry_after: Some(asked * SECOND) }, bench.now);
        assert_eq!(left(&bench, "b"), expected, "{asked} s");
    }
    // And an ejection during a longer pause.
    let mut bench = Bench::new(ejecting(3));
    let held: Vec<Lease> = (0..6).map(|_| bench.lease_of("b").unwrap()).collect();
    held[0].finish(Outcome::Overloaded { retry_after: Some(500 * SECOND) }, bench.now);
    held[1..].iter().for_each(|lease| assert!(lease.finish(Outcome::Failure, bench.now)));
    assert_eq!(left(&bench, "b"), 500 * SECOND);
}

#[test]
fn pauses_of_unnamed_length_double_but_not_for_one_burst() {
    let mut bench = Bench::new(ejecting(3));
    let burst: Vec<Lease> = (0..50).map(|_| bench.lease_of("b").unwrap()).collect();
    burst.iter().for_each(|lease| assert!(lease.finish(Outcome::Overloaded { retry_after: None }, bench.now)));
    for expected in [1, 2, 4, 8, 10, 10] {
        assert_eq!(left(&bench, "b"), expected * SECOND);
        bench.now += expected * SECOND;
        let probe = bench.acquire().unwrap();
        assert!(probe.pick().probe);
        probe.finish(Outcome::Overloaded { retry_after: None }, bench.now);
    }
}

#[test]
fn a_pause_that_comes_during_a_trial_outlives_its_success() {
    let mut bench = Bench::new(ejecting(3));
    let late = bench.lease_of("b").unwrap();
    bench.fail("b", 5);
    bench.now += left(&bench, "b");
    let probe = bench.acquire().unwrap();
    late.finish(Outcome::Overloaded { retry_after: Some(40 * SECOND) }, bench.now);
    probe.finish(Outcome::Success, bench.now);
    assert_eq!(left(&bench, "b"), 40 * SECOND);
    bench.now += 40 * SECOND;
    assert!(bench.acquire().unwrap().pick().probe, "the permit is free again");
}

#[test]
fn a_destination_that_asked_for_a_pause_gets_it_even_in_panic() {
    let mut bench = Bench::new(ejecting(1));
    let lease = bench.acquire().unwrap();
    lease.finish(Outcome::Overloaded { retry_after: Some(4 * SECOND) }, bench.now);
    let error = bench.acquire().unwrap_err();
    assert_eq!(
        (error.reason.as_str(), error.retry_in),
        ("1 destination: 1 overloaded", Some(4 * std::time::Duration::from_secs(1)))
    );
    bench.now += 4 * SECOND;
    let probe = bench.acquire().unwrap();
    assert!(probe.pick().probe);
    let error = bench.acquire().unwrap_err();
    assert_eq!(error.reason, "1 destination: 1 on probation with its trial under way");
    assert_eq!(error.retry_in, Some(std::time::Duration::from_secs(1)));
}

#[test]
fn in_panic_the_ejected_serve_without_moving_their_breakers() {
    let mut spec = ejecting(2);
    spec.failover.max_ejected_percent = 100;
    spec.failover.allow_last = true;
    let mut bench = Bench::new(spec);
    bench.fail("a", 5);
    bench.fail("b", 5);
    let lease = bench.acquire().unwrap();
    assert!(lease.pick().panic && !lease.pick().probe);
    let before = (left(&bench, "a"), left(&bench, "b"));
    lease.finish(Outcome::Success, bench.now);
    bench.acquire().unwrap().finish(Outcome::Failure, bench.now);
    assert_eq!((left(&bench, "a"), left(&bench, "b")), before);
}

#[test]
fn with_all_ejected_and_no_panic_the_caller_learns_when_to_come_back() {
    let mut spec = ejecting(2);
    spec.failover.max_ejected_percent = 100;
    spec.failover.allow_last = true;
    spec.failover.panic_threshold_percent = 0;
    let mut bench = Bench::new(spec);
    bench.fail("a", 5);
    bench.now += SECOND;
    bench.fail("b", 5);
    let error = bench.acquire().unwrap_err();
    assert_eq!(error.reason, "2 destinations: 2 ejected");
    assert_eq!(error.retry_in.map(|wait| wait.as_nanos() as Nanos), Some(left(&bench, "a")));
}

#[test]
fn a_lost_trial_frees_its_permit_when_its_time_is_up() {
    let mut bench = Bench::new(ejecting(3));
    bench.fail("b", 5);
    bench.now += left(&bench, "b");
    let lost = bench.acquire().unwrap();
    bench.now += 10 * SECOND - 1;
    assert!(!bench.acquire().unwrap().pick().probe);
    bench.now += 1;
    let second = bench.acquire().unwrap();
    assert!(second.pick().probe);
    lost.finish(Outcome::Failure, bench.now);
    assert_eq!(bench.breaker("b"), "probation", "the lapsed permit moves nothing");
    assert!(!bench.acquire().unwrap().pick().probe, "and frees nothing");
    second.finish(Outcome::Cancelled, bench.now);
    assert!(bench.acquire().unwrap().pick().probe);
}

#[test]
fn a_message_that_was_tried_already_is_a_trial_only_when_nothing_else_is_left() {
    let mut bench = Bench::new(ejecting(2));
    bench.fail("b", 5);
    bench.now += left(&bench, "b");
    let retry = |exclude: &[&str], bench: &mut Bench| {
        let request = Request { exclude, ..Request::default() };
        bench.pool.acquire(&request, bench.now, &mut bench.rng).map(|lease| lease.pick().probe)
    };
    assert_eq!(retry(&["x"], &mut bench), Ok(false));
    assert_eq!(retry(&["a"], &mut bench), Ok(true));
}

#[test]
fn a_backup_is_not_put_to_trial_while_it_is_not_needed() {
    let mut spec = ejecting(3);
    spec.members[2].tier = 1;
    let mut bench = Bench::new(spec);
    bench.fail("c", 5);
    bench.now += left(&bench, "c");
    assert!((0..10).all(|_| !bench.acquire().unwrap().pick().probe));
    bench.registry.set_health("a", Health::Unhealthy, "test", bench.now);
    assert!(bench.acquire().unwrap().pick().probe);
}

#[test]
fn a_recovered_destination_ramps_up() {
    let mut spec = ejecting(2);
    spec.failover.slow_start = 10 * SECOND;
    spec.members[1].max_in_flight = Some(20);
    let mut bench = Bench::new(spec);
    bench.fail("b", 5);
    recover(&mut bench, "b");
    for (second, share) in [(0, 0.1 / 1.1), (5, 0.5 / 1.5), (10, 0.5)] {
        bench.now = bench.destination("b").breaker().recovered_at().unwrap() + second * SECOND;
        let shares = bench.shares(&Request::default());
        assert!((shares[1] - share).abs() < 0.02, "{second} s: {shares:?}");
    }
    bench.now = bench.destination("b").breaker().recovered_at().unwrap();
    bench.registry.set_admin("a", Admin::Disabled, "test", bench.now);
    let held: Vec<_> = (0..3).map_while(|_| bench.acquire().ok()).collect();
    assert_eq!(held.len(), 2, "the cap ramps too: a tenth of 20");
}

#[test]
fn an_operator_may_end_an_ejection() {
    let mut bench = Bench::new(ejecting(3));
    bench.fail("b", 5);
    assert_eq!(bench.registry.recover("b", bench.now), Some(true));
    assert!(bench.ids(3).contains('b'));
    assert_eq!(bench.registry.recover("b", bench.now), Some(false));
    assert_eq!(bench.registry.recover("x", bench.now), None);
}

#[test]
fn a_pool_that_does_not_eject_heeds_pauses_only() {
    let mut spec = ejecting(2);
    spec.failover.eject = false;
    let mut bench = Bench::new(spec);
    bench.fail("a", 50);
    assert_eq!(bench.ids(4), "abab");
    let lease = bench.lease_of("a").unwrap();
    lease.finish(Outcome::Overloaded { retry_after: Some(SECOND) }, bench.now);
    assert_eq!(bench.ids(2), "bb");
    bench.now += SECOND;
    let lease = bench.lease_of("a").unwrap();
    assert!(!lease.pick().probe);
    lease.finish(Outcome::Success, bench.now);
    assert_eq!(bench.breaker("a"), "closed");
}

#[test]
fn the_caps_are_those_of_the_pool_whose_lease_reports() {
    let mut bench = Bench::new(ejecting(2));
    let mut other = ejecting(1);
    other.id = "other".into();
    let other = Arc::new(Pool::build(other, &bench.registry, 1, bench.now).unwrap());
    bench.registry.publish([&bench.pool, &other]);
    for _ in 0..10 {
        let lease = other.acquire(&Request::default(), bench.now, &mut bench.rng).unwrap();
        lease.finish(Outcome::Failure, bench.now);
    }
    assert_eq!(bench.breaker("a"), "closed", "the last of the other pool");
    bench.fail("a", 5);
    assert_eq!(bench.breaker("a"), "ejected", "not the last of this one");
    let pick = other.select(&Request::default(), bench.now, &mut bench.rng).unwrap();
    assert!(pick.panic, "the other pool has nobody else, and says so");
}

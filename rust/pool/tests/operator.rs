//! Manual failover: who serves instead, for how long, and what outranks what.

use super::*;

/// `a` and `b` in tier 0, `c` in tier 1, `d` in tier 2, by round robin.
fn tiers(change: impl FnOnce(&mut PoolSpec)) -> Bench {
    let mut spec = spec(PolicyKind::RoundRobin, 4);
    (spec.members[2].tier, spec.members[3].tier) = (1, 2);
    change(&mut spec);
    Bench::new(spec)
}

fn fail_over(bench: &Bench, id: &str, to: Option<&str>, until: Nanos) {
    bench.registry.fail_over(id, to.map(Arc::from), until, bench.now).unwrap();
}

fn sorted(ids: &str) -> String {
    let mut ids: Vec<char> = ids.chars().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().collect()
}

#[test]
fn messages_go_to_the_rest_of_the_tier_then_to_the_next() {
    for spill in [true, false] {
        let mut bench = tiers(|spec| spec.failover.spill = spill);
        for (id, serves) in [("a", "b"), ("b", "c"), ("c", "d")] {
            fail_over(&bench, id, None, Nanos::MAX);
            assert_eq!(sorted(&bench.ids(20)), serves, "{id}, spill: {spill}");
        }
        let pick = bench.select(&Request::default()).unwrap();
        assert_eq!((pick.tier, pick.reason, pick.panic), (2, Reason::Spilled, false));
        fail_over(&bench, "d", None, Nanos::MAX);
        let error = bench.select(&Request::default()).unwrap_err();
        assert!(error.moved && error.reason.contains("4 failed over by an operator"), "{error}");
        assert_eq!(error.retry_in, None);
        assert_eq!(bench.registry.fail_back("a", false, bench.now), Some(true));
        assert_eq!(bench.registry.fail_back("a", false, bench.now), Some(false));
        assert_eq!(sorted(&bench.ids(20)), "a");
    }
}

#[test]
fn the_destination_that_is_named_serves_before_all_tiers_while_it_is_fit() {
    for policy in PolicyKind::ALL {
        let mut bench = tiers(|spec| (spec.policy, spec.failover.max_ejected_percent) = (policy.into(), 100));
        fail_over(&bench, "a", Some("d"), Nanos::MAX);
        let request = Request { key: Some(7), ..Request::default() };
        let pick = bench.select(&request).unwrap();
        assert_eq!((pick.member, pick.tier, pick.reason), (3, 2, Reason::Operator), "{policy}");
        bench.fail("d", 5);
        assert_eq!(bench.breaker("d"), "ejected");
        assert_eq!(bench.select(&request).unwrap().member, 1, "automatic failover goes on from there");
    }
    let mut bench = tiers(|spec| {
        (spec.failover.spill, spec.failover.eject, spec.failover.on_exhausted) = (false, false, OnExhausted::Raise);
    });
    fail_over(&bench, "a", Some("d"), Nanos::MAX);
    assert_eq!(bench.ids(5), "ddddd");
    bench.registry.set_health("d", Health::Unhealthy, "test", bench.now);
    let error = bench.select(&Request::default()).unwrap_err();
    assert!(error.moved, "without automatic failover nobody else takes over: {error}");
}

#[test]
fn several_may_be_named_and_one_that_is_failed_over_itself_is_none() {
    let mut bench = tiers(|_| ());
    fail_over(&bench, "a", Some("c"), Nanos::MAX);
    fail_over(&bench, "b", Some("d"), Nanos::MAX);
    assert_eq!(sorted(&bench.ids(20)), "cd");
    fail_over(&bench, "c", Some("b"), Nanos::MAX);
    assert_eq!(sorted(&bench.ids(20)), "d");
}

#[test]
fn a_hold_that_is_over_is_noticed_by_the_next_pick_and_starts_slowly() {
    let mut bench = tiers(|spec| spec.failover.slow_start = 10 * SECOND);
    let until = bench.now + 5 * SECOND;
    fail_over(&bench, "a", None, until);
    bench.now = until - 1;
    assert_eq!(sorted(&bench.ids(20)), "b");
    let refused = bench.lease_of("a").unwrap_err();
    assert_eq!((refused.moved, refused.retry_in), (true, Some(std::time::Duration::from_nanos(1))));
    bench.now = until;
    let early = bench.shares(&Request::default());
    assert!((0.02..0.2).contains(&early[0]), "{early:?}");
    assert_eq!(bench.reasons_of("failed_over"), ["operator"]);
    assert_eq!(bench.reasons_of("failed_back"), ["the hold is over"]);
    bench.now = until + 10 * SECOND;
    assert_eq!(bench.shares(&Request::default())[0], 0.5);
}

#[test]
fn taking_back_starts_slowly_or_at_once() {
    for (ramp, eject, share) in [(true, true, 0.02..0.2), (true, false, 0.02..0.2), (false, true, 0.49..0.51)] {
        let mut bench = tiers(|spec| spec.failover.eject = eject);
        fail_over(&bench, "a", None, Nanos::MAX);
        assert_eq!(sorted(&bench.ids(9)), "b");
        bench.registry.fail_back("a", ramp, bench.now);
        let found = bench.shares(&Request::default())[0];
        assert!(share.contains(&found), "{found}, ramp: {ramp}");
        assert_eq!(bench.reasons_of("failed_back"), ["operator"]);
    }
}

#[test]
fn a_hold_outranks_probation_panic_and_the_message_that_names_it() {
    let mut bench = tiers(|spec| spec.failover.max_ejected_percent = 100);
    bench.fail("a", 5);
    fail_over(&bench, "a", None, Nanos::MAX);
    bench.now += 600 * SECOND;
    assert_eq!(bench.breaker("a"), "probation");
    let leases: Vec<Lease> = (0..20).map(|_| bench.acquire().unwrap()).collect();
    assert!(leases.iter().all(|lease| lease.pick().member != 0), "no trial");
    for id in ["b", "c", "d"] {
        bench.registry.set_health(id, Health::Unhealthy, "test", bench.now);
    }
    let pick = bench.select(&Request::default()).unwrap();
    assert!(pick.panic && !bench.ids(50).contains('a'));
    assert!(bench.lease_of("a").is_err());
    bench.registry.fail_back("a", true, bench.now);
    assert_eq!(bench.acquire().unwrap().pick().reason, Reason::Probe, "recovery goes on where it was");
}

#[test]
fn it_survives_a_reload_and_is_told_in_the_state() {
    let mut bench = tiers(|_| ());
    fail_over(&bench, "a", Some("c"), bench.now + 7 * SECOND);
    let mut next = spec(PolicyKind::Random, 3);
    next.members[2].tier = 1;
    bench.reload(next);
    assert_eq!(bench.ids(5), "ccccc");
    let view = bench.destination("a").view(bench.now);
    assert_eq!(
        (view.failed_over, view.failed_over_for, view.failed_over_to.as_deref()),
        (true, Some(7 * SECOND), Some("c"))
    );
    let view = bench.destination("a").view(bench.now + 7 * SECOND);
    assert_eq!((view.failed_over, view.failed_over_for, view.failed_over_to), (false, None, None));
    bench.reload(spec(PolicyKind::Random, 2));
    assert_eq!(bench.ids(5), "bbbbb", "who was named is gone");
}

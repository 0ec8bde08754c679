//! Ejection by the rate of failures and as an outlier, and what happens when nobody is left.

use super::*;

fn half_may_go(members: usize) -> PoolSpec {
    let mut spec = spec(PolicyKind::RoundRobin, members);
    spec.failover.max_ejected_percent = 50;
    spec
}

#[test]
fn failures_that_are_never_in_a_row_eject_by_their_rate() {
    // every nth outcome fails; outcomes; whether that ejects at 50 % of 20
    for (nth, count, ejected) in [(2, 19, false), (2, 20, true), (3, 300, false), (0, 300, false)] {
        let mut bench = Bench::new(half_may_go(4));
        bench.outcomes("b", count, nth);
        assert_eq!(bench.breaker("b") == "ejected", ejected, "every {nth}th of {count}");
        if ejected {
            assert_eq!(bench.reasons_of("ejected"), ["10 of 20 outcomes failed in 10 s (50.0 %)"]);
        }
    }
}

#[test]
fn outcomes_older_than_the_window_do_not_eject() {
    let mut bench = Bench::new(half_may_go(4));
    bench.outcomes("b", 18, 2);
    bench.now += 10 * SECOND;
    bench.outcomes("b", 18, 2);
    assert_eq!(bench.breaker("b"), "closed");
    bench.outcomes("b", 2, 2);
    assert_eq!(bench.breaker("b"), "ejected");
}

#[test]
fn a_recovered_destination_starts_with_a_clean_rate() {
    let mut spec = half_may_go(4);
    spec.failover.ejection_time = SECOND;
    let mut bench = Bench::new(spec);
    bench.outcomes("b", 20, 2);
    bench.now += 2 * SECOND;
    for _ in 0..2 {
        let lease = bench.acquire().unwrap();
        assert!(lease.pick().probe);
        lease.finish(Outcome::Success, bench.now);
    }
    bench.outcomes("b", 10, 2);
    assert_eq!(bench.breaker("b"), "closed", "5 of 10, those of before are judged already");
}

#[test]
fn overload_counts_toward_the_rate_and_not_the_streak() {
    let mut bench = Bench::new(half_may_go(4));
    let held: Vec<Lease> = (0..30).map(|_| bench.lease_of("b").unwrap()).collect();
    for lease in &held {
        lease.finish(Outcome::Overloaded { retry_after: Some(SECOND) }, bench.now);
    }
    assert_eq!(bench.events_of("b"), ["overloaded"], "one burst is one pause");
    bench.now += SECOND;
    for _ in 0..2 {
        let lease = bench.acquire().unwrap();
        assert!(lease.pick().probe);
        lease.finish(Outcome::Success, bench.now);
    }
    assert_eq!(bench.breaker("b"), "closed");
    bench.lease_of("b").unwrap().finish(Outcome::Overloaded { retry_after: Some(SECOND) }, bench.now);
    assert!(bench.destination("b").breaker().is_ejected(), "overloaded again within the window");
    assert_eq!(bench.reasons_of("ejected"), ["31 of 31 outcomes failed in 10 s (100.0 %)"]);
    assert_eq!(bench.destination("b").view(bench.now).failures, 0);
}

#[test]
fn a_rate_ejects_nobody_where_it_is_turned_off() {
    let mut spec = half_may_go(4);
    spec.failover.failure_percent = 0;
    let mut bench = Bench::new(spec);
    bench.outcomes("b", 200, 2);
    assert_eq!(bench.breaker("b"), "closed");
}

#[test]
fn the_last_one_is_spared_by_its_rate_too_and_that_is_told_at_most_ten_times_a_window() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 1);
    bench.outcomes("a", 500, 2);
    assert_eq!(bench.breaker("a"), "closed");
    assert_eq!(bench.reasons_of("spared"), ["it is the last of its pool: 10 of 20 outcomes failed in 10 s (50.0 %)"]);
}

#[test]
fn an_outlier_of_the_success_rates_is_ejected_at_the_end_of_the_window() {
    // how many of 120 outcomes fail, by destination; the outlier
    type Row = (&'static [usize], Option<usize>);
    let table: [Row; 6] = [
        (&[0, 0, 24, 0, 0, 0], Some(2)),
        (&[6, 4, 5, 6, 40, 5], Some(4)),
        (&[0, 0, 1, 0, 0, 0], None),    // one failure is far out in deviations, and nothing
        (&[24, 24, 24, 24, 24], None),  // all alike
        (&[0, 0, 0, 40], None),         // fewer than five to compare
        (&[40, 0, 40, 0, 40, 0], None), // no outlier, two camps
    ];
    for (failures, outlier) in table {
        let mut bench = Bench::new(half_may_go(failures.len()));
        let ids: Vec<String> = bench.pool.members().iter().map(|member| member.id().to_string()).collect();
        for (id, failures) in ids.iter().zip(failures) {
            bench.outcomes(id, 120, 120usize.checked_div(*failures).unwrap_or(0));
        }
        assert!(ids.iter().all(|id| bench.breaker(id) == "closed"), "not before the sweep");
        bench.now = 10 * SECOND;
        bench.ids(1);
        let ejected: Vec<usize> = (0..ids.len()).filter(|index| bench.breaker(&ids[*index]) == "ejected").collect();
        assert_eq!(ejected, Vec::from_iter(outlier), "{failures:?}");
    }
}

#[test]
fn the_reason_of_an_outlier_has_its_figures() {
    let mut bench = Bench::new(half_may_go(6));
    for id in ["a", "b", "d", "e", "f"] {
        bench.outcomes(id, 100, 0);
    }
    bench.outcomes("c", 100, 4);
    bench.now = 10 * SECOND;
    assert!(!bench.ids(12).contains('c'));
    let expected = "success rate 75.0 % in 10 s is an outlier: mean 95.8 %, deviation 9.3 %, limit 1.9 deviations";
    assert_eq!(bench.reasons_of("ejected"), [expected]);
}

#[test]
fn few_outcomes_are_not_compared_and_a_reload_does_not_put_the_sweep_off() {
    for (count, ejected) in [(99, false), (100, true)] {
        let mut bench = Bench::new(half_may_go(6));
        for id in ["a", "b", "c", "d", "e"] {
            bench.outcomes(id, 100, 0);
        }
        bench.outcomes("f", count, 3);
        bench.now = 9 * SECOND;
        bench.reload(half_may_go(6));
        // What fails tells the new pool that there is something to look for.
        bench.outcomes("a", 20, 20);
        bench.now = 10 * SECOND;
        bench.ids(1);
        assert_eq!(bench.breaker("f") == "ejected", ejected, "{count}");
    }
}

#[test]
fn ejections_spared_by_the_limit_take_the_worst_outlier() {
    let mut spec = half_may_go(12);
    spec.failover.max_ejected_percent = 10;
    let mut bench = Bench::new(spec);
    let ids: Vec<String> = bench.pool.members().iter().map(|member| member.id().to_string()).collect();
    for (index, id) in ids.iter().enumerate() {
        bench.outcomes(id, 120, [0, 0, 0, 5, 0, 3, 0, 0, 0, 0, 0, 0][index]);
    }
    bench.now = 10 * SECOND;
    bench.ids(1);
    assert_eq!((bench.breaker("d"), bench.breaker("f")), ("closed", "ejected"));
}

#[test]
fn when_none_is_left_all_are_used_or_none() {
    let table = [
        (OnExhausted::Panic, 50, true),
        (OnExhausted::Panic, 0, false),
        (OnExhausted::Wait, 50, false),
        (OnExhausted::Raise, 50, false),
    ];
    for (on_exhausted, threshold, served) in table {
        let mut spec = spec(PolicyKind::RoundRobin, 2);
        spec.failover.on_exhausted = on_exhausted;
        spec.failover.panic_threshold_percent = threshold;
        spec.failover.max_ejected_percent = 100;
        spec.failover.allow_last = true;
        let mut bench = Bench::new(spec);
        bench.fail("a", 5);
        bench.now += SECOND;
        bench.fail("b", 5);
        match bench.select(&Request::default()) {
            Ok(pick) => assert!(served && pick.panic && pick.reason == Reason::Panic),
            Err(error) => {
                assert!(!served, "{on_exhausted:?} {threshold}");
                let wait = error.retry_in.unwrap().as_nanos() as Nanos;
                let left = |id| bench.destination(id).view(bench.now).ejected_for.unwrap();
                let first = left("a").min(left("b"));
                assert_eq!((wait, error.full), (first, false), "the earliest recovery");
            }
        }
    }
}

#[test]
fn below_the_threshold_the_unfit_serve_only_in_panic() {
    for (on_exhausted, expected) in [(OnExhausted::Panic, "abca"), (OnExhausted::Wait, "cccc")] {
        let mut spec = spec(PolicyKind::RoundRobin, 3);
        spec.failover.on_exhausted = on_exhausted;
        let mut bench = Bench::new(spec);
        for id in ["a", "b"] {
            bench.registry.set_health(id, Health::Unhealthy, "test", bench.now);
        }
        assert_eq!(bench.ids(4), expected, "{on_exhausted:?}");
    }
}

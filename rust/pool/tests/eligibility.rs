use super::*;

#[test]
fn weights_five_one_one_go_a_a_b_a_c_a_a() {
    let mut spec = spec(PolicyKind::WeightedRoundRobin, 3);
    spec.members[0].weight = 5;
    assert_eq!(Bench::new(spec).ids(14), "aabacaaaabacaa");
}

#[test]
fn round_robin_ignores_weights_but_not_zero() {
    let mut spec = spec(PolicyKind::RoundRobin, 4);
    (spec.members[0].weight, spec.members[2].weight) = (7, 0);
    assert_eq!(Bench::new(spec).ids(6), "abdabd");
}

#[test]
fn weight_zero_gets_nothing_unless_all_are_zero() {
    for policy in PolicyKind::ALL {
        let mut zero = spec(policy, 3);
        zero.members[1].weight = 0;
        assert_eq!(Bench::new(zero.clone()).shares(&Request::default())[1], 0.0, "{policy}");
        zero.members.iter_mut().for_each(|member| member.weight = 0);
        let shares = Bench::new(zero).shares(&Request::default());
        assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.03), "{policy} {shares:?}");
    }
}

#[test]
fn rotation_goes_on_after_a_rebuild_and_a_reload() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 4);
    assert_eq!(bench.ids(2), "ab");
    let id = Arc::clone(bench.pool.member(3).unwrap().id());
    for _ in 0..3 {
        bench.registry.set_health(&id, Health::Degraded, "test", bench.now);
        bench.registry.set_health(&id, Health::Healthy, "test", bench.now);
        assert_eq!(bench.ids(1).len(), 1);
    }
    assert_eq!(bench.ids(3), "bcd", "6 picks in order, though the view was rebuilt before each");
    bench.reload(spec(PolicyKind::RoundRobin, 4));
    assert_eq!(bench.ids(4), "abcd");
    bench.ids(1);
    bench.reload(spec(PolicyKind::RoundRobin, 4));
    assert_eq!(bench.ids(3), "bcd");
}

#[test]
fn a_look_counts_nothing_and_takes_no_turn() {
    for policy in PolicyKind::ALL {
        let mut spec = spec(policy, 4);
        spec.members[3].tier = 1;
        let mut bench = Bench::new(spec);
        bench.registry.fail_over("a", Some("d".into()), Nanos::MAX, bench.now);
        let counted = |bench: &Bench| {
            let views = bench.registry.all().into_iter().map(|one| one.view(bench.now));
            views.map(|view| (view.picks, view.failovers, view.in_flight)).collect::<Vec<_>>()
        };
        for request in [Request::default(), Request { exclude: &["d"], ..Request::default() }] {
            for _ in 0..20 {
                let before = counted(&bench);
                let (mut twin, mut again) = (bench.rng.clone(), bench.rng.clone());
                let look = bench.pool.peek(&request, bench.now, &mut twin).unwrap();
                assert_eq!(bench.pool.peek(&request, bench.now, &mut again), Ok(look), "{policy}");
                assert_eq!(counted(&bench), before, "{policy}");
                assert_eq!(bench.select(&request), Ok(look), "{policy}: it told who would be next");
                assert_ne!(counted(&bench), before, "{policy}");
            }
        }
    }
}

#[test]
fn changes_are_seen_by_the_very_next_pick() {
    let mut spec = spec(PolicyKind::RoundRobin, 3);
    spec.failover.slow_start = 0;
    let mut bench = Bench::new(spec);
    let now = bench.now;
    let (enabled, healthy) = (Admin::Enabled, Health::Healthy);
    let states = [(Admin::Draining, healthy), (Admin::Disabled, healthy), (enabled, Health::Unhealthy)];
    for (admin, health) in states {
        bench.registry.set_admin("b", admin, "test", now);
        bench.registry.set_health("b", health, "test", now);
        assert!(!bench.ids(10).contains('b'), "{admin} {health}");
        bench.registry.set_admin("b", Admin::Enabled, "test", now);
        bench.registry.set_health("b", Health::Healthy, "test", now);
        assert!(bench.ids(10).contains('b'), "{admin} {health}");
    }
    assert_eq!(bench.events_of("b"), ["admin", "admin", "admin", "admin", "health", "health"]);
}

#[test]
fn what_is_held_while_draining_finishes() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 2);
    let lease = bench.lease_of("a").unwrap();
    bench.registry.set_admin("a", Admin::Draining, "test", bench.now);
    assert_eq!(bench.ids(3), "bbb");
    assert!(lease.finish(Outcome::Success, bench.now));
    assert_eq!(bench.destination("a").in_flight(), 0);
}

#[test]
fn degraded_serves_only_after_healthy_of_its_tier() {
    let mut spec = spec(PolicyKind::RoundRobin, 3);
    spec.members[0].max_in_flight = Some(1);
    spec.members[2].tier = 1;
    let mut bench = Bench::new(spec);
    bench.registry.set_health("b", Health::Degraded, "test", bench.now);
    assert_eq!(bench.ids(4), "aaaa");
    let held = bench.lease_of("a").unwrap();
    let pick = bench.select(&Request::default()).unwrap();
    assert_eq!((bench.pool.members()[pick.member].id().as_ref(), pick.reason), ("b", Reason::Degraded));
    drop(held);
    bench.registry.set_admin("a", Admin::Disabled, "test", bench.now);
    assert_eq!(bench.ids(4), "bbbb", "before the backup tier");
}

#[test]
fn health_based_mixes_degraded_at_half() {
    let mut bench = Bench::of(PolicyKind::HealthBased, 2);
    bench.registry.set_health("b", Health::Degraded, "test", bench.now);
    let shares = bench.shares(&Request::default());
    assert!((shares[1] - 1.0 / 3.0).abs() < 0.02, "{shares:?}");
}

#[test]
fn only_cleared_destinations_receive_classified_messages() {
    let mut spec = spec(PolicyKind::RoundRobin, 4);
    spec.members.iter_mut().zip([0, 1, 2, 2]).for_each(|(member, clearance)| member.clearance = clearance);
    let mut bench = Bench::new(spec);
    for (classification, expected) in [(0, "abcd"), (1, "bcd"), (2, "cd")] {
        let request = Request { classification, ..Request::default() };
        let mut ids: Vec<_> = (0..expected.len())
            .map(|_| bench.pool.select(&request, bench.now, &mut bench.rng).unwrap().member)
            .map(|member| bench.pool.members()[member].id().to_string())
            .collect();
        ids.sort();
        assert_eq!(ids.concat(), expected);
    }
    let error = bench.select(&Request { classification: 3, ..Request::default() }).unwrap_err();
    assert!(error.reason.contains("4 not cleared"), "{error}");
}

#[test]
fn messages_of_two_classifications_do_not_disturb_each_others_rotation() {
    let mut spec = spec(PolicyKind::RoundRobin, 2);
    spec.members.iter_mut().for_each(|member| member.clearance = 1);
    spec.members.push(MemberSpec::new("public"));
    let mut bench = Bench::new(spec);
    let mut counts = [0; 3];
    for turn in 0..600 {
        let request = Request { classification: u8::from(turn % 3 > 0), ..Request::default() };
        let member = bench.select(&request).unwrap().member;
        counts[member] += usize::from(request.classification == 1);
    }
    assert_eq!(counts, [200, 200, 0]);
}

#[test]
fn excluded_and_full_destinations_are_passed_over_and_their_share_spread() {
    for policy in PolicyKind::ALL {
        let mut spec = spec(policy, 5);
        spec.members[1].max_in_flight = Some(1);
        let mut bench = Bench::new(spec);
        let held = bench.lease_of("b").unwrap();
        let shares = bench.shares(&Request { exclude: &["a"], ..Request::default() });
        assert_eq!(shares[..2], [0.0, 0.0], "{policy}");
        assert!(shares[2..].iter().all(|share| (share - 1.0 / 3.0).abs() < 0.04), "{policy} {shares:?}");
        drop(held);
    }
}

#[test]
fn the_cap_of_a_pool_holds_for_its_leases() {
    for policy in PolicyKind::ALL {
        let mut spec = spec(policy, 3);
        spec.members.iter_mut().for_each(|member| member.max_in_flight = Some(2));
        let mut bench = Bench::new(spec);
        let leases: Vec<Lease> = (0..6).map(|_| bench.acquire().unwrap()).collect();
        let error = bench.acquire().unwrap_err();
        assert_eq!(error.reason, "3 destinations: 3 at the in-flight cap", "{policy}");
        assert_eq!(error.retry_in, None);
        drop(leases);
        assert!(bench.acquire().is_ok());
    }
}

#[test]
fn reasons_say_why() {
    let mut bench = Bench::of(PolicyKind::LeastConnections, 2);
    assert_eq!(bench.select(&Request::default()).unwrap().reason.as_str(), "least_connections");
    bench.registry.set_admin("a", Admin::Draining, "test", bench.now);
    assert_eq!(bench.select(&Request::default()).unwrap().reason.as_str(), "only_choice");
    let pinned = Request { pinned: Some("b"), ..Request::default() };
    assert_eq!(bench.select(&pinned).unwrap().reason.as_str(), "pinned");
}

#[test]
fn a_pinned_destination_is_the_only_one_considered() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    for _ in 0..5 {
        assert_eq!(bench.select(&Request { pinned: Some("c"), ..Request::default() }).unwrap().member, 2);
    }
    bench.registry.set_admin("c", Admin::Draining, "test", bench.now);
    let error = bench.select(&Request { pinned: Some("c"), ..Request::default() }).unwrap_err();
    assert_eq!(error.reason, "1 destination: 1 draining");
    let error = bench.select(&Request { pinned: Some("x"), ..Request::default() }).unwrap_err();
    assert_eq!(error.reason, "it has no destination \"x\"");
    let both = Request { pinned: Some("a"), exclude: &["a"], ..Request::default() };
    assert_eq!(bench.select(&both).unwrap_err().reason, "1 destination: 1 excluded");
}

#[test]
fn nobody_left_is_explained_with_counts() {
    let mut spec = spec(PolicyKind::RoundRobin, 6);
    spec.failover = FailoverSpec { panic_threshold_percent: 0, max_ejected_percent: 100, ..FailoverSpec::default() };
    (spec.members[0].weight, spec.members[1].max_in_flight) = (0, Some(1));
    let mut bench = Bench::new(spec);
    bench.fail("f", 5);
    let lease = bench.lease_of("e").unwrap();
    lease.finish(Outcome::Overloaded { retry_after: Some(7 * SECOND) }, bench.now);
    let held = bench.lease_of("b").unwrap();
    bench.registry.set_admin("c", Admin::Draining, "test", bench.now);
    bench.registry.set_health("d", Health::Unhealthy, "test", bench.now);
    bench.now += 2 * SECOND;
    let error = bench.select(&Request::default()).unwrap_err();
    let expected =
        "6 destinations: 1 at the in-flight cap, 1 draining, 1 ejected, 1 of weight 0, 1 overloaded, 1 unhealthy";
    assert_eq!((error.pool.as_str(), error.reason.as_str()), ("pool", expected));
    assert_eq!(error.retry_in, Some(std::time::Duration::from_secs(5)));
    drop(held);
}

#[test]
fn tiers_spill_by_health_and_say_so() {
    let mut spec = spec(PolicyKind::RoundRobin, 4);
    spec.members[2].tier = 1;
    spec.members[3].tier = 1;
    let mut bench = Bench::new(spec);
    assert_eq!(bench.shares(&Request::default())[2..], [0.0, 0.0]);
    bench.registry.set_health("a", Health::Unhealthy, "test", bench.now);
    let shares = bench.shares(&Request::default());
    assert!((shares[1] - 0.7).abs() < 0.02, "half of a tier keeps 70 %: {shares:?}");
    bench.registry.set_health("b", Health::Unhealthy, "test", bench.now);
    let pick = bench.select(&Request::default()).unwrap();
    assert_eq!((pick.tier, pick.panic, pick.reason), (1, false, Reason::Spilled));
}

#[test]
fn a_full_tier_spills_to_the_next_one() {
    let mut spec = spec(PolicyKind::RoundRobin, 2);
    (spec.members[0].max_in_flight, spec.members[1].tier) = (Some(1), 7);
    let mut bench = Bench::new(spec);
    let _held = bench.acquire().unwrap();
    let spilled = bench.acquire().unwrap();
    assert_eq!((spilled.pick().tier, spilled.pick().reason), (7, Reason::Spilled));
}

#[test]
fn without_spill_backups_are_never_used() {
    let mut spec = spec(PolicyKind::RoundRobin, 2);
    (spec.members[0].max_in_flight, spec.members[1].tier) = (Some(1), 1);
    spec.failover.spill = false;
    let mut bench = Bench::new(spec);
    let _held = bench.acquire().unwrap();
    let error = bench.acquire().unwrap_err();
    assert_eq!(error.reason, "2 destinations: 1 at the in-flight cap, 1 in a backup tier that is not used");
}

#[test]
fn panic_uses_all_and_is_flagged() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    for id in ["a", "b"] {
        bench.registry.set_health(id, Health::Unhealthy, "test", bench.now);
    }
    let pick = bench.select(&Request::default()).unwrap();
    assert_eq!((pick.panic, pick.reason), (true, Reason::Panic));
    let shares = bench.shares(&Request::default());
    assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{shares:?}");
    bench.registry.set_admin("a", Admin::Disabled, "test", bench.now);
    assert!(!bench.select(&Request::default()).unwrap().panic, "1 of 2 is half: no panic");
    assert_eq!(bench.ids(2), "cc");
}

#[test]
fn without_the_health_axis_health_is_ignored() {
    let mut spec = spec(PolicyKind::RoundRobin, 2);
    spec.failover.health = false;
    let mut bench = Bench::new(spec);
    bench.registry.set_health("a", Health::Unhealthy, "test", bench.now);
    bench.registry.set_health("b", Health::Degraded, "test", bench.now);
    assert_eq!(bench.ids(4), "abab");
}

#[test]
fn the_healthy_ratio_leaves_out_what_operators_took_out() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 4);
    assert_eq!(bench.pool.healthy_ratio(bench.now), 1.0);
    bench.registry.set_health("a", Health::Unhealthy, "test", bench.now);
    bench.registry.set_admin("b", Admin::Draining, "test", bench.now);
    bench.fail("c", 5);
    assert!((bench.pool.healthy_ratio(bench.now) - 1.0 / 3.0).abs() < 1e-6);
    let view = bench.pool.describe(bench.now);
    let eligible: Vec<bool> = view.members.iter().map(|member| member.eligible).collect();
    assert_eq!(eligible, [false, false, false, true]);
}

//! Policies in their pools: keys, bounded load, live weights, probabilities.

use super::*;
use crate::balance::hash::xxh64;

fn keyed(key: u64) -> Request<'static> {
    Request { key: Some(xxh64(&key.to_le_bytes())), ..Request::default() }
}

fn places(bench: &mut Bench, keys: u64) -> Vec<usize> {
    (0..keys).map(|key| bench.select(&keyed(key)).unwrap().member).collect()
}

#[test]
fn a_key_stays_while_others_come_and_go() {
    for policy in [PolicyKind::Maglev, PolicyKind::Rendezvous] {
        let mut bench = Bench::of(policy, 10);
        let before = places(&mut bench, 5_000);
        bench.registry.set_health("d", Health::Unhealthy, "test", bench.now).unwrap();
        let out = places(&mut bench, 5_000);
        assert!(before.iter().zip(&out).all(|(before, out)| if *before == 3 { *out != 3 } else { before == out }));
        bench.registry.set_health("d", Health::Healthy, "test", bench.now).unwrap();
        bench.now += 5 * SECOND;
        let half = places(&mut bench, 5_000).iter().filter(|place| **place == 3).count();
        let all = before.iter().filter(|place| **place == 3).count();
        assert!((all * 4 / 10..all * 6 / 10).contains(&half), "{policy}: {half} of {all} keys are back half-way");
        bench.now += 5 * SECOND;
        assert_eq!(places(&mut bench, 5_000), before, "{policy}");
        bench.reload(spec(policy, 10));
        assert_eq!(places(&mut bench, 5_000), before, "{policy}");
        assert_eq!(bench.select(&keyed(1)).unwrap().reason, Reason::Policy(policy));
    }
}

#[test]
fn no_pick_makes_a_table_whatever_happened_before_it() {
    use crate::balance::maglev::BUILT;
    let mut tiered = spec(PolicyKind::Maglev, 9);
    for (index, member) in tiered.members.iter_mut().enumerate() {
        (member.tier, member.weight) = (index as u8 / 3, 1 + index as u32 % 3);
    }
    let mut bench = Bench::new(tiered);
    let made = BUILT.get();
    // `a` and `b` are failed over to two of different tiers, which share the keys that they get by weight.
    for (id, to) in [("a", "e"), ("b", "i")] {
        bench.registry.fail_over(id, Some(to.into()), Nanos::MAX, bench.now);
    }
    let before = places(&mut bench, 3_000);
    let first = before.iter().filter(|member| **member == 4).count();
    assert!((1_100..1_300).contains(&first) && before.iter().all(|member| [4, 8].contains(member)), "{first}");
    assert_eq!(places(&mut bench, 3_000), before);
    bench.registry.set_health("i", Health::Unhealthy, "test", bench.now);
    assert!(places(&mut bench, 500).iter().all(|member| *member != 8));
    bench.registry.set_health("i", Health::Healthy, "test", bench.now);
    bench.now += 10 * SECOND;
    assert_eq!(places(&mut bench, 3_000), before, "its keys are back");
    bench.registry.fail_back("b", false, bench.now);
    bench.fail("c", 5);
    bench.registry.set_admin("e", Admin::Draining, "test", bench.now);
    places(&mut bench, 500);
    assert_eq!(BUILT.get(), made);
    bench.pool.set_weights([("c", 9.0)], bench.now).unwrap();
    assert_eq!(BUILT.get(), made + 3, "where weights are set there is one a tier");
}

#[test]
fn a_message_without_a_key_goes_anywhere_by_weight_and_the_decision_says_so() {
    for policy in [PolicyKind::Maglev, PolicyKind::Rendezvous] {
        let mut spec = spec(policy, 3);
        spec.members[0].weight = 8;
        let mut bench = Bench::new(spec);
        assert_eq!(bench.select(&Request::default()).unwrap().reason, Reason::NoKey);
        let shares = bench.shares(&Request::default());
        assert!((shares[0] - 0.8).abs() < 0.02, "{shares:?}");
    }
}

#[test]
fn a_key_is_the_same_to_all_clearances() {
    let mut spec = spec(PolicyKind::Maglev, 10);
    spec.members.iter_mut().skip(5).for_each(|member| member.clearance = 2);
    let mut bench = Bench::new(spec);
    for key in 0..500 {
        let public = bench.select(&keyed(key)).unwrap().member;
        let secret = bench.select(&Request { classification: 2, ..keyed(key) }).unwrap().member;
        assert!(secret >= 5 && (public < 5 || public == secret));
    }
}

#[test]
fn bounded_load_is_never_above_its_bound_and_one_hot_key_spreads() {
    for (policy, bound) in [(PolicyKind::Maglev, 1.25), (PolicyKind::Rendezvous, 1.05), (PolicyKind::Maglev, 2.0)] {
        let mut spec = spec(policy, 10);
        spec.bounded_load = Some(bound);
        spec.members.iter_mut().step_by(2).for_each(|member| member.weight = 3);
        let bench = Bench::new(spec);
        let mut rng = fastrand::Rng::with_seed(5);
        let mut leases: Vec<Lease> = Vec::new();
        for step in 0..4_000 {
            if !leases.is_empty() && rng.u32(..100) < 45 {
                leases.swap_remove(rng.usize(..leases.len())).finish(Outcome::Success, bench.now);
                continue;
            }
            let key = if rng.bool() { 7 } else { rng.u64(..) };
            let lease = bench.pool.acquire(&keyed(key), bench.now, &mut rng).unwrap();
            let member = lease.pick().member;
            leases.push(lease);
            let share = if member.is_multiple_of(2) { 3.0 / 20.0 } else { 1.0 / 20.0 };
            let limit = (bound * share * leases.len() as f64 - 1e-9).ceil();
            let held = bench.pool.bound().unwrap().held(member);
            assert!(f64::from(held) <= limit, "{policy} {step}: {held} of {} with {limit}", leases.len());
        }
        drop(leases);
        assert!((0..10).all(|member| bench.pool.bound().unwrap().held(member) == 0));
    }
}

#[test]
fn threads_that_hold_at_once_exceed_the_bound_by_no_more_than_their_number_allows() {
    // A hold counts itself before it knows whether it may, so each of the others may for a moment let in what one more
    // message would: the bound is that of what is held and one message more for each of them.
    const THREADS: u32 = 8;
    for (policy, bound) in [(PolicyKind::Maglev, 1.25), (PolicyKind::Rendezvous, 1.05), (PolicyKind::Maglev, 1.0)] {
        let mut spec = spec(policy, 10);
        spec.bounded_load = Some(bound);
        spec.members.iter_mut().step_by(2).for_each(|member| member.weight = 3);
        let bench = Bench::new(spec);
        let held = Mutex::new(Vec::new());
        for round in 0..6 {
            let before: Vec<u32> = (0..10).map(|member| bench.pool.bound().unwrap().held(member)).collect();
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (bench, held) = (&bench, &held);
                    scope.spawn(move || {
                        let mut rng = fastrand::Rng::with_seed(u64::from(round * 100 + thread));
                        let keys = (0..500).map(|turn| if turn % 2 == 0 { 7 } else { turn * 31 });
                        let take = |key| bench.pool.acquire(&keyed(key), bench.now, &mut rng).unwrap();
                        let mine: Vec<Lease> = keys.map(take).collect();
                        held.lock().extend(mine);
                    });
                }
            });
            let mut held = held.lock();
            for (member, before) in before.into_iter().enumerate() {
                let share = if member.is_multiple_of(2) { 3.0 / 20.0 } else { 1.0 / 20.0 };
                let most = (bound * share * (held.len() as f64 + f64::from(THREADS - 1)) - 1e-9).ceil() as u32;
                let now = bench.pool.bound().unwrap().held(member);
                assert!(now <= most.max(before), "{policy} {bound}: {now} of {} with {most}", held.len());
            }
            // What ends leaves the others where they are: they take nothing new until they are within the bound again.
            fastrand::Rng::with_seed(u64::from(round)).shuffle(&mut held);
            let rest = held.len() / 3;
            held.truncate(rest);
        }
        drop(held);
        assert!((0..10).all(|member| bench.pool.bound().unwrap().held(member) == 0));
    }
}

#[test]
fn a_bound_gives_way_before_it_refuses() {
    let mut spec = spec(PolicyKind::Maglev, 2);
    spec.bounded_load = Some(1.0);
    spec.members[0].max_in_flight = Some(1);
    let bench = Bench::new(spec);
    let mut rng = fastrand::Rng::with_seed(5);
    let leases: Vec<Lease> = (0..20).map(|key| bench.pool.acquire(&keyed(key), 0, &mut rng).unwrap()).collect();
    let on = |member| leases.iter().filter(|lease| lease.pick().member == member).count();
    assert_eq!((on(0), on(1)), (1, 19));
}

#[test]
fn every_hold_of_a_bounded_pool_is_given_back_however_it_was_taken() {
    let mut spec = spec(PolicyKind::Rendezvous, 4);
    spec.bounded_load = Some(1.5);
    let bench = Bench::new(spec);
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let bench = &bench;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for step in 0..5_000 {
                    let pinned = Request { pinned: Some("b"), ..Request::default() };
                    let request = if step % 5 == 0 { pinned } else { keyed(rng.u64(..)) };
                    let lease = bench.pool.acquire(&request, bench.now, &mut rng).unwrap();
                    if step % 3 > 0 {
                        lease.finish(Outcome::Success, bench.now);
                    }
                }
            });
        }
    });
    assert!((0..4).all(|member| bench.pool.bound().unwrap().held(member) == 0));
    assert_eq!(bench.destination("b").in_flight(), 0);
}

#[test]
fn live_weights_take_effect_at_once_and_as_a_whole() {
    let mut bench = Bench::of(PolicyKind::WeightedRandom, 3);
    bench.pool.set_weights([("a", 0.6), ("b", 0.3), ("c", 0.1)], bench.now).unwrap();
    for (share, expected) in bench.shares(&Request::default()).into_iter().zip([0.6, 0.3, 0.1]) {
        assert!((share - expected).abs() < 0.02, "{share} {expected}");
    }
    bench.pool.set_weights([("a", 0.0)], bench.now).unwrap();
    assert_eq!(bench.shares(&Request::default())[0], 0.0, "nothing new");
    bench.pool.set_weights([("b", 0.0), ("c", 0.0)], bench.now).unwrap();
    assert!(bench.shares(&Request::default()).iter().all(|share| (share - 1.0 / 3.0).abs() < 0.02), "all 0: all equal");
    for (wrong, problem) in [(("z", 1.0), "\"z\""), (("a", f64::NAN), "NaN"), (("a", -1.0), "0 to 10^12")] {
        let error = bench.pool.set_weights([("b", 5.0), wrong], bench.now).unwrap_err();
        assert!(error.problem.contains(problem), "{error}");
        assert_eq!(bench.pool.members()[1].weight(), 0.0, "nothing has changed");
    }
}

#[test]
fn live_weights_move_the_shares_of_every_policy_that_goes_by_weights() {
    let auto = [Choice::Auto { keyed: false }, Choice::Auto { keyed: true }];
    for choice in PolicyKind::ALL.map(Choice::Fixed).into_iter().chain(auto) {
        let mut bench = Bench::of(choice, 3);
        // Each message ends before the next is picked, 1 ms later, so that all are alike but for their weights.
        let mut shares = |weights: [f64; 3]| {
            let pool = Arc::clone(&bench.pool);
            pool.set_weights(["a", "b", "c"].into_iter().zip(weights), bench.now).unwrap();
            let mut counts = [0u32; 3];
            for turn in 0..4_000 {
                let lease = pool.acquire(&keyed(turn), bench.now, &mut bench.rng).unwrap();
                counts[lease.pick().member] += 1;
                bench.now += MS;
                lease.finish(Outcome::Success, bench.now);
            }
            counts.map(|count| f64::from(count) / 4_000.0)
        };
        let (even, heavy, back) = (shares([1.0; 3]), shares([0.5, 2.0, 0.0]), shares([1.0; 3]));
        for (seen, when) in [(even, "at first"), (back, "in the end")] {
            assert!(seen.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.03), "{choice} {when}: {seen:?}");
        }
        assert_eq!(heavy[2], 0.0, "{choice}: nothing new");
        let heeds = !matches!(choice, Choice::Fixed(kind) if !kind.uses_weights());
        // Idle ones are compared: the heavier is always cheaper, unless chance or turns decide.
        let expected = if heeds { 0.77..=1.0 } else { 0.47..=0.53 };
        assert!(expected.contains(&heavy[1]), "{choice}: {heavy:?}");
    }
}

#[test]
fn a_rotation_goes_on_through_new_weights() {
    let mut bench = Bench::of(PolicyKind::WeightedRoundRobin, 3);
    assert_eq!(bench.ids(4), "abca");
    bench.pool.set_weights([("a", 1.0), ("b", 1.0), ("c", 1.0)], bench.now).unwrap();
    assert_eq!(bench.ids(2), "bc", "the next in turn, not the first again");
    bench.pool.set_weights([("a", 2.5), ("b", 0.5), ("c", 0.5)], bench.now).unwrap();
    let order = bench.ids(7_000);
    let count = |id: char| order.chars().filter(|other| *other == id).count();
    assert_eq!((count('a'), count('b'), count('c')), (5_000, 1_000, 1_000));
}

#[test]
fn set_weights_survive_a_reload_that_does_not_change_them() {
    let bench = Bench::of(PolicyKind::WeightedRandom, 3);
    bench.pool.set_weights([("a", 4.5), ("b", 7.0)], bench.now).unwrap();
    let mut changed = spec(PolicyKind::WeightedRandom, 4);
    changed.members[1].weight = 2;
    let next = Pool::build(changed, &bench.registry, 2, bench.now).unwrap();
    next.adopt_weights(&bench.pool, bench.now).unwrap();
    let weights: Vec<f64> = next.members().iter().map(Member::weight).collect();
    assert_eq!(weights, [4.5, 2.0, 1.0, 1.0], "the configuration has the last word where it spoke");
}

#[test]
fn nobody_sees_half_of_new_weights() {
    let bench = Bench::of(PolicyKind::WeightedRandom, 2);
    bench.pool.set_weights([("a", 1.0), ("b", 0.0)], bench.now).unwrap();
    std::thread::scope(|scope| {
        let picking: Vec<_> = (0..2)
            .map(|seed| {
                let bench = &bench;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let pick = || bench.pool.select(&Request::default(), bench.now, &mut rng).unwrap().reason;
                    // With both weights 0 for a moment, or both 1, it would be a choice among two.
                    std::iter::repeat_with(pick).take(20_000).all(|reason| reason == Reason::OnlyChoice)
                })
            })
            .collect();
        for turn in 0..500 {
            let weight = f64::from(turn % 2);
            bench.pool.set_weights([("a", weight), ("b", 1.0 - weight)], bench.now).unwrap();
        }
        assert!(picking.into_iter().all(|thread| thread.join().unwrap()));
    });
}

#[test]
fn the_probability_of_a_choice_is_stated_where_it_is_known() {
    let mut bench = Bench::of(PolicyKind::Adaptive, 4);
    bench.pool.set_weights([("a", 0.4), ("b", 0.3), ("c", 0.2), ("d", 0.1)], bench.now).unwrap();
    let stated = |bench: &mut Bench, request: &Request<'_>, member: usize| loop {
        let pick = bench.select(request).unwrap();
        if pick.member == member {
            return pick.propensity;
        }
    };
    let close = |stated: Option<f64>, expected: f64| (stated.unwrap() - expected).abs() < 1e-5;
    assert!(close(stated(&mut bench, &Request::default(), 3), 0.1));
    let without = Request { exclude: &["a"], ..Request::default() };
    assert!(close(stated(&mut bench, &without, 1), 0.5));
    bench.registry.set_admin("b", Admin::Draining, "test", bench.now).unwrap();
    assert!(close(stated(&mut bench, &without, 2), 2.0 / 3.0));
    let pinned = Request { pinned: Some("c"), ..Request::default() };
    assert_eq!(bench.select(&pinned).unwrap().propensity, None);
    for (policy, known) in
        [(PolicyKind::Random, true), (PolicyKind::WeightedRandom, true), (PolicyKind::HealthBased, false)]
    {
        let mut bench = Bench::of(policy, 4);
        let propensity = bench.select(&Request::default()).unwrap().propensity;
        assert_eq!(propensity, known.then_some(0.25), "{policy}");
    }
}

/// Pearson's statistic of 50,000 picks against the probabilities that came with them, which sum to 1 over all that
/// were picked, and how many were. `pick`: a member, and the stated probability.
fn chi_square(mut pick: impl FnMut() -> (usize, f64), members: usize) -> (f64, usize) {
    let mut seen = vec![(0u32, 0.0); members];
    for _ in 0..50_000 {
        let (member, stated) = pick();
        let (count, before) = &mut seen[member];
        assert!(*count == 0 || (*before - stated).abs() < 1e-12, "member {member}: {before} and {stated}");
        (*count, *before) = (*count + 1, stated);
    }
    let sum: f64 = seen.iter().map(|(_, stated)| stated).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{seen:?}");
    let drawn = seen.iter().filter(|(count, _)| *count > 0);
    let term = |(count, stated): &(u32, f64)| (f64::from(*count) - stated * 5e4).powi(2) / (stated * 5e4);
    (drawn.clone().map(term).sum(), drawn.count())
}

#[test]
fn a_choice_among_tiers_comes_with_the_probability_of_both() {
    // Two of four are fit in each of the first two tiers: 70 % and 30 %; the third has nothing to do.
    let make = |policy, change: fn(&mut PoolSpec)| {
        let mut spec = spec(policy, 10);
        for (index, member) in spec.members.iter_mut().enumerate() {
            (member.tier, member.weight) = (index as u8 / 4, 1 + index as u32 % 4);
        }
        change(&mut spec);
        let bench = Bench::new(spec);
        for id in ["a", "b", "e", "f"] {
            bench.registry.set_health(id, Health::Unhealthy, "test", bench.now).unwrap();
        }
        bench
    };
    // 18.5 is exceeded by chance once in 1,000 times at 4 degrees of freedom; with fewer, more rarely.
    for policy in [PolicyKind::Adaptive, PolicyKind::WeightedRandom] {
        let mut bench = make(policy, |_| ());
        let pick = || bench.select(&Request::default()).map(|pick| (pick.member, pick.propensity.unwrap())).unwrap();
        let (statistic, drawn) = chi_square(pick, 10);
        assert!(drawn == 4 && statistic < 18.5, "{policy}: {drawn} {statistic}");
        let c = std::iter::repeat_with(|| bench.select(&Request::default()).unwrap()).find(|pick| pick.member == 2);
        assert!((c.unwrap().propensity.unwrap() - 0.7 * 3.0 / 7.0).abs() < 1e-12);
    }
    // What a tier cannot take goes to the first that can: from the second to the first, then from both to the third.
    let mut bench = make(PolicyKind::Adaptive, |spec| {
        spec.members.iter_mut().for_each(|member| member.max_in_flight = Some(1));
    });
    let mut full = vec![bench.lease_of("g").unwrap(), bench.lease_of("h").unwrap()];
    for (more, expected) in [(&[][..], 2), (&["c"], 1), (&["d"], 2)] {
        full.extend(more.iter().map(|id| bench.lease_of(id).unwrap()));
        let pick = || bench.select(&Request::default()).map(|pick| (pick.member, pick.propensity.unwrap())).unwrap();
        let (statistic, drawn) = chi_square(pick, 10);
        assert!(drawn == expected && statistic < 18.5, "{} full: {drawn} {statistic}", full.len());
    }
    // And what the first tier cannot take goes to the second, together with that one's own.
    let bench = make(PolicyKind::Adaptive, |spec| spec.members[8].max_in_flight = Some(1));
    let mut rng = fastrand::Rng::with_seed(3);
    let without = Request { exclude: &["c", "d"], ..Request::default() };
    let pick = || {
        let lease = bench.pool.acquire(&without, bench.now, &mut rng).unwrap();
        (lease.pick().member, lease.pick().propensity.unwrap())
    };
    let (statistic, drawn) = chi_square(pick, 10);
    assert!(drawn == 2 && statistic < 18.5, "{drawn} {statistic}");
}

#[test]
fn a_probability_under_caps_is_that_of_those_with_room() {
    let mut spec = spec(PolicyKind::Adaptive, 100);
    spec.members.iter_mut().for_each(|member| member.max_in_flight = Some(1));
    let bench = Bench::new(spec);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut leases = Vec::new();
    for free in (1..=100u32).rev() {
        let lease = bench.pool.acquire(&Request::default(), bench.now, &mut rng).unwrap();
        assert!((lease.pick().propensity.unwrap() - 1.0 / f64::from(free)).abs() < 1e-12);
        leases.push(lease);
    }
}

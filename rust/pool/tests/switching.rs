//! Pools under `auto`, in simulated time.

use super::*;

const AUTO: Choice = Choice::Auto { keyed: false };

impl Bench {
    /// Seconds in which `a` takes so many times as long as the 10 ms of the others, and gets a quarter of what comes.
    fn seconds(&mut self, count: u64, factor: u64) {
        for _ in 0..count {
            for _ in 0..100 {
                for id in ["a", "b", "c", "d"] {
                    let lease = self.lease_of(id).unwrap();
                    lease.finish(Outcome::Success, self.now + if id == "a" { factor * 10 * MS } else { 10 * MS });
                }
            }
            self.now += SECOND;
            self.select(&Request::default()).unwrap();
        }
    }
}

#[test]
fn a_pool_starts_by_its_shape_and_its_reasons_name_the_policy_in_force() {
    type Change = fn(&mut PoolSpec);
    let table: [(Change, PolicyKind); 6] = [
        (|_| {}, PolicyKind::RoundRobin),
        (|spec| spec.members[1].weight = 3, PolicyKind::WeightedRoundRobin),
        (|spec| spec.dynamic_adjustment = true, PolicyKind::WeightedRoundRobin),
        (|spec| spec.members[1].weight = 0, PolicyKind::RoundRobin),
        (|spec| spec.members[0].max_in_flight = Some(9), PolicyKind::LeastConnections),
        (|spec| (spec.policy, spec.bounded_load) = (Choice::Auto { keyed: true }, Some(1.25)), PolicyKind::Rendezvous),
    ];
    for (change, expected) in table {
        let mut given = spec(AUTO, 3);
        change(&mut given);
        let mut bench = Bench::new(given);
        let view = bench.pool.describe(bench.now);
        assert_eq!((view.policy.as_str(), view.in_force), ("auto", expected));
        let pick = bench.select(&Request { key: Some(7), ..Request::default() }).unwrap();
        assert_eq!(pick.reason, Reason::Policy(expected));
    }
}

#[test]
fn a_slow_member_leads_to_a_trial_with_an_event_that_has_the_figures() {
    let mut bench = Bench::of(AUTO, 4);
    bench.seconds(60, 1);
    assert_eq!(bench.reasons_of("policy"), [""; 0]);
    bench.seconds(60, 9);
    // Leases by id are the same under every policy here, so the alternatives are no better.
    let told = bench.reasons_of("policy");
    assert_eq!(told.len(), 2, "{told:?}");
    let expected = "round_robin -> response_time on trial: p99 89.";
    assert!(told[0].starts_with(expected), "{told:?}");
    assert!(told[0].contains("0.0 % failed, imbalance 3.00 (usual: p99 10."), "{told:?}");
    assert!(told[1].starts_with("response_time -> round_robin: not better enough: p99 89."), "{told:?}");
    let events = bench.registry.events_since(0).events;
    assert!(events.iter().all(|event| *event.destination == *"pool"));
}

#[test]
fn what_came_before_a_switch_does_not_count_for_the_policy_after_it() {
    let mut given = spec(AUTO, 4);
    given.failover.eject = false;
    let mut bench = Bench::new(given);
    bench.seconds(60, 1);
    let old: Vec<Lease> = (0..2_000).map(|_| bench.acquire().unwrap()).collect();
    while bench.pool.policy() == PolicyKind::RoundRobin {
        assert!(bench.now < 400 * SECOND);
        bench.seconds(1, 9);
    }
    old.into_iter().for_each(|lease| assert!(lease.finish(Outcome::Failure, bench.now)));
    bench.seconds(40, 9);
    let told = bench.reasons_of("policy");
    assert!(told[1].contains("not better enough: p99 89.129 ms, 0.0 % failed"), "{told:?}");
}

#[test]
fn weights_that_come_to_differ_are_heeded_and_a_reload_keeps_the_choice() {
    let mut bench = Bench::of(AUTO, 2);
    bench.pool.set_weights([("a", 3.0)], bench.now).unwrap();
    assert_eq!(bench.pool.policy(), PolicyKind::WeightedRoundRobin);
    assert_eq!(bench.shares(&Request::default()), [0.75, 0.25]);
    assert_eq!(bench.reasons_of("policy"), ["round_robin -> weighted_round_robin: weights differ"]);
    let before = Arc::clone(&bench.pool);
    bench.reload(spec(AUTO, 3));
    bench.pool.adopt_weights(&before, bench.now).unwrap();
    assert_eq!(bench.pool.policy(), PolicyKind::WeightedRoundRobin);
    bench.pool.set_weights([("a", 1.0)], bench.now).unwrap();
    assert_eq!(bench.pool.policy(), PolicyKind::RoundRobin);
    assert_eq!(bench.ids(3).len(), 3);
}

#[test]
fn destinations_known_to_be_uneven_begin_with_response_time() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 4);
    bench.seconds(60, 3);
    bench.reload(spec(AUTO, 4));
    assert_eq!(bench.pool.policy(), PolicyKind::ResponseTime);
    bench.reload(spec(PolicyKind::LeastConnections, 4));
    assert_eq!(bench.pool.policy(), PolicyKind::LeastConnections);
}

#[test]
fn the_policy_changes_under_picks_of_many_threads() {
    let bench = Bench::of(AUTO, 4);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let pool = Arc::clone(&bench.pool);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for round in 0..20_000u64 {
                    let now = SECOND + round * 10 * MS;
                    let lease = pool.acquire(&Request::default(), now, &mut rng).unwrap();
                    let slow = **lease.destination().id() == *"a" && round > 6_000;
                    lease.finish(Outcome::Success, now + if slow { 200 * MS } else { 10 * MS });
                }
            });
        }
    });
    assert!(!bench.reasons_of("policy").is_empty());
    assert!(bench.pool.members().iter().all(|member| member.destination().in_flight() == 0));
}

//! Weights that follow what is observed, on pools in simulated time.

use super::*;

fn adjusting(policy: PolicyKind, weights: &[u32]) -> PoolSpec {
    let mut spec = spec(policy, weights.len());
    spec.dynamic_adjustment = true;
    spec.members.iter_mut().zip(weights).for_each(|(member, weight)| member.weight = *weight);
    spec
}

impl Bench {
    /// Ten seconds of 50 outcomes each from every member: `b` takes 40 ms, the others 10 ms.
    fn work(&mut self) {
        for _ in 0..10 {
            for member in 0..self.pool.members().len() {
                let id = self.pool.members()[member].id().to_string();
                for _ in 0..50 {
                    let started = self.now;
                    let lease = self.lease_of(&id).unwrap();
                    lease.finish(Outcome::Success, started + if id == "b" { 40 * MS } else { 10 * MS });
                }
            }
            self.now += SECOND;
            self.select(&Request::default()).unwrap();
        }
    }

    fn effective(&self) -> Vec<f64> {
        self.pool.describe(self.now).members.iter().map(|member| member.effective_weight).collect()
    }
}

#[test]
fn policies_by_weight_take_part_and_others_stay_as_they_are() {
    for policy in PolicyKind::ALL {
        let mut bench = Bench::new(adjusting(policy, &[2, 2]));
        bench.work();
        let expected = if policy.takes_adjustment() { [3.2, 0.8] } else { [2.0, 2.0] };
        assert_eq!(bench.effective(), expected, "{policy}");
        let told = bench.reasons_of("weights");
        assert_eq!(told.len(), usize::from(policy.takes_adjustment()), "{policy}: {told:?}");
        if policy == PolicyKind::WeightedRoundRobin {
            assert_eq!(
                told[0],
                "b 2.0000 -> 0.8000 (40.000 ms, 0.0 % failed), a 2.0000 -> 3.2000 (10.000 ms, 0.0 % failed)"
            );
            let shares = bench.shares(&Request::default());
            assert!((shares[1] - 0.2).abs() < 0.01, "{shares:?}");
        }
    }
}

#[test]
fn without_the_switch_nothing_is_adjusted() {
    let mut spec = adjusting(PolicyKind::WeightedRoundRobin, &[1, 1]);
    spec.dynamic_adjustment = false;
    let mut bench = Bench::new(spec);
    bench.work();
    assert_eq!((bench.effective(), bench.reasons_of("weights").len()), (vec![1.0, 1.0], 0));
}

#[test]
fn weights_set_by_hand_are_the_base() {
    let mut bench = Bench::new(adjusting(PolicyKind::WeightedRandom, &[1, 1]));
    bench.work();
    assert_eq!(bench.effective(), [1.6, 0.4]);
    bench.pool.set_weights([("b", 10.0), ("a", 0.0)], bench.now).unwrap();
    assert_eq!(bench.effective(), [0.0, 4.0]);
    assert_eq!(bench.ids(20), "b".repeat(20));
    let members = bench.pool.describe(bench.now).members;
    assert_eq!(members.iter().map(|member| member.weight).collect::<Vec<_>>(), [0.0, 10.0]);
}

#[test]
fn a_reload_goes_on_with_what_was_observed() {
    let spec = adjusting(PolicyKind::Adaptive, &[1, 1]);
    let mut bench = Bench::new(spec.clone());
    bench.work();
    let before = Arc::clone(&bench.pool);
    bench.reload(spec.clone());
    bench.pool.adopt_weights(&before, bench.now).unwrap();
    assert_eq!(bench.effective(), [1.6, 0.4]);
    let (a, b) = (bench.pool.members()[0].share(), bench.pool.members()[1].share());
    assert_eq!(a, 4 * b);
    bench.reload(PoolSpec { dynamic_adjustment: false, ..spec });
    bench.pool.adopt_weights(&before, bench.now).unwrap();
    assert_eq!(bench.effective(), [1.0, 1.0]);
}

#[test]
fn a_destination_that_reports_its_load_is_weighed_by_it() {
    let mut bench = Bench::new(adjusting(PolicyKind::WeightedRoundRobin, &[1, 1]));
    for _ in 0..20 {
        for _ in 0..100 {
            let lease = bench.acquire().unwrap();
            // `a` is twice as large, and both take as long.
            let used = if **lease.destination().id() == *"a" { 0.3 } else { 0.6 };
            assert!(lease.succeed(used, bench.now + 10 * MS));
            assert!(!lease.succeed(9.0, bench.now), "it ended before");
        }
        bench.now += SECOND;
    }
    let weights = bench.effective();
    // The reports do not depend on the share here, so the share grows until the bound.
    assert!(weights[0] > 1.5 && weights[1] < 0.5, "{weights:?}");
    let view = bench.destination("a").view(bench.now);
    assert!((view.utilisation.unwrap() - 0.3).abs() < 1e-3);
    assert_eq!(bench.destination("a").view(bench.now + 200 * SECOND).utilisation, None);
}

#[test]
fn a_weight_stays_within_a_tenth_and_ten_times_what_was_set() {
    let mut bench = Bench::new(adjusting(PolicyKind::WeightedRandom, &[1; 26]));
    for _ in 0..30 {
        for member in 0..26 {
            let id = bench.pool.members()[member].id().to_string();
            let latency = if id == "a" { MS / 100 } else { 1_000 * MS };
            for _ in 0..30 {
                let lease = bench.lease_of(&id).unwrap();
                lease.finish(if id == "b" { Outcome::Cancelled } else { Outcome::Success }, bench.now + latency);
            }
        }
        bench.now += SECOND;
        bench.select(&Request::default()).unwrap();
        let weights = bench.effective();
        assert!(weights.iter().all(|weight| (0.1..=10.0).contains(weight)), "{weights:?}");
    }
    let weights = bench.effective();
    assert_eq!((weights[0], weights[1], weights[2]), (10.0, 1.0, 0.1), "fast, unknown, slow");
}

#[test]
fn a_report_of_old_does_not_decide() {
    let mut bench = Bench::new(adjusting(PolicyKind::WeightedRoundRobin, &[1, 1]));
    let registry = Arc::clone(&bench.registry);
    for (id, used) in [("a", 0.2), ("b", 0.9)] {
        registry.get(id).unwrap().report_utilisation(used, bench.now);
    }
    let even = |bench: &mut Bench| {
        for _ in 0..10 {
            for _ in 0..100 {
                let lease = bench.acquire().unwrap();
                lease.finish(Outcome::Success, bench.now + 10 * MS);
            }
            bench.now += SECOND;
            bench.select(&Request::default()).unwrap();
        }
    };
    even(&mut bench);
    let weights = bench.effective();
    assert!(weights[0] > 1.4 && weights[1] < 0.6, "{weights:?}");
    bench.now += 181 * SECOND;
    even(&mut bench);
    assert_eq!(bench.effective(), [1.0, 1.0], "both take as long, and neither says anything of late");
}

#[test]
fn a_slow_start_is_a_part_of_the_adjusted_weight() {
    let mut bench = Bench::new(adjusting(PolicyKind::WeightedRandom, &[1, 1]));
    bench.work();
    assert_eq!(bench.effective(), [1.6, 0.4]);
    bench.fail("b", 5);
    assert_eq!((bench.breaker("b"), bench.ids(9).as_str()), ("ejected", "aaaaaaaaa"));
    let weights = bench.effective();
    bench.now += 2 * bench.pool.failover().ejection_time;
    for _ in 0..bench.pool.failover().probation_successes {
        assert!(bench.lease_of("b").unwrap().finish(Outcome::Success, bench.now + 40 * MS));
    }
    assert_eq!(bench.breaker("b"), "closed");
    let began = bench.shares(&Request::default())[1];
    assert!(began < 0.06, "a tenth of its share at first: {began}");
    bench.now += bench.pool.failover().slow_start;
    let full = bench.shares(&Request::default())[1];
    let (a, b) = (bench.effective()[0], bench.effective()[1]);
    assert!((full - b / (a + b)).abs() < 0.02, "{full} {weights:?}");
}

//! The loop as a whole: what comes out of small scenarios.

use super::run::{ASK_EVERY, run};
use crate::balance::{Choice, PolicyKind};
use crate::pool::{Admin, Nanos};
use crate::simulate::report::{Report, States};
use crate::simulate::spec::{Arrivals, Keys, Shape, Simulation, Trouble, TroubleKind};
use crate::simulate::testing::simulation;

fn run_all(spec: &Simulation) -> Report {
    run(spec, &mut || true).unwrap()
}

fn always(kind: TroubleKind) -> Trouble {
    Trouble { kind, from: 0, until: Nanos::MAX, flapping: None }
}

#[test]
fn equal_seeds_give_equal_reports_and_every_policy_the_same_load() {
    let mut messages = None;
    for policy in PolicyKind::ALL {
        let mut spec = simulation(policy, 3, 200.0);
        spec.routers = 2;
        spec.servers[0].troubles.push(always(TroubleKind::Failing(0.3)));
        let report = run_all(&spec);
        assert_eq!(report, run_all(&spec), "{policy}");
        assert_eq!(*messages.get_or_insert(report.totals.messages), report.totals.messages, "{policy}");
        spec.seed = 2;
        assert_ne!(report, run_all(&spec), "{policy}");
    }
}

#[test]
fn every_message_is_delivered_failed_or_unrouted() {
    for (attempts, shared) in [(1, false), (3, false), (3, true)] {
        for policy in PolicyKind::ALL {
            let mut spec = simulation(policy, 3, 300.0);
            (spec.attempts, spec.shared, spec.routers) = (attempts, shared, 3);
            (spec.timeout, spec.backoff, spec.warmup) = (Some(50_000_000), 1_000_000, 1_000_000_000);
            spec.servers[0].troubles.push(always(TroubleKind::Dead));
            spec.servers[1].troubles.push(always(TroubleKind::FailingFast(0.5)));
            spec.servers[2].troubles.push(always(TroubleKind::Overloaded { line: 2, retry_after: None }));
            let report = run_all(&spec);
            let totals = report.totals;
            assert!(totals.messages > 2_000);
            assert_eq!(totals.messages, totals.delivered + totals.failed + totals.unrouted, "{policy}");
            let of_destinations: u64 = report.destinations.iter().map(|one| one.attempts).sum();
            assert_eq!(totals.attempts, of_destinations);
            for one in &report.destinations {
                assert_eq!(one.attempts, one.successes + one.failures + one.overloaded);
            }
            let came: u64 = report.series.iter().map(|point| point.messages).sum();
            assert!(came > totals.messages, "the series has the warm-up too");
            assert!(report.destinations[0].timeouts == report.destinations[0].attempts);
        }
    }
}

#[test]
fn a_further_attempt_goes_elsewhere_and_delivers() {
    let mut spec = simulation(PolicyKind::RoundRobin, 2, 100.0);
    spec.pool.failover.eject = false;
    spec.servers[0].troubles.push(always(TroubleKind::FailingFast(1.0)));
    let once = run_all(&spec).totals;
    assert!(once.failed * 2 >= once.messages - 1 && once.failed > 400);
    spec.attempts = 2;
    let twice = run_all(&spec).totals;
    assert_eq!((twice.failed, twice.delivered), (0, twice.messages));
}

#[test]
fn a_dead_destination_is_ejected_and_comes_back_on_probation_then_ramping() {
    let mut spec = simulation(PolicyKind::RoundRobin, 4, 100.0);
    (spec.duration, spec.buckets, spec.timeout) = (60_000_000_000, 60, Some(100_000_000));
    let dead = Trouble { until: 10_000_000_000, ..always(TroubleKind::Dead) };
    spec.servers[2].troubles.push(dead);
    let report = run_all(&spec);
    let one = &report.destinations[2];
    assert_eq!((one.ejections, one.recoveries), (1, 1));
    let states: Vec<States> = report.series.iter().map(|point| point.states[2]).collect();
    assert_eq!(states[5].out, 1);
    assert_eq!(report.series[5].attempts[2], 0);
    assert!(states.iter().any(|states| states.ramping == 1));
    assert_eq!(states[59].in_use, 1);
    (spec.routers, spec.shared) = (3, true);
    let report = run_all(&spec);
    assert_eq!((report.destinations[2].ejections, report.destinations[2].recoveries), (1, 1), "one of all three");
    assert_eq!(report.series[5].states[2].out, 3);
}

#[test]
fn what_the_configuration_takes_out_of_use_gets_nothing() {
    for shared in [false, true] {
        let mut spec = simulation(PolicyKind::RoundRobin, 4, 100.0);
        (spec.routers, spec.shared) = (2, shared);
        spec.admin = vec![("d0".to_owned(), Admin::Disabled), ("d2".to_owned(), Admin::Draining)];
        let report = run_all(&spec);
        let attempts: Vec<u64> = report.destinations.iter().map(|one| one.attempts).collect();
        assert!(attempts[0] == 0 && attempts[2] == 0 && attempts[1].abs_diff(attempts[3]) <= 2, "{attempts:?}");
        let out: Vec<u32> = report.series[0].states.iter().map(|states| states.out).collect();
        assert_eq!(out, [2, 0, 2, 0]);
    }
}

#[test]
fn a_closed_loop_keeps_its_clients_busy_and_no_more() {
    let mut spec = simulation(PolicyKind::LeastConnections, 4, 0.0);
    spec.arrivals = Arrivals::Closed { clients: 8 };
    let report = run_all(&spec);
    let most: u32 = report.destinations.iter().map(|one| one.most_in_flight).sum();
    assert!((8..=16).contains(&most), "{most}");
    // 4 servers of 10 ms each, never idle but by accident.
    assert!((3_500..4_200).contains(&report.totals.delivered), "{:?}", report.totals);
}

#[test]
fn it_ends_when_told_and_when_too_much_is_in_flight() {
    let mut spec = simulation(PolicyKind::Random, 2, 100_000.0);
    let mut asked = 0;
    let report = run(&spec, &mut || {
        asked += 1;
        asked < 2
    });
    let report = report.unwrap();
    assert_eq!((report.ended_early, report.events), (Some("it was interrupted"), 2 * ASK_EVERY));
    spec.arrivals = Arrivals::Constant { rate: 1e6 };
    let report = run_all(&spec);
    assert!(report.ended_early.is_some_and(|why| why.contains("in flight")));
}

/// Four servers of 100/s, the first four times as slow until the 60th second; 150 messages a second for 120 s.
fn slow_at_first(policy: PolicyKind) -> Simulation {
    let mut spec = simulation(policy, 4, 150.0);
    (spec.duration, spec.buckets) = (120_000_000_000, 12);
    let kind = TroubleKind::Slow(4.0);
    spec.servers[0].troubles.push(Trouble { kind, from: 0, until: 60_000_000_000, flapping: None });
    spec
}

#[test]
fn dynamic_adjustment_takes_weight_from_a_slow_server_and_gives_it_back() {
    for policy in [PolicyKind::WeightedRoundRobin, PolicyKind::WeightedRandom, PolicyKind::Adaptive] {
        let mut spec = slow_at_first(policy);
        let as_set = run_all(&spec);
        spec.pool.dynamic_adjustment = true;
        let adjusted = run_all(&spec);
        let share = |report: &Report, point: usize| {
            let attempts = &report.series[point].attempts;
            attempts[0] as f64 / attempts.iter().sum::<u64>() as f64
        };
        for point in 1..6 {
            assert!(share(&as_set, point) > 0.22, "{policy}: as set");
            assert!(share(&adjusted, point) < 0.13, "{policy}: {point}");
        }
        assert!(share(&adjusted, 11) > 0.2, "{policy}: back");
        let p99 = |report: &Report| report.series[5].quantiles.unwrap()[1];
        assert!(p99(&adjusted) * 5 < p99(&as_set), "{policy}");
    }
}

/// Round robin's weak spot: four servers of 100/s, the first ten times as slow from the 60th second on, for 10 minutes.
fn slow_under_auto(seed: u64) -> Report {
    let mut spec = simulation(Choice::Auto { keyed: false }, 4, 150.0);
    (spec.duration, spec.buckets, spec.seed) = (600_000_000_000, 10, seed);
    spec.pool.failover.eject = false;
    spec.servers[0].troubles.push(Trouble { from: 60_000_000_000, ..always(TroubleKind::Slow(10.0)) });
    run_all(&spec)
}

#[test]
fn auto_leaves_round_robin_for_a_slow_server_and_stays() {
    for seed in 1..=5 {
        let report = slow_under_auto(seed);
        let made: Vec<PolicyKind> = report.switches.iter().map(|one| one.to).collect();
        assert_eq!(made, [PolicyKind::ResponseTime; 2], "{seed}: {:?}", report.switches);
        let (trial, kept) = (&report.switches[0], &report.switches[1]);
        assert!((75_000_000_000..120_000_000_000).contains(&trial.at), "{seed}: {trial:?}");
        assert!(kept.at < 160_000_000_000 && kept.reason.starts_with("response_time kept: p99 "), "{seed}: {kept:?}");
        let p99 = |point: usize| report.series[point].quantiles.unwrap()[1];
        assert!(p99(1) > 1_000_000_000, "{seed}: the line before the slow one grew");
        assert!((3..10).all(|point| p99(point) < 250_000_000), "{seed}");
        assert_eq!(slow_under_auto(seed), report);
    }
}

#[test]
fn auto_finds_a_server_that_was_slow_from_the_start() {
    let mut spec = simulation(Choice::Auto { keyed: false }, 4, 100.0);
    spec.duration = 300_000_000_000;
    spec.servers[0].troubles.push(always(TroubleKind::Slow(8.0)));
    let report = run_all(&spec);
    assert_eq!(report.switches.len(), 2, "{:?}", report.switches);
    assert!(report.switches[1].reason.starts_with("response_time kept"));
}

#[test]
fn auto_switches_nothing_for_noise_nor_for_what_no_policy_betters() {
    let shapes = [Shape::Exponential, Shape::Lognormal { sigma: 1.0 }, Shape::Bimodal { share: 0.05, factor: 10.0 }];
    for shape in shapes {
        for seed in 1..=3 {
            let mut spec = simulation(Choice::Auto { keyed: false }, 4, 160.0);
            (spec.duration, spec.seed) = (600_000_000_000, seed);
            spec.servers.iter_mut().for_each(|server| server.service.shape = shape);
            let report = run_all(&spec);
            assert_eq!(report.switches, [], "{shape:?} {seed}");
        }
    }
    // All fail alike: each alternative has its trial, then it is as it is.
    let mut spec = simulation(Choice::Auto { keyed: false }, 4, 160.0);
    (spec.duration, spec.pool.failover.eject) = (600_000_000_000, false);
    spec.servers.iter_mut().for_each(|server| server.troubles.push(always(TroubleKind::Failing(0.2))));
    let report = run_all(&spec);
    assert!(report.switches.len() <= 4, "{:?}", report.switches);
}

#[test]
fn keys_go_to_their_destinations_and_uneven_keys_to_uneven_loads() {
    let share = |policy: Choice, bound: Option<f64>, exponent: f64| {
        let mut spec = simulation(policy, 10, 400.0);
        (spec.keys, spec.pool.bounded_load) = (Some(Keys { count: 1_000, exponent }), bound);
        let report = run_all(&spec);
        report.destinations.iter().map(|one| one.share).fold(0.0, f64::max)
    };
    for policy in [PolicyKind::Maglev.into(), PolicyKind::Rendezvous.into(), Choice::Auto { keyed: true }] {
        let (even, uneven) = (share(policy, None, 0.0), share(policy, None, 1.5));
        assert!((0.1..0.15).contains(&even), "{policy}: {even}");
        assert!(uneven > 0.35, "{policy}: the first of 1,000 keys alone has 38 %, and {uneven}");
        assert!(share(policy, Some(1.25), 1.5) < uneven - 0.1, "{policy}: a bound spreads it");
    }
}

#[test]
fn adjusted_weights_settle_close_to_saturation() {
    // Two servers of which one takes twice as long, at 85 % of what both can do: latency is steepest in the load there.
    let mut spec = simulation(PolicyKind::WeightedRoundRobin, 2, 127.0);
    (spec.duration, spec.buckets, spec.pool.dynamic_adjustment) = (600_000_000_000, 60, true);
    spec.servers[0].troubles.push(always(TroubleKind::Slow(2.0)));
    let report = run_all(&spec);
    let shares: Vec<f64> = report
        .series
        .iter()
        .map(|point| point.attempts[0] as f64 / point.attempts.iter().sum::<u64>() as f64)
        .collect();
    let late = &shares[20..];
    let (least, most) = late.iter().fold((1f64, 0f64), |(least, most), share| (least.min(*share), most.max(*share)));
    assert!(least > 0.2 && most < 0.42, "{shares:.2?}");
    let turns = late.windows(3).filter(|three| (three[1] - three[0]) * (three[2] - three[1]) < -0.01).count();
    assert!(turns <= 2, "a step of a tenth back and forth is an oscillation: {turns} {shares:.2?}");
}

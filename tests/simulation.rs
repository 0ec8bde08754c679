//! The simulation against queueing theory, and the policies against what is published of them.
//!
//! Every run is seeded, so a test passes always or never. Tolerances are stated beside the figures: they cover the
//! noise of a run of that length, the 1.6 % of the histogram, and pools of fewer destinations than the theory's
//! infinitely many. Long runs are ignored here; `make theory` has them.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use turnout::balance::Choice;
use turnout::balance::PolicyKind::{self, Adaptive, HealthBased, LeastConnections, Prequal, Random, ResponseTime};
use turnout::balance::PolicyKind::{RoundRobin, WeightedLeastConnections, WeightedRandom, WeightedRoundRobin};
use turnout::pool::{FailoverSpec, MemberSpec, Nanos, Pool, PoolSpec, Registry, Request};
use turnout::simulate::{
    Arrivals, Report, ServerSpec, Service, Shape, Simulation, Trouble, TroubleKind, run as simulate,
};

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MS;

/// `count` servers of one place and 10 ms, exponential, at this load for so many seconds, a fifth of them warm-up.
/// Nothing is ejected.
fn simulation(policy: impl Into<Choice>, count: usize, load: f64, seconds: u64) -> Simulation {
    let service = Service { mean: 10e6, shape: Shape::Exponential };
    let members = (0..count).map(|number| MemberSpec::new(format!("d{number}"))).collect();
    let failover = FailoverSpec { eject: false, ..FailoverSpec::default() };
    Simulation {
        pool: PoolSpec {
            id: "p".into(),
            policy: policy.into(),
            members,
            failover,
            bounded_load: None,
            dynamic_adjustment: false,
        },
        servers: vec![ServerSpec { service, places: Some(1), troubles: Vec::new() }; count],
        admin: Vec::new(),
        arrivals: Arrivals::Poisson { rate: load * count as f64 * 100.0 },
        duration: seconds * SECOND,
        warmup: seconds * SECOND / 5,
        routers: 1,
        shared: false,
        timeout: None,
        attempts: 1,
        backoff: 0,
        buckets: 10,
        keys: None,
        seed: 7,
    }
}

fn always(kind: TroubleKind) -> Trouble {
    Trouble { kind, from: 0, until: Nanos::MAX, flapping: None }
}

fn run(simulation: &Simulation) -> Report {
    let report = simulate(simulation, &mut || true).unwrap();
    assert_eq!(report.ended_early, None);
    report
}

/// Mean and 99th percentile of latency in units of the mean time of service, 10 ms.
fn times(report: &Report) -> (f64, f64) {
    let latency = report.latency.unwrap();
    (latency.mean as f64 / 1e7, latency.p99 as f64 / 1e7)
}

#[track_caller]
fn assert_near(got: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((got / expected - 1.0).abs() <= tolerance, "{what}: {got:.4}, expected {expected} ± {tolerance}");
}

#[test]
fn one_server_follows_queueing_theory() {
    // M/M/1: 1 / (1 - load), p99 = mean × ln 100. M/D/1: 1 + load / (2 (1 - load)), Pollaczek and Khinchine.
    // M/M/4: 1 + C / (4 (1 - load)), C = 0.5964 by Erlang. Uniform service: 1 + load (1 + 1/3) / (2 (1 - load)).
    let table = [
        (Shape::Exponential, 1, 5.0),
        (Shape::Constant, 1, 3.0),
        (Shape::Exponential, 4, 1.7455),
        (Shape::Uniform, 1, 1.0 + 0.8 * (4.0 / 3.0) / 0.4),
    ];
    for (shape, places, expected) in table {
        let mut spec = simulation(RoundRobin, 1, 0.8 * f64::from(places), 4_000 * 4 / u64::from(places));
        spec.servers[0].service.shape = shape;
        spec.servers[0].places = Some(places);
        let report = run(&spec);
        assert_near(times(&report).0, expected, 0.04, &format!("{shape:?} {places}"));
        if (shape, places) == (Shape::Exponential, 1) {
            assert_near(times(&report).1, 5.0 * 100f64.ln(), 0.05, "p99");
        }
    }
}

#[test]
fn two_choices_follow_the_supermarket_model() {
    // Mean time in system at load .9: 10 at random, 2.614 with two choices; at .99, 100 and 5.432. Beyond 64
    // destinations, least connections compares two of them.
    assert_near(times(&run(&simulation(Random, 100, 0.9, 80))).0, 10.0, 0.05, "random");
    assert_near(times(&run(&simulation(LeastConnections, 500, 0.9, 20))).0, 2.614, 0.02, "two choices at .9");
    assert_near(times(&run(&simulation(LeastConnections, 1_000, 0.99, 20))).0, 5.432, 0.04, "two choices at .99");
}

#[test]
#[ignore = "long: make theory"]
fn the_supermarket_model_holds_close_to_saturation() {
    // An M/M/1 queue at .99 forgets its past in 40,000 times of service: even 20 of them for 400,000 leave 7 % of noise.
    assert_near(times(&run(&simulation(Random, 20, 0.99, 4_000))).0, 100.0, 0.15, "random");
    assert_near(times(&run(&simulation(LeastConnections, 1_000, 0.99, 60))).0, 5.432, 0.02, "two choices");
}

/// The fullest of as many bins as balls.
fn fullest(policy: PolicyKind, count: usize) -> u32 {
    let members = (0..count).map(|number| MemberSpec::new(format!("{number}"))).collect();
    let spec = PoolSpec {
        id: "bins".into(),
        policy: policy.into(),
        members,
        failover: FailoverSpec::default(),
        bounded_load: None,
        dynamic_adjustment: false,
    };
    let pool = Arc::new(Pool::build(spec, &Registry::new(), 1, SECOND).unwrap());
    let mut rng = fastrand::Rng::with_seed(1);
    let leases: Vec<_> = (0..count).map(|_| pool.acquire(&Request::default(), SECOND, &mut rng).unwrap()).collect();
    assert_eq!(leases.len(), count);
    pool.members().iter().map(|member| member.destination().in_flight()).max().unwrap()
}

#[test]
fn two_choices_fill_bins_evenly() {
    // 10^5 of each: 7 or 8 at random, as log n / log log n; 3 or 4 with two choices, as log log n / log 2.
    assert!((7..=8).contains(&fullest(Random, 100_000)));
    assert!((3..=4).contains(&fullest(LeastConnections, 100_000)));
}

#[test]
#[ignore = "1 GB of destinations: make theory"]
fn two_choices_fill_a_million_bins_evenly() {
    assert!((8..=9).contains(&fullest(Random, 1_000_000)));
    assert_eq!(fullest(LeastConnections, 1_000_000), 4);
}

#[test]
fn a_hundred_servers_at_nine_tenths_give_the_published_latencies() {
    // Mean and p99 in ms, within 10 %. Least connections looks at all only up to 64 destinations: at 100 it is two
    // choices (26.4 / 89), at 64 it is the exact one (10.6 / 49 at 100; somewhat more with fewer to choose from).
    let table = [
        (Random, 100, 101.0, 468.0),
        (RoundRobin, 100, 51.5, 231.0),
        (LeastConnections, 100, 26.4, 89.0),
        (LeastConnections, 64, 10.6, 49.0),
        (ResponseTime, 100, 27.0, 91.0),
    ];
    for (policy, count, mean, p99) in table {
        let got = times(&run(&simulation(policy, count, 0.9, 100)));
        assert_near(got.0 * 10.0, mean, 0.1, &format!("{policy} {count} mean"));
        assert_near(got.1 * 10.0, p99, 0.1, &format!("{policy} {count} p99"));
    }
}

#[test]
fn ten_routers_choose_worse_unless_they_share_what_they_know() {
    // p99 of ten routers in ms as published, within 10 %; with the state that processes share, through a file as theirs,
    // within 15 % of one router. Turns are not shared, and round robin is within as it is.
    let table = [
        (RoundRobin, 100, 243.0),
        (LeastConnections, 100, 138.0),
        (LeastConnections, 64, 121.0),
        (ResponseTime, 100, 149.0),
    ];
    for (policy, count, p99) in table {
        let mut spec = simulation(policy, count, 0.9, 60);
        let one = times(&run(&spec)).1;
        spec.routers = 10;
        let own = times(&run(&spec)).1;
        (spec.shared, spec.duration, spec.warmup) = (true, 30 * SECOND, 6 * SECOND); // what workers hold is summed
        let shared = times(&run(&spec)).1;
        assert_near(own * 10.0, p99, 0.1, &format!("{policy} {count}, ten routers"));
        assert_near(shared, one, 0.15, &format!("{policy} {count}, shared"));
    }
}

#[test]
fn a_slow_server_gets_little_where_load_or_latency_is_looked_at() {
    // One of ten is ten times as slow, load .7. Blind policies give it a tenth and queue on it without end. Published
    // share and p99.9: two choices 1.5 % and 272 ms, least connections 1.25 % and 261 ms, peak EWMA, which takes a look
    // at all ten, 0.22 % and 94 ms; of two drawn its share is 0.7 to 0.8 %, whatever the time constant of the average.
    for policy in [Random, RoundRobin] {
        let mut spec = simulation(policy, 10, 0.7, 200);
        spec.servers[0].troubles.push(always(TroubleKind::Slow(10.0)));
        let report = run(&spec);
        assert_near(report.destinations[0].share, 0.1, 0.03, policy.as_str());
        assert!(times(&report).0 > 1_000.0, "{policy}");
    }
    // How service varies is not published. Least connections has its tail with even service (with exponential service,
    // which reaches further on the slow server itself, 0.4 s), peak EWMA with exponential service; within 15 %. Of ten,
    // ours looks at all under either, so two choices' figures are bounds. It makes two beyond 64 destinations: of 100 with
    // ten slow the share is theirs, but not the tail, for both of two drawn may be slow then.
    let table = [
        (LeastConnections, 10, Shape::Uniform, 0.015, Some(261.0)),
        (ResponseTime, 10, Shape::Exponential, 0.0022, Some(94.0)),
        (LeastConnections, 100, Shape::Exponential, 0.015, None),
    ];
    for (policy, count, shape, most, p999) in table {
        let mut spec = simulation(policy, count, 0.7, 200);
        spec.servers.iter_mut().for_each(|server| server.service.shape = shape);
        spec.servers.iter_mut().step_by(10).for_each(|server| server.troubles.push(always(TroubleKind::Slow(10.0))));
        let report = run(&spec);
        let share: f64 = report.destinations.iter().step_by(10).map(|slow| slow.share).sum();
        assert!(share <= most, "{policy} of {count}: {share}");
        if let Some(p999) = p999 {
            let tail = report.latency.unwrap().p999 as f64 / 1e6;
            assert_near(tail, p999, 0.15, &format!("p99.9, {policy} of {count}"));
        } else {
            assert_near(share, 0.015, 0.15, "two choices");
        }
    }
    let mut spec = simulation(ResponseTime, 10, 0.7, 200);
    spec.servers.iter_mut().for_each(|server| server.service.shape = Shape::Constant);
    spec.servers[0].troubles.push(always(TroubleKind::Slow(10.0)));
    assert!(run(&spec).destinations[0].share <= 0.005);
}

#[test]
fn failing_fast_attracts_no_more_than_a_fair_share() {
    // One of ten fails within 0.1 ms, and nothing is ejected. Blind to load: a tenth. Least connections would take it for
    // idle, and give it a quarter or more, if failures did not count as load. Rotations are exact to a message at either
    // end of what is counted, independent draws to three standard deviations.
    let auto = Choice::Auto { keyed: false };
    let table: [(Choice, f64); 11] = [
        (RoundRobin.into(), 0.1),
        (WeightedRoundRobin.into(), 0.1),
        (Random.into(), 0.1),
        (WeightedRandom.into(), 0.1),
        (Adaptive.into(), 0.1),
        (auto, 0.1),
        (ResponseTime.into(), 0.005),
        (HealthBased.into(), 0.01),
        (LeastConnections.into(), 0.005),
        (WeightedLeastConnections.into(), 0.005),
        (Prequal.into(), 0.005),
    ];
    for (policy, most) in table {
        let mut spec = simulation(policy, 10, 0.7, 200);
        spec.servers[0].troubles.push(always(TroubleKind::FailingFast(1.0)));
        let report = run(&spec);
        let (share, all) = (report.destinations[0].share, report.totals.attempts as f64);
        let independent = [Random, WeightedRandom, Adaptive].map(Choice::from).contains(&policy);
        let slack = if independent { 3.0 * (most * (1.0 - most) / all).sqrt() } else { 2.0 / all };
        assert!(share <= most + slack, "{policy}: {share}");
    }
}

#[test]
fn failing_fast_is_over_with_the_first_streak_under_every_policy() {
    for policy in PolicyKind::ALL {
        let mut spec = simulation(policy, 10, 0.7, 100);
        spec.warmup = 0;
        spec.pool.failover = FailoverSpec::default();
        spec.servers[0].troubles.push(always(TroubleKind::FailingFast(1.0)));
        let report = run(&spec);
        let failing = &report.destinations[0];
        // Five in a row, and one trial after each ejection.
        assert!(failing.attempts <= 5 + failing.ejections, "{policy}: {failing:?}");
        assert!(failing.ejections >= 1 && failing.share < 0.001, "{policy}");
    }
}

#[test]
fn endpoints_from_a_millisecond_to_a_second_give_the_latencies_of_tower() {
    // Its balancers' first benchmark: ten endpoints that answer within 1 ms to 1 s, evenly; p99 / p99.9 in ms: round
    // robin 906 / 988, least loaded 98 / 857, peak EWMA 96 / 105. The latter two compare two endpoints, as ours do from
    // 65 and 17 on: so they are shown with ten times the ten and with the slowest as one of 19. Of ten ours looks at all
    // and keeps to the fastest: at most the published figures are asserted there.
    let ten = [1_000, 1, 5, 10, 10, 10, 100, 100, 100, 100];
    let near = |got: Nanos, expected: f64| (got as f64 / 1e6 / expected - 1.0).abs() <= 0.06;
    let at_most = |got: Nanos, expected: f64| got as f64 / 1e6 <= expected;
    type Check<'a> = &'a dyn Fn(Nanos, f64) -> bool;
    let table: [(PolicyKind, usize, f64, f64, Check<'_>); 5] = [
        (RoundRobin, 10, 906.0, 988.0, &near),
        (LeastConnections, 100, 98.0, 857.0, &near),
        (ResponseTime, 19, 96.0, 105.0, &near),
        (LeastConnections, 10, 98.0, 857.0, &at_most),
        (ResponseTime, 10, 96.0, 105.0, &at_most),
    ];
    for (policy, count, p99, p999, check) in table {
        let mut spec = simulation(policy, count, 0.7, 60);
        spec.arrivals = Arrivals::Closed { clients: 5 * count as u32 };
        for (number, server) in spec.servers.iter_mut().enumerate() {
            // Of 19 the second ten lack the slowest.
            let slowest = ten[if count == 19 && number > 9 { number % 10 + 1 } else { number % 10 }];
            server.places = None;
            server.service = Service { mean: (slowest * MS) as f64 / 2.0, shape: Shape::Uniform };
        }
        let latency = run(&spec).latency.unwrap();
        assert!(check(latency.p99, p99) && check(latency.p999, p999), "{policy} of {count}: {latency:?}");
    }
}

#[test]
fn the_ramp_bounds_what_a_recovered_destination_gets() {
    for policy in [RoundRobin, Random, LeastConnections, ResponseTime] {
        let mut spec = simulation(policy, 10, 0.7, 60);
        (spec.warmup, spec.buckets, spec.timeout) = (0, 120, Some(SECOND));
        spec.pool.failover = FailoverSpec { ejection_time: 5 * SECOND, ..FailoverSpec::default() };
        spec.servers[0].troubles.push(Trouble { from: 5 * SECOND, until: 8 * SECOND, ..always(TroubleKind::Dead) });
        let report = run(&spec);
        let share = |point: &turnout::simulate::report::Point| {
            point.attempts[0] as f64 / point.attempts.iter().sum::<u64>().max(1) as f64
        };
        let ramp: Vec<f64> = report.series.iter().filter(|point| point.states[0].ramping == 1).map(share).collect();
        assert!((18..=21).contains(&ramp.len()), "{policy}: ten seconds, {ramp:?}");
        let part = |from: usize| ramp[from..from + 4].iter().sum::<f64>() / 4.0;
        assert!(part(0) < 0.05, "{policy}: {ramp:?}");
        assert!(ramp.iter().all(|share| *share < 0.16), "{policy}: {ramp:?}");
        let after = &report.series[report.series.len() - 20..];
        let settled = after.iter().map(share).sum::<f64>() / 20.0;
        assert!((0.08..0.12).contains(&settled), "{policy}: {settled}");
    }
}

#[test]
fn weighted_round_robin_is_within_one_of_its_weights_at_every_moment() {
    let mut spec = simulation(WeightedRoundRobin, 3, 0.7, 20);
    (spec.warmup, spec.buckets) = (0, 200);
    let weights = [5u32, 3, 2];
    spec.pool.members.iter_mut().zip(weights).for_each(|(member, weight)| member.weight = weight);
    let mut counts = [0u64; 3];
    for point in run(&spec).series {
        counts.iter_mut().zip(&point.attempts).for_each(|(count, more)| *count += more);
        let all = counts.iter().sum::<u64>() as f64;
        for (count, weight) in counts.iter().zip(weights) {
            assert!((*count as f64 - all * f64::from(weight) / 10.0).abs() < 1.0, "{counts:?}");
        }
    }
}

#[test]
fn identical_servers_get_equal_shares() {
    for policy in PolicyKind::ALL {
        let report = run(&simulation(policy, 5, 0.5, 200));
        for one in &report.destinations {
            assert_near(one.share, 0.2, 0.1, &format!("{policy}, {}", one.id));
        }
    }
}

#[test]
fn identical_servers_get_equal_shares_of_response_time_at_every_size_and_load() {
    // Peaks last for seconds: so messages for 20 time constants of the average and more.
    for (count, load) in [(2, 0.5), (5, 0.2), (5, 0.8), (10, 0.5), (10, 0.8), (16, 0.3), (16, 0.7), (20, 0.5)] {
        let report = run(&simulation(ResponseTime, count, load, 300));
        for one in &report.destinations {
            assert_near(one.share, 1.0 / count as f64, 0.1, &format!("{count} at {load}, {}", one.id));
        }
    }
}

//! Queues in simulated time: the published results that a correct balancer shows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// What became of a simulation.
struct Run {
    /// Mean time in the system, ms.
    mean: f64,
    p99: f64,
    shares: Vec<f64>,
}

/// Poisson arrivals at `rate` of the servers' total capacity; each server works first in, first out, with
/// exponential service of these mean times in ms. Servers in `failing` fail at once.
fn simulate(mut spec: PoolSpec, service: &[f64], rate: f64, messages: usize, failing: &[usize]) -> Run {
    spec.failover.eject = false;
    let mut bench = Bench::new(spec);
    let capacity: f64 = service.iter().map(|time| 1.0 / time).sum();
    let mut free_at = vec![0.0f64; service.len()];
    let mut leases: Vec<Option<Lease>> = Vec::new();
    let mut ends: BinaryHeap<Reverse<(Nanos, usize)>> = BinaryHeap::new();
    let (mut clock, mut times, mut counts) = (1_000.0f64, Vec::new(), vec![0usize; service.len()]);
    let mut exponential = fastrand::Rng::with_seed(5);
    let mut draw = move |mean: f64| -mean * (1.0 - exponential.f64()).ln();
    for _ in 0..messages {
        clock += draw(1.0 / (rate * capacity));
        bench.now = (clock * 1e6) as Nanos;
        while let Some(Reverse((at, index))) = ends.peek().copied().filter(|Reverse((at, _))| *at <= bench.now) {
            ends.pop();
            leases[index].take().unwrap().finish(Outcome::Success, at);
        }
        let lease = bench.acquire().unwrap();
        let server = lease.pick().member;
        counts[server] += 1;
        if failing.contains(&server) {
            lease.finish(Outcome::Failure, bench.now);
            continue;
        }
        free_at[server] = free_at[server].max(clock) + draw(service[server]);
        times.push(free_at[server] - clock);
        ends.push(Reverse(((free_at[server] * 1e6) as Nanos, leases.len())));
        leases.push(Some(lease));
    }
    times.sort_by(f64::total_cmp);
    Run {
        mean: times.iter().sum::<f64>() / times.len() as f64,
        p99: times[times.len() * 99 / 100],
        shares: counts.iter().map(|count| *count as f64 / messages as f64).collect(),
    }
}

#[test]
fn queues_are_as_long_as_theory_says() {
    // 100 servers of 10 ms at 90 % load: (policy, least and greatest mean in ms)
    let table = [
        (PolicyKind::Random, 85.0, 120.0),
        (PolicyKind::RoundRobin, 42.0, 60.0),
        (PolicyKind::ResponseTime, 20.0, 33.0),
        // Beyond 64 destinations least connections is the power of two choices: 26 ms, against 10.6 exact.
        (PolicyKind::LeastConnections, 22.0, 30.0),
    ];
    for (policy, least, greatest) in table {
        let run = simulate(spec(policy, 100), &[10.0; 100], 0.9, 200_000, &[]);
        assert!((least..greatest).contains(&run.mean), "{policy}: mean {} p99 {}", run.mean, run.p99);
    }
    let run = simulate(spec(PolicyKind::LeastConnections, 60), &[10.0; 60], 0.9, 200_000, &[]);
    assert!(run.mean < 12.5, "exact: {}", run.mean);
}

#[test]
fn a_slow_server_gets_little() {
    let mut service = [10.0; 10];
    service[4] = 100.0;
    for (policy, most) in [(PolicyKind::LeastConnections, 0.03), (PolicyKind::ResponseTime, 0.01)] {
        let run = simulate(spec(policy, 10), &service, 0.7, 100_000, &[]);
        assert!(run.shares[4] < most, "{policy}: {:?}", run.shares);
    }
}

#[test]
fn a_server_that_fails_at_once_attracts_nothing_under_response_time() {
    let run = simulate(spec(PolicyKind::ResponseTime, 10), &[10.0; 10], 0.7, 100_000, &[2]);
    assert!(run.shares[2] < 0.02, "{:?}", run.shares);
    let run = simulate(spec(PolicyKind::HealthBased, 10), &[10.0; 10], 0.5, 100_000, &[2]);
    assert!(run.shares[2] < 0.03, "{:?}", run.shares);
}

#[test]
fn identical_servers_get_equal_shares() {
    for policy in PolicyKind::ALL {
        let run = simulate(spec(policy, 5), &[10.0; 5], 0.5, 50_000, &[]);
        assert!(run.shares.iter().all(|share| (share - 0.2).abs() < 0.02), "{policy}: {:?}", run.shares);
    }
}

#[test]
fn identical_servers_get_equal_shares_of_response_time_at_every_size_and_load() {
    // Peaks last for seconds, so messages enough for 20 time constants of the average and more.
    for (count, load) in [(2, 0.5), (5, 0.2), (5, 0.8), (10, 0.5), (10, 0.8), (16, 0.3), (16, 0.7), (20, 0.5)] {
        let run = simulate(spec(PolicyKind::ResponseTime, count), &vec![10.0; count], load, 10_000 * count, &[]);
        let fair = 1.0 / count as f64;
        assert!(run.shares.iter().all(|share| (share / fair - 1.0).abs() < 0.1), "{count} {load}: {:?}", run.shares);
    }
}

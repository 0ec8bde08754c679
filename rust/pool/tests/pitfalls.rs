//! Pitfalls that other balancers fell into, each a test. Those about many threads are in `concurrency`,
//! about slow start in `slow_start`, about ejections in `failover`.

use super::*;

#[test]
fn new_destinations_are_not_starved_by_a_guess_at_their_latency() {
    let at_once = |policy, members| {
        let mut spec = spec(policy, members);
        spec.failover.slow_start = 0;
        spec
    };
    for policy in PolicyKind::ALL {
        let mut bench = Bench::new(at_once(policy, 4));
        for _ in 0..400 {
            let lease = bench.acquire().unwrap();
            bench.now += MS;
            lease.finish(Outcome::Success, bench.now);
        }
        bench.reload(at_once(policy, 5));
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            let lease = bench.acquire().unwrap();
            counts[lease.pick().member] += 1;
            bench.now += MS;
            lease.finish(Outcome::Success, bench.now);
        }
        assert!(counts.iter().all(|count| (900..=1_100).contains(count)), "{policy}: {counts:?}");
    }
}

//! Slow start: whoever comes into use while others go on takes a tenth of its share at first, and of its cap.

use super::*;

const WINDOW: Nanos = 10 * SECOND;

/// A way into use: its name, and what makes `b` of a pool of this spec come that way at the bench's time.
type Way = (&'static str, fn(&mut Bench, &PoolSpec));

const WAYS: [Way; 7] = [
    ("an ejection", |bench, _| {
        bench.fail("b", 5);
        bench.now += 40 * SECOND;
        for _ in 0..2 {
            bench.lease_of("b").unwrap().finish(Outcome::Success, bench.now);
        }
    }),
    ("a health check", |bench, _| {
        bench.registry.set_health("b", Health::Unhealthy, "test", bench.now);
        bench.now += SECOND;
        bench.registry.set_health("b", Health::Healthy, "test", bench.now);
    }),
    ("draining", |bench, _| {
        bench.registry.set_admin("b", Admin::Draining, "test", bench.now);
        bench.now += SECOND;
        bench.registry.set_admin("b", Admin::Enabled, "test", bench.now);
    }),
    ("being disabled", |bench, _| {
        bench.registry.set_admin("b", Admin::Disabled, "test", bench.now);
        bench.now += SECOND;
        bench.registry.set_admin("b", Admin::Enabled, "test", bench.now);
    }),
    ("a failover", |bench, _| {
        bench.registry.fail_over("b", None, Nanos::MAX, bench.now);
        bench.now += SECOND;
        bench.registry.fail_back("b", true, bench.now);
    }),
    ("a configuration without it", |bench, spec| {
        let mut without = spec.clone();
        without.members.remove(1);
        bench.reload(without);
        bench.now += SECOND;
        bench.reload(spec.clone());
    }),
    ("being added", |bench, spec| {
        bench.pool = Arc::new(bench.pool.without_member("b", bench.now).unwrap());
        bench.now += SECOND;
        bench.pool = Arc::new(bench.pool.with_member(&spec.members[1], bench.now).unwrap());
    }),
];

impl Bench {
    /// The index of `b`, which is the last one after it was added.
    fn b(&self) -> usize {
        self.pool.index_of("b").unwrap()
    }
}

#[test]
fn weight_and_cap_of_whoever_comes_into_use_grow_from_a_tenth() {
    for (way, come) in WAYS {
        let mut spec = spec(PolicyKind::Random, 2);
        spec.members.iter_mut().for_each(|member| member.max_in_flight = Some(40));
        let mut bench = Bench::new(spec.clone());
        come(&mut bench, &spec);
        let back = bench.now;
        for (second, ramp) in [(0, 0.1), (5, 0.5), (10, 1.0)] {
            bench.now = back + second * SECOND;
            let share = bench.shares(&Request::default())[bench.b()];
            assert!((share - ramp / (1.0 + ramp)).abs() < 0.02, "{way}, {second} s: share {share}");
            let without_a = Request { exclude: &["a"], ..Request::default() };
            let held = || bench.pool.acquire(&without_a, bench.now, &mut bench.rng.clone()).ok();
            let held: Vec<Lease> = std::iter::from_fn(held).collect();
            assert_eq!(held.len(), (40.0 * ramp) as usize, "{way}, {second} s: the cap");
        }
    }
}

#[test]
fn an_empty_destination_is_not_overrun_however_it_came_into_use() {
    // Under least connections an empty destination would get all of the next messages until it holds as many as the
    // others: 50 each here. The ramp (a tenth at first) keeps it to that share of theirs.
    for policy in [PolicyKind::LeastConnections, PolicyKind::WeightedLeastConnections, PolicyKind::ResponseTime] {
        for (way, come) in WAYS {
            let spec = spec(policy, 4);
            let mut bench = Bench::new(spec.clone());
            come(&mut bench, &spec);
            let busy: Vec<Lease> = (0..150).map(|turn| bench.lease_of(["a", "c", "d"][turn % 3]).unwrap()).collect();
            let next: Vec<Lease> = (0..60).map(|_| bench.acquire().unwrap()).collect();
            let herd = next.iter().filter(|lease| lease.pick().member == bench.b()).count();
            assert!((1..=10).contains(&herd), "{policy} after {way}: {herd} of 60");
            drop((busy, next));
        }
    }
}

#[test]
fn many_destinations_compared_two_by_two_do_not_overrun_one_either() {
    for (way, come) in WAYS {
        let spec = spec(PolicyKind::LeastConnections, 100);
        let mut bench = Bench::new(spec.clone());
        come(&mut bench, &spec);
        let ids: Vec<Arc<str>> = bench.pool.members().iter().map(|member| Arc::clone(member.id())).collect();
        let others: Vec<&Arc<str>> = ids.iter().filter(|id| ***id != *"b").collect();
        let busy: Vec<Lease> = (0..50 * 99).map(|turn| bench.lease_of(others[turn % 99]).unwrap()).collect();
        // Of 2,000 messages one of a hundred is in the pairs of 40, and would win all of those.
        let next: Vec<Lease> = (0..2_000).map(|_| bench.acquire().unwrap()).collect();
        let herd = next.iter().filter(|lease| lease.pick().member == bench.b()).count();
        assert!((1..=7).contains(&herd), "after {way}: {herd} of 2,000");
        drop((busy, next));
    }
}

#[test]
fn nobody_starts_slowly_in_a_pool_that_is_new() {
    let mut bench = Bench::of(PolicyKind::Random, 2);
    assert!((bench.shares(&Request::default())[1] - 0.5).abs() < 0.02, "at the beginning");
    let named = |ids: [&str; 2], pool: &str| {
        let mut spec = spec(PolicyKind::Random, 2);
        (spec.id, spec.members[0].id, spec.members[1].id) = (pool.into(), ids[0].into(), ids[1].into());
        spec
    };
    bench.reload(named(["a", "x"], "other"));
    assert!((bench.shares(&Request::default())[1] - 0.5).abs() < 0.02, "another pool");
    bench.reload(named(["y", "z"], "other"));
    assert!((bench.shares(&Request::default())[1] - 0.5).abs() < 0.02, "other members altogether");
}

#[test]
fn a_further_reload_does_not_begin_the_slow_start_anew() {
    let mut bench = Bench::of(PolicyKind::Random, 1);
    bench.reload(spec(PolicyKind::Random, 2));
    let came = bench.now;
    for second in [3, 5] {
        bench.now = came + second * SECOND;
        bench.reload(spec(PolicyKind::Random, 2));
    }
    let share = bench.shares(&Request::default())[1];
    assert!((share - 0.5 / 1.5).abs() < 0.02, "half of the window is over: {share}");
    bench.now = came + WINDOW;
    assert!((bench.shares(&Request::default())[1] - 0.5).abs() < 0.02);
}

#[test]
fn the_first_member_of_an_empty_pool_does_not_start_slowly_and_later_ones_each_by_themselves() {
    let mut spec = spec(PolicyKind::Random, 1);
    spec.members[0].max_in_flight = Some(10);
    let mut bench = Bench::new(spec.clone());
    bench.pool = Arc::new(bench.pool.without_member("a", bench.now).unwrap());
    bench.pool = Arc::new(bench.pool.with_member(&spec.members[0], bench.now).unwrap());
    let held: Vec<Lease> = (0..20).map_while(|_| bench.acquire().ok()).collect();
    assert_eq!(held.len(), 10, "there is nobody else");
    drop(held);
    for id in ["b", "c"] {
        bench.pool = Arc::new(bench.pool.with_member(&MemberSpec::new(id), bench.now).unwrap());
        bench.now += 5 * SECOND;
    }
    bench.pool = Arc::new(bench.pool.without_member("a", bench.now).unwrap());
    let shares = bench.shares(&Request::default());
    assert!((shares[0] - 1.0 / 1.5).abs() < 0.02, "b is through, c half-way: {shares:?}");
}

#[test]
fn a_pool_that_does_not_heed_an_axis_does_not_start_slowly_for_it() {
    let mut spec = spec(PolicyKind::Random, 2);
    (spec.failover.health, spec.failover.eject) = (false, false);
    let mut bench = Bench::new(spec);
    bench.registry.set_health("b", Health::Unhealthy, "test", bench.now);
    bench.registry.set_health("b", Health::Healthy, "test", bench.now);
    assert!((bench.shares(&Request::default())[1] - 0.5).abs() < 0.02);
}

#[test]
fn what_came_back_long_ago_has_its_share_under_every_policy() {
    for policy in [PolicyKind::RoundRobin, PolicyKind::Random, PolicyKind::LeastConnections] {
        for (way, come) in WAYS {
            let spec = spec(policy, 4);
            let mut bench = Bench::new(spec.clone());
            come(&mut bench, &spec);
            bench.now += WINDOW;
            let share = bench.shares(&Request::default())[bench.b()];
            assert!((share - 0.25).abs() < 0.03, "{policy} after {way}: {share}");
        }
    }
}

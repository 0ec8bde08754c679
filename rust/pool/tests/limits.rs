//! Limits on messages a second, in pools.

use super::*;
use crate::balance::PolicyKind;

/// Members with this limit each.
fn limited(members: usize, rate: f64, burst: u32) -> PoolSpec {
    let mut spec = spec(PolicyKind::RoundRobin, members);
    for member in &mut spec.members {
        member.rate_limit = Some(RateLimit::new(rate, Some(burst)).unwrap());
    }
    spec
}

/// Ids of those that messages are held for until one is refused.
fn held(bench: &mut Bench) -> (String, NoDestination) {
    let mut ids = String::new();
    loop {
        match bench.acquire() {
            Ok(lease) => {
                ids.push_str(lease.destination().id());
                lease.finish(Outcome::Success, bench.now);
            }
            Err(refused) => return (ids, refused),
        }
    }
}

#[test]
fn a_destination_at_its_limit_is_passed_over_for_another() {
    let mut spec = limited(2, 10.0, 1);
    spec.members[1].rate_limit = Some(RateLimit::new(10.0, Some(4)).unwrap());
    let mut bench = Bench::new(spec);
    let (ids, refused) = held(&mut bench);
    assert_eq!(ids, "abbbb");
    assert_eq!(refused.reason, "2 destinations: 2 at the rate limit");
    assert_eq!(refused.retry_in, Some(std::time::Duration::from_millis(100)));
    assert!(refused.full && refused.overloaded && !refused.moved);
    bench.now += 100 * MS;
    let mut ids: Vec<char> = held(&mut bench).0.chars().collect();
    ids.sort_unstable();
    assert_eq!(ids, ['a', 'b']);
}

#[test]
fn every_policy_heeds_limits_under_all_ways_to_pick() {
    for policy in PolicyKind::ALL {
        let mut spec = limited(3, 100.0, 2);
        spec.policy = policy.into();
        let mut bench = Bench::new(spec);
        assert_eq!(held(&mut bench).0.len(), 6, "{policy}");
        assert!(bench.select(&Request::default()).is_err(), "{policy}: deciding heeds the limit too");
        bench.now += 10 * MS;
        for _ in 0..10 {
            bench.select(&Request::default()).unwrap(); // and uses nothing up
        }
        assert_eq!(held(&mut bench).0.len(), 3, "{policy}");
    }
}

#[test]
fn a_message_that_names_its_destination_heeds_the_limit() {
    let mut bench = Bench::new(limited(2, 10.0, 1));
    let request = Request { pinned: Some("a"), ..Request::default() };
    let lease = bench.pool.acquire(&request, bench.now, &mut bench.rng).unwrap();
    let refused = bench.pool.acquire(&request, bench.now, &mut bench.rng).unwrap_err();
    assert!(refused.overloaded, "{refused}");
    assert!(bench.select(&request).is_err());
    drop(lease);
    assert_eq!(bench.pool.members()[0].destination().in_flight(), 0, "a refusal holds nothing");
}

#[test]
fn a_refusal_by_the_limit_leaves_no_count_behind() {
    let mut spec = limited(1, 10.0, 1);
    spec.policy = PolicyKind::Maglev.into();
    spec.bounded_load = Some(1.25);
    let mut bench = Bench::new(spec);
    let lease = bench.acquire().unwrap();
    assert!(bench.acquire().is_err());
    assert_eq!(bench.pool.members()[0].destination().in_flight(), 1);
    assert_eq!(bench.pool.bound().unwrap().held(0), 1);
    drop(lease);
    assert_eq!(bench.pool.members()[0].destination().in_flight(), 0);
    assert_eq!(bench.pool.bound().unwrap().held(0), 0);
}

#[test]
fn what_was_used_up_is_so_after_a_reload_and_a_new_limit_holds() {
    let mut bench = Bench::new(limited(1, 0.1, 1));
    assert_eq!(held(&mut bench).0, "a");
    bench.reload(limited(1, 0.1, 1));
    assert_eq!(held(&mut bench).0, "");
    bench.reload(limited(1, 10.0, 1));
    assert_eq!(held(&mut bench).1.retry_in, Some(std::time::Duration::from_millis(100)));
    bench.now += 100 * MS;
    assert_eq!(held(&mut bench).0, "a");
    bench.reload(spec(PolicyKind::RoundRobin, 1));
    assert_eq!(bench.ids(3), "aaa");
}

#[test]
fn a_trial_on_probation_heeds_the_limit() {
    let mut spec = limited(1, 1.0, 5);
    spec.failover.allow_last = true;
    spec.failover.on_exhausted = OnExhausted::Wait;
    let mut bench = Bench::new(spec);
    for _ in 0..5 {
        let lease = bench.acquire().unwrap();
        lease.fail("down", bench.now);
    }
    bench.now += 400 * SECOND;
    let lease = bench.acquire().unwrap();
    assert!(lease.pick().probe);
    lease.finish(Outcome::Failure, bench.now);
    bench.now += 400 * SECOND;
    let mut spec = limited(1, 0.0001, 1);
    spec.failover = bench.pool.failover().clone();
    bench.reload(spec);
    let lease = bench.acquire().unwrap();
    assert!(lease.pick().probe);
    drop(lease);
    let refused = bench.acquire().unwrap_err();
    assert!(refused.reason.contains("at the rate limit"), "{refused}");
    assert_eq!(bench.pool.members()[0].destination().breaker().permit_taken_until(bench.now), None);
}

#[test]
fn members_that_come_and_go_have_their_own_limits() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 1);
    let mut new = MemberSpec::new("b");
    new.rate_limit = Some(RateLimit::new(0.001, Some(2)).unwrap());
    let change = |bench: &mut Bench, pool: Pool| {
        bench.pool = Arc::new(pool);
        bench.registry.publish([&bench.pool]);
    };
    let more = bench.pool.with_member(&new, bench.now).unwrap();
    change(&mut bench, more);
    let more = bench.pool.with_member(&MemberSpec::new("c"), bench.now).unwrap();
    change(&mut bench, more);
    let fewer = bench.pool.without_member("a", bench.now).unwrap();
    change(&mut bench, fewer);
    let taken: Vec<String> = (0..10).map(|_| bench.acquire().unwrap().destination().id().to_string()).collect();
    assert_eq!(taken.iter().filter(|id| *id == "b").count(), 2, "{taken:?}");
    let fewer = bench.pool.without_member("c", bench.now).unwrap();
    change(&mut bench, fewer);
    assert!(bench.acquire().unwrap_err().overloaded);
}

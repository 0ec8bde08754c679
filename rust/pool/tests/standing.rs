//! Who serves a pool, and since when exactly.

use super::*;
use crate::pool::standing::Standing::{self, Exhausted, FailedOver, Panic, Primary};

/// `a` and `b` in the first tier, `c` in the second.
fn tiers(change: impl FnOnce(&mut PoolSpec)) -> Bench {
    let mut spec = spec(PolicyKind::RoundRobin, 3);
    spec.members[2].tier = 1;
    change(&mut spec);
    Bench::new(spec)
}

fn standing(bench: &Bench) -> (Standing, Option<Nanos>) {
    let view = bench.pool.describe(bench.now);
    (view.standing, view.standing_since)
}

#[test]
fn it_changes_when_the_last_of_the_first_tier_goes_and_the_first_comes_back() {
    let mut bench = tiers(|_| ());
    assert_eq!(standing(&bench), (Primary, None));
    let set = |bench: &mut Bench, id: &str, health: Health| {
        bench.now += SECOND;
        bench.registry.set_health(id, health, "test", bench.now);
        bench.now
    };
    set(&mut bench, "a", Health::Unhealthy);
    assert_eq!(standing(&bench), (Primary, None), "b is left");
    let gone = set(&mut bench, "b", Health::Unhealthy);
    bench.now += 50 * SECOND;
    assert_eq!(standing(&bench), (FailedOver, Some(gone)), "that of the change, though nobody looked then");
    set(&mut bench, "b", Health::Degraded);
    let back = bench.now;
    set(&mut bench, "a", Health::Healthy);
    set(&mut bench, "c", Health::Unhealthy);
    assert_eq!(standing(&bench), (Primary, Some(back)));
}

#[test]
fn an_operator_a_breaker_and_too_few_to_serve_move_it_too() {
    let mut bench = tiers(|spec| spec.failover.max_ejected_percent = 100);
    let begun = bench.now + SECOND;
    bench.registry.fail_over("a", Some("c".into()), begun + 5 * SECOND, begun);
    bench.now = begun + 2 * SECOND;
    assert_eq!(standing(&bench), (FailedOver, Some(begun)), "c stands in for one of two");
    bench.now = begun + 30 * SECOND;
    assert_eq!(standing(&bench), (Primary, Some(begun + 5 * SECOND)), "the end of the hold, which nobody saw");
    bench.fail("a", 5);
    bench.now += SECOND;
    bench.fail("b", 5);
    let ejected = bench.now;
    bench.now += 2 * SECOND;
    assert_eq!(standing(&bench), (FailedOver, Some(ejected)));
    bench.registry.set_health("c", Health::Unhealthy, "test", bench.now);
    assert_eq!(standing(&bench), (Panic, Some(bench.now)));
    for id in ["a", "b", "c"] {
        bench.now += SECOND;
        bench.registry.set_admin(id, Admin::Disabled, "test", bench.now);
    }
    assert_eq!(standing(&bench), (Exhausted, Some(bench.now)));
}

#[test]
fn thousands_of_other_events_and_a_reload_leave_it_as_it_is() {
    let mut bench = tiers(|_| ());
    bench.registry.fail_over("a", None, Nanos::MAX, bench.now);
    bench.registry.fail_over("b", None, Nanos::MAX, bench.now);
    let begun = bench.now;
    for turn in 0..3_000 {
        bench.now += MS;
        let health = if turn % 2 == 0 { Health::Degraded } else { Health::Healthy };
        bench.registry.set_health("c", health, "test", bench.now);
    }
    assert_eq!(standing(&bench), (FailedOver, Some(begun)));
    let mut next = spec(PolicyKind::Random, 4);
    next.members[2].tier = 1;
    next.members[3].tier = 2;
    bench.reload(next);
    assert_eq!(standing(&bench), (FailedOver, Some(begun)));
    bench.now += SECOND;
    bench.reload(spec(PolicyKind::Random, 3));
    assert_eq!(standing(&bench), (Primary, Some(bench.now)), "c is of the first tier now");
}

#[test]
fn a_configuration_that_does_not_go_live_moves_nothing() {
    let bench = tiers(|_| ());
    bench.registry.set_admin("a", Admin::Disabled, "test", bench.now);
    let mut candidate = spec(PolicyKind::RoundRobin, 2);
    candidate.members[1].tier = 1;
    let candidate = Arc::new(Pool::build(candidate, &bench.registry, 2, bench.now).unwrap());
    assert_eq!(candidate.describe(bench.now).standing, FailedOver, "it would be");
    assert_eq!(standing(&bench), (Primary, None));
}

//! Picks by a view that the caller keeps.

use super::*;
use crate::pool::spec::MemberSpec;

impl Bench {
    /// Ids picked by a view, while it is in date.
    fn by(&mut self, seen: &Seen) -> Option<String> {
        let pool = Arc::clone(&self.pool);
        let id = |pick: Pick| pool.members()[pick.member].id().to_string();
        (0..2).map(|_| pool.select_by(seen, &Request::default(), self.now, &mut self.rng).map(id)).collect()
    }
}

#[test]
fn a_kept_view_picks_as_the_pool_itself() {
    for kind in PolicyKind::ALL {
        let (mut kept, mut own) = (Bench::of(kind, 5), Bench::of(kind, 5));
        let seen = kept.pool.seen().unwrap();
        for _ in 0..20 {
            let by_view = kept.pool.select_by(&seen, &Request::default(), kept.now, &mut kept.rng).unwrap();
            assert_eq!(by_view, own.select(&Request::default()).unwrap(), "{kind:?}");
        }
    }
}

#[test]
fn it_is_of_no_use_after_any_change_of_what_it_shows() {
    type Change = fn(&mut Bench);
    let changes: [(&str, Change); 5] = [
        ("health", |bench| assert!(bench.registry.set_health("a", Health::Unhealthy, "test", bench.now).is_some())),
        ("an operator", |bench| assert!(bench.registry.set_admin("a", Admin::Draining, "test", bench.now).is_some())),
        ("weights", |bench| bench.pool.set_weights([("a", 0.0)], bench.now).unwrap()),
        ("an ejection", |bench| bench.fail("a", 5)),
        ("another view", |bench| bench.pool.rebuild(bench.now)),
    ];
    for (what, change) in changes {
        let mut bench = Bench::of(PolicyKind::WeightedRoundRobin, 2);
        let seen = bench.pool.seen().unwrap();
        assert_eq!(bench.by(&seen).as_deref(), Some("ab"), "{what}");
        change(&mut bench);
        assert_eq!(bench.by(&seen), None, "{what}");
        bench.select(&Request::default()).unwrap();
        let next = bench.pool.seen().unwrap();
        assert!(bench.pool.is_last(&next) && !bench.pool.is_last(&seen), "{what}");
        assert!(bench.by(&next).is_some(), "{what}");
    }
}

#[test]
fn it_ends_when_a_deadline_in_it_comes() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 2);
    bench.fail("a", 5);
    bench.select(&Request::default()).unwrap();
    let seen = bench.pool.seen().unwrap();
    assert_eq!(bench.by(&seen).as_deref(), Some("bb"));
    bench.now += 3600 * SECOND;
    assert_eq!(bench.by(&seen), None);
}

#[test]
fn a_lease_by_a_kept_view_holds_as_any_other() {
    let mut one = spec(PolicyKind::RoundRobin, 1);
    one.members = vec![MemberSpec { max_in_flight: Some(1), ..MemberSpec::new("a") }];
    let mut bench = Bench::new(one);
    let seen = bench.pool.seen().unwrap();
    let take =
        |bench: &Bench, rng: &mut fastrand::Rng| bench.pool.acquire_by(&seen, &Request::default(), bench.now, rng);
    let mut rng = bench.rng.clone();
    let lease = take(&bench, &mut rng).unwrap();
    assert!(take(&bench, &mut rng).is_none(), "its cap is reached");
    assert!(bench.acquire().is_err());
    assert!(lease.finish(Outcome::Success, bench.now));
    assert!(take(&bench, &mut rng).is_some());
}

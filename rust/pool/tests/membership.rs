//! Members that come and go while the pool is in use.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::*;
use crate::balance::hash::xxh64;
use crate::pool::events::EventKind;

/// The slow start of a member that came.
const SLOW_START: Nanos = 10 * SECOND;

/// All that a pool may be told to go by.
fn choices() -> impl Iterator<Item = Choice> {
    let auto = [false, true].map(|keyed| Choice::Auto { keyed });
    PolicyKind::ALL.map(Choice::Fixed).into_iter().chain(auto)
}

impl Bench {
    fn add(&mut self, id: &str) {
        self.pool = Arc::new(self.pool.with_member(&MemberSpec::new(id), self.now).unwrap());
    }

    fn remove(&mut self, id: &str) {
        self.pool = Arc::new(self.pool.without_member(id, self.now).unwrap());
        self.registry.forget(id, |id| self.pool.index_of(id).is_some());
    }

    /// Ids picked for many keys, in order and each once.
    fn reached(&mut self) -> Vec<String> {
        let pool = Arc::clone(&self.pool);
        let pick = |key: u64| {
            let request = Request { key: Some(xxh64(&key.to_le_bytes())), ..Request::default() };
            pool.members()[self.select(&request).unwrap().member].id().to_string()
        };
        let mut ids: Vec<String> = (0..400).map(pick).collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

#[test]
fn under_every_policy_those_are_picked_that_are_members_and_no_others() {
    for choice in choices() {
        let mut bench = Bench::of(choice, 4);
        bench.add("x");
        bench.now += SLOW_START;
        assert_eq!(bench.reached(), ["a", "b", "c", "d", "x"], "{choice}");
        bench.remove("b");
        bench.remove("x");
        assert_eq!(bench.reached(), ["a", "c", "d"], "{choice}");
        for (index, id) in ["a", "c", "d"].into_iter().enumerate() {
            assert_eq!(bench.pool.index_of(id), Some(index));
        }
        assert_eq!((bench.pool.index_of("b"), bench.pool.members().len()), (None, 3));
        assert!(bench.pool.without_member("b", bench.now).is_none());
    }
}

#[test]
fn keys_go_where_a_pool_of_these_members_sends_them() {
    for policy in [PolicyKind::Maglev, PolicyKind::Rendezvous] {
        let mut changed = Bench::of(policy, 6);
        changed.add("x");
        changed.remove("c");
        changed.now += SLOW_START;
        let mut made = spec(policy, 6);
        made.members.retain(|member| *member.id != *"c");
        made.members.push(MemberSpec::new("x"));
        let mut made = Bench::new(made);
        for key in 0..500u64 {
            let request = Request { key: Some(xxh64(&key.to_le_bytes())), ..Request::default() };
            assert_eq!(changed.select(&request).unwrap().member, made.select(&request).unwrap().member, "{policy}");
        }
    }
}

#[test]
fn a_rotation_goes_on_and_weights_stay_as_they_were_set() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    assert_eq!(bench.ids(4), "abca");
    bench.add("d");
    bench.now += SLOW_START;
    assert_eq!(bench.ids(5), "abcda", "the fifth turn of four");
    let mut bench = Bench::of(PolicyKind::WeightedRandom, 3);
    bench.pool.set_weights([("a", 2.5), ("b", 0.0)], SECOND).unwrap();
    bench.remove("c");
    bench.add("d");
    bench.now += SLOW_START;
    let shares = bench.shares(&Request::default());
    assert!((shares[0] - 2.5 / 3.5).abs() < 0.02 && shares[1] == 0.0, "{shares:?}");
}

#[test]
fn what_cannot_be_added_is_refused_and_changes_nothing() {
    let bench = Bench::of(PolicyKind::RoundRobin, 2);
    let no_room = MemberSpec { max_in_flight: Some(0), ..MemberSpec::new("c") };
    for (member, problem) in [(MemberSpec::new("a"), "already"), (MemberSpec::new(""), "empty"), (no_room, "drain it")]
    {
        let error = bench.pool.with_member(&member, SECOND).unwrap_err();
        assert!(error.problem.contains(problem), "{error}");
    }
    assert!(bench.registry.get("c").is_none());
}

#[test]
fn a_pool_may_lose_its_last_member_and_serve_again() {
    for choice in choices() {
        let mut bench = Bench::of(choice, 1);
        bench.remove("a");
        let refused = bench.select(&Request::default()).unwrap_err();
        assert_eq!((refused.reason.as_str(), refused.retry_in), ("it has no destinations", None), "{choice}");
        assert!(bench.acquire().is_err());
        bench.add("b");
        assert_eq!(bench.reached(), ["b"], "{choice}");
    }
}

#[test]
fn leases_of_a_member_that_is_gone_count_and_eject_nobody() {
    let mut bench = Bench::of(PolicyKind::LeastConnections, 3);
    let held: Vec<Lease> = (0..10).map(|_| bench.lease_of("b").unwrap()).collect();
    bench.remove("b");
    let gone = Arc::clone(held[0].destination());
    assert_eq!(gone.in_flight(), 10);
    for lease in &held {
        assert!(lease.finish(Outcome::Failure, SECOND));
    }
    assert_eq!((gone.in_flight(), gone.counts().failures.get(), gone.breaker().outages().ejections), (0, 10, 0));
    assert!(bench.registry.events_since(0).events.is_empty());
    assert!(bench.registry.get("b").is_some(), "it was still held when it went");
    bench.remove("c");
    assert!(bench.registry.get("b").is_none() && bench.registry.get("c").is_none());
}

#[test]
fn one_that_comes_back_finds_what_it_holds_counted_and_is_not_judged_by_it() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 1);
    let old: Vec<Lease> = (0..5).map(|_| bench.acquire().unwrap()).collect();
    bench.remove("a");
    bench.add("b");
    let back = MemberSpec { max_in_flight: Some(6), ..MemberSpec::new("a") };
    bench.pool = Arc::new(bench.pool.with_member(&back, bench.now).unwrap());
    let new = bench.lease_of("a").unwrap();
    assert!(bench.lease_of("a").is_err(), "five of before and one of now");
    old.iter().for_each(|lease| assert!(lease.finish(Outcome::Failure, SECOND)));
    assert!(!bench.destination("a").breaker().is_ejected());
    assert!(new.finish(Outcome::Failure, SECOND));
    for _ in 0..4 {
        bench.lease_of("a").unwrap().finish(Outcome::Failure, SECOND);
    }
    assert!(bench.destination("a").breaker().is_ejected(), "five of its own");
}

#[test]
fn leases_of_before_still_judge_those_that_stay_and_never_the_last() {
    let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
    let held: Vec<Lease> = (0..10).map(|_| bench.lease_of("a").unwrap()).collect();
    bench.remove("b");
    held[..5].iter().for_each(|lease| assert!(lease.finish(Outcome::Failure, SECOND)));
    assert!(bench.destination("a").breaker().is_ejected());
    bench.registry.recover("a", SECOND);
    bench.remove("c");
    held[5..].iter().for_each(|lease| assert!(lease.finish(Outcome::Failure, SECOND)));
    assert!(!bench.destination("a").breaker().is_ejected(), "the pool it was taken from had three, now it is the last");
}

#[test]
fn a_bound_of_load_goes_on_counting_what_is_held() {
    let mut spec = spec(PolicyKind::Maglev, 4);
    spec.bounded_load = Some(1.0);
    let mut bench = Bench::new(spec);
    let request = Request { key: Some(7), ..Request::default() };
    let mut held: Vec<Lease> =
        (0..40).map(|_| bench.pool.acquire(&request, SECOND, &mut fastrand::Rng::with_seed(1)).unwrap()).collect();
    bench.add("x");
    assert_eq!((0..5).map(|member| bench.pool.bound().unwrap().held(member)).collect::<Vec<_>>(), [10, 10, 10, 10, 0]);
    for _ in 0..10 {
        held.push(bench.pool.acquire(&request, SECOND, &mut bench.rng).unwrap());
    }
    assert_eq!(bench.pool.bound().unwrap().held(4), 10, "the others hold their share");
    drop(held);
    assert!((0..5).all(|member| bench.pool.bound().unwrap().held(member) == 0));
}

#[test]
fn what_was_observed_for_weights_and_policy_is_kept() {
    let mut adjusted = spec(PolicyKind::WeightedRandom, 3);
    adjusted.dynamic_adjustment = true;
    let mut bench = Bench::new(adjusted);
    for _ in 0..300 {
        for (id, latency) in [("a", 10), ("b", 40), ("c", 10)] {
            bench.lease_of(id).unwrap().finish(Outcome::Success, bench.now + latency * MS);
        }
        bench.now += 10 * MS;
    }
    bench.select(&Request::default()).unwrap();
    let factor = |bench: &Bench, index: usize| bench.pool.members()[index].factor();
    let before = factor(&bench, 1);
    assert!(before < 0.6, "{before}");
    bench.add("d");
    bench.remove("a");
    assert_eq!((factor(&bench, 0), factor(&bench, 2)), (before, 1.0));

    // A window of `auto` is judged though members come and go within it, and by leases of before.
    let mut bench = Bench::of(Choice::Auto { keyed: false }, 3);
    for round in 0..40 {
        for _ in 0..100 {
            let lease = bench.acquire().unwrap();
            if round % 3 == 0 {
                bench.add("x");
                bench.remove("x");
            }
            let outcome = if round < 20 { Outcome::Success } else { Outcome::Failure };
            lease.finish(outcome, bench.now + 10 * MS);
            bench.now += 20 * MS;
        }
    }
    let policy = |event: &Event| matches!(event.kind, EventKind::Policy(_));
    assert!(bench.registry.events_since(0).events.iter().any(policy), "failures from the 20th round on");
}

#[test]
fn a_pick_that_begins_after_a_removal_never_gives_who_is_gone() {
    for choice in choices() {
        let bench = Bench::of(choice, 8);
        let live = ArcSwap::new(Arc::clone(&bench.pool));
        // The one that is gone for good once it stands here.
        let (gone, done) = (AtomicUsize::new(usize::MAX), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let (live, gone, done) = (&live, &gone, &done);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    while !done.load(Ordering::Relaxed) {
                        let out = gone.load(Ordering::Acquire);
                        let pool = live.load_full();
                        let request = Request { key: Some(rng.u64(..)), ..Request::default() };
                        let lease = pool.acquire(&request, SECOND, &mut rng).unwrap();
                        assert_ne!(**lease.destination().id(), *format!("n{out}"), "{choice}");
                        lease.finish(Outcome::Success, SECOND);
                    }
                });
            }
            let rounds = if choice.as_str() == "maglev" { 20 } else { 200 };
            for round in 0..rounds {
                let name = format!("n{round}");
                live.store(Arc::new(live.load().with_member(&MemberSpec::new(name.as_str()), SECOND).unwrap()));
                std::thread::yield_now();
                live.store(Arc::new(live.load().without_member(&name, SECOND).unwrap()));
                gone.store(round, Ordering::Release);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(live.load().members().iter().all(|member| member.destination().in_flight() == 0));
    }
}

//! Many threads at once. What must hold: nothing stays held, one trial at a time, caps, the last one stays.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const THREADS: usize = 8;

/// Runs `work(thread)` in all threads, started together.
fn together(work: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn a_thousand_callers_make_exactly_one_trial() {
    for round in 0..50 {
        let mut bench = Bench::of(PolicyKind::LeastConnections, 3);
        bench.fail("b", 5);
        // The view is still the one from before the ejection: all threads find it out of date at once.
        let (pool, now) = (&bench.pool, bench.now + 40 * SECOND);
        let held = Mutex::new(Vec::new());
        together(|thread| {
            let mut rng = fastrand::Rng::with_seed(round * 100 + thread as u64);
            for _ in 0..125 {
                let lease = pool.acquire(&Request::default(), now, &mut rng).unwrap();
                held.lock().push(lease);
            }
        });
        let held = held.into_inner();
        assert_eq!(held.len(), 1_000);
        assert_eq!(held.iter().filter(|lease| lease.pick().probe).count(), 1);
        assert_eq!(held.iter().filter(|lease| lease.pick().member == 1).count(), 1);
    }
}

#[test]
fn threads_that_meet_an_old_view_neither_pick_the_ejected_nor_miss_panic() {
    for round in 0..50 {
        let mut bench = Bench::of(PolicyKind::RoundRobin, 3);
        bench.fail("b", 5);
        let pool = &bench.pool;
        together(|thread| {
            let mut rng = fastrand::Rng::with_seed(round * 100 + thread as u64);
            assert_ne!(pool.select(&Request::default(), bench.now, &mut rng).unwrap().member, 1);
        });
        for id in ["a", "c"] {
            bench.registry.set_health(id, Health::Unhealthy, "test", bench.now);
        }
        together(|thread| {
            let mut rng = fastrand::Rng::with_seed(round * 100 + thread as u64);
            assert!(pool.select(&Request::default(), bench.now, &mut rng).unwrap().panic);
        });
    }
}

#[test]
fn nothing_stays_held_whatever_the_outcomes_and_changes() {
    for policy in PolicyKind::ALL {
        let mut spec = spec(policy, 6);
        spec.failover.ejection_time = MS;
        spec.failover.max_ejection_time = 5 * MS;
        spec.members[0].max_in_flight = Some(2);
        spec.members[5].tier = 1;
        let bench = Bench::new(spec);
        let (pool, registry) = (&bench.pool, &bench.registry);
        together(|thread| {
            let mut rng = fastrand::Rng::with_seed(thread as u64);
            let mut now = bench.now;
            for step in 0..2_000 {
                now += 10_000;
                if thread == 0 && step % 50 == 0 {
                    let health = [Health::Healthy, Health::Degraded, Health::Unhealthy][rng.usize(..3)];
                    registry.set_health(["a", "c", "e"][rng.usize(..3)], health, "test", now);
                }
                let Ok(lease) = pool.acquire(&Request::default(), now, &mut rng) else { continue };
                match rng.u8(..8) {
                    0 | 1 => drop(lease.finish(Outcome::Failure, now)),
                    2 => drop(lease.finish(Outcome::Overloaded { retry_after: Some(MS) }, now)),
                    3 => drop(lease),
                    _ => drop(lease.finish(Outcome::Success, now)),
                }
            }
        });
        for destination in registry.all() {
            let view = destination.view(bench.now);
            let ended = view.successes + view.failures + view.overloaded + view.cancelled;
            assert_eq!((view.in_flight, ended), (0, view.attempts), "{policy} {}", view.id);
            assert!(destination.breaker().permit_taken_until(bench.now).is_none(), "{policy} {}", view.id);
        }
    }
}

#[test]
fn a_hundred_thousand_cancelled_leases_leave_nothing_behind() {
    let bench = Bench::of(PolicyKind::WeightedLeastConnections, 4);
    together(|thread| {
        let mut rng = fastrand::Rng::with_seed(thread as u64);
        for _ in 0..100_000 / THREADS {
            drop(bench.pool.acquire(&Request::default(), bench.now, &mut rng).unwrap());
        }
    });
    let views: Vec<_> = bench.registry.all().iter().map(|destination| destination.view(bench.now)).collect();
    assert!(views.iter().all(|view| view.in_flight == 0));
    assert_eq!(views.iter().map(|view| view.cancelled).sum::<u64>(), 100_000);
}

#[test]
fn the_caps_hold_when_all_threads_want_in() {
    let mut spec = spec(PolicyKind::Random, 3);
    spec.members.iter_mut().for_each(|member| member.max_in_flight = Some(5));
    let bench = Bench::new(spec);
    let held = Mutex::new(Vec::new());
    together(|thread| {
        let mut rng = fastrand::Rng::with_seed(thread as u64);
        for _ in 0..20 {
            if let Ok(lease) = bench.pool.acquire(&Request::default(), bench.now, &mut rng) {
                held.lock().push(lease);
            }
        }
    });
    assert_eq!(held.lock().len(), 15, "every place is taken, none twice");
    assert!(bench.registry.all().iter().all(|destination| destination.in_flight() == 5));
}

#[test]
fn one_destination_is_left_when_all_fail_at_once() {
    for round in 0..20 {
        let mut spec = spec(PolicyKind::RoundRobin, 4);
        spec.failover.max_ejected_percent = 100;
        let bench = Bench::new(spec);
        together(|thread| {
            let mut rng = fastrand::Rng::with_seed(round * 100 + thread as u64);
            for _ in 0..40 {
                let lease = bench.pool.acquire(&Request::default(), bench.now, &mut rng).unwrap();
                lease.finish(Outcome::Failure, bench.now);
            }
        });
        let closed = bench.registry.all().iter().filter(|d| d.view(bench.now).breaker == "closed").count();
        assert_eq!(closed, 1);
    }
}

#[test]
fn reloads_do_not_disturb_those_who_pick() {
    let bench = Bench::of(PolicyKind::RoundRobin, 4);
    let live = arc_swap::ArcSwap::from(Arc::clone(&bench.pool));
    together(|thread| {
        let mut rng = fastrand::Rng::with_seed(thread as u64);
        for generation in 2..200 {
            if thread == 0 {
                let spec = spec(PolicyKind::RoundRobin, 2 + generation % 3);
                let pool = Arc::new(Pool::build(spec, &bench.registry, generation as u64, bench.now).unwrap());
                live.store(Arc::clone(&pool));
                bench.registry.publish([&pool]);
                bench.registry.retain(pool.members().iter().map(|member| &**member.id()));
            } else {
                let lease = live.load_full().acquire(&Request::default(), bench.now, &mut rng).unwrap();
                lease.finish(Outcome::Success, bench.now);
            }
        }
    });
    assert!(bench.registry.all().iter().all(|destination| destination.in_flight() == 0));
}

#[test]
fn counters_and_what_is_held_survive_reloads_under_load() {
    for policy in [PolicyKind::RoundRobin, PolicyKind::LeastConnections, PolicyKind::Maglev] {
        let mut capped = spec(policy, 6);
        capped.members.iter_mut().for_each(|member| member.max_in_flight = Some(40));
        capped.failover.eject = false;
        let bench = Bench::new(capped.clone());
        let live = arc_swap::ArcSwap::from(Arc::clone(&bench.pool));
        let ended = [const { AtomicU64::new(0) }; 4];
        together(|thread| {
            let mut rng = fastrand::Rng::with_seed(thread as u64);
            if thread == 0 {
                // With other weights, without one of those that others hold, with it again.
                for generation in 2..120 {
                    let mut next = capped.clone();
                    next.members[generation % 6].weight = 1 + generation as u32 % 3;
                    if generation % 2 == 0 {
                        next.members.remove(generation % 5);
                    }
                    let pool = Arc::new(Pool::build(next, &bench.registry, generation as u64, bench.now).unwrap());
                    live.store(Arc::clone(&pool));
                    bench.registry.publish([&pool]);
                    std::thread::yield_now();
                }
                return;
            }
            let mut held: Vec<Lease> = Vec::new();
            for step in 0..6_000 {
                if let Ok(lease) = live.load_full().acquire(&Request::default(), bench.now, &mut rng) {
                    assert!(lease.destination().in_flight() <= 40, "the cap holds for all generations together");
                    held.push(lease);
                }
                if held.len() > 20 || step % 3 == 0 && !held.is_empty() {
                    let lease = held.swap_remove(rng.usize(..held.len()));
                    let (index, outcome) = match rng.u8(..4) {
                        0 => (0, Outcome::Failure),
                        1 => (1, Outcome::Cancelled),
                        2 => (2, Outcome::Overloaded { retry_after: Some(0) }),
                        _ => (3, Outcome::Success),
                    };
                    assert!(lease.finish(outcome, bench.now));
                    ended[index].fetch_add(1, Ordering::Relaxed);
                }
            }
            ended[1].fetch_add(held.len() as u64, Ordering::Relaxed); // dropped
        });
        let views: Vec<_> = bench.registry.all().iter().map(|destination| destination.view(bench.now)).collect();
        let sum = |what: fn(&view::DestinationView) -> u64| views.iter().map(what).sum::<u64>();
        let counted = [sum(|v| v.failures), sum(|v| v.cancelled), sum(|v| v.overloaded), sum(|v| v.successes)];
        assert_eq!(counted, ended.map(AtomicU64::into_inner), "{policy}");
        assert_eq!(counted.iter().sum::<u64>(), sum(|v| v.attempts), "{policy}");
        assert!(views.iter().all(|view| view.in_flight == 0), "{policy}");
    }
}

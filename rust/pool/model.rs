//! Every interleaving of a few threads on one destination, with every value that the orderings allow: `make model`.
//!
//! Checked by loom (Norris and Demsky, "CDSChecker", 2013): a property that holds here holds on any machine.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::pool::breaker::Phase;

const SECOND: Nanos = 1_000_000_000;
/// After every deadline of [`ejected`].
const LATER: Nanos = 60 * SECOND;

fn ejected(spec: &FailoverSpec) -> Arc<Destination> {
    let destination = Destination::new("a".into(), hot::Slot::new());
    assert!(destination.breaker().eject(SECOND, SECOND, spec, 7).is_some());
    Arc::new(destination)
}

#[test]
fn one_of_two_callers_gets_the_permit() {
    loom::model(|| {
        let spec = FailoverSpec::default();
        let shared = ejected(&spec);
        let other = Arc::clone(&shared);
        let theirs = thread::spawn(move || other.breaker().take_permit(LATER, SECOND).is_some());
        let mine = shared.breaker().take_permit(LATER, SECOND).is_some();
        assert!(mine ^ theirs.join().unwrap());
    });
}

#[test]
fn after_a_failed_trial_nobody_makes_another() {
    loom::model(|| {
        let spec = FailoverSpec::default();
        let shared = ejected(&spec);
        let permit = shared.breaker().take_permit(LATER, SECOND).unwrap();
        let other = Arc::clone(&shared);
        let theirs = thread::spawn(move || other.breaker().take_permit(LATER, SECOND));
        assert!(shared.breaker().probe_failed(permit, LATER, &spec, 7).is_some());
        assert_eq!(theirs.join().unwrap(), None, "the permit came free after the new deadline was set");
        assert!(matches!(shared.breaker().phase(LATER), Phase::Out(_)));
    });
}

#[test]
fn a_permit_given_back_is_there_for_the_next() {
    loom::model(|| {
        let spec = FailoverSpec::default();
        let shared = ejected(&spec);
        let other = Arc::clone(&shared);
        let theirs = thread::spawn(move || {
            let permit = other.breaker().take_permit(LATER, SECOND);
            permit.is_none_or(|permit| other.breaker().return_permit(permit))
        });
        if let Some(permit) = shared.breaker().take_permit(LATER, SECOND) {
            assert!(shared.breaker().return_permit(permit));
        }
        assert!(theirs.join().unwrap());
        assert!(shared.breaker().take_permit(LATER, SECOND).is_some());
    });
}

#[test]
fn of_an_ejection_and_a_pause_the_later_deadline_stays() {
    for pause in [5, 500] {
        loom::model(move || {
            let spec = FailoverSpec::default();
            let shared = Arc::new(Destination::new("a".into(), hot::Slot::new()));
            let other = Arc::clone(&shared);
            let thread = {
                let spec = spec.clone();
                thread::spawn(move || other.breaker().pause(0, SECOND, Some(pause * SECOND), &spec))
            };
            let ejection = shared.breaker().eject(SECOND, SECOND, &spec, 7).map_or(0, |ejection| ejection.until);
            let paused = thread.join().unwrap().unwrap_or(0);
            assert_eq!(shared.breaker().phase(SECOND), Phase::Out(ejection.max(paused)));
            assert!(ejection.max(paused) >= (pause + 1) * SECOND);
        });
    }
}

#[test]
fn a_cap_of_one_is_never_exceeded_and_nothing_stays_held() {
    loom::model(|| {
        let shared = Arc::new(Destination::new("a".into(), hot::Slot::new()));
        let hold = |destination: &Destination| {
            let held = destination.hot().hold(1);
            if held {
                assert_eq!(destination.in_flight(), 1);
                destination.hot().release();
            }
            held
        };
        let other = Arc::clone(&shared);
        let theirs = thread::spawn(move || hold(&other));
        assert!(hold(&shared) | theirs.join().unwrap());
        assert_eq!(shared.in_flight(), 0);
    });
}

/// A pool of one destination on probation, and the lease of its trial.
fn trial() -> (std::sync::Arc<Pool>, Arc<Lease>) {
    let spec = PoolSpec {
        id: "p".into(),
        policy: Choice::default(),
        bounded_load: None,
        dynamic_adjustment: false,
        members: vec![MemberSpec { max_in_flight: Some(1), ..MemberSpec::new("a") }],
        // Nothing counts outcomes by time, so that the model is of the lease, the count and the breaker alone.
        failover: FailoverSpec { failure_percent: 0, outlier_stdev_milli: 0, ..FailoverSpec::default() },
    };
    let pool = std::sync::Arc::new(Pool::build(spec, &Registry::new(), 1, SECOND).unwrap());
    pool.registry().publish([&pool]);
    let destination = pool.members()[0].destination();
    assert!(destination.breaker().eject(SECOND, SECOND, pool.failover(), 7).is_some());
    let lease = acquire(&pool).unwrap();
    assert!(lease.pick().probe);
    (pool, Arc::new(lease))
}

fn acquire(pool: &std::sync::Arc<Pool>) -> Result<Lease, NoDestination> {
    pool.acquire(&Request { pinned: Some("a"), ..Request::default() }, LATER, &mut fastrand::Rng::with_seed(1))
}

/// What ended, and what is held and permitted after it: nothing, and one trial.
fn assert_over(pool: &std::sync::Arc<Pool>, outcomes: [u64; 3]) {
    let view = pool.members()[0].destination().view(LATER);
    assert_eq!([view.successes, view.overloaded, view.cancelled], outcomes);
    assert_eq!(view.in_flight, 0);
    let next = acquire(pool).unwrap();
    assert!(next.pick().probe, "the permit is free");
    assert!(acquire(pool).is_err(), "and there is but one");
}

#[test]
fn of_two_that_end_a_lease_one_does() {
    loom::model(|| {
        let (pool, lease) = trial();
        let other = Arc::clone(&lease);
        let theirs = thread::spawn(move || other.finish(Outcome::Cancelled, LATER));
        let mine = lease.finish(Outcome::Success, LATER);
        let theirs = theirs.join().unwrap();
        assert!(mine ^ theirs);
        drop(lease);
        assert_over(&pool, [u64::from(mine), 0, u64::from(theirs)]);
    });
}

#[test]
fn a_lease_dropped_while_it_succeeds_has_succeeded() {
    loom::model(|| {
        let (pool, lease) = trial();
        let other = Arc::clone(&lease);
        let theirs = thread::spawn(move || drop(other));
        assert!(lease.finish(Outcome::Success, LATER));
        drop(lease);
        theirs.join().unwrap();
        assert_over(&pool, [1, 0, 0]);
    });
}

#[test]
fn who_ends_a_lease_too_late_does_not_take_the_permit_of_the_next() {
    loom::model(|| {
        let (pool, lease) = trial();
        let (other, place) = (Arc::clone(&lease), std::sync::Arc::clone(&pool));
        let next = thread::spawn(move || {
            let ended = other.finish(Outcome::Cancelled, LATER);
            // At the same time the next permit is the very same number; it is theirs alone all the same.
            (ended, acquire(&place).ok())
        });
        let mine = lease.finish(Outcome::Cancelled, LATER);
        let (theirs, held) = next.join().unwrap();
        assert!(mine ^ theirs);
        let held = held.or_else(|| acquire(&pool).ok());
        assert!(held.as_ref().is_some_and(|lease| lease.pick().probe));
        assert!(acquire(&pool).is_err(), "its trial is under way");
        assert_eq!(pool.members()[0].destination().in_flight(), 1);
    });
}

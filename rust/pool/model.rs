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

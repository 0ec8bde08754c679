//! The choice alone, on figures made up.

use super::*;
use proptest::prelude::*;

const PLAIN: Shape = Shape { destinations: 4, weighted: false, keyed: false, capped: false, uneven: false };
/// From window to window.
const STEP: u64 = 5 * SECOND;

fn figures(tail_ms: f64, failures: f64, imbalance: f64) -> Figures {
    Figures { tail: Some(tail_ms * 1e6), failures, imbalance: Some(imbalance) }
}

struct Bench {
    auto: Auto,
    now: u64,
}

impl Bench {
    fn new(shape: Shape) -> Self {
        Self { auto: Auto::new(shape), now: SECOND }
    }

    /// So many windows, in which `world` says what a policy shows; the verdicts.
    fn run(&mut self, windows: usize, mut world: impl FnMut(PolicyKind) -> Figures) -> Vec<Verdict> {
        let mut found = Vec::new();
        for _ in 0..windows {
            self.now += STEP;
            let window = world(self.auto.kind());
            found.extend(self.auto.step(window, self.now));
        }
        found
    }
}

fn switches(verdicts: &[Verdict]) -> Vec<(PolicyKind, PolicyKind)> {
    verdicts.iter().map(|one| (one.from, one.to)).collect()
}

#[test]
fn the_start_follows_from_the_shape() {
    use PolicyKind::*;
    let table = [
        (PLAIN, RoundRobin),
        (Shape { weighted: true, ..PLAIN }, WeightedRoundRobin),
        (Shape { capped: true, ..PLAIN }, LeastConnections),
        (Shape { capped: true, weighted: true, ..PLAIN }, WeightedLeastConnections),
        (Shape { uneven: true, ..PLAIN }, ResponseTime),
        (Shape { uneven: true, capped: true, weighted: true, ..PLAIN }, ResponseTime),
        (Shape { destinations: 1, capped: true, uneven: true, ..PLAIN }, RoundRobin),
        (Shape { destinations: 1_000, ..PLAIN }, RoundRobin),
        (Shape { keyed: true, ..PLAIN }, Rendezvous),
        (Shape { keyed: true, destinations: FEW, capped: true, ..PLAIN }, Rendezvous),
        (Shape { keyed: true, destinations: FEW + 1, weighted: true, ..PLAIN }, Maglev),
    ];
    for (shape, expected) in table {
        assert_eq!(Auto::new(shape).kind(), expected, "{shape:?}");
    }
}

#[test]
fn what_is_bad_three_times_running_is_tried_otherwise_and_the_better_kept() {
    use PolicyKind::*;
    // What round robin shows once the trouble begins.
    let troubles = [figures(100.0, 0.0, 1.1), figures(20.0, 0.08, 1.1), figures(30.0, 0.0, 4.5)];
    for trouble in troubles {
        let mut bench = Bench::new(PLAIN);
        assert_eq!(bench.run(20, |_| figures(20.0, 0.0, 1.1)), []);
        assert_eq!(bench.run(2, |_| trouble), [], "twice is not enough");
        assert_eq!(bench.run(1, |_| figures(20.0, 0.0, 1.1)), [], "nor with a pause");
        let verdicts = bench.run(200, |kind| if kind == RoundRobin { trouble } else { figures(21.0, 0.001, 1.2) });
        assert_eq!(switches(&verdicts), [(RoundRobin, ResponseTime), (ResponseTime, ResponseTime)]);
        for word in ["round_robin", "response_time", "p99", "% failed", "imbalance"] {
            assert!(verdicts.iter().all(|one| one.reason.contains(word)), "{verdicts:?}");
        }
        assert_eq!(bench.run(200, |_| figures(20.0, 0.0, 1.0)), [], "all is well again, and nothing changes");
    }
}

#[test]
fn trouble_from_the_first_window_on_is_seen_by_its_imbalance() {
    let mut bench = Bench::new(PLAIN);
    let uneven = |kind| if kind == PolicyKind::RoundRobin { figures(100.0, 0.0, 4.0) } else { figures(20.0, 0.0, 1.2) };
    assert_eq!(bench.run(30, uneven).len(), 2);
    assert_eq!(bench.auto.kind(), PolicyKind::ResponseTime);
}

#[test]
fn what_no_alternative_betters_becomes_usual_and_is_tried_ever_more_rarely() {
    use PolicyKind::*;
    let mut bench = Bench::new(PLAIN);
    bench.run(20, |_| figures(20.0, 0.0, 1.1));
    let verdicts = bench.run(1_000, |_| figures(60.0, 0.1, 1.1));
    let both = [
        (RoundRobin, ResponseTime),
        (ResponseTime, RoundRobin),
        (RoundRobin, LeastConnections),
        (LeastConnections, RoundRobin),
    ];
    assert_eq!(switches(&verdicts), both, "each alternative once, in over an hour");
    // It gets worse again and again, for all.
    let mut tail = 60.0;
    let mut trials = 0;
    for _ in 0..20 {
        tail *= 1.6;
        trials += bench.run(40, |_| figures(tail, 0.1, 1.1)).iter().filter(|one| one.from == RoundRobin).count();
    }
    assert!((2..=6).contains(&trials), "{trials} in 67 minutes");
}

#[test]
fn a_trial_that_makes_things_far_worse_ends_with_its_first_window() {
    use PolicyKind::*;
    let mut bench = Bench::new(Shape { capped: true, weighted: true, ..PLAIN });
    bench.run(5, |_| figures(20.0, 0.0, 1.0));
    let worse =
        |kind| if kind == WeightedLeastConnections { figures(40.0, 0.0, 1.0) } else { figures(400.0, 0.0, 1.0) };
    let verdicts = bench.run(5, worse);
    assert_eq!(
        switches(&verdicts),
        [(WeightedLeastConnections, ResponseTime), (ResponseTime, WeightedLeastConnections)]
    );
    assert!(verdicts[1].reason.contains("far worse"));
}

#[test]
fn keys_never_lose_their_destination() {
    let mut bench = Bench::new(Shape { keyed: true, ..PLAIN });
    bench.run(10, |_| figures(20.0, 0.0, 1.0));
    assert_eq!(bench.run(100, |_| figures(900.0, 0.5, 9.0)), []);
}

#[test]
fn the_form_follows_the_weights_and_a_reload_goes_on() {
    use PolicyKind::*;
    let mut auto = Auto::new(PLAIN);
    let verdict = auto.weigh(true).unwrap();
    assert_eq!(verdict.reason, "round_robin -> weighted_round_robin: weights differ");
    assert_eq!(auto.weigh(true), None);
    let mut bench = Bench { auto, now: SECOND };
    bench.run(20, |_| figures(20.0, 0.0, 1.0));
    bench.run(20, |kind| if kind == ResponseTime { figures(20.0, 0.0, 1.0) } else { figures(90.0, 0.0, 1.0) });
    let mut reloaded = Auto::new(Shape { destinations: 5, ..PLAIN });
    reloaded.adopt(&bench.auto);
    assert_eq!((reloaded.kind(), reloaded.weigh(false)), (ResponseTime, None));
    let mut capped = Auto::new(Shape { capped: true, ..PLAIN });
    capped.adopt(&bench.auto);
    assert_eq!(capped.kind(), LeastConnections);
}

proptest! {
    /// Figures that vary within what is not bad, whatever their order, switch nothing.
    #[test]
    fn noise_switches_nothing(windows in prop::collection::vec((0.85f64..1.2, 0.0f64..0.02, 1.0f64..1.9), 10..200)) {
        let mut bench = Bench::new(PLAIN);
        for (tail, failures, imbalance) in windows {
            prop_assert_eq!(bench.run(1, |_| figures(20.0 * tail, failures, imbalance)), []);
        }
    }

    /// Whatever is seen: from trial to trial there is at least a minute, and figures give the same verdicts again.
    #[test]
    fn there_is_a_minute_between_trials(windows in prop::collection::vec((0.1f64..1000.0, 0.0f64..1.0, 1.0f64..20.0), 10..300)) {
        let run = || {
            let (mut bench, mut last, mut seen) = (Bench::new(PLAIN), None, Vec::new());
            for (tail, failures, imbalance) in &windows {
                for verdict in bench.run(1, |_| figures(*tail, *failures, *imbalance)) {
                    let is_trial = verdict.reason.contains("on trial");
                    if is_trial && let Some(last) = last {
                        assert!(bench.now >= last + DWELL);
                    }
                    if !is_trial {
                        last = Some(bench.now);
                    }
                    seen.push(verdict);
                }
            }
            seen
        };
        prop_assert_eq!(run(), run());
    }
}

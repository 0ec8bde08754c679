//! The tuner alone, on counts made up.

use super::*;

const SECOND: Nanos = 1_000_000_000;

/// What happens to a member in a second.
#[derive(Clone, Copy)]
struct Lot {
    successes: u64,
    failures: u64,
    /// ms.
    latency: f64,
    utilisation: Option<f32>,
}

fn lot(successes: u64, failures: u64, latency: f64, utilisation: Option<f32>) -> Lot {
    Lot { successes, failures, latency, utilisation }
}

fn places(weights: &[f64]) -> Vec<Place> {
    weights.iter().map(|weight| Place { tier: 0, weight: *weight }).collect()
}

/// The factors after so many seconds of the same, and how often they changed.
fn after(seconds: u64, weights: &[f64], lots: &[Lot]) -> (Vec<f64>, usize) {
    let mut seen = vec![Observed::default(); lots.len()];
    let (mut tuner, mut changes) = (Tuner::new(&seen, 0), 0);
    for second in 1..=seconds {
        for (seen, lot) in seen.iter_mut().zip(lots) {
            seen.successes += lot.successes;
            seen.failures += lot.failures;
            seen.latency_sum += (lot.latency * 1e6) as u64 * lot.successes;
            seen.utilisation = lot.utilisation;
        }
        changes += usize::from(tuner.step(&places(weights), &seen, second * SECOND).is_some());
    }
    ((0..lots.len()).map(|index| tuner.factor(index)).collect(), changes)
}

#[test]
fn factors_follow_latency_success_and_utilisation() {
    let quick = lot(100, 0, 10.0, None);
    // Weights, what happens, factors.
    let table: [(&[f64], Vec<Lot>, &[f64]); 9] = [
        (&[1.0, 1.0], vec![quick, quick], &[1.0, 1.0]),
        (&[1.0, 1.0], vec![quick, lot(100, 0, 30.0, None)], &[1.5, 0.5]),
        // The sum of weights stays: 3 × 1.2 + 1 × 0.4 = 4.
        (&[3.0, 1.0], vec![quick, lot(100, 0, 30.0, None)], &[1.2, 0.4]),
        (&[1.0, 1.0], vec![quick, lot(50, 50, 10.0, None)], &[1.33, 0.67]),
        (&[1.0, 1.0], vec![quick, lot(0, 100, 0.0, None)], &[2.0, LEAST]),
        // Half as busy with the same load: good for twice as much, whatever the latency.
        (&[1.0, 1.0], vec![lot(100, 0, 90.0, Some(0.4)), lot(100, 0, 10.0, Some(0.8))], &[1.33, 0.67]),
        // By utilisation the weights set do not count: 3 × 0.67 = 1 × 2 = 2.
        (&[3.0, 1.0], vec![lot(100, 0, 10.0, Some(0.5)), lot(100, 0, 10.0, Some(0.5))], &[0.67, 2.0]),
        // Failures count as use: 100 / 0.5 against 100 / (0.5 + 0.5).
        (&[1.0, 1.0], vec![lot(100, 0, 10.0, Some(0.5)), lot(100, 50, 10.0, Some(0.5))], &[1.33, 0.67]),
        // One that says nothing: all by latency.
        (&[1.0, 1.0], vec![lot(100, 0, 10.0, Some(0.9)), quick], &[1.0, 1.0]),
    ];
    for (weights, lots, expected) in table {
        assert_eq!(after(20, weights, &lots).0, expected, "{weights:?}");
    }
}

#[test]
fn without_change_in_what_is_observed_factors_settle() {
    let (_, changes) = after(60, &[1.0, 1.0], &[lot(100, 0, 10.0, None), lot(100, 0, 30.0, None)]);
    assert_eq!(changes, 1);
    let slightly = [lot(100, 0, 10.0, None), lot(100, 0, 11.0, None)];
    assert_eq!(after(60, &[1.0, 1.0], &slightly), (vec![1.0, 1.0], 0), "within the threshold");
}

#[test]
fn nobody_is_judged_before_enough_outcomes_nor_left_out_for_good() {
    let slow = lot(1, 0, 500.0, None);
    assert_eq!(after(29, &[1.0, 1.0], &[lot(100, 0, 10.0, None), slow]).0, [1.0, 1.0]);
    assert_eq!(after(30, &[1.0, 1.0], &[lot(100, 0, 10.0, None), slow]).0[1], LEAST);
    let (factors, _) = after(60, &[1.0; 40].map(|one: f64| one), &[lot(100, 0, 500.0, None); 40]);
    assert!(factors.iter().all(|factor| *factor == 1.0));
}

#[test]
fn what_is_known_expires() {
    let mut seen = [Observed::default(); 2];
    let mut tuner = Tuner::new(&seen, 0);
    seen[0] = Observed { successes: 100, latency_sum: 1_000, ..Observed::default() };
    seen[1] = Observed { successes: 100, latency_sum: 9_000, ..Observed::default() };
    let weights = places(&[1.0, 1.0]);
    assert_eq!(tuner.step(&weights, &seen, SECOND).unwrap().factors, [1.8, 0.2]);
    assert_eq!(tuner.step(&weights, &seen, 180 * SECOND), None);
    assert_eq!(tuner.step(&weights, &seen, 182 * SECOND).unwrap().factors, [1.0, 1.0]);
}

#[test]
fn tiers_are_apart_and_a_weight_of_zero_takes_no_part() {
    let mut seen = [Observed::default(); 4];
    let mut tuner = Tuner::new(&seen, 0);
    for (seen, latency) in seen.iter_mut().zip([1, 3, 500, 7]) {
        *seen = Observed { successes: 100, latency_sum: 100_000_000 * latency, ..Observed::default() };
    }
    let mut places = places(&[1.0, 1.0, 1.0, 0.0]);
    places[2].tier = 1;
    let changes = tuner.step(&places, &seen, SECOND).unwrap();
    assert_eq!(changes.factors, [1.5, 0.5, 1.0, 1.0]);
    let told: Vec<(usize, f64, f64)> = changes.notable.iter().map(|one| (one.index, one.from, one.to)).collect();
    assert_eq!(told, [(1, 1.0, 0.5), (0, 1.0, 1.5)]);
    assert_eq!(changes.notable[0].why.to_string(), "3.000 ms, 0.0 % failed");
}

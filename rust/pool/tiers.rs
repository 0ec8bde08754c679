//! How load spreads over tiers: spill-over and panic, as Envoy's priority levels do it.
//!
//! A tier's health is min(100, 140 × healthy / total) percent: 40 % of overprovisioning, so a tier that loses up to
//! 28 % of its destinations keeps all of its load. What it cannot carry goes to the next tier. If all tiers together
//! cannot carry 100 %, each carries its share of what there is, and a tier with fewer healthy destinations than the
//! threshold is in panic: it uses all of them. With every tier in panic, load follows the number of destinations.
//!
//! Source: Envoy, "Priority levels" and "Panic threshold" of its load balancing documentation.

use smallvec::SmallVec;

/// Envoy's overprovisioning factor, in percent.
const OVERPROVISIONING: u64 = 140;

/// How many destinations a tier has that may serve at all (enabled, weight above 0), and how many of them are fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierHealth {
    /// Fit to serve: healthy or degraded, breaker closed.
    pub fit: u32,
    /// All that could be.
    pub total: u32,
}

/// What a tier gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierLoad {
    /// Percent of messages. Sums to 100 over all tiers, or to 0 if no destination may serve.
    pub load: u8,
    /// Whether unfit destinations are used as well.
    pub panic: bool,
    /// Whether the tiers before it cannot carry everything, so that it is needed.
    pub needed: bool,
}

/// Loads by tier, in order of preference.
pub fn loads(tiers: &[TierHealth], panic_threshold_percent: u8) -> SmallVec<[TierLoad; 4]> {
    let health = |tier: &TierHealth| {
        let percent = (OVERPROVISIONING * u64::from(tier.fit)).checked_div(u64::from(tier.total));
        percent.unwrap_or(0).min(100) as u32
    };
    let sum: u32 = tiers.iter().map(health).sum();
    let short = sum < 100;
    let below =
        |tier: &TierHealth| u64::from(tier.fit) * 100 < u64::from(panic_threshold_percent) * u64::from(tier.total);
    let in_panic = |tier: &TierHealth| short && below(tier);
    let populated = || tiers.iter().filter(|tier| tier.total > 0);
    let (parts, whole): (SmallVec<[u32; 4]>, u32) = if populated().count() > 0 && populated().all(in_panic) {
        (tiers.iter().map(|tier| tier.total).collect(), tiers.iter().map(|tier| tier.total).sum())
    } else if short {
        (tiers.iter().map(health).collect(), sum)
    } else {
        let mut left = 100;
        let take = |tier: &TierHealth| {
            let part = health(tier).min(left);
            left -= part;
            part
        };
        (tiers.iter().map(take).collect(), 100)
    };
    let mut before = 0;
    let mut result: SmallVec<[TierLoad; 4]> = SmallVec::new();
    for (tier, part) in tiers.iter().zip(parts) {
        let load = (u64::from(part) * 100).checked_div(u64::from(whole)).unwrap_or(0) as u8;
        result.push(TierLoad { load, panic: in_panic(tier), needed: before < 100 });
        before += health(tier);
    }
    // Rounding leaves a few percent; the first tier that serves takes them.
    let given: u8 = result.iter().map(|tier| tier.load).sum();
    if let Some(first) = result.iter_mut().find(|tier| tier.load > 0) {
        first.load += 100 - given;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loads_follow_envoys_table() {
        // (fit, total) by tier -> (load, panic) by tier
        type Row = (&'static [(u32, u32)], &'static [(u8, bool)]);
        let table: [Row; 15] = [
            (&[(10, 10)], &[(100, false)]),
            (&[(72, 100), (100, 100)], &[(100, false), (0, false)]),
            (&[(71, 100), (100, 100)], &[(99, false), (1, false)]),
            (&[(50, 100), (100, 100)], &[(70, false), (30, false)]),
            (&[(25, 100), (100, 100)], &[(35, false), (65, false)]),
            (&[(0, 100), (100, 100)], &[(0, false), (100, false)]),
            (&[(1, 2), (1, 2)], &[(70, false), (30, false)]),
            (&[(25, 100), (25, 100), (100, 100)], &[(35, false), (35, false), (30, false)]),
            (&[(25, 100), (25, 100)], &[(50, true), (50, true)]),
            (&[(5, 100), (60, 100)], &[(8, true), (92, false)]),
            (&[(0, 100), (0, 300)], &[(25, true), (75, true)]),
            (&[(1, 2)], &[(100, false)]),
            (&[(1, 3)], &[(100, true)]),
            (&[(0, 1)], &[(100, true)]),
            (&[(0, 0), (2, 2)], &[(0, false), (100, false)]),
        ];
        for (tiers, expected) in table {
            let health: Vec<TierHealth> = tiers.iter().map(|&(fit, total)| TierHealth { fit, total }).collect();
            let got: Vec<(u8, bool)> = loads(&health, 50).iter().map(|tier| (tier.load, tier.panic)).collect();
            assert_eq!(got, expected, "{tiers:?}");
        }
    }

    #[test]
    fn without_panic_nothing_fit_means_no_load() {
        let none = loads(&[TierHealth { fit: 0, total: 3 }], 0);
        assert_eq!((none[0].load, none[0].panic), (0, false));
    }

    #[test]
    fn a_backup_is_needed_once_the_tiers_before_it_cannot_carry_all() {
        for (fit, needed) in [(10, false), (8, false), (7, true), (0, true)] {
            let tiers = [TierHealth { fit, total: 10 }, TierHealth { fit: 0, total: 2 }];
            let got = loads(&tiers, 50);
            assert_eq!((got[0].needed, got[1].needed), (true, needed), "{fit}");
        }
    }

    proptest! {
        #[test]
        fn loads_sum_to_a_hundred_wherever_a_destination_may_serve(
            tiers in prop::collection::vec((0u32..50, 0u32..50), 1..6), threshold in 1u8..=100
        ) {
            let tiers: Vec<TierHealth> =
                tiers.into_iter().map(|(fit, rest)| TierHealth { fit, total: fit + rest }).collect();
            let sum: u32 = loads(&tiers, threshold).iter().map(|tier| u32::from(tier.load)).sum();
            prop_assert_eq!(sum, if tiers.iter().any(|tier| tier.total > 0) { 100 } else { 0 });
        }
    }
}

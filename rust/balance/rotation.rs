//! In turn: `round_robin` and `weighted_round_robin`.
//!
//! Up to [`LONGEST_CYCLE`] turns (the sum of the weights over their greatest common divisor) one whole cycle is laid
//! out in advance and an atomic cursor walks it: 4 bytes a turn, a pick is one addition. The cycle is smooth
//! weighted round robin as in nginx: weights 5, 1, 1 give a a b a c a a. That rule alone lets a candidate fall more
//! than one turn behind its exact share for about 3 in 100 weight sets (such as 1 3 13 1 3 1 13 3 3 13); those get
//! the order of earliest deadlines instead, which never does (R. Tijdeman, "The chairman assignment problem", 1980).
//! So for every prefix of every cycle, |count − exact share| < 1.
//!
//! Longer cycles are not laid out: turn t goes to the candidate that covers the point frac(t·φ) of the line of all
//! weights, a Kronecker sequence. Its counts stay within a few turns of the exact shares (the discrepancy grows with
//! log t) where independent draws would be off by √t.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::balance::Cursor;

/// Longest cycle that is laid out: 256 kB.
pub const LONGEST_CYCLE: u64 = 1 << 16;
/// 2^64 / φ, odd: multiples of it wrap around the circle of u64 as evenly as any sequence can.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The order of turns.
#[derive(Debug)]
pub enum Rotation {
    /// All weights are equal: 0, 1, .. n−1, 0, ..
    Equal(u64),
    /// One cycle, laid out.
    Cycle(Box<[u32]>),
    /// A cycle too long to lay out.
    Points(Points),
}

impl Rotation {
    /// For candidates of these weights, all at least 1.
    pub fn build(weights: &[u32]) -> Self {
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
        if weights.iter().all(|weight| *weight == divisor) {
            Self::Equal(weights.len().max(1) as u64)
        } else if total <= LONGEST_CYCLE {
            let weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
            Self::Cycle(smooth(&weights).unwrap_or_else(|| earliest_deadline(&weights)))
        } else {
            Self::Points(Points::build(weights))
        }
    }

    /// Index of the candidate whose turn it is.
    #[inline]
    pub fn next(&self, cursor: &Cursor) -> usize {
        let turn = cursor.advance();
        match self {
            Self::Equal(count) => (turn % count) as usize,
            Self::Cycle(cycle) => cycle[(turn % cycle.len() as u64) as usize] as usize,
            Self::Points(points) => points.at(turn),
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One cycle of smooth weighted round robin: each turn to the candidate furthest behind its share, the first among
/// equals. `None` if it lets one fall a whole turn behind.
///
/// Candidates of one weight take turns among themselves, so only the next of each weight has to be compared:
/// O(cycle × distinct weights), and there are at most 361 distinct weights in a cycle of 2^16.
fn smooth(weights: &[u64]) -> Option<Box<[u32]>> {
    struct Group {
        weight: i64,
        members: Vec<u32>,
        /// Whose turn it is, and how often that one was picked.
        next: usize,
        picked: i64,
    }
    let total = weights.iter().sum::<u64>() as i64;
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for (index, weight) in weights.iter().enumerate() {
        let new = || Group { weight: *weight as i64, members: Vec::new(), next: 0, picked: 0 };
        groups.entry(*weight).or_insert_with(new).members.push(index as u32);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    let mut cycle = Vec::with_capacity(total as usize);
    for turn in 1..=total {
        let (mut most, mut first, mut chosen) = (i64::MIN, 0, 0);
        for (at, group) in groups.iter().enumerate() {
            // Behind its share by, in units of 1/total turns.
            let behind = turn * group.weight - group.picked * total;
            if behind - group.weight >= total {
                return None; // it was so after the turn before
            }
            let index = group.members[group.next];
            if behind > most || behind == most && index < first {
                (most, first, chosen) = (behind, index, at);
            }
        }
        cycle.push(first);
        let group = &mut groups[chosen];
        group.next += 1;
        if group.next == group.members.len() {
            (group.next, group.picked) = (0, group.picked + 1);
        }
    }
    Some(cycle.into_boxed_slice())
}

/// One cycle in which the k-th turn of a candidate lies in ⌊(k−1)·total/weight⌋+1 ..= ⌈k·total/weight⌉: among those
/// that may have a turn, the one that must have it soonest. O(cycle × log candidates).
fn earliest_deadline(weights: &[u64]) -> Box<[u32]> {
    let total: u64 = weights.iter().sum();
    let release = |index: u32, count: u64| count * total / weights[index as usize] + 1;
    let deadline = |index: u32, count: u64| ((count + 1) * total).div_ceil(weights[index as usize]);
    let mut waiting: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::new();
    let mut ready: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::new();
    waiting.extend((0..weights.len() as u32).map(|index| Reverse((release(index, 0), index, 0))));
    let mut cycle = Vec::with_capacity(total as usize);
    for turn in 1..=total {
        while let Some(Reverse((from, index, count))) = waiting.peek().copied() {
            if from > turn {
                break;
            }
            waiting.pop();
            ready.push(Reverse((deadline(index, count), index, count)));
        }
        // Never empty: the exact shares of a turn sum to one turn.
        let Some(Reverse((_, index, count))) = ready.pop() else { continue };
        cycle.push(index);
        waiting.push(Reverse((release(index, count + 1), index, count + 1)));
    }
    cycle.into_boxed_slice()
}

/// Candidates laid on a line, each as long as its weight, with a table of where to begin looking.
#[derive(Debug)]
pub struct Points {
    /// Where each candidate ends on the line.
    ends: Box<[u64]>,
    /// For each of `guide.len()` equal parts of the line, the candidate that covers its beginning.
    guide: Box<[u32]>,
}

impl Points {
    fn build(weights: &[u32]) -> Self {
        let mut total = 0u64;
        let ends: Box<[u64]> = weights
            .iter()
            .map(|weight| {
                total += u64::from(*weight);
                total
            })
            .collect();
        let parts = weights.len().next_power_of_two();
        let guide = (0..parts)
            .map(|part| {
                let begin = (u128::from(total) * part as u128 / parts as u128) as u64;
                ends.partition_point(|end| *end <= begin) as u32
            })
            .collect();
        Self { ends, guide }
    }

    fn at(&self, turn: u64) -> usize {
        let point = turn.wrapping_mul(GOLDEN);
        let total = self.ends.last().copied().unwrap_or(1);
        let place = ((u128::from(point) * u128::from(total)) >> 64) as u64;
        let part = ((u128::from(point) * self.guide.len() as u128) >> 64) as usize;
        let from = self.guide[part] as usize;
        // The next part's candidate bounds the search; it is one or two steps long on average.
        let to = self.guide.get(part + 1).map_or(self.ends.len() - 1, |next| *next as usize);
        from + self.ends[from..to].partition_point(|end| *end <= place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(weights: &[u32], count: usize) -> Vec<usize> {
        let (rotation, cursor) = (Rotation::build(weights), Cursor::default());
        (0..count).map(|_| rotation.next(&cursor)).collect()
    }

    /// Greatest |count − exact share| over all prefixes and candidates.
    fn worst(weights: &[u32], order: &[usize]) -> f64 {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut counts = vec![0.0; weights.len()];
        let mut worst: f64 = 0.0;
        for (turn, index) in order.iter().enumerate() {
            counts[*index] += 1.0;
            for (count, weight) in counts.iter().zip(weights) {
                worst = worst.max((count - (turn + 1) as f64 * f64::from(*weight) / total).abs());
            }
        }
        worst
    }

    /// Smooth weighted round robin as nginx writes it, candidate by candidate.
    fn nginx(weights: &[u64]) -> Vec<u32> {
        let total: u64 = weights.iter().sum();
        let mut current = vec![0i64; weights.len()];
        let mut order = Vec::new();
        for _ in 0..total {
            let mut best = 0;
            for index in 0..weights.len() {
                current[index] += weights[index] as i64;
                if current[index] > current[best] {
                    best = index;
                }
            }
            current[best] -= total as i64;
            order.push(best as u32);
        }
        order
    }

    #[test]
    fn weights_five_one_one_give_the_known_order() {
        assert_eq!(turns(&[5, 1, 1], 14), [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[500, 100, 100], 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn equal_weights_rotate_strictly() {
        assert_eq!(turns(&[7, 7, 7], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(turns(&[1], 3), [0, 0, 0]);
    }

    #[test]
    fn sets_on_which_the_smooth_rule_falls_behind_keep_the_bound() {
        for weights in [&[1, 3, 13, 1, 3, 1, 13, 3, 3, 13][..], &[5, 5, 5, 13, 13, 13, 3, 13, 3, 13]] {
            let wide: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
            assert_eq!(smooth(&wide), None);
            let total = weights.iter().sum::<u32>() as usize;
            assert!(worst(weights, &turns(weights, total)) < 1.0, "{weights:?}");
        }
    }

    #[test]
    fn the_longest_cycle_is_laid_out_in_time() {
        let weights: Vec<u32> = (1..=361).collect(); // as many distinct weights as fit
        let Rotation::Cycle(cycle) = Rotation::build(&weights) else { panic!("laid out") };
        assert_eq!(cycle.len(), 65_341);
    }

    #[test]
    fn cycles_too_long_to_lay_out_stay_close_to_exact() {
        let skewed: Vec<u32> = std::iter::once(1_000_003).chain(1..=40).collect();
        for weights in [skewed, vec![1_000_000, 999_999], (0..200).map(|i| 500 + i * 7).collect()] {
            assert!(matches!(Rotation::build(&weights), Rotation::Points(_)));
            let worst = worst(&weights, &turns(&weights, 50_000));
            assert!(worst < 4.0, "{worst}");
        }
    }

    #[test]
    fn every_turn_is_given_out_once_across_threads() {
        let (rotation, cursor) = (Rotation::build(&[3, 1, 4, 1, 5]), Cursor::default());
        let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let take = || {
                let mut counts = vec![0; 5];
                (0..14 * 500).for_each(|_| counts[rotation.next(&cursor)] += 1);
                counts
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let sum = |index: usize| counts.iter().map(|counts| counts[index]).sum::<usize>();
        assert_eq!([sum(0), sum(1), sum(2), sum(3), sum(4)], [6_000, 2_000, 8_000, 2_000, 10_000]);
    }

    /// Turns from an arbitrary place of a cycle on are a difference of two prefixes, so each is within 1 of its share.
    #[test]
    fn new_weights_go_on_smoothly_from_any_turn_and_starve_nobody() {
        let sets: [&[u32]; 5] = [&[5, 1, 1, 1], &[1, 1, 1, 5], &[7, 3, 2, 9], &[1, 1, 1, 1], &[100, 1, 1, 1]];
        for phase in [3usize, 10, 257] {
            let cursor = Cursor::default();
            let (mut counts, mut shares) = ([0.0; 4], [0.0; 4]);
            for change in 0..200 {
                let weights = sets[change % sets.len()];
                let rotation = Rotation::build(weights);
                let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
                let order: Vec<usize> = (0..phase).map(|_| rotation.next(&cursor)).collect();
                let mut since = [0.0; 4];
                for (turn, index) in order.iter().enumerate() {
                    since[*index] += 1.0;
                    for (count, weight) in since.iter().zip(weights) {
                        let share = (turn + 1) as f64 * f64::from(*weight) / total;
                        assert!((count - share).abs() < 2.0, "{weights:?} {order:?}");
                    }
                }
                for index in 0..4 {
                    counts[index] += since[index];
                    shares[index] += phase as f64 * f64::from(weights[index]) / total;
                }
            }
            for (count, share) in counts.iter().zip(shares) {
                assert!((count / share - 1.0).abs() < 0.2, "{phase} {counts:?} {shares:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_prefix_is_within_one_turn_of_the_exact_shares(
            weights in prop::collection::vec(prop_oneof![1u32..=4, 1u32..=60], 1..16)
        ) {
            let total = weights.iter().sum::<u32>() as usize;
            prop_assert!(worst(&weights, &turns(&weights, total)) < 1.0);
        }

        #[test]
        fn earliest_deadlines_alone_keep_the_bound(weights in prop::collection::vec(1u64..=50, 1..16)) {
            let order: Vec<usize> = earliest_deadline(&weights).iter().map(|index| *index as usize).collect();
            let narrow: Vec<u32> = weights.iter().map(|weight| *weight as u32).collect();
            prop_assert_eq!(order.len() as u64, weights.iter().sum::<u64>());
            prop_assert!(worst(&narrow, &order) < 1.0);
        }

        #[test]
        fn comparing_one_candidate_a_weight_changes_nothing(weights in prop::collection::vec(1u64..=12, 1..12)) {
            if let Some(cycle) = smooth(&weights) {
                prop_assert_eq!(cycle.to_vec(), nginx(&weights));
            }
        }
    }
}

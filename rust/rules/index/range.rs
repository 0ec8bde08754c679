//! Ranges of numbers, points in time and spans of time, over their sorted bounds.
//!
//! Every bound and every value becomes a double. That keeps the order but may make two close values one, so a range is
//! taken as closed: who lies in it is found, and seldom someone just beside it.
//!
//! The bounds cut the line into points and the gaps between them, the places where a value may lie. Ranges that overlap
//! little are filed at each place that they cover: a lookup is one list. Others are filed at the O(log n) nodes of a
//! segment tree that cover them, and the nodes above a value's place hold all ranges it lies in. Source: the iterative
//! segment tree of <https://codeforces.com/blog/entry/18051>. Cost: a binary search and one list, or O(log n) of them;
//! [`MOST_PLACES`] entries for each range, or O(log n) of them.

use super::table::{Lists, Order};
use crate::message::value::Value;

/// What can be in a range; values of different axes have no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Axis {
    /// Numbers of all three types.
    Number,
    /// Points in time.
    Time,
    /// Spans of time.
    Span,
}

/// All of them, by number.
pub(super) const AXES: [Axis; 3] = [Axis::Number, Axis::Time, Axis::Span];

/// Where a value lies; `None` if it lies on no axis.
pub(in crate::rules) fn place(value: &Value<'_>) -> Option<(Axis, f64)> {
    Some(match value {
        Value::Int(number) => (Axis::Number, *number as f64),
        Value::Uint(number) => (Axis::Number, *number as f64),
        Value::Double(number) if !number.is_nan() => (Axis::Number, *number + 0.0),
        Value::Timestamp(time) => (Axis::Time, time.nanos() as f64),
        Value::Duration(span) => (Axis::Span, span.as_nanos() as f64),
        _ => return None,
    })
}

/// A closed range on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) axis: Axis,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Ranges that cover more places than this, on average, are filed in a tree. Ranges side by side cover three: two bounds
/// and the gap between them.
const MOST_PLACES: usize = 4;

/// Points between two signposts: two cache lines.
const APART: usize = 16;

/// The ranges of one axis of one field.
#[derive(Debug)]
pub(super) struct Ranges {
    /// The bounds, ascending, each once.
    points: Box<[f64]>,
    /// Every [`APART`]th of them: few enough to stay in the cache, and near them the search goes on.
    signposts: Box<[f64]>,
    /// Whether lists are those of the nodes of a tree, and not of places.
    is_tree: bool,
    /// By place, or node: where its list starts in `postings`; one more at the end.
    starts: Box<[u32]>,
    postings: Box<[Order]>,
}

impl Ranges {
    /// `ranges` are the bounds and the rule, low not above high.
    pub(super) fn new(ranges: &[(f64, f64, Order)]) -> Self {
        let mut points: Vec<f64> = ranges.iter().flat_map(|&(low, high, _)| [low, high]).collect();
        points.sort_unstable_by(f64::total_cmp);
        points.dedup();
        let places: Vec<std::ops::Range<u32>> =
            ranges.iter().map(|&(low, high, _)| covered(&points, low, high)).collect();
        let is_tree = places.iter().map(ExactSizeIterator::len).sum::<usize>() > MOST_PLACES * ranges.len();
        let mut filed: Vec<(u32, Order)> = Vec::with_capacity(3 * ranges.len());
        for (places, &(.., order)) in places.into_iter().zip(ranges) {
            each_node(&points, is_tree, places, &mut |node| filed.push((node, order)));
        }
        filed.sort_unstable();
        filed.dedup();
        let nodes = leaves(&points) * if is_tree { 2 } else { 1 };
        let mut starts = vec![0_u32; nodes + 1];
        for &(node, _) in &filed {
            starts[node as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Self {
            signposts: points.iter().copied().step_by(APART).collect(),
            points: points.into(),
            is_tree,
            starts: starts.into(),
            postings: filed.into_iter().map(|(_, order)| order).collect(),
        }
    }

    /// Adds the rules of all ranges that `value` lies in.
    pub(super) fn find<'t>(&'t self, value: f64, out: &mut Lists<'t>) {
        let below = self.below(value);
        let place = 2 * below + usize::from(self.points.get(below) == Some(&value));
        let mut take = |list: &'t [Order]| {
            if !list.is_empty() {
                out.push(list);
            }
        };
        if !self.is_tree {
            return take(self.list(place));
        }
        let mut node = place + leaves(&self.points);
        while node > 0 {
            take(self.list(node));
            node /= 2;
        }
    }

    /// How many points lie below `value`.
    fn below(&self, value: f64) -> usize {
        // Before the last signpost below it there is none that does not, and behind the next none that does.
        let signposts = self.signposts.partition_point(|&point| point < value);
        let from = signposts.saturating_sub(1) * APART;
        let until = (signposts * APART).min(self.points.len());
        from + self.points[from..until].partition_point(|&point| point < value)
    }

    /// Calls `with` with each list that a range with these bounds is filed in.
    pub(super) fn each_list(&self, range: Range, with: &mut dyn FnMut(&[Order])) {
        let known = |bound: f64| self.points.binary_search_by(|point| point.total_cmp(&bound)).is_ok();
        if known(range.low) && known(range.high) {
            let places = covered(&self.points, range.low, range.high);
            each_node(&self.points, self.is_tree, places, &mut |node| {
                // An empty list is told from its neighbour by nothing.
                if !self.list(node as usize).is_empty() {
                    with(self.list(node as usize));
                }
            });
        }
    }

    fn list(&self, node: usize) -> &[Order] {
        &self.postings[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// Gap, point, gap, point, ..., gap.
fn leaves(points: &[f64]) -> usize {
    2 * points.len() + 1
}

/// The places that a range between two of the points covers.
fn covered(points: &[f64], low: f64, high: f64) -> std::ops::Range<u32> {
    let place = |bound: f64| 2 * points.partition_point(|&point| point < bound) as u32 + 1;
    place(low)..place(high) + 1
}

/// Calls `with` with the places that a range covers, or the fewest nodes of the tree above them.
fn each_node(points: &[f64], is_tree: bool, places: std::ops::Range<u32>, with: &mut dyn FnMut(u32)) {
    if !is_tree {
        return places.for_each(with);
    }
    let first = leaves(points) as u32;
    let (mut from, mut to) = (places.start + first, places.end + first);
    while from < to {
        if from & 1 == 1 {
            with(from);
            from += 1;
        }
        if to & 1 == 1 {
            to -= 1;
            with(to);
        }
        from /= 2;
        to /= 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_found_in_exactly_the_ranges_it_lies_in(
            // Few of them overlap little, and many much.
            ranges in prop_oneof![
                prop::collection::vec((-20_i32..20, 0_i32..10), 0..40),
                prop::collection::vec((-20_i32..20, 0_i32..3), 0..8),
            ],
            value in -25_i32..25,
            half in any::<bool>(),
        ) {
            let ranges: Vec<(f64, f64, Order)> = ranges
                .iter()
                .zip(0..)
                .map(|(&(low, width), order)| match width {
                    8 => (f64::NEG_INFINITY, f64::from(low), order),
                    9 => (f64::from(low), f64::INFINITY, order),
                    _ => (f64::from(low), f64::from(low + width), order),
                })
                .collect();
            let value = f64::from(value) + if half { 0.5 } else { 0.0 };
            let tree = Ranges::new(&ranges);
            let mut lists = Lists::new();
            tree.find(value, &mut lists);
            let mut found = lists.concat();
            found.sort_unstable();
            let wanted: Vec<Order> = ranges
                .iter()
                .filter(|&&(low, high, _)| low <= value && value <= high)
                .map(|&(_, _, order)| order)
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}

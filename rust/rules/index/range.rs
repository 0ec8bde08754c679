//! Ranges of numbers, points in time and spans of time: a segment tree over their sorted bounds.
//!
//! Every bound and every value becomes a double. That keeps the order but may make two close values one, so a range is
//! taken as closed: who lies in it is found, and seldom someone just beside it.
//!
//! The bounds cut the line into points and the gaps between them; a range is filed at the O(log n) nodes that cover
//! it, and the nodes above a value's place hold all ranges it lies in. Source: the iterative segment tree of
//! <https://codeforces.com/blog/entry/18051>. Cost: O(log n) lists for a lookup; O(n log n) memory at worst.

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

/// The ranges of one axis of one field.
#[derive(Debug)]
pub(super) struct Ranges {
    /// The bounds, ascending, each once.
    points: Box<[f64]>,
    /// By node: where its list starts in `postings`; one more at the end.
    starts: Box<[u32]>,
    postings: Box<[Order]>,
}

impl Ranges {
    /// `ranges` are the bounds and the rule, low not above high.
    pub(super) fn new(ranges: &[(f64, f64, Order)]) -> Self {
        let mut points: Vec<f64> = ranges.iter().flat_map(|&(low, high, _)| [low, high]).collect();
        points.sort_unstable_by(f64::total_cmp);
        points.dedup();
        let leaves = leaves(&points);
        let mut filed: Vec<(u32, Order)> = Vec::with_capacity(2 * ranges.len());
        for &(low, high, order) in ranges {
            cover(&points, low, high, &mut |node| filed.push((node as u32, order)));
        }
        filed.sort_unstable();
        filed.dedup();
        let mut starts = vec![0_u32; 2 * leaves + 1];
        for &(node, _) in &filed {
            starts[node as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Self {
            points: points.into(),
            starts: starts.into(),
            postings: filed.into_iter().map(|(_, order)| order).collect(),
        }
    }

    /// Adds the rules of all ranges that `value` lies in.
    pub(super) fn find<'t>(&'t self, value: f64, out: &mut Lists<'t>) {
        let below = self.points.partition_point(|&point| point < value);
        let leaf = 2 * below + usize::from(self.points.get(below) == Some(&value));
        let mut node = leaf + 2 * self.points.len() + 1;
        while node > 0 {
            let list = self.list(node);
            if !list.is_empty() {
                out.push(list);
            }
            node /= 2;
        }
    }

    /// Calls `with` with each list that a range with these bounds is filed in.
    pub(super) fn each_list(&self, range: Range, with: &mut dyn FnMut(&[Order])) {
        let known = |bound: f64| self.points.binary_search_by(|point| point.total_cmp(&bound)).is_ok();
        if known(range.low) && known(range.high) {
            cover(&self.points, range.low, range.high, &mut |node| with(self.list(node)));
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

/// Calls `with` with the nodes that cover a range between two of the points.
fn cover(points: &[f64], low: f64, high: f64, with: &mut dyn FnMut(usize)) {
    let leaf = |bound: f64| 2 * points.partition_point(|&point| point < bound) + 1 + leaves(points);
    let (mut from, mut to) = (leaf(low), leaf(high) + 1);
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
            ranges in prop::collection::vec((-20_i32..20, 0_i32..10), 0..40),
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

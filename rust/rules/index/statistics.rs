//! How many rules share what: the statistics by which witnesses are chosen.
//!
//! At first messages are taken to be like the rules: what one rule in a hundred says, one message in a hundred has.
//! Where a sample of messages shows that a value, or a range, is more frequent than that, its cost is what was seen.
//!
//! Keys are counted in a sketch of two places each (Cormode and Muthukrishnan, "An improved data stream summary: the
//! count-min sketch", 2005): a count may be too high and is never too low, which at worst makes a choice dearer.

use super::range::{AXES, Range};
use super::table::mix;
use super::text;
use super::witness::{Entry, Kind, What, each_entry};
use crate::message::path::FieldId;
use crate::message::value::Value;
use crate::rules::condition::Condition;
use crate::rules::traffic::Shares;

/// The seed of the keys of one kind in one field.
pub(super) fn seed(kind: Kind, field: FieldId) -> u64 {
    mix(kind as u64, field.index() as u64)
}

/// What a set of rules says, counted.
#[derive(Debug)]
pub(super) struct Statistics {
    rules: usize,
    shares: Option<Shares>,
    counts: Box<[u32]>,
    /// By field and axis.
    spreads: Vec<[Spread; AXES.len()]>,
}

/// Where the ranges of a field lie.
#[derive(Debug, Clone, Copy)]
struct Spread {
    ranges: u64,
    /// Those without a lower bound, and those without an upper one.
    open: [u64; 2],
    lowest: f64,
    highest: f64,
}

const NOWHERE: Spread = Spread { ranges: 0, open: [0; 2], lowest: f64::INFINITY, highest: f64::NEG_INFINITY };

/// Up to so many rules under one key are as good as one: then the same field is taken by all rules, so that a message
/// is asked for fewer fields.
const FEW: u64 = 2;

/// Rules looked at for a message, on average, that are not worth another field to look up.
const WASTED: f64 = 4.0;

/// What one rule under a key costs, in the unit of costs.
pub(super) const RULE: u64 = 16;

impl Statistics {
    /// Counters for about so many rules, and what is known of messages.
    pub(super) fn new(rules: usize, shares: Option<Shares>) -> Self {
        let counts = vec![0; (rules * 4).next_power_of_two().max(1024)].into();
        Self { rules, shares, counts, spreads: Vec::new() }
    }

    /// Counts a rule.
    pub(super) fn add(&mut self, condition: &Condition) {
        each_entry(condition, &mut |entry| {
            entry.each_key(|key| self.count(key));
            if let What::Range(range) = entry.what {
                let at = entry.field.index();
                if self.spreads.len() <= at {
                    self.spreads.resize(at + 1, [NOWHERE; AXES.len()]);
                }
                self.spreads[at][range.axis as usize].add(range);
            }
        });
    }

    /// Counts a key.
    pub(super) fn count(&mut self, key: u64) {
        for at in self.places(key) {
            self.counts[at] = self.counts[at].saturating_add(1);
        }
    }

    /// How many rules have the key, at most.
    pub(super) fn shared(&self, key: u64) -> u64 {
        let [one, other] = self.places(key).map(|at| self.counts[at]);
        u64::from(one.min(other))
    }

    fn places(&self, key: u64) -> [usize; 2] {
        let mask = self.counts.len() - 1;
        [key as usize & mask, (key >> 32) as usize & mask]
    }

    /// What a lookup that finds the entry is expected to cost: [`RULE`] for each rule filed there, and more for what
    /// takes longer to look up or, being short, is found in most messages.
    pub(super) fn cost(&self, entry: &Entry<'_>) -> u64 {
        let shared = match &entry.what {
            What::Range(range) => {
                self.spreads.get(entry.field.index()).map_or(0, |spreads| spreads[range.axis as usize].hits(*range))
            }
            _ => {
                let mut least = None;
                entry.each_key(|key| {
                    let shared = self.shared(key);
                    least = Some(least.map_or(shared, |known: u64| known.min(shared)));
                });
                least.unwrap_or(0)
            }
        };
        let shared = self.as_seen(entry, shared);
        let class = match &entry.what {
            What::Value(_) | What::Text(_) => 0,
            What::Folded(_) => 2,
            What::Start { text, .. } | What::End { text, .. } => {
                4 + match text.len() {
                    0 | 1 => 16 * RULE,
                    2 => 4 * RULE,
                    3 => RULE,
                    _ => 0,
                }
            }
            What::Network(network) => 6 + if network.prefix_len() < 8 { RULE } else { 0 },
            What::Range(_) => 8,
            What::Part(part) => {
                10 + match text::width(part) {
                    Some(8) => 0,
                    Some(4) => RULE,
                    Some(3) => 4 * RULE,
                    Some(2) => 32 * RULE,
                    _ => 256 * RULE,
                }
            }
        };
        shared.max(FEW) * RULE + class
    }
}

impl Statistics {
    /// How many rules would share the entry if the rules said it as often as messages have it; `shared` if that is not
    /// known, is less, or matters little.
    fn as_seen(&self, entry: &Entry<'_>, shared: u64) -> u64 {
        let Some(shares) = &self.shares else { return shared };
        let share = match &entry.what {
            What::Value(value) => shares.of_value(entry.field, value),
            What::Text(text) => shares.of_value(entry.field, &Value::text(text)),
            What::Range(range) => shares.of_range(entry.field, range.axis, range.low, range.high),
            // Of texts only hashes are known.
            _ => return shared,
        };
        if shared as f64 * share <= WASTED { shared } else { shared.max((share * self.rules as f64) as u64) }
    }
}

impl Spread {
    fn add(&mut self, range: Range) {
        self.ranges += 1;
        self.open[0] += u64::from(range.low == f64::NEG_INFINITY);
        self.open[1] += u64::from(range.high == f64::INFINITY);
        for bound in [range.low, range.high] {
            if bound.is_finite() {
                self.lowest = self.lowest.min(bound);
                self.highest = self.highest.max(bound);
            }
        }
    }

    /// How many ranges a value in `range` lies in on average, if all were as wide.
    ///
    /// Between the outermost bounds values are taken to be spread evenly. Beyond one of them lies what the ranges that
    /// are open there ask for: that half of them are meant for such values is a guess, but none would be a worse one.
    fn hits(&self, range: Range) -> u64 {
        let [below, above] = self.open.map(|open| open as f64 / 2.0);
        let whole = self.highest - self.lowest;
        let part = range.high.min(self.highest) - range.low.max(self.lowest);
        let part = if whole > 0.0 && whole.is_finite() { (part / whole).clamp(0.0, 1.0) } else { 1.0 };
        let within = (self.ranges as f64 - below - above) * part;
        let below = if range.low == f64::NEG_INFINITY { below } else { 0.0 };
        let above = if range.high == f64::INFINITY { above } else { 0.0 };
        (within + below + above).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_open_at_the_outermost_bound_is_not_free() {
        let axis = AXES[0];
        let above = |low: f64| Range { axis, low, high: f64::INFINITY };
        let below = |high: f64| Range { axis, low: f64::NEG_INFINITY, high };
        for (many, other) in [(above(100.0), above(1.0)), (below(1.0), below(100.0)), (above(100.0), below(1.0))] {
            let mut spread = NOWHERE;
            (0..500).for_each(|_| spread.add(many));
            spread.add(other);
            assert!(spread.hits(many) >= 250, "{many:?} beside {other:?}: {}", spread.hits(many));
        }
    }

    #[test]
    fn closed_ranges_cost_what_lies_there_on_average() {
        let axis = AXES[0];
        let mut spread = NOWHERE;
        let ranges = (0..100).map(|n| Range { axis, low: f64::from(10 * n), high: f64::from(10 * n + 10) });
        ranges.clone().for_each(|range| spread.add(range));
        assert!(ranges.clone().all(|range| spread.hits(range) <= 2));
        assert_eq!(spread.hits(Range { axis, low: 0.0, high: 500.0 }), 50);
        spread.add(Range { axis, low: 1000.0, high: f64::INFINITY });
        assert!(spread.hits(Range { axis, low: 1000.0, high: f64::INFINITY }) <= 2, "one rule in a hundred");
    }
}

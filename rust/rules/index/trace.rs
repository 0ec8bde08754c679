//! How a rule was found: the entry it is filed under that the message has, in words.
//!
//! Nothing is kept for this. The lists that a lookup found are compared with those that the rule's own entries lead to
//! in the same tables. Cost: a lookup for each value, gram or range that the rule could be filed under.

use std::borrow::Cow;

use super::range::{Axis, Range};
use super::statistics::seed;
use super::table::{Lists, Order, mix_bytes};
use super::text::{CONSIDERED, width};
use super::witness::{Entry, Kind, What, each_entry};
use super::{Index, text};
use crate::message::path::{FieldId, FieldTable};
use crate::message::render::render;
use crate::message::value::{Timestamp, Value};
use crate::rules::condition::Condition;

/// Characters of a value that is shown.
const SHOWN: usize = 80;

/// More ways to one rule are counted and not named.
const NAMED: usize = 3;

impl Index {
    /// How the lists, which [`Index::find`] found and which have the rule, came to be found, in words.
    pub(in crate::rules) fn found_by(&self, rule: &Condition, lists: Vec<&[Order]>, paths: &FieldTable) -> String {
        let mut trace = Trace { left: lists, words: Vec::new() };
        if trace.takes(&self.always) {
            trace.words.push("always tried".to_owned());
        }
        self.combinations.each_key(rule, &mut |key, equalities| {
            trace.key(self, key, || match &**equalities {
                [(field, value)] => format!("{} == {}", paths.path(*field), render(value, SHOWN)),
                all => {
                    let fields: Vec<String> = all.iter().map(|(field, _)| paths.path(*field).to_string()).collect();
                    format!("combination of {}", fields.join(", "))
                }
            });
        });
        each_entry(rule, &mut |entry| trace.entry(self, entry, paths));
        trace.told()
    }

    /// The field's part of the index, if rules are filed there.
    fn field(&self, field: FieldId) -> Option<&super::Field> {
        self.fields.iter().find(|known| known.way.field == field)
    }
}

/// The lists that are not explained yet, and the words for the others.
struct Trace<'t> {
    left: Vec<&'t [Order]>,
    words: Vec<String>,
}

impl Trace<'_> {
    /// Whether the list is among those found, and not explained yet.
    fn takes(&mut self, list: &[Order]) -> bool {
        let before = self.left.len();
        self.left.retain(|found| found.as_ptr() != list.as_ptr());
        self.left.len() < before
    }

    fn key(&mut self, index: &Index, key: u64, words: impl FnOnce() -> String) {
        let mut lists = Lists::new();
        if !self.left.is_empty() {
            index.table.find(key, &mut lists);
        }
        let mut taken = false;
        for list in lists {
            taken |= self.takes(list);
        }
        if taken {
            self.words.push(words());
        }
    }

    fn entry(&mut self, index: &Index, entry: &Entry<'_>, paths: &FieldTable) {
        let path = || paths.path(entry.field);
        let Some(field) = index.field(entry.field) else { return };
        match &entry.what {
            What::Start { .. } | What::End { .. } => {
                let cut = field.text.as_ref().and_then(|text| text.cut(&entry.what));
                let Some((kind, bytes)) = cut else { return };
                let words = || format!("{} {} {}{}", path(), verb(kind), quoted(bytes), case(kind));
                self.key(index, mix_bytes(seed(kind, entry.field), bytes), words);
            }
            What::Part(part) => {
                let keys = text::gram_keys(seed(Kind::Part, entry.field), part);
                let width = width(part).unwrap_or(1);
                for (key, gram) in keys.zip(part.windows(width).take(CONSIDERED)) {
                    self.key(index, key, || format!("{} contains {}", path(), quoted(gram)));
                }
            }
            What::Range(range) => {
                let Some(ranges) = &field.ranges[range.axis as usize] else { return };
                let mut taken = false;
                ranges.each_list(*range, &mut |list| taken |= self.takes(list));
                if taken {
                    self.words.push(within(&path().to_string(), *range));
                }
            }
            What::Value(value) => self.keys(index, entry, || format!("{} == {}", path(), render(value, SHOWN))),
            What::Text(text) => self.keys(index, entry, || format!("{} == {}", path(), quoted(text.as_bytes()))),
            What::Folded(text) => {
                self.keys(index, entry, || format!("{} == {} in any case", path(), quoted(text.as_bytes())));
            }
            What::Network(network) => self.keys(index, entry, || format!("{} is in {network}", path())),
        }
    }

    fn keys(&mut self, index: &Index, entry: &Entry<'_>, words: impl Fn() -> String) {
        entry.each_key(|key| self.key(index, key, &words));
    }

    fn told(mut self) -> String {
        if !self.left.is_empty() {
            self.words.push("another value of the same hash".to_owned());
        }
        let more = self.words.len().saturating_sub(NAMED);
        self.words.truncate(NAMED);
        let words = self.words.join(" and ");
        if more == 0 { words } else { format!("{words} and {more} more") }
    }
}

fn verb(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Start | Kind::FoldedStart) { "starts with" } else { "ends with" }
}

fn case(kind: Kind) -> &'static str {
    if matches!(kind, Kind::FoldedStart | Kind::FoldedEnd) { " in any case" } else { "" }
}

/// Bytes of text that may be cut within a character.
fn quoted(bytes: &[u8]) -> String {
    render(&Value::text(&String::from_utf8_lossy(bytes)), SHOWN)
}

/// A range as the index knows it: closed, its bounds rounded to doubles.
fn within(path: &str, range: Range) -> String {
    let shown = |bound: f64| match range.axis {
        Axis::Number => Cow::from(bound.to_string()),
        Axis::Time => match Timestamp::from_nanos(bound as i128) {
            Some(time) => time.to_string().into(),
            None => bound.to_string().into(),
        },
        Axis::Span => format!("{}s", bound / 1e9).into(),
    };
    match (range.low.is_finite(), range.high.is_finite()) {
        (true, true) => format!("{path} is in {} to {}", shown(range.low), shown(range.high)),
        (true, false) => format!("{path} >= {}", shown(range.low)),
        (false, _) => format!("{path} <= {}", shown(range.high)),
    }
}

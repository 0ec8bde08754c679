//! Which rules a message could match: every rule is filed under its witness, and a message looks up what it has.
//!
//! - [`witness`]: what a rule is filed under; [`statistics`]: the counts by which it is chosen, those of a sample of
//!   messages ([`super::traffic`]) among them.
//! - [`table`]: one frozen hash table for the keys of all kinds and fields.
//! - Kinds: [`exact`] values; [`text`]: starts, ends, parts, with [`literal`] for regular expressions and [`bits`] that
//!   pass over most of a text; [`network`]; [`range`], over the bounds of each field; [`combination`] of equalities where
//!   each alone is too common.
//! - [`walk`]: the values of a field, those in lists included; [`trace`]: how a rule was found, in words.
//!
//! Invariant: the candidates found for a message are all rules that match it, and some more. Whether a candidate
//! matches is decided by its whole condition and nothing else, so equal hashes, cut lengths and rounded bounds cost
//! time and never change an answer. Nothing is multiplied out: a rule has as many entries as its witness has values.
//!
//! Cost: a message costs a few lookups for each field that some rule is filed under, one for each set of combined
//! fields, and the candidates. Rules without a witness are candidates always.

mod bits;
mod combination;
mod exact;
mod literal;
mod network;
mod range;
mod statistics;
mod table;
mod text;
mod trace;
mod walk;
pub(super) mod witness;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use self::combination::Combinations;
use self::network::Networks;
use self::range::{AXES, Ranges};
pub(super) use self::range::{Axis, place};
use self::statistics::{Statistics, seed};
pub(super) use self::table::{Lists, Order};
use self::table::{Table, mix_bytes};
use self::text::{Grams, Lengths, Parts, WIDTHS};
pub(super) use self::walk::Way;
use self::witness::{Entry, Kind, What, Witness};
use super::program::Rule;
use super::text::fold;
use super::traffic::Shares;
use crate::error::ReadError;
use crate::message::path::{FieldId, FieldTable};
use crate::message::value::Value;
use crate::message::{Fields, Read};

/// The index of some rules, which are numbered in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Index {
    table: Table,
    fields: Box<[Field]>,
    combinations: Combinations,
    /// Rules without a witness, ascending.
    always: Box<[Order]>,
}

/// What is looked up of one field.
#[derive(Debug)]
struct Field {
    way: Way,
    exact: Option<u64>,
    ranges: [Option<Ranges>; AXES.len()],
    text: Option<Box<TextField>>,
}

/// What is looked up of one field where text stands there.
#[derive(Debug, Default)]
struct TextField {
    folded: bool,
    starts: [Lengths; 2],
    ends: [Lengths; 2],
    grams: Vec<Grams>,
    networks: Networks,
}

impl Index {
    /// Chooses a witness for each rule, by what the rules say and, if they are known, the messages; files it there.
    /// `fields` has all fields of the rules.
    pub(super) fn new(rules: &[Rule], shares: Option<Shares>, fields: &FieldTable) -> Self {
        let mut statistics = Statistics::new(rules.len(), shares);
        for rule in rules {
            statistics.add(&rule.condition);
        }
        let mut filing = Filing::default();
        let mut always = Vec::new();
        let mut common: Vec<(Order, u64, Witness<'_>)> = Vec::new();
        for (order, rule) in (0..).zip(rules) {
            match witness::cheapest(&rule.condition, &statistics) {
                Some((cost, entries)) if combination::is_common(cost) => common.push((order, cost, entries)),
                Some((_, entries)) => entries.into_iter().for_each(|entry| filing.file(order, entry, &statistics)),
                None => always.push(order),
            }
        }
        let condition = |order: Order| &rules[order as usize].condition;
        let combinations =
            Combinations::new(common.iter().map(|&(order, ..)| condition(order)), &mut statistics, fields);
        for (order, cost, entries) in common {
            match combinations.keys(condition(order), cost, &statistics) {
                Some((together, alone)) => filing.pairs.extend([(together, order), (alone, order)]),
                None => entries.into_iter().for_each(|entry| filing.file(order, entry, &statistics)),
            }
        }
        // What follows takes memory of its own.
        drop(statistics);
        let (table, fields) = filing.finish(fields);
        Self { table, fields, combinations, always: always.into() }
    }

    /// Adds all rules that the message could match, in lists that may have some in common.
    ///
    /// # Errors
    /// [`ReadError`] if a field that some rule is filed under cannot be read: then nothing is known.
    pub(super) fn find<'m, 't>(
        &'t self,
        fields: &dyn Fields<'m>,
        paths: &FieldTable,
        out: &mut Lists<'t>,
    ) -> Result<(), ReadError> {
        for field in &self.fields {
            let owned;
            let read = match fields.lend(field.way.field)? {
                Some(read) => read,
                None => {
                    owned = fields.read(field.way.field)?;
                    &owned
                }
            };
            match read {
                Read::Value(Value::List(_)) | Read::InList { .. } => {
                    field.way.each_leaf(fields, paths, &mut |value| field.find(value, &self.table, out))?;
                }
                Read::Value(value) => field.find(value, &self.table, out),
                Read::Absent | Read::Broken => {}
            }
        }
        self.combinations.find(fields, paths, &self.table, out)?;
        if !self.always.is_empty() {
            out.push(&self.always);
        }
        Ok(())
    }
}

impl Field {
    fn find<'t>(&'t self, value: &Value<'_>, table: &'t Table, out: &mut Lists<'t>) {
        if let Some(seed) = self.exact {
            table.find(exact::key(seed, value), out);
        }
        match (value, &self.text) {
            (Value::Text(text), Some(field)) => field.find(self.way.field, text.as_str(), table, out),
            _ => {
                if let Some((axis, place)) = range::place(value)
                    && let Some(ranges) = &self.ranges[axis as usize]
                {
                    ranges.find(place, out);
                }
            }
        }
    }
}

impl TextField {
    fn find<'t>(&self, field: FieldId, text: &str, table: &'t Table, out: &mut Lists<'t>) {
        let bytes = text.as_bytes();
        let [starts, folded_starts] = &self.starts;
        let [ends, folded_ends] = &self.ends;
        starts.each_start(seed(Kind::Start, field), bytes, &mut |key| table.find(key, out));
        ends.each_end(seed(Kind::End, field), bytes, &mut |key| table.find(key, out));
        if self.folded || !folded_starts.is_empty() || !folded_ends.is_empty() {
            let folded = folded(text);
            table.find(mix_bytes(seed(Kind::Folded, field), &folded), out);
            folded_starts.each_start(seed(Kind::FoldedStart, field), &folded, &mut |key| table.find(key, out));
            folded_ends.each_end(seed(Kind::FoldedEnd, field), &folded, &mut |key| table.find(key, out));
        }
        for grams in &self.grams {
            grams.find(seed(Kind::Part, field), bytes, table, out);
        }
        if !self.networks.is_empty() {
            self.networks.each_key(seed(Kind::Network, field), text, &mut |key| table.find(key, out));
        }
    }
}

/// A hash that equal values share.
pub(super) fn hash(value: &Value<'_>) -> u64 {
    exact::key(0, value)
}

/// The lower-case form that folded texts are compared with.
fn folded(text: &str) -> SmallVec<[u8; 64]> {
    if text.is_ascii() {
        text.bytes().map(|byte| byte.to_ascii_lowercase()).collect()
    } else {
        SmallVec::from_vec(fold(text).into_bytes())
    }
}

/// What has been filed so far.
#[derive(Default)]
struct Filing<'r> {
    /// Keys that are final.
    pairs: Vec<(u64, Order)>,
    /// By number of the field.
    fields: Vec<Option<Box<Noted<'r>>>>,
}

/// What has been filed in one field.
#[derive(Default)]
struct Noted<'r> {
    exact: bool,
    /// Starts and ends, whose lengths are chosen when all are known.
    affixes: Vec<(Order, What<'r>)>,
    ranges: [Vec<(f64, f64, Order)>; AXES.len()],
    /// By the number of their width in [`WIDTHS`].
    parts: [Parts; WIDTHS.len()],
    text: TextField,
}

impl<'r> Filing<'r> {
    fn file(&mut self, order: Order, entry: Entry<'r>, statistics: &Statistics) {
        let at = entry.field.index();
        if self.fields.len() <= at {
            self.fields.resize_with(at + 1, || None);
        }
        let noted = self.fields[at].get_or_insert_default();
        match entry.what {
            What::Value(_) | What::Text(_) => noted.exact = true,
            What::Folded(_) => noted.text.folded = true,
            What::Network(network) => noted.text.networks.add(network),
            What::Range(range) => {
                noted.ranges[range.axis as usize].push((range.low, range.high, order));
                return;
            }
            What::Start { text, folded } => {
                noted.text.starts[usize::from(folded)].add(text.len());
                noted.affixes.push((order, entry.what));
                return;
            }
            What::End { text, folded } => {
                noted.text.ends[usize::from(folded)].add(text.len());
                noted.affixes.push((order, entry.what));
                return;
            }
            What::Part(ref part) => {
                if let Some(width) = WIDTHS.iter().position(|width| *width <= part.len()) {
                    let seed = seed(Kind::Part, entry.field);
                    noted.parts[width].add(order, part, seed, |key| statistics.shared(key));
                }
                return;
            }
        }
        entry.each_key(|key| self.pairs.push((key, order)));
    }

    fn finish(self, table: &FieldTable) -> (Table, Box<[Field]>) {
        let mut pairs = self.pairs;
        let mut fields = Vec::new();
        for (number, noted) in self.fields.into_iter().enumerate() {
            let Some(noted) = noted else { continue };
            let Noted { exact, affixes, ranges, parts, mut text } = *noted;
            let id = FieldId::new(number);
            text.starts.iter_mut().chain(&mut text.ends).for_each(Lengths::thin);
            for (order, what) in affixes {
                // The shortest length of all is kept, so that each has one that fits.
                pairs.extend(text.cut(&what).map(|(kind, bytes)| (mix_bytes(seed(kind, id), bytes), order)));
            }
            let parts = WIDTHS.into_iter().zip(parts);
            text.grams.extend(parts.filter_map(|(width, parts)| parts.finish(width, seed(Kind::Part, id), &mut pairs)));
            let text = (!text.is_empty()).then(|| Box::new(text));
            let ranges = ranges.map(|ranges| (!ranges.is_empty()).then(|| Ranges::new(&ranges)));
            if exact || text.is_some() || ranges.iter().any(Option::is_some) {
                let way = Way::new(id, table);
                fields.push(Field { way, exact: exact.then(|| seed(Kind::Exact, id)), ranges, text });
            }
        }
        (Table::new(pairs), fields.into())
    }
}

impl TextField {
    /// What a start or an end is filed under, cut to a length that is looked up.
    fn cut<'r>(&self, what: &What<'r>) -> Option<(Kind, &'r [u8])> {
        match *what {
            What::Start { text, folded } => {
                let length = self.starts[usize::from(folded)].fitting(text.len())?;
                let kind = if folded { Kind::FoldedStart } else { Kind::Start };
                text.as_bytes().get(..length).map(|start| (kind, start))
            }
            What::End { text, folded } => {
                let length = self.ends[usize::from(folded)].fitting(text.len())?;
                let kind = if folded { Kind::FoldedEnd } else { Kind::End };
                text.as_bytes().get(text.len() - length..).map(|end| (kind, end))
            }
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        !self.folded
            && self.starts.iter().chain(&self.ends).all(Lengths::is_empty)
            && self.grams.is_empty()
            && self.networks.is_empty()
    }
}

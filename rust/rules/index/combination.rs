//! Combinations: several equalities at once, where each of them is too common to be a witness.
//!
//! Rules that ask the same fields share the keys of that set of fields: one lookup of the combined values for each
//! set. Source: the tuple space search of Srinivasan, Suri and Varghese, "Packet classification using tuple space
//! search" (SIGCOMM 1999).
//!
//! A list has many values, and several lists more combinations than can be looked up. So each rule is filed under its
//! rarest equality too, by itself, and where a field of the set is a list, those are looked up instead.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

use super::exact;
use super::statistics::{RULE, Statistics, seed};
use super::table::{Lists, Table, mix};
use super::walk::Way;
use super::witness::Kind;
use crate::error::ReadError;
use crate::message::path::{FieldId, FieldTable};
use crate::message::value::Value;
use crate::message::{Fields, Read};
use crate::rules::condition::{Asked, Condition, Predicate, Test};

/// A single witness that more rules share than this is worth a combination.
const COMMON: u64 = 16;

/// So many sets of fields are looked up for a message.
const SETS: usize = 16;

/// A set that fewer rules have is not worth its lookup.
const WORTH: usize = 8;

/// More fields than this do not make a key rarer.
const WIDEST: usize = 6;

/// Fields and the values that they must have, ascending by field.
pub(super) type Equalities<'r> = SmallVec<[(FieldId, &'r Value<'static>); 4]>;

/// Fields that rules have in common, ascending.
type Set = SmallVec<[FieldId; 4]>;

/// The sets of fields in use.
#[derive(Debug, Default)]
pub(super) struct Combinations {
    sets: Vec<Set>,
    /// The fields of each set, by its number.
    ways: Vec<Box<[Way]>>,
}

impl Combinations {
    /// Finds the sets worth having among rules of which each single witness is common, and counts their keys.
    pub(super) fn new<'r>(
        rules: impl Iterator<Item = &'r Condition>,
        statistics: &mut Statistics,
        fields: &FieldTable,
    ) -> Self {
        let mut counts: HashMap<Set, usize> = HashMap::new();
        for condition in rules {
            if let Some(equalities) = several(condition) {
                *counts.entry(set_of(&equalities)).or_default() += 1;
                statistics.count(key(&equalities));
            }
        }
        let mut sets: Vec<(usize, Set)> =
            counts.into_iter().map(|(set, count)| (count, set)).filter(|(count, _)| *count >= WORTH).collect();
        sets.sort_unstable_by(|one, other| other.cmp(one));
        sets.truncate(SETS);
        let sets: Vec<Set> = sets.into_iter().map(|(_, set)| set).collect();
        let ways = sets.iter().map(|set| set.iter().map(|&field| Way::new(field, fields)).collect()).collect();
        Self { sets, ways }
    }

    /// The keys of a rule whose cheapest single witness costs so much, if it is better filed under a combination: the
    /// combination's, and that of a field alone.
    pub(super) fn keys(&self, condition: &Condition, cost: u64, statistics: &Statistics) -> Option<(u64, u64)> {
        let equalities = several(condition)?;
        let set = set_of(&equalities);
        let key = key(&equalities);
        if !self.sets.contains(&set) || statistics.shared(key) * RULE * 2 > cost {
            return None;
        }
        let alone = |&(field, value): &(FieldId, &Value<'static>)| exact::key(seed(Kind::Exact, field), value);
        let (field, value) = equalities.iter().min_by_key(|equality| statistics.shared(alone(equality)))?;
        Some((key, exact::key(seed(Kind::Fallback, *field), value)))
    }

    /// Calls `with` with each key that a rule may have here, and the equalities it stands for: all of the set, or one.
    pub(super) fn each_key<'r>(&self, condition: &'r Condition, with: &mut dyn FnMut(u64, &Equalities<'r>)) {
        let Some(equalities) = several(condition) else { return };
        if !self.sets.contains(&set_of(&equalities)) {
            return;
        }
        with(key(&equalities), &equalities);
        for &(field, value) in &equalities {
            with(exact::key(seed(Kind::Fallback, field), value), &smallvec![(field, value)]);
        }
    }

    /// Adds the rules of all combinations that the message has.
    pub(super) fn find<'m, 't>(
        &self,
        fields: &dyn Fields<'m>,
        paths: &FieldTable,
        table: &'t Table,
        out: &mut Lists<'t>,
    ) -> Result<(), ReadError> {
        'sets: for (set, ways) in self.sets.iter().zip(&self.ways) {
            let mut key = start(set.iter().copied());
            let mut lists = false;
            for &field in set {
                match fields.read(field)? {
                    Read::Value(Value::List(_)) | Read::InList { .. } => lists = true,
                    Read::Value(value) => key = exact::key(key, &value),
                    Read::Absent | Read::Broken => continue 'sets,
                }
            }
            if !lists {
                table.find(key, out);
                continue;
            }
            for way in ways {
                let seed = seed(Kind::Fallback, way.field);
                way.each_leaf(fields, paths, &mut |value| table.find(exact::key(seed, value), out))?;
            }
        }
        Ok(())
    }
}

fn set_of(equalities: &Equalities<'_>) -> Set {
    equalities.iter().map(|&(field, _)| field).collect()
}

fn start(set: impl Iterator<Item = FieldId>) -> u64 {
    set.fold(Kind::Combination as u64, |state, field| mix(state, field.index() as u64))
}

fn key(equalities: &Equalities<'_>) -> u64 {
    let start = start(equalities.iter().map(|&(field, _)| field));
    equalities.iter().fold(start, |state, (_, value)| exact::key(state, value))
}

/// Whether a single witness of this cost is so common that a combination may be better.
pub(super) fn is_common(cost: u64) -> bool {
    cost > COMMON * RULE
}

/// The equalities that must hold for the condition to hold, if there are several.
fn several(condition: &Condition) -> Option<Equalities<'_>> {
    let mut found = Equalities::new();
    collect(condition, &mut found);
    found.sort_by_key(|&(field, _)| field);
    found.dedup_by_key(|(field, _)| *field);
    found.truncate(WIDEST);
    (found.len() > 1).then_some(found)
}

fn equality(predicate: &Predicate) -> Option<(FieldId, &Value<'static>)> {
    match (&predicate.test, predicate.asked) {
        (Test::Equals(value), Asked::True) => Some((predicate.field, value)),
        _ => None,
    }
}

fn collect<'r>(condition: &'r Condition, into: &mut Equalities<'r>) {
    match condition {
        Condition::All(parts) => parts.iter().for_each(|part| collect(part, into)),
        Condition::Within { condition, .. } => collect(condition, into),
        Condition::Predicate(predicate) => into.extend(equality(predicate)),
        Condition::Tests(tests) => into.extend(tests.iter().filter_map(|test| equality(test))),
        Condition::Any(_) | Condition::Expression(_) => {}
    }
}

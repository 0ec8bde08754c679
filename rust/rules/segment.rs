//! Rules that never change, in the order in which they are tried, with their index; and, as a layer of a program, with
//! marks on those that are gone.

use std::sync::Arc;

use super::condition::Undecided;
use super::index::{Index, Lists, Order};
use super::program::{Rank, Rule};
use super::traffic::Traffic;
use crate::hash::{mix_bytes, scaled};
use crate::message::Fields;
use crate::message::path::FieldTable;

/// So few rules are tried one after another: that is faster than looking them up.
pub(super) const SCANNED: usize = 32;

/// For fewer rules than this, how frequent values are among messages is not asked: it would cost more than it gains.
pub(super) const MANY: usize = 1024;

/// More lists of candidates than this are made one, so that no rule is decided again and again.
const FEW_LISTS: usize = 16;

/// Frozen rules.
#[derive(Debug)]
struct Segment {
    rules: Box<[Rule]>,
    ids: Ids,
    /// `None`: few enough to be scanned.
    index: Option<Index>,
}

/// A segment, and which of its rules are gone. Cloning is two pointers.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    segment: Arc<Segment>,
    /// A bit for each rule; `None` if none is gone.
    gone: Option<Arc<[u64]>>,
    live: usize,
}

/// A rule that decides: it matches, or it cannot be said whether it does.
pub(super) struct Decided {
    pub(super) order: Order,
    pub(super) outcome: Result<(), Undecided>,
}

impl Layer {
    /// Takes the rules, which are sorted here. Cost: that of choosing and filing a witness for each.
    pub(super) fn new(mut rules: Vec<Rule>, traffic: &Traffic, fields: &FieldTable) -> Self {
        // Sorting would take room for half of them, and mostly they come sorted.
        if !rules.is_sorted_by_key(Rule::rank) {
            rules.sort_by_key(Rule::rank);
        }
        let ids = Ids::new(&rules);
        let index = (rules.len() > SCANNED).then(|| {
            let shares = if rules.len() < MANY { None } else { traffic.shares(fields) };
            Index::new(&rules, shares, fields)
        });
        let live = rules.len();
        Self { segment: Arc::new(Segment { rules: rules.into(), ids, index }), gone: None, live }
    }

    /// Rules that are there.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Rules that are there and rules that are gone: orders are below.
    pub(super) fn len(&self) -> usize {
        self.segment.rules.len()
    }

    pub(super) fn rule(&self, order: usize) -> &Rule {
        &self.segment.rules[order]
    }

    /// The rules that are there, ascending.
    pub(super) fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.segment.rules.iter().enumerate().filter(|(order, _)| !self.is_gone(*order))
    }

    /// Where the rule of that id is. O(1).
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let order = self.segment.ids.find(hash_of(id), |order| *self.segment.rules[order].id == *id)?;
        (!self.is_gone(order)).then_some(order)
    }

    /// This layer without the rule. Copies a bit for each rule.
    pub(super) fn without(&self, order: usize) -> Self {
        let mut gone = match &self.gone {
            Some(gone) => gone.to_vec(),
            None => vec![0; self.len().div_ceil(64)],
        };
        gone[order / 64] |= 1 << (order % 64);
        Self { segment: Arc::clone(&self.segment), gone: Some(gone.into()), live: self.live - 1 }
    }

    fn is_gone(&self, order: usize) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone[order / 64] >> (order % 64) & 1 == 1)
    }

    /// The order of the first rule that does not stand before `rank`.
    pub(super) fn at(&self, rank: Rank) -> usize {
        self.segment.rules.partition_point(|rule| rule.rank() < rank)
    }

    /// The first rule from `from` on and before `until` that matches or cannot be decided. `asking` is called for every
    /// condition that is asked.
    pub(super) fn first<'m>(
        &self,
        fields: &dyn Fields<'m>,
        paths: &FieldTable,
        from: usize,
        until: usize,
        asking: &mut impl FnMut(usize),
    ) -> Option<Decided> {
        if from >= until {
            return None;
        }
        let mut best = Best { layer: self, fields, paths, from, until, found: None, asking };
        let Some(index) = &self.segment.index else {
            best.scan();
            return best.found;
        };
        if best.try_first() {
            return best.found;
        }
        let mut lists = Lists::new();
        if index.find(fields, paths, &mut lists).is_err() {
            // A field that rules are filed under cannot be read. Some may be decided by other fields.
            best.scan();
            return best.found;
        }
        if lists.len() > FEW_LISTS {
            best.visit(&merged(&lists));
        } else {
            lists.iter().for_each(|list| best.visit(list));
        }
        best.found
    }

    /// All rules that match, ascending.
    ///
    /// # Errors
    /// The first rule that cannot be decided.
    pub(super) fn all<'m>(
        &self,
        fields: &dyn Fields<'m>,
        paths: &FieldTable,
        with: &mut dyn FnMut(Order),
    ) -> Result<(), (Order, Undecided)> {
        let mut ask = |order: Order| {
            let at = order as usize;
            if !self.is_gone(at) && self.rule(at).condition.holds(fields, paths).map_err(|cause| (order, cause))? {
                with(order);
            }
            Ok(())
        };
        let mut lists = Lists::new();
        match &self.segment.index {
            Some(index) if index.find(fields, paths, &mut lists).is_ok() => match lists.as_slice() {
                [only] => only.iter().try_for_each(|&order| ask(order)),
                _ => merged(&lists).into_iter().try_for_each(ask),
            },
            _ => (0..self.len() as Order).try_for_each(ask),
        }
    }

    /// The rules that [`Layer::first`] and [`Layer::all`] may ask, ascending, and how each was found, in words. Cost:
    /// that of finding them, and a lookup for each value that a candidate's witness might be.
    pub(super) fn candidates<'m>(&self, fields: &dyn Fields<'m>, paths: &FieldTable) -> Vec<(usize, String)> {
        let scanned = |why: &str| self.rules().map(|(order, _)| (order, format!("scanned ({why})"))).collect();
        let Some(index) = &self.segment.index else { return scanned(&format!("{SCANNED} rules or fewer")) };
        let mut lists = Lists::new();
        if let Err(error) = index.find(fields, paths, &mut lists) {
            return scanned(&error.to_string());
        }
        let mut found: Vec<(Order, &[Order])> = Vec::new();
        for list in distinct(&lists) {
            found.extend(list.iter().filter(|order| !self.is_gone(**order as usize)).map(|&order| (order, list)));
        }
        found.sort_unstable_by_key(|&(order, _)| order);
        let rules = found.chunk_by(|one, other| one.0 == other.0);
        let rules = rules.map(|found| {
            let order = found[0].0 as usize;
            let lists = found.iter().map(|&(_, list)| list).collect();
            (order, index.found_by(&self.rule(order).condition, lists, paths))
        });
        let mut rules: Vec<(usize, String)> = rules.collect();
        let found_first = rules.first().is_some_and(|(order, _)| *order == 0);
        if !found_first && !self.is_gone(0) && self.rule(0).condition.is_plain() {
            rules.insert(0, (0, "tried first, before anything is looked up".to_owned()));
        }
        rules
    }
}

/// The lists, each once: the same comes up for each element of the message that has the same value.
fn distinct<'t>(lists: &Lists<'t>) -> Vec<&'t [Order]> {
    let mut lists: Vec<&[Order]> = lists.to_vec();
    lists.sort_unstable_by_key(|list| list.as_ptr());
    lists.dedup_by_key(|list| list.as_ptr());
    lists
}

/// All candidates, ascending, each once.
fn merged(lists: &Lists<'_>) -> Vec<Order> {
    let mut merged = distinct(lists).concat();
    merged.sort_unstable();
    merged.dedup();
    merged
}

/// The search for the first rule.
struct Best<'a, 'm, F> {
    layer: &'a Layer,
    fields: &'a dyn Fields<'m>,
    paths: &'a FieldTable,
    from: usize,
    /// Nobody from here on can be better than what was found.
    until: usize,
    found: Option<Decided>,
    asking: &'a mut F,
}

impl<F: FnMut(usize)> Best<'_, '_, F> {
    fn scan(&mut self) {
        for order in self.from..self.until {
            if self.decides(order) {
                return;
            }
        }
    }

    /// Tries the first rule, if that costs little; whether it decides. What most messages match is often put first, and
    /// then nothing need be looked up.
    fn try_first(&mut self) -> bool {
        if !self.layer.rule(self.from).condition.is_plain() {
            return false;
        }
        let decides = self.decides(self.from);
        self.from += 1;
        decides
    }

    fn visit(&mut self, candidates: &[Order]) {
        for &order in candidates {
            let order = order as usize;
            if order >= self.until || order >= self.from && self.decides(order) {
                return;
            }
        }
    }

    /// Whether the search ends here, as far as rules behind this one go.
    fn decides(&mut self, order: usize) -> bool {
        if self.layer.is_gone(order) {
            return false;
        }
        (self.asking)(order);
        let outcome = match self.layer.rule(order).condition.holds(self.fields, self.paths) {
            Ok(false) => return false,
            Ok(true) => Ok(()),
            Err(cause) => Err(cause),
        };
        self.until = order;
        self.found = Some(Decided { order: order as Order, outcome });
        true
    }
}

/// Where each id is: open addressing over the rules themselves, so that an id is kept once. As many slots as it takes, not
/// a power of two: a hash is scaled to their number.
#[derive(Debug, Default)]
pub(super) struct Ids {
    slots: Box<[u32]>,
}

const EMPTY: u32 = u32::MAX;

/// The hash of an id.
pub(super) fn hash_of(id: &str) -> u32 {
    mix_bytes(0, id.as_bytes()) as u32
}

impl Ids {
    fn new(rules: &[Rule]) -> Self {
        let mut ids = Self { slots: vec![EMPTY; rules.len() + rules.len() / 2 + 1].into() };
        (0..).zip(rules).for_each(|(order, rule)| ids.put(order, hash_of(&rule.id)));
        ids
    }

    /// Adds the id that has the last of the hashes; the others are here.
    pub(super) fn add(&mut self, hashes: &[u32]) {
        if hashes.len() * 2 > self.slots.len() {
            // Room for twice as many, so that each is put in its place a few times at most.
            self.slots = vec![EMPTY; hashes.len() * 4].into();
            (0..).zip(hashes).for_each(|(order, &hash)| self.put(order, hash));
        } else if let Some(&last) = hashes.last() {
            self.put((hashes.len() - 1) as u32, last);
        }
    }

    fn put(&mut self, order: u32, hash: u32) {
        let mut at = scaled(u64::from(hash), self.slots.len());
        while self.slots[at] != EMPTY {
            at = self.after(at);
        }
        self.slots[at] = order;
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// The place of the id with this hash; `is_it` tells whether the rule in a place has it.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = scaled(u64::from(hash), self.slots.len());
        while self.slots[at] != EMPTY {
            let order = self.slots[at] as usize;
            if is_it(order) {
                return Some(order);
            }
            at = self.after(at);
        }
        None
    }
}

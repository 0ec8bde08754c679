//! A compiled rule set: rules in the order in which they are tried.
//!
//! A program never changes; adding or removing rules makes another one, which shares what they have in common. Readers
//! of the old one are not disturbed. Field numbers given out once stay valid in all that come after.
//!
//! Rules stand in layers, each a frozen segment with an index of its own. Rules that are added make a new layer, which
//! is merged with those before it that are no more than [`RATIO`] times as large; a rule that is removed is marked, and
//! a layer of which a quarter is gone is made anew. Witnesses are chosen anew with every merge, by a sample of the
//! messages seen so far too ([`Program::sample`]). Source: the logarithmic
//! method of Bentley and Saxe, "Decomposable searching problems I" (1980).
//!
//! Cost: cloning is one pointer. Building compiles each rule once and files it once. Adding a rule compiles it and,
//! amortised, copies it (its predicates are shared) and files it anew O(log n) times; removing one copies a bit for each
//! rule of its layer. A rule that names a field that no rule named before copies the table of fields. Matching asks each
//! layer, of which there are O(log n), one where nothing was added since the program was built.

mod addition;

use std::cmp::Reverse;
use std::sync::Arc;

use smol_str::SmolStr;

pub use self::addition::Addition;
use super::condition::Condition;
use super::index::witness;
use super::limits::Limits;
use super::segment::{Layer, MANY, SCANNED};
use super::traffic::Traffic;
use crate::error::{Place, RuleError};
use crate::message::Fields;
use crate::message::json::Paths;
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::value::Value;

/// A rule as it is written.
#[derive(Debug, Clone)]
pub struct RuleSource {
    /// Its name, unique in the set.
    pub id: String,
    /// Higher priorities are tried first.
    pub priority: i64,
    /// A CEL condition.
    pub when: Option<String>,
    /// A pattern. Where there is a `when` too, both must hold.
    pub matches: Option<Value<'static>>,
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the program.
    pub id: SmolStr,
    /// Higher priorities are tried first.
    pub priority: i64,
    /// Grows with every rule ever added: of equal priorities, the rule added first is tried first.
    pub sequence: u64,
    /// What must hold.
    pub condition: Condition,
}

/// Ascending in the order in which rules are tried.
pub(super) type Rank = (Reverse<i64>, u64);

/// A layer is merged with the one after it unless it has more than so many times its rules.
const RATIO: usize = 3;

impl Rule {
    /// No two rules are equal.
    pub(super) fn rank(&self) -> Rank {
        (Reverse(self.priority), self.sequence)
    }
}

/// A compiled rule set. Cheap to clone; safe to share between threads.
#[derive(Debug, Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    /// The larger ones first.
    layers: Vec<Layer>,
    fields: Arc<FieldTable>,
    paths: Arc<Paths>,
    roots: Arc<[Arc<str>]>,
    limits: Limits,
    /// What messages of late were like; shared with the programs that come of this one.
    traffic: Arc<Traffic>,
    /// The next rule's number.
    sequence: u64,
}

impl Program {
    /// Compiles a rule set.
    ///
    /// `roots` are the variables that conditions may name, such as `message` and `live`; patterns are about the first.
    ///
    /// # Errors
    /// All that is wrong with all rules, in their order.
    pub fn build(sources: Vec<RuleSource>, roots: &[&str], limits: Limits) -> Result<Self, Vec<RuleError>> {
        Self::build_on(Arc::default(), sources, roots, limits)
    }

    /// As [`Program::build`]; `traffic` is that of a program before it, by which witnesses are chosen.
    ///
    /// # Errors
    /// As [`Program::build`].
    pub fn build_on(
        traffic: Arc<Traffic>,
        sources: Vec<RuleSource>,
        roots: &[&str],
        limits: Limits,
    ) -> Result<Self, Vec<RuleError>> {
        Self::empty(traffic, roots, limits).with_rules(sources)
    }

    /// A program without rules. `roots` and `limits` are those of [`Program::build`], `traffic` is that of
    /// [`Program::build_on`].
    pub fn empty(traffic: Arc<Traffic>, roots: &[&str], limits: Limits) -> Self {
        let fields = FieldTable::default();
        let roots: Arc<[Arc<str>]> = roots.iter().map(|&root| root.into()).collect();
        let inner = Inner {
            layers: Vec::new(),
            paths: Arc::new(Paths::new(&fields, first(&roots))),
            fields: Arc::new(fields),
            roots,
            limits,
            traffic,
            sequence: 0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// This program and one more rule.
    ///
    /// # Errors
    /// What is wrong with the rule; this program is untouched.
    pub fn with_rule(&self, source: RuleSource) -> Result<Self, RuleError> {
        let id = source.id.clone();
        self.with_rules(vec![source]).map_err(|errors| {
            // One rule has at least one error, but a type that says so is not worth having.
            let unknown = RuleError { rule: id, problem: "the rule cannot be compiled".to_owned(), place: Place::Rule };
            errors.into_iter().next().unwrap_or(unknown)
        })
    }

    /// This program and more rules.
    ///
    /// # Errors
    /// All that is wrong with all of the new rules, in their order; this program is untouched.
    pub fn with_rules(&self, sources: Vec<RuleSource>) -> Result<Self, Vec<RuleError>> {
        let mut addition = self.adding();
        addition.extend(sources);
        addition.finish()
    }

    /// Begins to add rules to this program a few at a time, so that not all sources need be there at once.
    pub fn adding(&self) -> Addition {
        Addition::new(self)
    }

    /// This program, its messages asked for further fields besides those that rules name: those that `ask` asks the
    /// numbers of; and what `ask` makes of them.
    pub fn with_fields<T>(&self, ask: impl FnOnce(&mut dyn FnMut(Path) -> FieldId) -> T) -> (Self, T) {
        let mut inner = (*self.inner).clone();
        let mut fields = (*inner.fields).clone();
        let made = ask(&mut |path| fields.intern(path));
        inner.set_fields(fields);
        (Self { inner: Arc::new(inner) }, made)
    }

    /// This program without the rule; `None` if there is none of that id.
    pub fn without_rule(&self, id: &str) -> Option<Self> {
        let (at, order) = self.find(id)?;
        let mut inner = (*self.inner).clone();
        let layer = inner.layers[at].without(order);
        if layer.live() == 0 {
            inner.layers.remove(at);
        } else if layer.live() * 4 <= layer.len() * 3 {
            let left = layer.rules().map(|(_, rule)| rule.clone()).collect();
            inner.layers[at] = Layer::new(left, &inner.traffic, &inner.fields);
        } else {
            inner.layers[at] = layer;
        }
        Some(Self { inner: Arc::new(inner) })
    }

    /// Shows the program a message that it is asked about. Seldom one is kept; the others cost next to nothing.
    #[inline]
    pub fn sample<'m>(&self, message: &dyn Fields<'m>) {
        if self.sample_is_due(1) {
            self.keep(message);
        }
    }

    /// Whether one of the next `count` messages is to be kept. Counted once for many, since threads that all count are
    /// in each other's way.
    #[inline]
    pub fn sample_is_due(&self, count: u32) -> bool {
        self.inner.traffic.due(count)
    }

    /// Keeps a message, where there are rules enough for it to matter.
    #[cold]
    pub fn keep<'m>(&self, message: &dyn Fields<'m>) {
        if self.inner.layers.iter().any(|layer| layer.len() >= MANY) {
            self.inner.traffic.keep(message, &self.inner.fields, first(&self.inner.roots));
        } else {
            self.inner.traffic.rest();
        }
    }

    /// What messages of late were like.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.inner.traffic
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.inner.layers.iter().map(Layer::live).sum()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.inner.layers.is_empty()
    }

    /// The rules in the order in which they are tried: by priority, highest first, then by when they were added.
    pub fn rules(&self) -> Vec<&Rule> {
        self.numbered().into_iter().map(|(_, rule)| rule).collect()
    }

    /// The rules and their numbers, as [`Program::rules`]. O(n), or O(n log n) if rules were added since it was built.
    pub fn numbered(&self) -> Vec<(usize, &Rule)> {
        let mut rules = Vec::with_capacity(self.len());
        for (start, layer) in self.layers() {
            rules.extend(layer.rules().map(|(order, rule)| (start + order, rule)));
        }
        if self.inner.layers.len() > 1 {
            rules.sort_by_key(|(_, rule)| rule.rank());
        }
        rules
    }

    /// The rule with this number, as matching gives it: of this program, not of one before or after it. In a program
    /// that was built at once, the number is the rule's place in [`Program::rules`].
    pub fn rule(&self, number: usize) -> &Rule {
        // A number beyond the last is no number of this program: indexing says so.
        let mut order = number;
        let mut at = 0;
        while order >= self.inner.layers[at].len() {
            order -= self.inner.layers[at].len();
            at += 1;
        }
        self.inner.layers[at].rule(order)
    }

    /// The number of the rule with this id. O(log n).
    pub fn number(&self, id: &str) -> Option<usize> {
        let (at, order) = self.find(id)?;
        self.layers().nth(at).map(|(start, _)| start + order)
    }

    /// The ids of rules that every message is tried against, since nothing in them can be looked up: negations, mere
    /// presence, expressions over several fields, regular expressions without a literal. Each costs every message its
    /// whole condition.
    pub fn unindexed(&self) -> impl Iterator<Item = &str> {
        let rules = self.numbered().into_iter().map(|(_, rule)| rule);
        rules.filter(|rule| !witness::exists(&rule.condition)).map(|rule| &*rule.id)
    }

    /// The layers, each with the number of its first rule.
    pub(super) fn layers(&self) -> impl Iterator<Item = (usize, &Layer)> {
        self.inner.layers.iter().scan(0, |start, layer| {
            let numbered = (*start, layer);
            *start += layer.len();
            Some(numbered)
        })
    }

    /// The layer and the place in it of the rule with this id.
    fn find(&self, id: &str) -> Option<(usize, usize)> {
        let layers = self.inner.layers.iter().enumerate();
        layers.into_iter().find_map(|(at, layer)| Some((at, layer.find(id)?)))
    }

    /// The fields that the rules name, and those of rules that are gone.
    pub fn fields(&self) -> &FieldTable {
        &self.inner.fields
    }

    /// The fields of the first root as [`crate::message::json::JsonMessage`] wants them.
    pub fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// The variables that conditions may name.
    pub fn roots(&self) -> &[Arc<str>] {
        &self.inner.roots
    }

    /// What a rule may cost.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }
}

/// Rules are numbered with 32 bits.
const MOST_RULES: usize = 1 << 30;

impl Inner {
    /// Takes a table that has grown out of this one's.
    fn set_fields(&mut self, fields: FieldTable) {
        if fields.paths().len() > self.fields.paths().len() {
            self.paths = Arc::new(Paths::new(&fields, first(&self.roots)));
            self.fields = Arc::new(fields);
        }
    }

    /// Adds a layer, merged with those before it that are not much larger.
    fn push(&mut self, mut rules: Vec<Rule>, fields: &FieldTable) {
        while let Some(before) = self.layers.last() {
            // A small layer takes what comes until it is full, since it is scanned as a whole.
            let fits = before.live() + rules.len() <= SCANNED;
            if !fits && (before.live() > RATIO * rules.len() || rules.len() < SCANNED && before.live() >= SCANNED) {
                break;
            }
            let mut merged: Vec<Rule> = before.rules().map(|(_, rule)| rule.clone()).collect();
            merged.append(&mut rules);
            rules = merged;
            self.layers.pop();
        }
        self.layers.push(Layer::new(rules, &self.traffic, fields));
    }
}

/// The variable that patterns are about.
fn first(roots: &[Arc<str>]) -> &str {
    roots.first().map_or("message", |root| root)
}

#[cfg(test)]
mod tests;

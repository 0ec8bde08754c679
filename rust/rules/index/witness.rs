//! The witness of a rule: what must be true of a message for the rule to match, and is cheapest to look up.
//!
//! A predicate offers alternatives, such as the start, the end or a middle part of a wildcard; each is a union of
//! entries, one key or range apiece. An `All` takes the cheapest of its parts, an `Any` the union of its parts; a list
//! is looked through, since a value is looked up for every element. What asks for the opposite, for mere presence, or
//! for more than one field has no witness.
//!
//! The cost of an entry is how many rules share it (of ranges: lie there on average), so the choice follows what the
//! rules say and never the order of fields. Nothing here decides a match: a witness may be too wide, never too narrow.

use std::borrow::Cow;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::range::{self, Range};
use super::statistics::{Statistics, seed};
use super::table::mix_bytes;
use super::{exact, literal, network, text};
use crate::message::path::FieldId;
use crate::message::value::Value;
use crate::rules::condition::{Asked, Comparison, Condition, Predicate, Test};

/// The kinds of keys, each with hashes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exact = 1,
    Folded,
    Start,
    FoldedStart,
    End,
    FoldedEnd,
    Part,
    Network,
    /// One field of a combination, looked up where another of its fields is a list.
    Fallback,
    Combination,
}

/// One thing to look up in one field.
#[derive(Debug, Clone)]
pub(super) struct Entry<'r> {
    pub(super) field: FieldId,
    pub(super) what: What<'r>,
}

#[derive(Debug, Clone)]
pub(super) enum What<'r> {
    Value(&'r Value<'static>),
    Text(&'r str),
    /// Equal but for case; folded.
    Folded(&'r str),
    Start {
        text: &'r str,
        folded: bool,
    },
    End {
        text: &'r str,
        folded: bool,
    },
    Part(Cow<'r, [u8]>),
    Network(&'r IpNet),
    Range(Range),
}

/// What a rule is filed under: some of it is true of every message that the rule matches.
pub(super) type Witness<'r> = SmallVec<[Entry<'r>; 1]>;

static TRUE: Value<'static> = Value::Bool(true);
static FALSE: Value<'static> = Value::Bool(false);

/// Whether the condition has a witness at all.
pub(in crate::rules) fn exists(condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().any(exists),
        Condition::Tests(tests) => tests.iter().any(|test| has_witness(test)),
        Condition::Any(parts) => parts.iter().all(exists),
        Condition::Predicate(predicate) => has_witness(predicate),
        Condition::Expression(_) => false,
        Condition::Within { condition, .. } => exists(condition),
    }
}

fn has_witness(predicate: &Predicate) -> bool {
    let mut found = false;
    each_alternative(predicate, &mut |_| found = true);
    found
}

type Costed<'r> = (u64, Witness<'r>);

/// The cheapest witness and its cost; `None` if there is none.
pub(super) fn cheapest<'r>(condition: &'r Condition, statistics: &Statistics) -> Option<Costed<'r>> {
    let mut least = None;
    cheaper(condition, statistics, &mut least);
    least
}

/// Replaces `least` by the cheapest witness of the condition, if that costs less: of equal ones the first stays.
fn cheaper<'r>(condition: &'r Condition, statistics: &Statistics, least: &mut Option<Costed<'r>>) {
    match condition {
        Condition::All(parts) => parts.iter().for_each(|part| cheaper(part, statistics, least)),
        Condition::Tests(tests) => tests.iter().for_each(|test| cheaper_test(test, statistics, least)),
        Condition::Any(parts) => {
            let mut union = (0_u64, Witness::new());
            for part in parts {
                let Some((cost, entries)) = cheapest(part, statistics) else { return };
                union.0 = union.0.saturating_add(cost);
                union.1.extend(entries);
            }
            if least.as_ref().is_none_or(|(cost, _)| union.0 < *cost) {
                *least = Some(union);
            }
        }
        Condition::Predicate(predicate) => cheaper_test(predicate, statistics, least),
        Condition::Expression(_) => {}
        Condition::Within { condition, .. } => cheaper(condition, statistics, least),
    }
}

fn cheaper_test<'r>(predicate: &'r Predicate, statistics: &Statistics, least: &mut Option<Costed<'r>>) {
    each_alternative(predicate, &mut |entries| {
        let cost = entries.iter().map(|entry| statistics.cost(entry)).fold(0, u64::saturating_add);
        if least.as_ref().is_none_or(|(known, _)| cost < *known) {
            *least = Some((cost, entries.iter().cloned().collect()));
        }
    });
}

/// Calls `with` for every entry that some witness could have.
pub(super) fn each_entry<'r>(condition: &'r Condition, with: &mut impl FnMut(&Entry<'r>)) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| each_entry(part, with)),
        Condition::Predicate(predicate) => {
            each_alternative(predicate, &mut |entries| entries.iter().for_each(&mut *with))
        }
        Condition::Tests(tests) => {
            tests.iter().for_each(|test| each_alternative(test, &mut |entries| entries.iter().for_each(&mut *with)));
        }
        Condition::Expression(_) => {}
        Condition::Within { condition, .. } => each_entry(condition, with),
    }
}

fn compared(comparison: Comparison, constant: &Value<'_>) -> Option<Range> {
    let (axis, bound) = range::place(constant)?;
    Some(match comparison {
        Comparison::Less | Comparison::LessOrEqual => Range { axis, low: f64::NEG_INFINITY, high: bound },
        Comparison::Greater | Comparison::GreaterOrEqual => Range { axis, low: bound, high: f64::INFINITY },
    })
}

/// Calls `with` with each witness of a predicate, any of which will do; not at all if it has none.
fn each_alternative<'r>(predicate: &'r Predicate, with: &mut impl FnMut(&[Entry<'r>])) {
    let field = predicate.field;
    let mut one = |what| with(&[Entry { field, what }]);
    if predicate.asked == Asked::False {
        if matches!(predicate.test, Test::IsTrue) {
            one(What::Value(&FALSE));
        }
        return;
    }
    match &predicate.test {
        Test::Equals(value) => one(What::Value(value)),
        // None at all: nothing to look up, but whether the field can be read decides whether the rule can be.
        Test::OneOf(values) if values.is_empty() => {}
        Test::OneOf(values) => {
            let entries = values.iter().map(|value| Entry { field, what: What::Value(value) });
            with(&entries.collect::<Witness<'_>>());
        }
        Test::Compares(comparison, constant) => {
            if let Some(range) = compared(*comparison, constant) {
                one(What::Range(range));
            }
        }
        Test::Between(bounds) => {
            if let (Some((axis, low)), Some((other, high))) = (range::place(&bounds.lower), range::place(&bounds.upper))
                && axis == other
            {
                one(What::Range(Range { axis, low, high }));
            }
        }
        Test::Prefix { text, ignore_case } if !text.is_empty() => one(What::Start { text, folded: *ignore_case }),
        Test::Suffix { text, ignore_case } if !text.is_empty() => one(What::End { text, folded: *ignore_case }),
        Test::EqualsIgnoreCase(folded) => one(What::Folded(folded)),
        Test::Contains(text) if !text.is_empty() => one(What::Part(Cow::Borrowed(text.as_bytes()))),
        Test::Wildcard(literals) => match &**literals {
            [only] => one(What::Text(only)),
            [first, .., last] => {
                if !first.is_empty() {
                    one(What::Start { text: first, folded: false });
                }
                if !last.is_empty() {
                    one(What::End { text: last, folded: false });
                }
                let parts = literals.iter().filter(|literal| !literal.is_empty());
                parts.for_each(|part| one(What::Part(Cow::Borrowed(part.as_bytes()))));
            }
            [] => {}
        },
        Test::Matches(regex) => {
            if let Some(set) = literal::required(regex.as_str()) {
                let entries = set.into_iter().map(|part| Entry { field, what: What::Part(Cow::Owned(part)) });
                with(&entries.collect::<Witness<'_>>());
            }
        }
        Test::Cidr(network) => one(What::Network(network)),
        Test::IsTrue => one(What::Value(&TRUE)),
        Test::Prefix { .. } | Test::Suffix { .. } | Test::Contains(_) | Test::Present | Test::AnythingBut(_) => {}
    }
}

impl Entry<'_> {
    /// Calls `with` with each key that rules with this entry may share; none of a range, several of a part.
    #[inline]
    pub(super) fn each_key(&self, mut with: impl FnMut(u64)) {
        let seed = |kind| seed(kind, self.field);
        match &self.what {
            What::Value(value) => with(exact::key(seed(Kind::Exact), value)),
            What::Text(text) => with(mix_bytes(seed(Kind::Exact), text.as_bytes())),
            What::Folded(text) => with(mix_bytes(seed(Kind::Folded), text.as_bytes())),
            What::Start { text, folded } => {
                with(mix_bytes(seed(if *folded { Kind::FoldedStart } else { Kind::Start }), text.as_bytes()));
            }
            What::End { text, folded } => {
                with(mix_bytes(seed(if *folded { Kind::FoldedEnd } else { Kind::End }), text.as_bytes()));
            }
            What::Part(part) => text::gram_keys(seed(Kind::Part), part).for_each(with),
            What::Network(network) => with(network::key(seed(Kind::Network), network)),
            What::Range(_) => {}
        }
    }
}

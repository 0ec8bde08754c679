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
use smallvec::{SmallVec, smallvec};

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
        Condition::Tests(tests) => tests.iter().any(|test| !alternatives(test).is_empty()),
        Condition::Any(parts) => parts.iter().all(exists),
        Condition::Predicate(predicate) => !alternatives(predicate).is_empty(),
        Condition::Expression(_) => false,
        Condition::Within { condition, .. } => exists(condition),
    }
}

/// The cheapest witness and its cost; `None` if there is none.
pub(super) fn cheapest<'r>(condition: &'r Condition, statistics: &Statistics) -> Option<(u64, Witness<'r>)> {
    match condition {
        Condition::All(parts) => least(parts.iter().filter_map(|part| cheapest(part, statistics))),
        Condition::Tests(tests) => least(tests.iter().filter_map(|test| cheapest_of(test, statistics))),
        Condition::Any(parts) => {
            let mut union = (0_u64, Witness::new());
            for part in parts {
                let (cost, entries) = cheapest(part, statistics)?;
                union.0 = union.0.saturating_add(cost);
                union.1.extend(entries);
            }
            Some(union)
        }
        Condition::Predicate(predicate) => cheapest_of(predicate, statistics),
        Condition::Expression(_) => None,
        Condition::Within { condition, .. } => cheapest(condition, statistics),
    }
}

type Costed<'r> = (u64, Witness<'r>);

/// The first of the least cost.
fn least<'r>(witnesses: impl Iterator<Item = Costed<'r>>) -> Option<Costed<'r>> {
    witnesses.min_by_key(|(cost, _)| *cost)
}

fn cheapest_of<'r>(predicate: &'r Predicate, statistics: &Statistics) -> Option<Costed<'r>> {
    let cost = |entries: &Witness<'r>| entries.iter().map(|entry| statistics.cost(entry)).fold(0, u64::saturating_add);
    least(alternatives(predicate).into_iter().map(|entries| (cost(&entries), entries)))
}

/// Calls `with` for every entry that some witness could have.
pub(super) fn each_entry<'r>(condition: &'r Condition, with: &mut dyn FnMut(Entry<'r>)) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| each_entry(part, with)),
        Condition::Predicate(predicate) => alternatives(predicate).into_iter().flatten().for_each(with),
        Condition::Tests(tests) => tests.iter().flat_map(|test| alternatives(test)).flatten().for_each(with),
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

/// The witnesses of a predicate, any of which will do. None: it has no witness.
fn alternatives(predicate: &Predicate) -> SmallVec<[Witness<'_>; 1]> {
    let field = predicate.field;
    let one = |what| smallvec![smallvec![Entry { field, what }]];
    let part = |part: &'_ [u8]| !part.is_empty();
    if predicate.asked == Asked::False {
        return if matches!(predicate.test, Test::IsTrue) { one(What::Value(&FALSE)) } else { smallvec![] };
    }
    match &predicate.test {
        Test::Equals(value) => one(What::Value(value)),
        Test::OneOf(values) => {
            smallvec![values.iter().map(|value| Entry { field, what: What::Value(value) }).collect()]
        }
        Test::Compares(comparison, constant) => match compared(*comparison, constant) {
            Some(range) => one(What::Range(range)),
            None => smallvec![],
        },
        Test::Between(bounds) => match (range::place(&bounds.lower), range::place(&bounds.upper)) {
            (Some((axis, low)), Some((other, high))) if axis == other => one(What::Range(Range { axis, low, high })),
            _ => smallvec![],
        },
        Test::Prefix { text, ignore_case } if !text.is_empty() => one(What::Start { text, folded: *ignore_case }),
        Test::Suffix { text, ignore_case } if !text.is_empty() => one(What::End { text, folded: *ignore_case }),
        Test::EqualsIgnoreCase(folded) => one(What::Folded(folded)),
        Test::Contains(text) if part(text.as_bytes()) => one(What::Part(Cow::Borrowed(text.as_bytes()))),
        Test::Wildcard(literals) => match &**literals {
            [only] => one(What::Text(only)),
            [first, .., last] => {
                let start = (!first.is_empty()).then_some(What::Start { text: first, folded: false });
                let end = (!last.is_empty()).then_some(What::End { text: last, folded: false });
                let parts = literals.iter().map(|literal| literal.as_bytes()).filter(|literal| part(literal));
                let parts = parts.map(|literal| What::Part(Cow::Borrowed(literal)));
                start.into_iter().chain(end).chain(parts).map(|what| smallvec![Entry { field, what }]).collect()
            }
            [] => smallvec![],
        },
        Test::Matches(regex) => match literal::required(regex.as_str()) {
            Some(set) => {
                smallvec![set.into_iter().map(|part| Entry { field, what: What::Part(Cow::Owned(part)) }).collect()]
            }
            None => smallvec![],
        },
        Test::Cidr(network) => one(What::Network(network)),
        Test::IsTrue => one(What::Value(&TRUE)),
        Test::Prefix { .. } | Test::Suffix { .. } | Test::Contains(_) | Test::Present | Test::AnythingBut(_) => {
            smallvec![]
        }
    }
}

impl Entry<'_> {
    /// The keys that rules with this entry may share; none of a range, several of a part.
    pub(super) fn keys(&self) -> SmallVec<[u64; 1]> {
        let seed = |kind| seed(kind, self.field);
        smallvec![match &self.what {
            What::Value(value) => exact::key(seed(Kind::Exact), value),
            What::Text(text) => mix_bytes(seed(Kind::Exact), text.as_bytes()),
            What::Folded(text) => mix_bytes(seed(Kind::Folded), text.as_bytes()),
            What::Start { text, folded } => {
                mix_bytes(seed(if *folded { Kind::FoldedStart } else { Kind::Start }), text.as_bytes())
            }
            What::End { text, folded } => {
                mix_bytes(seed(if *folded { Kind::FoldedEnd } else { Kind::End }), text.as_bytes())
            }
            What::Part(part) => return text::gram_keys(seed(Kind::Part), part).collect(),
            What::Network(network) => network::key(seed(Kind::Network), network),
            What::Range(_) => return SmallVec::new(),
        }]
    }
}

//! The condition tree, and its three-valued meaning.
//!
//! CEL says that an expression is true, false or an error, and that `&&` and `||` absorb errors. A rule
//! matches only where its condition is *true*, so the tree needs no third value: negation is pushed to the
//! leaves while compiling, and every leaf asks one question, "is it true" or "is it false"
//! ([`Asked`]). With T(x) for "x is true" and F(x) for "x is false":
//!
//! - T(a && b) = T(a) and T(b), F(a && b) = F(a) or F(b), and the mirror for `||`;
//! - T(!a) = F(a), F(!a) = T(a);
//! - T(c ? a : b) = (T(c) and T(a)) or (F(c) and T(b)).
//!
//! So `!(message.a == 1)` asks whether `message.a == 1` is false, which it is not where `a` is missing.
//!
//! [`Condition::holds`] decides. It stops at the first part that settles the answer, so a field that a rule names
//! is read only if the parts before it leave the answer open. A part that cannot be decided at all ([`Undecided`])
//! settles nothing: if another part does, wherever it stands, that is the answer, and only if none does the condition
//! cannot be decided. So the answer does not depend on the order in which parts are asked, and what an index finds out
//! first about one part holds of the whole.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use smol_str::SmolStr;

use super::element::Element;
use super::expression::{EvaluationError, Expression};
pub use super::source::Quote;
use crate::error::ReadError;
use crate::message::Fields;
use crate::message::path::{FieldId, FieldTable};
use crate::message::render::Compact;
use crate::message::value::Value;

/// What a leaf is asked. An error is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// "Is it true?"
    True,
    /// "Is it false?"
    False,
}

/// A compiled condition: holds or does not.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Every part holds. Empty: always.
    All(Box<[Condition]>),
    /// Some part holds. Empty: never.
    Any(Box<[Condition]>),
    /// One typed test of one field; rules of one set share those that are the same.
    Predicate(Arc<Predicate>),
    /// Two or more of them, which all hold: what most rules are, so it is kept as small as it can be.
    Tests(Box<[Arc<Predicate>]>),
    /// A CEL expression that is no typed test of a field against constants.
    Expression(Box<Computed>),
    /// A pattern's object below `field`. Where a list stands there, the condition holds if it holds within
    /// one and the same element (lists within the list stand for their elements, and an empty list for nothing);
    /// elsewhere it is asked as it is.
    Within {
        /// Where the object, or the list of objects, stands.
        field: FieldId,
        /// Asked of the fields below.
        condition: Box<Condition>,
    },
}

/// One typed test of one field.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// The field that is read.
    pub field: FieldId,
    /// What is asked of its value.
    pub test: Test,
    /// Whether the test should be true or false.
    pub asked: Asked,
    /// Whether a list stands for its elements, any of which may pass (patterns), or for itself (CEL).
    pub elements: bool,
    /// The source of the test, for `explain`: CEL text, or compact JSON of the pattern's operator. `None` where
    /// [`Predicate::source`] can write it anew.
    pub source: Option<Arc<str>>,
    /// What stands around the texts of a CEL test without a source.
    pub quote: Quote,
}

/// A CEL expression evaluated as a whole.
#[derive(Debug, Clone)]
pub struct Computed {
    /// The expression.
    pub expression: Arc<Expression>,
    /// Whether it should be true or false.
    pub asked: Asked,
    /// Its source text, for `explain`.
    pub source: Arc<str>,
}

/// The order asked for by a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Two bounds of a number, a point in time or a span of time.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The lower bound.
    pub lower: Value<'static>,
    /// Whether the lower bound itself is within.
    pub includes_lower: bool,
    /// The upper bound, of the same kind and not below `lower`.
    pub upper: Value<'static>,
    /// Whether the upper bound itself is within.
    pub includes_upper: bool,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (above, below) = (self.above().sign(), self.below().sign());
        write!(f, "{above} {} and {below} {}", Compact(&self.lower), Compact(&self.upper))
    }
}

impl Bounds {
    /// How a number stands to the lower bound.
    pub fn above(&self) -> Comparison {
        if self.includes_lower { Comparison::GreaterOrEqual } else { Comparison::Greater }
    }

    /// How a number stands to the upper bound.
    pub fn below(&self) -> Comparison {
        if self.includes_upper { Comparison::LessOrEqual } else { Comparison::Less }
    }
}

/// What is asked of a field's value. Each is true, false, or an error (a value of a type it cannot be asked of).
/// Patterns take an error for false.
#[derive(Debug, Clone)]
pub enum Test {
    /// Equal by CEL's heterogeneous equality: numbers by value across int, uint and double; other types differ. Never an error.
    Equals(Value<'static>),
    /// Equal to one of these. Never an error.
    OneOf(Arc<[Value<'static>]>),
    /// Ordered so against the constant. An error across types that have no order.
    Compares(Comparison, Value<'static>),
    /// Within both bounds; an error of another type. One test, not two, so that one element of a list must meet both.
    Between(Box<Bounds>),
    /// Text starting so.
    Prefix {
        /// The start; folded already if `ignore_case`.
        text: SmolStr,
        /// Whether letters of either case are the same.
        ignore_case: bool,
    },
    /// Text ending so.
    Suffix {
        /// The end; folded already if `ignore_case`.
        text: SmolStr,
        /// Whether letters of either case are the same.
        ignore_case: bool,
    },
    /// Text equal but for the case of letters; folded already.
    EqualsIgnoreCase(SmolStr),
    /// Text containing so.
    Contains(SmolStr),
    /// Text in which the regular expression is found (linear time, size-limited).
    Matches(Arc<regex::Regex>),
    /// Text that the wildcard matches as a whole: the literals between the `*`, in order.
    Wildcard(Arc<[SmolStr]>),
    /// Text that is an IP address in the network.
    Cidr(IpNet),
    /// The field is there; null counts. For CEL's `has`: an error where a parent is missing.
    Present,
    /// The value is a bool, and it is true. An error on other types.
    IsTrue,
    /// A value for which none of these is true.
    AnythingBut(Arc<[Test]>),
}

/// Why it cannot be said whether a condition holds. A pointer, since every answer of every test has room for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Undecided(Box<Cause>);

impl Undecided {
    /// What is at fault.
    pub fn into_cause(self) -> Cause {
        *self.0
    }
}

impl From<ReadError> for Undecided {
    #[cold]
    fn from(error: ReadError) -> Self {
        Self(Box::new(Cause::Read(error)))
    }
}

/// What is at fault where a condition cannot be decided: the message, or the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A field that the condition asked for holds no value of the message model.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Evaluating an expression took more steps than [`super::limits::Limits::steps`].
    #[error("{0}")]
    Steps(String),
}

impl Condition {
    /// Whether the condition holds of the message. `table` is the table that the condition was compiled with.
    ///
    /// # Errors
    /// [`Undecided`], the first that came up, if fields that cannot be read, or expressions that take too many steps,
    /// leave the answer open.
    pub fn holds<'m>(&self, fields: &dyn Fields<'m>, table: &FieldTable) -> Result<bool, Undecided> {
        match self {
            Condition::Predicate(predicate) => predicate.holds(fields),
            Condition::Tests(tests) => every(tests.iter().map(|test| test.holds(fields))),
            Condition::All(parts) => every(parts.iter().map(|part| part.holds(fields, table))),
            Condition::Any(parts) => {
                let mut undecided = None;
                for part in parts {
                    match part.holds(fields, table) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(cause) => undecided = undecided.or(Some(cause)),
                    }
                }
                undecided.map_or(Ok(false), Err)
            }
            Condition::Expression(computed) => computed.holds(fields),
            Condition::Within { field, condition } => {
                let Some(objects) = fields.objects(*field)? else { return condition.holds(fields, table) };
                if objects.is_empty() {
                    return condition.holds(&Element::new(fields, table, *field, None), table);
                }
                let list = table.path(*field);
                let first = condition.first_test().filter(|test| table.path(test.field).starts_with(list));
                let mut undecided = None;
                for number in 0..objects.len() {
                    // Most objects fail the first test: they are done with at the cost of that.
                    if let Some(test) = first
                        && let Ok(Some(read)) = objects.lend(number, test.field)
                        && !test.passes(read)
                    {
                        continue;
                    }
                    let element = Element::new(fields, table, *field, Some((&*objects, number)));
                    match condition.holds(&element, table) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(cause) => undecided = undecided.or(Some(cause)),
                    }
                }
                undecided.map_or(Ok(false), Err)
            }
        }
    }

    /// A test without which the condition does not hold.
    fn first_test(&self) -> Option<&Predicate> {
        match self {
            Condition::Predicate(predicate) => Some(predicate),
            Condition::Tests(tests) => tests.first().map(|test| &**test),
            Condition::All(parts) => parts.iter().find_map(|part| match part {
                Condition::Predicate(predicate) => Some(&**predicate),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Whether it is one test of a field, or several that must all hold: cheap to ask, and cheaper if it fails.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Condition::Predicate(_) | Condition::Tests(_))
    }

    /// A condition that holds where all of `parts` do; `All`s among them are taken apart.
    pub fn all(parts: Vec<Condition>) -> Condition {
        if parts.len() == 1 { one_or(parts, Condition::All) } else { Condition::all_flat(Condition::flattened(parts)) }
    }

    /// As [`Condition::all`] of parts that are [`Condition::flattened`].
    pub(super) fn all_flat(parts: Vec<Condition>) -> Condition {
        if parts.len() < 2 || !parts.iter().all(|part| matches!(part, Condition::Predicate(_))) {
            return one_or(parts, Condition::All);
        }
        let test = |part| match part {
            Condition::Predicate(predicate) => Some(predicate),
            _ => None,
        };
        Condition::Tests(parts.into_iter().filter_map(test).collect())
    }

    /// The parts, those of `All`s among them in their place.
    pub(super) fn flattened(parts: impl IntoIterator<Item = Condition>) -> Vec<Condition> {
        let parts = parts.into_iter();
        let mut flat = Vec::with_capacity(parts.size_hint().0);
        for part in parts {
            match part {
                Condition::All(inner) => flat.extend(inner),
                Condition::Tests(tests) => flat.extend(tests.into_iter().map(Condition::Predicate)),
                other => flat.push(other),
            }
        }
        flat
    }

    /// A condition that holds where some of `parts` does; `Any`s among them are taken apart.
    pub fn any(parts: Vec<Condition>) -> Condition {
        if parts.len() == 1 {
            return one_or(parts, Condition::Any);
        }
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Condition::Any(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        one_or(flat, Condition::Any)
    }
}

impl Predicate {
    /// Whether the test passes.
    ///
    /// # Errors
    /// As [`Condition::holds`].
    #[inline]
    pub(super) fn holds<'m>(&self, fields: &dyn Fields<'m>) -> Result<bool, Undecided> {
        match fields.lend(self.field)? {
            Some(read) => Ok(self.passes(read)),
            None => Ok(self.passes(&fields.read(self.field)?)),
        }
    }
}

/// Whether all answers are yes. None is asked for after the first no.
fn every(answers: impl Iterator<Item = Result<bool, Undecided>>) -> Result<bool, Undecided> {
    let mut undecided = None;
    for answer in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(cause) => undecided = undecided.or(Some(cause)),
        }
    }
    undecided.map_or(Ok(true), Err)
}

fn one_or(mut parts: Vec<Condition>, many: fn(Box<[Condition]>) -> Condition) -> Condition {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts.into_boxed_slice())
        }
        None => many(Box::default()),
    }
}

impl Computed {
    /// Whether the expression comes to what is asked for. An error of the expression, or another type, is neither.
    ///
    /// # Errors
    /// As [`Condition::holds`].
    pub fn holds<'m>(&self, fields: &dyn Fields<'m>) -> Result<bool, Undecided> {
        match self.expression.evaluate(fields) {
            Ok(Value::Bool(flag)) => Ok(flag == (self.asked == Asked::True)),
            Ok(_) => Ok(false),
            Err(EvaluationError::Read(error)) => Err(error.into()),
            Err(error @ EvaluationError::Steps) => Err(Undecided(Box::new(Cause::Steps(error.to_string())))),
            Err(EvaluationError::Failed(_)) => Ok(false),
        }
    }
}

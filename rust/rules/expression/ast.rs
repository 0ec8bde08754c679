//! The tree of a parsed expression. Its height is bounded by the limits, so that walking it may recurse.

use std::sync::Arc;

use super::functions::Function;
use super::lexer::Span;
use super::time::{Getter, Zone};
use crate::message::path::FieldId;
use crate::message::value::{Text, Value};
use crate::rules::condition::Comparison;

/// One node, and where it stands in the source.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Compares(Comparison),
    In,
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// What a node is. Operators that associate are kept flat, so that a long chain is not a high tree.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Constant(Value<'static>),
    /// The value at a path below a root.
    Field(FieldId),
    /// `has()` of a path below a root.
    HasField(FieldId),
    /// A comprehension's variable, by its position on the stack of variables.
    Local(u16),
    /// A name that nothing declares. An error, but only where it is evaluated.
    Undeclared(Box<[Node]>),
    Select(Box<Node>, Text<'static>),
    Has(Box<Node>, Text<'static>),
    Index(Box<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// `&&`, of two or more.
    All(Box<[Node]>),
    /// `||`, of two or more.
    Any(Box<[Node]>),
    /// `c ? a : d ? b : e`: conditions with their values, and the value if none is true.
    Conditional(Box<[(Node, Node)]>, Box<Node>),
    Relation(Relation, Box<(Node, Node)>),
    /// A chain of one precedence, from left to right.
    Arithmetic(Box<Node>, Box<[(Arithmetic, Node)]>),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>),
    /// A function; a method's receiver is its first argument.
    Call(Function, Box<[Node]>),
    /// `matches` with a constant pattern.
    Matches(Box<Node>, Arc<regex::Regex>),
    /// A part of a timestamp in a constant time zone.
    InZone(Getter, Box<Node>, Zone),
    Comprehension(Box<Comprehension>),
}

/// A macro over the elements of a list or the keys (and values) of a map.
#[derive(Debug, Clone)]
pub(super) struct Comprehension {
    pub(super) range: Node,
    pub(super) kind: ComprehensionKind,
    /// Whether there are two variables: index and element, or key and value.
    pub(super) two: bool,
    /// The condition on elements of `map` and `transform…`.
    pub(super) filter: Option<Node>,
    /// The predicate, or what an element becomes.
    pub(super) body: Node,
}

/// What a comprehension makes of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ComprehensionKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// `map` and `transformList`.
    ToList,
    /// `transformMap`.
    ToMap,
}

impl Kind {
    /// The constant, if it is one.
    pub(super) fn constant(&self) -> Option<&Value<'static>> {
        match self {
            Kind::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// What the expression can only be, other than a bool or an error: `"a number"`. `None` if it may be a bool.
    pub(super) fn never_bool(&self) -> Option<&'static str> {
        match self {
            Kind::Constant(Value::Bool(_)) => None,
            Kind::Constant(value) => Some(value.type_name()),
            Kind::Arithmetic(..) | Kind::Negate(_) => Some("the result of arithmetic"),
            Kind::List(_) => Some("list"),
            Kind::Map(_) => Some("map"),
            Kind::InZone(..) => Some("int"),
            Kind::Call(function, _) => function.never_bool(),
            Kind::Comprehension(comprehension) => match comprehension.kind {
                ComprehensionKind::Filter | ComprehensionKind::ToList => Some("list"),
                ComprehensionKind::ToMap => Some("map"),
                ComprehensionKind::All | ComprehensionKind::Exists | ComprehensionKind::ExistsOne => None,
            },
            Kind::Conditional(arms, otherwise) => {
                let last = otherwise.kind.never_bool()?;
                arms.iter().all(|(_, value)| value.kind.never_bool().is_some()).then_some(last)
            }
            _ => None,
        }
    }
}

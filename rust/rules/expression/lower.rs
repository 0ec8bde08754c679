//! A checked tree as a condition: the boolean skeleton with negation pushed to the leaves, typed tests of one
//! field against constants as [`Predicate`]s, and everything else as [`Computed`] leaves.
//!
//! The condition holds exactly where evaluating the whole expression gives `true` (see
//! [`condition`](crate::rules::condition) for the equations). It is at most twice as large as the expression,
//! since only conditions of `? :` without a `? :` of their own are asked twice, and no deeper than the limit.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Expression;
use super::ast::{Kind, Node, Relation};
use super::functions::Function;
use crate::message::path::{FieldId, FieldTable};
use crate::message::value::{Text, Value};
use crate::rules::bounds;
use crate::rules::condition::{Asked, Comparison, Computed, Condition, Predicate, Test};
use crate::rules::limits::Limits;
use crate::rules::source::{self, Notation};

/// A chain of `? :` with more arms is one leaf: its condition would nest as deep as the chain is long.
const MOST_ARMS: usize = 8;

/// Lowers the expressions of one source.
pub(super) struct Lowering<'s> {
    pub(super) source: &'s str,
    pub(super) fields: &'s FieldTable,
    pub(super) limits: &'s Limits,
}

impl Lowering<'_> {
    /// The condition that `node` is true, or false, as asked; below `depth` others.
    pub(super) fn lower(&self, node: Node, asked: Asked, depth: usize) -> Condition {
        if depth >= self.limits.nesting {
            return self.computed(node, asked);
        }
        match node.kind {
            Kind::Not(operand) => self.lower(*operand, opposite(asked), depth),
            Kind::All(operands) => self.logic(operands, asked, asked == Asked::True, depth),
            Kind::Any(operands) => self.logic(operands, asked, asked == Asked::False, depth),
            Kind::Conditional(arms, otherwise)
                if can_ask_twice(&arms) && depth + 2 * arms.len() <= self.limits.nesting =>
            {
                self.conditional(arms, *otherwise, asked, depth)
            }
            Kind::Constant(Value::Bool(value)) if value == (asked == Asked::True) => always(),
            Kind::Constant(_) => never(), // a value that is no bool is neither true nor false
            _ => match test_of(&node) {
                Some((field, test, same)) => {
                    let asked = if same { asked } else { opposite(asked) };
                    let written = node.span.of(self.source);
                    let notation = Notation { elements: false, asked };
                    let (source, quote) = source::kept(written, self.fields.path(field), &test, notation);
                    Condition::Predicate(Arc::new(Predicate { field, test, asked, elements: false, source, quote }))
                }
                None => self.computed(node, asked),
            },
        }
    }

    fn computed(&self, node: Node, asked: Asked) -> Condition {
        let source = Arc::from(node.span.of(self.source));
        let expression = Arc::new(Expression::new(node, self.limits));
        Condition::Expression(Box::new(Computed { expression, asked, source }))
    }

    fn logic(&self, operands: Box<[Node]>, asked: Asked, all: bool, depth: usize) -> Condition {
        let parts = operands.into_iter().map(|operand| self.lower(operand, asked, depth + 1));
        if all { all_of(parts, self.fields) } else { any_of(parts) }
    }

    /// T(c ? a : b) = (T(c) and T(a)) or (F(c) and T(b)), from the last arm to the first.
    fn conditional(&self, arms: Box<[(Node, Node)]>, otherwise: Node, asked: Asked, depth: usize) -> Condition {
        let deepest = depth + 2 * arms.len();
        let mut result = self.lower(otherwise, asked, deepest);
        for (at, (condition, value)) in arms.into_iter().enumerate().rev() {
            let depth = depth + 2 * (at + 1);
            let not_so = self.lower(condition.clone(), Asked::False, depth);
            let so = [self.lower(condition, Asked::True, depth), self.lower(value, asked, depth)];
            let (so, not_so) = (all_of(so, self.fields), all_of([not_so, result], self.fields));
            result = any_of([so, not_so]);
        }
        result
    }
}

fn opposite(asked: Asked) -> Asked {
    match asked {
        Asked::True => Asked::False,
        Asked::False => Asked::True,
    }
}

fn always() -> Condition {
    Condition::All(Box::default())
}

fn never() -> Condition {
    Condition::Any(Box::default())
}

fn is_always(condition: &Condition) -> bool {
    matches!(condition, Condition::All(parts) if parts.is_empty())
}

fn is_never(condition: &Condition) -> bool {
    matches!(condition, Condition::Any(parts) if parts.is_empty())
}

/// [`Condition::all`], which one part that never holds decides, and in which two comparisons that bound one field are one
/// test.
pub(super) fn all_of(parts: impl IntoIterator<Item = Condition>, fields: &FieldTable) -> Condition {
    let mut parts = Condition::flattened(parts);
    if parts.iter().any(is_never) {
        return never();
    }
    bounds::join(&mut parts, fields);
    Condition::all_flat(parts)
}

/// [`Condition::any`], which one part that always holds decides.
fn any_of(parts: impl IntoIterator<Item = Condition>) -> Condition {
    let parts: Vec<_> = parts.into_iter().collect();
    if parts.iter().any(is_always) { always() } else { Condition::any(parts) }
}

/// Whether the conditions of these arms may stand in the result twice: nested ones would double at each level.
fn can_ask_twice(arms: &[(Node, Node)]) -> bool {
    fn branches(node: &Node) -> bool {
        match &node.kind {
            Kind::Conditional(..) => true,
            Kind::Not(operand) => branches(operand),
            Kind::All(operands) | Kind::Any(operands) => operands.iter().any(branches),
            _ => false,
        }
    }
    arms.len() <= MOST_ARMS && !arms.iter().any(|(condition, _)| branches(condition))
}

/// The node as a test of one field, and whether the test is true where the node is (rather than false).
fn test_of(node: &Node) -> Option<(FieldId, Test, bool)> {
    Some(match &node.kind {
        Kind::Field(field) => (*field, Test::IsTrue, true),
        Kind::HasField(field) => (*field, Test::Present, true),
        Kind::Matches(operand, regex) => (field_of(operand)?, Test::Matches(Arc::clone(regex)), true),
        Kind::Call(function, arguments) => {
            let [operand, argument] = &**arguments else { return None };
            let Some(Value::Text(text)) = argument.kind.constant() else { return None };
            let text = shared(text);
            let test = match function {
                Function::StartsWith => Test::Prefix { text, ignore_case: false },
                Function::EndsWith => Test::Suffix { text, ignore_case: false },
                Function::Contains => Test::Contains(text),
                _ => return None,
            };
            (field_of(operand)?, test, true)
        }
        Kind::Relation(relation, pair) => relation_test(*relation, &pair.0, &pair.1)?,
        _ => return None,
    })
}

fn relation_test(relation: Relation, left: &Node, right: &Node) -> Option<(FieldId, Test, bool)> {
    let (field, constant, mirrored) = match (&left.kind, &right.kind) {
        (Kind::Field(field), Kind::Constant(constant)) => (*field, constant, false),
        (Kind::Constant(constant), Kind::Field(field)) => (*field, constant, true),
        _ => return None,
    };
    if is_nan(constant) {
        return None; // an index over constants needs each to equal itself
    }
    Some(match (relation, constant) {
        (Relation::Equal, _) => (field, Test::Equals(constant.clone()), true),
        (Relation::NotEqual, _) => (field, Test::Equals(constant.clone()), false),
        (Relation::Compares(comparison), _) => {
            let comparison = if mirrored { mirror(comparison) } else { comparison };
            (field, Test::Compares(comparison, constant.clone()), true)
        }
        (Relation::In, Value::List(items)) if !mirrored && !items.iter().any(is_nan) => {
            (field, Test::OneOf(Arc::clone(items)), true)
        }
        (Relation::In, _) => return None,
    })
}

fn is_nan(value: &Value<'_>) -> bool {
    matches!(value, Value::Double(value) if value.is_nan())
}

fn mirror(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
    }
}

fn field_of(node: &Node) -> Option<FieldId> {
    match node.kind {
        Kind::Field(field) => Some(field),
        _ => None,
    }
}

fn shared(text: &Text<'static>) -> SmolStr {
    match text {
        Text::Borrowed(text) => SmolStr::new(text),
        Text::Shared(text) => text.clone(),
    }
}

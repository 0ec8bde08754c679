//! CEL, the Common Expression Language: text to a checked tree, a tree to a [`Condition`], or to a value.
//!
//! The whole of the core language on dynamic values: literals, operators, lists and maps, conversions,
//! timestamps and durations, `has`, and the macros over lists and maps with one or two variables. Not here:
//! protocol-buffer messages, optional values, extension libraries.
//!
//! A source passes through `operands` (conjunctions that have parts in common), `lexer`, `parser` (with `calls`, `macros`, `literal`, `fold`, `names`) and
//! `lower`; what a typed test cannot say is evaluated by `evaluate` (with `operators`, `functions`,
//! `time`). Source, nesting, nodes, compiled patterns and steps of evaluation are bounded by [`Limits`], so
//! that neither a hostile rule nor a hostile message can exhaust time, memory or the stack.
//!
//! Meaning: <https://github.com/google/cel-spec/blob/master/doc/langdef.md>; where it leaves a choice, what
//! its conformance suite expects (`tests/cel_conformance.rs`).

mod ast;
mod calls;
mod error;
mod evaluate;
mod fold;
mod functions;
mod lexer;
mod literal;
mod lower;
mod macros;
mod names;
mod operands;
mod operators;
mod parser;
mod time;

#[cfg(test)]
mod tests;

use crate::error::ConditionError;
use crate::message::Fields;
use crate::message::path::FieldTable;
use crate::message::value::Value;
use crate::rules::condition::{Asked, Condition};
use crate::rules::limits::Limits;

pub use error::{EvaluationError, Failure};
pub(super) use operands::Operands;

/// A parsed and checked expression, its fields interned. Evaluating it changes nothing.
#[derive(Debug, Clone)]
pub struct Expression {
    root: ast::Node,
    steps: usize,
    regex_bytes: usize,
}

impl Expression {
    fn new(root: ast::Node, limits: &Limits) -> Self {
        Self { root, steps: limits.steps, regex_bytes: limits.regex_bytes }
    }

    /// The expression's value on a message. Text is borrowed from the message or from the expression.
    ///
    /// # Errors
    /// [`EvaluationError`]: an error as CEL means it, a message that cannot be read, or too many steps.
    pub fn evaluate<'e, 'm: 'e>(&'e self, fields: &dyn Fields<'m>) -> Result<Value<'e>, EvaluationError> {
        evaluate::Evaluation::new(fields, self.steps, self.regex_bytes).value(&self.root)
    }
}

/// Compiles a rule's `when`: CEL text to the condition that it is true.
///
/// `roots` are the variables that it may name; the fields that it names are added to `fields`.
///
/// # Errors
/// [`ConditionError`] with its place in the text: what is no CEL, names what does not exist, can never be true
/// or false, or exceeds `limits`.
pub fn compile(
    source: &str,
    roots: &[&str],
    fields: &mut FieldTable,
    limits: &Limits,
) -> Result<Condition, ConditionError> {
    let root = parser::parse(source, roots, fields, limits, true)?;
    if let Some(other) = root.kind.never_bool() {
        let problem = format!("a condition is true or false, this is {other}: compare it, as in … == …");
        return Err(lexer::error_at(source, root.span.start as usize, problem));
    }
    Ok(lower::Lowering { source, fields, limits }.lower(root, Asked::True, 0))
}

/// Parses and checks CEL text as an expression of any type.
///
/// # Errors
/// As [`compile`], but any type is right.
pub fn parse(
    source: &str,
    roots: &[&str],
    fields: &mut FieldTable,
    limits: &Limits,
) -> Result<Expression, ConditionError> {
    Ok(Expression::new(parser::parse(source, roots, fields, limits, true)?, limits))
}

/// Parses CEL text without checking its names and constants: an unknown variable or function, and a constant
/// that cannot be converted, is an error only where it is evaluated, as CEL does without its checker.
///
/// # Errors
/// [`ConditionError`] for what is no CEL or exceeds `limits`.
pub fn parse_unchecked(
    source: &str,
    roots: &[&str],
    fields: &mut FieldTable,
    limits: &Limits,
) -> Result<Expression, ConditionError> {
    Ok(Expression::new(parser::parse(source, roots, fields, limits, false)?, limits))
}

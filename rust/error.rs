//! Every error of the crate, one type an operation. A leaf: it knows no other module.
//!
//! Messages say what is wrong, where, and what to write instead; the Python layer adds file and line.

use std::time::Duration;

/// A rule that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?}: {problem}")]
pub struct RuleError {
    /// The rule's id.
    pub rule: String,
    /// What is wrong and what to write instead. Names the operator, function or limit.
    pub problem: String,
    /// Where: inside the CEL text, or the path of keys inside the pattern.
    pub place: Place,
}

/// Where in a rule's source an error stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// The rule as a whole.
    #[default]
    Rule,
    /// Byte offset into the `when` text, with its line and column (both from 1, column in characters).
    Text {
        /// Byte offset.
        offset: usize,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// Keys and list positions from the top of the `match` pattern, such as `["content", "total", "0"]`.
    Pattern(Vec<String>),
}

/// A problem in a condition's source, before the rule's id is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ConditionError {
    /// What is wrong and what to write instead.
    pub problem: String,
    /// Where in the source.
    pub place: Place,
}

impl ConditionError {
    /// Names the rule the condition belongs to.
    pub fn in_rule(self, rule: &str) -> RuleError {
        RuleError { rule: rule.to_owned(), problem: self.problem, place: self.place }
    }
}

/// A field that a rule names holds something that is not a value of the message model: an integer beyond
/// 64 bits, text that is not Unicode, a type that JSON does not have, nesting beyond the limit.
/// (A missing field, or one of another type than the rule expects, is no error but no match.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?}: {problem}")]
pub struct ReadError {
    /// The field's path, such as `message.order.total`.
    pub field: String,
    /// What was found and what to send instead.
    pub problem: String,
}

impl ReadError {
    /// The message as a whole is JSON, but no object.
    pub fn no_object() -> Self {
        let problem = "a message is a JSON object, {...}; this is another JSON value".to_owned();
        Self { field: "message".to_owned(), problem }
    }
}

/// A pool that cannot be built: no or duplicate destinations, a cap of 0, settings out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pool {pool:?}: {problem}")]
pub struct PoolError {
    /// The pool's id.
    pub pool: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// No destination of a pool may receive the message now.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("pool {pool:?}: {reason}")]
pub struct NoDestination {
    /// The pool's id.
    pub pool: String,
    /// Why, with counts: "3 destinations: 1 ejected, 1 draining, 1 at its in-flight cap".
    pub reason: String,
    /// How long until the earliest ejection or pause ends, or a rate allows another message; `None` if nothing of that
    /// stands in the way.
    pub retry_in: Option<Duration>,
    /// Whether some are fit and at their in-flight cap or rate limit, so that there may be room soon.
    pub full: bool,
    /// Whether some that were asked for are not where the pool's messages go: an operator failed them over, or they are
    /// backups that are not used.
    pub moved: bool,
    /// Whether some work and take no more for now: they asked for a pause, or are at their rate limit.
    pub overloaded: bool,
}

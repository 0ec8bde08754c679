//! How evaluating an expression ends without a value.

use crate::error::ReadError;

/// An expression without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// One of CEL's own errors. `&&`, `||` and the macros `all` and `exists` absorb it where the other side decides.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The message itself cannot be read. Never absorbed.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The expression took more steps than [`Limits::steps`](crate::rules::limits::Limits) allows. Never absorbed.
    #[error("the expression takes more steps than the limit `steps` allows")]
    Steps,
}

/// CEL's own errors. Small, and made without allocating: a missing field is an everyday event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A field that is missing, or below something that is no map.
    #[error("no such field")]
    NoSuchField,
    /// A map without the key.
    #[error("no such key")]
    NoSuchKey,
    /// An index before the start or beyond the end of a list, or with a fraction.
    #[error("the index is out of the list's range")]
    IndexOutOfRange,
    /// Values of types that the operator or function does not take.
    #[error("no such overload: {operation} of {left}{}{}", if right.is_empty() { "" } else { " and " }, right)]
    NoOverload {
        /// The operator or function, such as `+` or `size`.
        operation: &'static str,
        /// The type of the only, the left or the receiving value.
        left: &'static str,
        /// The type of the right value or the argument; empty if there is none.
        right: &'static str,
    },
    /// `/` by zero.
    #[error("division by zero")]
    DivideByZero,
    /// `%` by zero.
    #[error("modulus by zero")]
    ModulusByZero,
    /// An integer that does not fit in 64 bits.
    #[error("integer overflow")]
    Overflow,
    /// A number, timestamp or duration outside the range of the named type.
    #[error("out of the range of {0}")]
    Range(&'static str),
    /// Text or bytes that do not spell the named thing.
    #[error("not a valid {0}")]
    Invalid(&'static str),
    /// A map with two equal keys.
    #[error("a map has the same key twice")]
    RepeatedKey,
    /// A map's key of a type other than string, int, uint and bool.
    #[error("a map's key is a string, int, uint or bool, not {0}")]
    KeyType(&'static str),
    /// A variable or function that is not declared.
    #[error("undeclared name")]
    Undeclared,
}

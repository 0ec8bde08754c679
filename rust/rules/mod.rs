//! What a message matches: rules compiled once, matched often.
//!
//! [`expression`] (CEL) and [`pattern`] (EventBridge) compile to one tree, [`condition`]; a [`program`]
//! holds the rules in order of priority; [`matcher`] finds the first or all; [`explain`] says why (not).
//! `test` evaluates predicates, for matching and explaining alike.

pub mod condition;
mod element;
pub mod explain;
pub mod expression;
pub mod limits;
pub mod matcher;
pub mod pattern;
pub mod program;
mod test;
pub(crate) mod text;

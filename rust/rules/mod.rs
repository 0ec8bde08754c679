//! What a message matches: rules compiled once, matched often.
//!
//! [`expression`] (CEL) and [`pattern`] (EventBridge) compile to one tree, [`condition`]; a [`program`]
//! holds the rules in order of priority, in layers of frozen segments; [`matcher`] finds the first or all, with an
//! `index` over each larger segment; [`explain`] says why (not). `test` evaluates predicates, for matching and explaining alike.

mod bounds;
mod cached;
pub mod condition;
mod element;
pub mod explain;
pub mod expression;
mod index;
mod intern;
pub mod limits;
pub mod matcher;
pub mod pattern;
pub mod program;
mod segment;
mod source;
mod test;
pub(crate) mod text;
pub mod traffic;

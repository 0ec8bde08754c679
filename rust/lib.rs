//! The hot path of turnout: match a message against rules, pick a destination, hold it.
//!
//! A message's way through the crate, top to bottom:
//!
//! 1. [`message`] reads the fields that rules name, and nothing else.
//! 2. [`rules`] finds the rule: text is compiled once to a condition tree, then matched.
//! 3. [`router`] turns the rule into pools, on one immutable snapshot.
//! 4. [`pool`] knows who may receive it; [`balance`] picks one of them.
//! 5. A [`pool::lease::Lease`] holds the destination until the outcome is known.
//!
//! Between 1 and 2, [`cache`] may remember which rule such a message matched.
//!
//! [`batch`] takes many messages through 1 to 3 on all cores; [`simulate`] runs 4 and 5 in simulated time.
//!
//! Nothing here has a clock or randomness of its own: `now` and a random generator are arguments.
//! Only the `python` module knows PyO3, and only it is behind the feature `python`.

pub mod balance;
pub mod batch;
pub mod cache;
pub mod error;
mod hash;
pub mod message;
pub mod pool;
pub mod router;
pub mod rules;
pub mod simulate;
pub mod stats;

#[cfg(feature = "python")]
mod python;

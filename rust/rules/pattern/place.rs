//! Where in a pattern the compiler stands: a list on the stack, written out only for an error.

use crate::error::{ConditionError, Place};

/// One step down the pattern.
#[derive(Clone, Copy)]
pub(super) enum Step<'k> {
    Key(&'k str),
    Position(usize),
}

/// The keys and positions from the top of the pattern.
#[derive(Clone, Copy)]
pub(super) enum Keys<'k> {
    Top,
    Below(&'k Keys<'k>, Step<'k>),
}

impl Keys<'_> {
    pub(super) fn then<'k>(&'k self, step: Step<'k>) -> Keys<'k> {
        Keys::Below(self, step)
    }

    /// The problem, at this place.
    pub(super) fn error<T>(&self, problem: impl Into<String>) -> Result<T, ConditionError> {
        let mut path = Vec::new();
        let mut at = self;
        while let Keys::Below(above, step) = at {
            path.push(match step {
                Step::Key(key) => (*key).to_owned(),
                Step::Position(position) => position.to_string(),
            });
            at = above;
        }
        path.reverse();
        Err(ConditionError { problem: problem.into(), place: Place::Pattern(path) })
    }
}

//! The one place where errors of the crate become exceptions of `turnout.errors`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::unix_now;
use crate::error::{NoDestination, Place, PoolError, ReadError, RuleError};
use crate::message::json::JsonError;
use crate::router::{BuildError, FailOverError};
use crate::rules::matcher::MatchError;

mod python {
    pyo3::import_exception!(turnout.errors, ConfigError);
    pyo3::import_exception!(turnout.errors, FailoverError);
    pyo3::import_exception!(turnout.errors, MessageError);
    pyo3::import_exception!(turnout.errors, NoDestinationError);
    pyo3::import_exception!(turnout.errors, NoRouteError);
    pyo3::import_exception!(turnout.errors, RuleError);
    pyo3::import_exception!(turnout.errors, TurnoutError);
}

pub(super) fn rule_error(error: RuleError) -> PyErr {
    let RuleError { rule, problem, place } = error;
    match place {
        Place::Rule => python::RuleError::new_err((rule, problem)),
        Place::Text { line, column, .. } => python::RuleError::new_err((rule, problem, line, column)),
        Place::Pattern(path) => python::RuleError::new_err((rule, problem, None::<usize>, None::<usize>, path)),
    }
}

/// Several errors of rules: the first one raised, the others as its notes.
pub(super) fn rule_errors(py: Python<'_>, errors: Vec<RuleError>) -> PyErr {
    let mut errors = errors.into_iter().map(rule_error);
    let Some(first) = errors.next() else {
        return python::TurnoutError::new_err("the rules cannot be compiled");
    };
    let rest: Vec<PyErr> = errors.collect();
    // All of them travel with the first, for the layer that knows files and lines.
    let rest = PyTuple::new(py, rest.iter().map(|error| error.value(py)));
    match rest.and_then(|rest| first.value(py).setattr("others", rest)) {
        Ok(()) => first,
        Err(error) => error,
    }
}

pub(super) fn config_error(problem: String) -> PyErr {
    python::ConfigError::new_err((problem,))
}

pub(super) fn pool_error(error: &PoolError) -> PyErr {
    config_error(error.to_string())
}

pub(super) fn build_error(py: Python<'_>, error: BuildError) -> PyErr {
    match error {
        BuildError::Rules(errors) => rule_errors(py, errors),
        other => config_error(other.to_string()),
    }
}

pub(super) fn fail_over_error(error: FailOverError) -> PyErr {
    match error {
        FailOverError::Unknown(_) => config_error(error.to_string()),
        FailOverError::Nobody(problem) => python::FailoverError::new_err(problem),
    }
}

pub(super) fn message_error(field: &str, problem: String) -> PyErr {
    python::MessageError::new_err((field.to_owned(), problem))
}

pub(super) fn read_error(error: ReadError) -> PyErr {
    python::MessageError::new_err((error.field, error.problem))
}

pub(super) fn json_error(error: &JsonError) -> PyErr {
    message_error("message", error.to_string())
}

pub(super) fn match_error(error: MatchError) -> PyErr {
    read_error(error.into())
}

pub(super) fn no_destination(error: NoDestination) -> PyErr {
    let retry_at = error.retry_in.map(|wait| unix_now() + wait.as_secs_f64());
    python::NoDestinationError::new_err((error.pool, error.reason, retry_at, error.full, error.moved, error.overloaded))
}

pub(super) fn no_route(problem: &str) -> PyErr {
    python::NoRouteError::new_err((problem.to_owned(),))
}

pub(super) fn turnout_error(problem: String) -> PyErr {
    python::TurnoutError::new_err((problem,))
}

/// Whether an exception is one of ours, which a batch reports in its message's place.
pub(super) fn is_ours(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<python::TurnoutError>(py)
}

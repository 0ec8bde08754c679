//! `RuleSet`: the matcher alone.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList, PyString};

use super::errors::{is_ours, match_error, rule_error, rule_errors as raised};
use super::message::{Keys, with_json, with_message};
use super::spec;
use crate::message::Fields;
use crate::router::ROOTS as ROUTER_ROOTS;
use crate::rules::limits::Limits;
use crate::rules::program::{Program, RuleSource};

/// The one variable that rules of a bare set may name: live facts need a router.
const ROOTS: [&str; 1] = ["message"];

/// What is wrong with rules of a router, as exceptions, without making one.
#[pyfunction]
pub(super) fn rule_errors<'py>(rules: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = rules.py();
    let sources = rules.try_iter()?.map(|rule| spec::rule_source(&rule?)).collect::<PyResult<Vec<_>>>()?;
    let built = py.detach(|| Program::build(sources, &ROUTER_ROOTS, Limits::default()));
    PyList::new(py, built.err().unwrap_or_default().into_iter().map(|error| rule_error(error).into_value(py)))
}

/// One state of the set: readers hold it while they match, writers put another in its place.
struct Compiled {
    program: Program,
    keys: Keys,
}

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct RuleSet {
    compiled: ArcSwap<Compiled>,
    /// One change at a time; readers do not take it.
    changing: Mutex<()>,
}

impl RuleSet {
    fn id<'py>(py: Python<'py>, program: &Program, number: usize) -> Bound<'py, PyString> {
        PyString::new(py, &program.rule(number).id)
    }

    fn first_of<'py, 'm>(
        py: Python<'py>,
        program: &'m Program,
        fields: &dyn Fields<'m>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let found = program.first(fields).map_err(match_error)?;
        Ok(found.map(|number| Self::id(py, program, number)))
    }

    fn all_of<'py, 'm>(py: Python<'py>, program: &'m Program, fields: &dyn Fields<'m>) -> PyResult<Bound<'py, PyList>> {
        let found = program.all(fields).map_err(match_error)?;
        PyList::new(py, found.into_iter().map(|number| Self::id(py, program, number)))
    }

    /// Puts the program that `change` makes in place of the present one.
    fn change<T>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&Program) -> PyResult<(Option<Program>, T)>,
    ) -> PyResult<T> {
        let _changing = self
            .changing
            .lock_py_attached(py)
            .map_err(|_| PyRuntimeError::new_err("an earlier change of this rule set panicked"))?;
        let old = self.compiled.load_full();
        let (program, answer) = change(&old.program)?;
        if let Some(program) = program {
            let keys = old.keys.grown(py, program.fields());
            self.compiled.store(Arc::new(Compiled { program, keys }));
        }
        Ok(answer)
    }
}

#[pymethods]
impl RuleSet {
    #[new]
    #[pyo3(signature = (rules = None))]
    fn new(py: Python<'_>, rules: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let sources = match rules {
            Some(rules) => rules.try_iter()?.map(|rule| spec::rule_source(&rule?)).collect::<PyResult<Vec<_>>>()?,
            None => Vec::new(),
        };
        let program =
            py.detach(|| Program::build(sources, &ROOTS, Limits::default())).map_err(|errors| raised(py, errors))?;
        let keys = Keys::new(py, program.fields());
        Ok(Self { compiled: ArcSwap::from_pointee(Compiled { program, keys }), changing: Mutex::new(()) })
    }

    fn first<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
        let compiled = self.compiled.load();
        with_message(message, &compiled.keys, &compiled.program, |program, fields| {
            Self::first_of(message.py(), program, fields)
        })
    }

    fn all<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let compiled = self.compiled.load();
        with_message(message, &compiled.keys, &compiled.program, |program, fields| {
            Self::all_of(message.py(), program, fields)
        })
    }

    fn first_json<'py>(&self, py: Python<'py>, raw: &[u8]) -> PyResult<Option<Bound<'py, PyString>>> {
        let compiled = self.compiled.load();
        with_json(raw, &compiled.program, |program, fields| Self::first_of(py, program, fields))
    }

    fn all_json<'py>(&self, py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyList>> {
        let compiled = self.compiled.load();
        with_json(raw, &compiled.program, |program, fields| Self::all_of(py, program, fields))
    }

    fn first_many<'py>(&self, messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = messages.py();
        let answers = PyList::empty(py);
        for message in messages.try_iter()? {
            match self.first(&message?) {
                Ok(found) => answers.append(found)?,
                Err(error) if is_ours(py, &error) => answers.append(error.into_value(py))?,
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    fn add(&self, rule: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = rule.py();
        let source: RuleSource = spec::rule_source(rule)?;
        self.change(py, |program| {
            let changed = py.detach(|| program.with_rule(source)).map_err(rule_error)?;
            Ok((Some(changed), ()))
        })
    }

    fn remove(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        self.change(py, |program| {
            let changed = py.detach(|| program.without_rule(id));
            let removed = changed.is_some();
            Ok((changed, removed))
        })
    }

    fn explain<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let compiled = self.compiled.load();
        with_message(message, &compiled.keys, &compiled.program, |program, fields| {
            spec::explanation(message.py(), program, &program.explain(fields))
        })
    }

    #[getter]
    fn ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let compiled = self.compiled.load();
        PyList::new(py, compiled.program.rules().into_iter().map(|rule| PyString::new(py, &rule.id)))
    }

    #[getter]
    fn unindexed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let compiled = self.compiled.load();
        let ids: Vec<Bound<'py, PyString>> = compiled.program.unindexed().map(|id| PyString::new(py, id)).collect();
        PyList::new(py, ids)
    }

    fn __len__(&self) -> usize {
        self.compiled.load().program.len()
    }

    fn __contains__(&self, id: &str) -> bool {
        self.compiled.load().program.number(id).is_some()
    }

    fn __repr__(&self) -> String {
        format!("<RuleSet of {} rules>", self.__len__())
    }
}

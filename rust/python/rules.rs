//! `RuleSet`: the matcher alone.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyDict, PyList, PyMapping, PyString};

use super::convert::Held;
use super::errors::{match_error, rule_error, rule_errors as raised};
use super::message::{Keys, check, with_json, with_message};
use super::{arrays, batch, spec};
use crate::batch::lines::Line;
use crate::message::Fields;
use crate::message::json::Check;
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

/// The place of each rule in the order in which they are tried, by its number in the program; -1 for numbers not given.
fn places(program: &Program) -> Vec<i32> {
    let mut places = Vec::new();
    for (place, (number, _)) in (0..).zip(program.numbered()) {
        if number >= places.len() {
            places.resize(number + 1, -1);
        }
        places[number] = place;
    }
    places
}

/// One state of the set: readers hold it while they match, writers put another in its place.
struct Compiled {
    program: Program,
    keys: Keys,
    /// The ids of the rules with the lowest numbers as Python strings, made when they are first answered.
    ids: [PyOnceLock<Py<PyString>>; KEPT_IDS],
}

/// So many rules are taken over from Python and compiled at a time: more would only take more memory.
const AT_ONCE: usize = 256;

/// So many ids are kept as Python strings: those of a small set, and of the rules that are tried first.
const KEPT_IDS: usize = 32;

impl Compiled {
    fn new(program: Program, keys: Keys) -> Self {
        Self { program, keys, ids: [const { PyOnceLock::new() }; KEPT_IDS] }
    }

    fn id<'py>(&self, py: Python<'py>, number: usize) -> Bound<'py, PyString> {
        let made = || PyString::new(py, &self.program.rule(number).id);
        match self.ids.get(number) {
            Some(kept) => kept.get_or_init(py, || made().unbind()).bind(py).clone(),
            None => made(),
        }
    }

    fn first<'py>(&self, message: &Bound<'py, PyAny>, check: Check) -> PyResult<Option<Bound<'py, PyString>>> {
        let found = with_message(message, &self.keys, &self.program, check, |program, fields| {
            program.sample(fields);
            program.first(fields).map_err(match_error)
        })?;
        Ok(found.map(|number| self.id(message.py(), number)))
    }
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

    fn all_of<'py, 'm>(py: Python<'py>, program: &'m Program, fields: &dyn Fields<'m>) -> PyResult<Bound<'py, PyList>> {
        program.sample(fields);
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
            self.compiled.store(Arc::new(Compiled::new(program, keys)));
        }
        Ok(answer)
    }
}

/// The first match of each raw message, by id; what is no message is an error in its place.
fn first_of_lines<'py>(
    py: Python<'py>,
    program: &Program,
    lines: &[Line<'_>],
    check: Check,
    threads: NonZeroUsize,
) -> PyResult<Bound<'py, PyList>> {
    crate::batch::sample(program, lines);
    let found = batch::each(py, lines.len(), threads, |number| crate::batch::first(program, &lines[number], check))?;
    let answers = found.into_iter().map(|found| match batch::raised(found) {
        Ok(Some(position)) => RuleSet::id(py, program, position).into_any(),
        Ok(None) => py.None().into_bound(py),
        Err(error) => error.into_value(py).into_bound(py).into_any(),
    });
    PyList::new(py, answers)
}

#[pymethods]
impl RuleSet {
    #[new]
    #[pyo3(signature = (rules = None))]
    fn new(py: Python<'_>, rules: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut addition = Program::empty(Arc::default(), &ROOTS, Limits::default()).adding();
        if let Some(rules) = rules {
            let mut sources = Vec::with_capacity(AT_ONCE);
            for rule in rules.try_iter()? {
                sources.push(spec::rule_source(&rule?)?);
                if sources.len() == AT_ONCE {
                    py.detach(|| addition.extend(sources.drain(..)));
                }
            }
            py.detach(|| addition.extend(sources));
        }
        let program = py.detach(|| addition.finish()).map_err(|errors| raised(py, errors))?;
        let keys = Keys::new(py, program.fields());
        Ok(Self { compiled: ArcSwap::from_pointee(Compiled::new(program, keys)), changing: Mutex::new(()) })
    }

    fn first<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.compiled.load().first(message, Check::Grammar)
    }

    fn all<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let compiled = self.compiled.load();
        with_message(message, &compiled.keys, &compiled.program, Check::Grammar, |program, fields| {
            Self::all_of(message.py(), program, fields)
        })
    }

    #[pyo3(signature = (raw, *, strict = false))]
    fn first_json<'py>(&self, py: Python<'py>, raw: &[u8], strict: bool) -> PyResult<Option<Bound<'py, PyString>>> {
        let compiled = self.compiled.load();
        let found = with_json(raw, &compiled.program, check(strict), |program, fields| {
            program.sample(fields);
            program.first(fields).map_err(match_error)
        })?;
        Ok(found.map(|number| compiled.id(py, number)))
    }

    #[pyo3(signature = (raw, *, strict = false))]
    fn all_json<'py>(&self, py: Python<'py>, raw: &[u8], strict: bool) -> PyResult<Bound<'py, PyList>> {
        let compiled = self.compiled.load();
        with_json(raw, &compiled.program, check(strict), |program, fields| Self::all_of(py, program, fields))
    }

    #[pyo3(signature = (messages, *, strict = false, threads = None))]
    fn first_many<'py>(
        &self,
        messages: &Bound<'py, PyAny>,
        strict: bool,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let check = check(strict);
        let py = messages.py();
        let threads = batch::threads(threads)?;
        let messages = batch::gathered(messages)?;
        let compiled = self.compiled.load_full();
        if let Some(lines) = batch::raw(&messages) {
            return first_of_lines(py, &compiled.program, &lines, check, threads);
        }
        let answers = PyList::empty(py);
        for message in &messages {
            batch::append(&answers, compiled.first(message, check))?;
        }
        Ok(answers)
    }

    #[pyo3(signature = (raw, *, strict = false, threads = None))]
    fn first_ndjson<'py>(
        &self,
        py: Python<'py>,
        raw: &[u8],
        strict: bool,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let threads = batch::threads(threads)?;
        let compiled = self.compiled.load_full();
        first_of_lines(py, &compiled.program, &batch::ndjson(py, raw), check(strict), threads)
    }

    #[pyo3(signature = (columns, *, threads = None))]
    fn first_arrays<'py>(
        &self,
        columns: &Bound<'py, PyMapping>,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = columns.py();
        let threads = batch::threads(threads)?;
        let numpy = arrays::numpy(py)?;
        let compiled = self.compiled.load_full();
        let program = &compiled.program;
        let held = Held::default();
        let (columns, rows) = arrays::columns(&numpy, columns, program, &held)?;
        let found = batch::each(py, rows, threads, |row| {
            crate::batch::first_of_row(program, &columns, row).map_err(|mut error| {
                error.problem = format!("row {row}: {}", error.problem);
                error
            })
        })?;
        let places = places(program);
        let place = |found: Option<usize>| found.and_then(|number| places.get(number).copied()).unwrap_or(-1);
        let found = found.into_iter().map(|found| batch::raised(found).map(place)).collect::<PyResult<Vec<_>>>()?;
        arrays::numbers(&numpy, &found)
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

    #[pyo3(signature = (message, *, rules = None))]
    fn explain<'py>(
        &self,
        message: &Bound<'py, PyAny>,
        rules: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let compiled = self.compiled.load();
        let also = spec::also_explained(&compiled.program, rules)?;
        with_message(message, &compiled.keys, &compiled.program, Check::Grammar, |program, fields| {
            spec::explanation(message.py(), program, &program.explain(fields, &also))
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

//! Leases as Python objects: context managers whose outcome comes from their block.

use pyo3::exceptions::{PyGeneratorExit, PyKeyboardInterrupt};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyType};

use super::decision::Decision;
use super::{nanos, now, spec};
use crate::pool::{Lease as Held, Outcome};

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct Lease {
    held: Held,
    attempt: u32,
    decision: Option<Py<Decision>>,
}

impl Lease {
    pub(super) fn new(held: Held, attempt: u32, decision: Option<Py<Decision>>) -> Self {
        Self { held, attempt, decision }
    }
}

#[pymethods]
impl Lease {
    #[getter]
    fn destination(&self) -> &str {
        self.held.destination().id()
    }

    #[getter]
    fn pool(&self) -> &str {
        self.held.pool().id()
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.attempt
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.held.generation()
    }

    #[getter]
    fn is_probe(&self) -> bool {
        self.held.pick().probe
    }

    #[getter]
    fn reason(&self) -> &'static str {
        self.held.pick().reason.as_str()
    }

    #[getter]
    fn propensity(&self) -> Option<f64> {
        self.held.pick().propensity
    }

    #[getter]
    fn ended(&self) -> bool {
        self.held.ended()
    }

    #[getter]
    fn decision(&self, py: Python<'_>) -> Option<Py<Decision>> {
        self.decision.as_ref().map(|decision| decision.clone_ref(py))
    }

    #[pyo3(signature = (utilisation = None))]
    fn success(&self, utilisation: Option<f64>) -> PyResult<bool> {
        Ok(match utilisation {
            None => self.held.finish(Outcome::Success, now()),
            Some(given) => self.held.succeed(spec::utilisation(given)?, now()),
        })
    }

    #[pyo3(signature = (kind = "error"))]
    fn failure(&self, kind: &str) -> bool {
        self.held.fail(kind, now())
    }

    #[pyo3(signature = (retry_after = None))]
    fn overloaded(&self, retry_after: Option<f64>) -> bool {
        self.held.finish(Outcome::Overloaded { retry_after: retry_after.map(nanos) }, now())
    }

    fn cancel(&self) -> bool {
        self.held.finish(Outcome::Cancelled, now())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        kind: Option<&Bound<'_, PyType>>,
        _error: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        self.end_with(kind)?;
        Ok(false)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        ready(slf.py(), slf.as_any())
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        kind: Option<&Bound<'py, PyType>>,
        _error: Option<&Bound<'py, PyAny>>,
        _trace: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().end_with(kind)?;
        ready(slf.py(), PyBool::new(slf.py(), false).as_any())
    }

    fn __repr__(&self) -> String {
        let state = if self.held.ended() { "ended" } else { "held" };
        format!("<Lease {} of pool {}, {state}>", self.held.destination().id(), self.held.pool().id())
    }
}

impl Lease {
    fn end_with(&self, kind: Option<&Bound<'_, PyType>>) -> PyResult<()> {
        match kind {
            None => self.held.finish(Outcome::Success, now()),
            Some(kind) if is_cancellation(kind)? => self.cancel(),
            Some(kind) => self.failure(&kind.name()?.to_string_lossy()),
        };
        Ok(())
    }
}

/// Exceptions that say that nobody waits any longer, and nothing about the destination.
fn is_cancellation(kind: &Bound<'_, PyType>) -> PyResult<bool> {
    static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = kind.py();
    let cancelled = CANCELLED.import(py, "asyncio", "CancelledError")?;
    Ok(kind.is_subclass(cancelled)?
        || kind.is_subclass_of::<PyGeneratorExit>()?
        || kind.is_subclass_of::<PyKeyboardInterrupt>()?)
}

/// An awaitable that is `value` at once, without an event loop's help.
fn ready<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Ok(Bound::new(py, Ready { value: value.clone().unbind() })?.into_any())
}

/// See [`ready`].
#[pyclass(frozen, module = "turnout._core")]
struct Ready {
    value: Py<PyAny>,
}

#[pymethods]
impl Ready {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<()> {
        Err(pyo3::exceptions::PyStopIteration::new_err((self.value.clone_ref(py),)))
    }
}

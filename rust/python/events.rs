//! `EventLog`: what happened to a router's destinations, and `EventWatch`: a thread that tells when there is more.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::unix_seconds;
use crate::pool::Registry;
use crate::pool::events::{Event, Watch};

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct EventLog {
    registry: Arc<Registry>,
}

impl EventLog {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self { registry: Arc::clone(registry) }
    }
}

#[pymethods]
impl EventLog {
    fn since<'py>(&self, py: Python<'py>, seq: u64) -> PyResult<Bound<'py, PyList>> {
        let events = self.registry.events_since(seq).events;
        PyList::new(py, events.iter().map(|event| dict(py, event)).collect::<PyResult<Vec<_>>>()?)
    }

    #[getter]
    fn last(&self) -> u64 {
        self.registry.log().last()
    }

    fn next<'py>(&self, py: Python<'py>, seq: u64, size: usize) -> PyResult<Option<(Bound<'py, PyDict>, u64)>> {
        let next = self.registry.log().next(seq, size);
        next.map(|(event, missed)| Ok((dict(py, &event)?, missed))).transpose()
    }

    fn watch(&self, wake: Py<PyAny>) -> PyResult<EventWatch> {
        let (registry, watch) = (Arc::clone(&self.registry), Arc::new(Watch::default()));
        let theirs = (Arc::clone(&registry), Arc::clone(&watch));
        // Between two wakes the thread is none of Python's: it holds up neither a collection nor the interpreter's end.
        std::thread::Builder::new().name("turnout-events".to_owned()).spawn(move || {
            let (registry, watch) = theirs;
            let call =
                |py: Python<'_>| wake.call0(py).inspect_err(|error| error.clone_ref(py).write_unraisable(py, None));
            while registry.log().wait(&watch) && Python::try_attach(call).is_some() {}
        })?;
        Ok(EventWatch { registry, watch })
    }
}

fn dict<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("seq", event.seq)?;
    dict.set_item("at", unix_seconds(event.at))?;
    dict.set_item("destination", event.destination.as_ref())?;
    dict.set_item("kind", event.kind.as_str())?;
    dict.set_item("reason", event.reason.as_ref())?;
    Ok(dict)
}

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct EventWatch {
    registry: Arc<Registry>,
    watch: Arc<Watch>,
}

#[pymethods]
impl EventWatch {
    fn ask(&self, seq: u64) {
        self.registry.log().ask(&self.watch, seq);
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        self.registry.log().stop(&self.watch);
    }
}

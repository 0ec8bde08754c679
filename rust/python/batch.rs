//! What batches of rule sets and routers have in common: raw messages out of Python objects, work without the GIL.

use std::num::NonZeroUsize;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::errors::{config_error, is_ours, read_error};
use crate::batch::lines::{self, Line};
use crate::batch::{Answer, share};

/// Threads that a batch may use: as many as asked for, else as the process has cores.
pub(super) fn threads(asked: Option<usize>) -> PyResult<NonZeroUsize> {
    match asked {
        None => Ok(share::cores()),
        Some(asked) => NonZeroUsize::new(asked)
            .ok_or_else(|| config_error("threads is 0; give 1 or more, or None for all cores".to_owned())),
    }
}

/// `work` of each number below `count`, in order, on several threads and without the GIL.
pub(super) fn each<R: Send>(
    py: Python<'_>,
    count: usize,
    threads: NonZeroUsize,
    work: impl Fn(usize) -> R + Sync + Send,
) -> PyResult<Vec<R>> {
    py.detach(|| share::each(count, threads, work)).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

/// The messages of newline-delimited JSON.
pub(super) fn ndjson<'m>(py: Python<'_>, raw: &'m [u8]) -> Vec<Line<'m>> {
    py.detach(|| lines::of(raw))
}

/// The messages as raw JSON, if all of them are `bytes`.
pub(super) fn raw<'m>(messages: &'m [Bound<'_, PyAny>]) -> Option<Vec<Line<'m>>> {
    messages.iter().map(|message| Some(Line { bytes: message.cast::<PyBytes>().ok()?.as_bytes(), before: 0 })).collect()
}

/// The messages of an iterable, held while their bytes are read.
pub(super) fn gathered<'py>(messages: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    messages.try_iter()?.collect()
}

/// Adds an answer, or the error that stands in its place; other exceptions than ours end the batch.
pub(super) fn append<'py, T: IntoPyObject<'py>>(answers: &Bound<'py, PyList>, answer: PyResult<T>) -> PyResult<()> {
    let py = answers.py();
    match answer {
        Ok(answer) => answers.append(answer),
        Err(error) if is_ours(py, &error) => answers.append(error.into_value(py)),
        Err(error) => Err(error),
    }
}

/// The answer, or the exception that the problem is.
pub(super) fn raised<T>(answer: Answer<T>) -> PyResult<T> {
    answer.map_err(|error| read_error(*error))
}

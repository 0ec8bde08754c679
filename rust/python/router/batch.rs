//! Batches of a router: matched on all cores without the GIL, then given destinations one after the other.
//!
//! One thread selects, in the order of the messages: with a seed a batch is decided as its messages would be one by
//! one. All of a batch is decided on one snapshot, and reads live facts as of its beginning.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::super::{batch, now};
use super::{Live, Router};
use crate::batch::lines::Line;
use crate::message::json::Check;
use crate::pool::Nanos;

pub(super) fn route_many<'py>(
    slf: &Bound<'py, Router>,
    messages: &Bound<'py, PyAny>,
    check: Check,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let threads = batch::threads(threads)?;
    let messages = batch::gathered(messages)?;
    if let Some(lines) = batch::raw(&messages) {
        return route_lines(slf, &lines, check, threads, |number| messages[number].clone());
    }
    let answers = PyList::empty(slf.py());
    for message in &messages {
        batch::append(&answers, Router::decide(slf, message, check))?;
    }
    Ok(answers)
}

pub(super) fn route_ndjson<'py>(
    slf: &Bound<'py, Router>,
    raw: &Bound<'py, PyBytes>,
    check: Check,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let py = slf.py();
    let threads = batch::threads(threads)?;
    let lines = batch::ndjson(py, raw.as_bytes());
    route_lines(slf, &lines, check, threads, |number| PyBytes::new(py, lines[number].bytes).into_any())
}

/// Decides on raw messages. `object` makes the Python object of one, for custom rules.
fn route_lines<'py>(
    slf: &Bound<'py, Router>,
    lines: &[Line<'_>],
    check: Check,
    threads: std::num::NonZeroUsize,
    object: impl Fn(usize) -> Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = slf.py();
    let router = slf.get();
    let live: std::sync::Arc<Live> = router.live.load_full();
    let began = now();
    let snapshot = live.snapshot.as_ref();
    crate::batch::sample(snapshot.program(), lines);
    let resolved =
        batch::each(py, lines.len(), threads, |number| crate::batch::resolve(snapshot, &lines[number], check, began))?;
    // Matching was done for all at once: a decision's time is its share of that, and its own selection.
    let share = (now() - began) / Nanos::try_from(lines.len().max(1)).unwrap_or(Nanos::MAX);
    let answers = PyList::empty(py);
    for (number, resolved) in resolved.into_iter().enumerate() {
        let at = now();
        let decide = || {
            let (resolution, asked) = batch::raised(resolved)?;
            let answer = router.answer(&live, resolution, asked)?;
            let plan = Router::finish(slf, &live, || object(number), answer, at)?;
            let decision = router.select(plan, at)?;
            router.count(at.saturating_sub(share));
            Ok(decision)
        };
        batch::append(&answers, decide())?;
    }
    Ok(answers)
}

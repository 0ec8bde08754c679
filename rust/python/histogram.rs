//! A latency histogram for the Python layer.

use pyo3::prelude::*;

use super::{nanos, seconds};
use crate::stats::Histogram as Buckets;

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct Histogram {
    buckets: Buckets,
}

#[pymethods]
impl Histogram {
    #[new]
    fn new() -> Self {
        Self { buckets: Buckets::default() }
    }

    fn record(&self, latency: f64) {
        self.buckets.record(nanos(latency));
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        self.buckets.quantile(q).map(seconds)
    }

    #[getter]
    fn count(&self) -> u64 {
        self.buckets.count()
    }
}

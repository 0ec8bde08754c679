//! The boundary to Python: the only files that know PyO3.
//!
//! No logic lives here: arguments are read, one call into the crate is made, its answer is wrapped. Every class
//! is frozen; what changes is behind atomics, so all of it is safe without a GIL. Errors become the exceptions
//! of `turnout.errors`.

mod arrays;
mod batch;
mod convert;
mod decision;
mod errors;
mod events;
mod histogram;
mod lease;
mod message;
mod pool;
mod router;
mod rules;
mod simulate;
mod spec;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;

use crate::pool::Nanos;
use crate::pool::shared::{coarse_clock, machine_clock};

/// The first second of the clock is never told, so that 0 can mean "never".
const BEGIN: Nanos = 1_000_000_000;

/// Nanoseconds of the machine's monotonic clock, where it can be told what all processes read, else of this process's
/// own.
fn now() -> Nanos {
    machine_clock().max(BEGIN)
}

/// The same, some ms late: for a pick that holds nothing, whose states change at deadlines and which measures no time.
fn lately() -> Nanos {
    coarse_clock().max(BEGIN)
}

/// The wall clock now, in Unix seconds.
fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A point on the monotonic clock as Unix seconds. The same each time it is asked, also when the wall clock is set.
fn unix_seconds(at: Nanos) -> f64 {
    static ZERO: OnceLock<f64> = OnceLock::new();
    ZERO.get_or_init(|| unix_now() - seconds(now())) + seconds(at)
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "for people; exact below 104 days")]
fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

/// Seconds as nanoseconds; negative and not-a-number count as 0, more than 100 years as 100 years.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first; not-a-number becomes 0")]
fn nanos(seconds: f64) -> Nanos {
    (seconds.clamp(0.0, 3.2e9) * 1e9) as Nanos
}

/// Random generators, one a call: seeds are numbered, so a run on one thread repeats exactly and no call waits.
struct Dice {
    next: AtomicU64,
}

impl Dice {
    fn new(seed: Option<u64>) -> Self {
        Self { next: AtomicU64::new(seed.unwrap_or_else(|| fastrand::u64(..))) }
    }

    /// What the next roll will be, which it stays: reports change no decision.
    fn peek(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.next.load(Ordering::Relaxed)) // relaxed: as below
    }

    fn roll(&self) -> fastrand::Rng {
        // Relaxed: only that every call gets a number of its own matters.
        fastrand::Rng::with_seed(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<decision::Decision>()?;
    module.add_class::<decision::Plan>()?;
    module.add_class::<events::EventLog>()?;
    module.add_class::<events::EventWatch>()?;
    module.add_class::<histogram::Histogram>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<pool::Pool>()?;
    module.add_class::<router::Router>()?;
    module.add_class::<rules::RuleSet>()?;
    module.add_function(wrap_pyfunction!(rules::rule_errors, module)?)?;
    module.add_function(wrap_pyfunction!(simulate::simulate, module)?)?;
    Ok(())
}

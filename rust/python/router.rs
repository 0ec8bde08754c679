//! The router's half in Rust: one live snapshot, swapped on reload, and one call a decision.

mod batch;
mod deciding;
mod reports;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::decision::{self, Decision, Plan};
use super::errors::{build_error, config_error, fail_over_error, match_error, no_destination, turnout_error};
use super::events::EventLog;
use super::lease::Lease;
use super::message::{Keys, check, with_message};
use super::pool::known;
use super::{Dice, nanos, now, spec};
use crate::message::json::Check;
use crate::pool::shared::Map;
use crate::pool::{Nanos, Registry};
use crate::router::{Asked, Mode, Origin, Plan as Fixed, Resolution, Snapshot, Target};
use crate::stats::Histogram;
use deciding::Answer;

/// A snapshot with what reading Python messages needs.
struct Live {
    snapshot: Arc<Snapshot>,
    keys: Keys,
}

#[pyclass(frozen, subclass, module = "turnout._core")]
pub(super) struct Router {
    live: ArcSwap<Live>,
    /// One reload at a time; decisions do not take it.
    changing: Mutex<()>,
    registry: Arc<Registry>,
    dice: Arc<Dice>,
    decisions: AtomicU64,
    no_route: AtomicU64,
    decision_time: Histogram,
}

fn live(py: Python<'_>, spec: &Bound<'_, PyAny>, registry: &Arc<Registry>, old: Option<&Live>) -> PyResult<Live> {
    let spec = spec::router(spec)?;
    let previous = old.map(|old| Arc::clone(&old.snapshot));
    let snapshot = py
        .detach(|| Snapshot::build(spec, registry, previous.as_deref(), now()))
        .map_err(|error| build_error(py, error))?;
    let keys = Keys::new(py, snapshot.program().fields());
    Ok(Live { snapshot: Arc::new(snapshot), keys })
}

impl Router {
    /// Held while the configuration, or weights, are replaced.
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, ()>> {
        self.changing
            .lock_py_attached(py)
            .map_err(|_| PyRuntimeError::new_err("an earlier reload of this router panicked"))
    }
}

#[pymethods]
impl Router {
    #[new]
    #[pyo3(signature = (spec, seed = None))]
    fn new(py: Python<'_>, spec: &Bound<'_, PyAny>, seed: Option<u64>) -> PyResult<Self> {
        let registry = match spec::shared(spec)? {
            Some((path, destinations)) => {
                let map = py.detach(|| Map::join(&path, destinations));
                Registry::sharing(map.map_err(|error| config_error(error.to_string()))?)
            }
            None => Registry::new(),
        };
        let live = live(py, spec, &registry, None)?;
        live.snapshot.publish(None, now());
        Ok(Self {
            live: ArcSwap::from_pointee(live),
            changing: Mutex::new(()),
            registry,
            dice: Arc::new(Dice::new(seed)),
            decisions: AtomicU64::new(0),
            no_route: AtomicU64::new(0),
            decision_time: Histogram::default(),
        })
    }

    fn route(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>) -> PyResult<Decision> {
        Self::decide(slf, message, Check::Grammar)
    }

    #[pyo3(signature = (raw, *, strict = false))]
    fn route_json(slf: &Bound<'_, Self>, raw: &Bound<'_, PyBytes>, strict: bool) -> PyResult<Decision> {
        Self::decide(slf, raw.as_any(), check(strict))
    }

    #[pyo3(signature = (messages, *, strict = false, threads = None))]
    fn route_many<'py>(
        slf: &Bound<'py, Self>,
        messages: &Bound<'py, PyAny>,
        strict: bool,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        batch::route_many(slf, messages, check(strict), threads)
    }

    #[pyo3(signature = (raw, *, strict = false, threads = None))]
    fn route_ndjson<'py>(
        slf: &Bound<'py, Self>,
        raw: &Bound<'py, PyBytes>,
        strict: bool,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        batch::route_ndjson(slf, raw, check(strict), threads)
    }

    fn acquire(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>) -> PyResult<Lease> {
        let at = now();
        let router = slf.get();
        let plan = Self::plan(slf, message, Check::Grammar, at)?;
        if matches!(plan.target, Target::Pools(_, Mode::All { .. })) {
            return Err(turnout_error(
                "the route's mode is `all`, which takes one lease a pool; use acquire_all, or dispatch".to_owned(),
            ));
        }
        let lease = decision::lease(slf.py(), &Arc::new(plan), None, &[], 1, &router.dice)?;
        router.count(at);
        Ok(lease)
    }

    fn acquire_all<'py>(slf: &Bound<'py, Self>, message: &Bound<'py, PyAny>) -> PyResult<Vec<Lease>> {
        let at = now();
        let router = slf.get();
        let plan = Arc::new(Self::plan(slf, message, Check::Grammar, at)?);
        let branches = match &plan.target {
            Target::Pools(pools, Mode::All { .. }) => (0..pools.len()).map(Some).collect(),
            _ => vec![None],
        };
        let leases = branches.into_iter().map(|branch| decision::lease(slf.py(), &plan, branch, &[], 1, &router.dice));
        // An error drops the leases taken so far, which gives them back as cancelled.
        let leases = leases.collect::<PyResult<Vec<_>>>()?;
        router.count(at);
        Ok(leases)
    }

    #[pyo3(signature = (message, start = 0))]
    fn _plan(&self, message: &Bound<'_, PyAny>, start: usize) -> PyResult<Plan> {
        let at = now();
        let live = self.live.load();
        let (fixed, resume) = match self.ask(&live, message, Check::Grammar, start, at)? {
            Answer::Plan(plan) => {
                self.count(at);
                (plan, None)
            }
            Answer::Custom { resume } => {
                let snapshot = Arc::clone(&live.snapshot);
                let (origin, target, asked) = (Origin::Default, Target::DeadLetter, Asked::default());
                (Fixed { snapshot, origin, target, asked }, Some(resume))
            }
        };
        Ok(Plan::new(Arc::new(fixed), resume, Arc::clone(&self.dice)))
    }

    #[pyo3(signature = (message, start = 0))]
    fn _stage<'py>(&self, message: &Bound<'py, PyAny>, start: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        let live = self.live.load();
        let resolution =
            with_message(message, &live.keys, live.snapshot.as_ref(), Check::Grammar, |snapshot, fields| {
                snapshot.resolve(fields, start, now()).map_err(match_error)
            })?;
        match resolution {
            Resolution::Route(origin, _) => Ok(decision::stage_name(&origin).into_pyobject(py)?.into_any()),
            Resolution::Custom { resume } => Ok(resume.into_pyobject(py)?.into_any()),
            Resolution::Nothing => Ok(py.None().into_bound(py)),
        }
    }

    fn _plan_to(&self, message: &Bound<'_, PyAny>, target: &str, rule: &str) -> PyResult<Plan> {
        let at = now();
        let live = self.live.load();
        let plan = Self::custom_plan(&live, message, rule, target)?;
        self.count(at);
        Ok(Plan::new(Arc::new(plan), None, Arc::clone(&self.dice)))
    }

    fn _peek(&self, pool: &str, exclude: Vec<String>) -> PyResult<Decision> {
        let snapshot = Arc::clone(&self.live.load().snapshot);
        let target = snapshot.target_named(pool).ok_or_else(|| config_error(format!("there is no pool {pool:?}")))?;
        let plan = Fixed { snapshot, origin: Origin::Default, target, asked: Asked::default() };
        let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
        let choice = plan.peek(&exclude, now(), &mut self.dice.peek()).map_err(no_destination)?;
        Ok(Decision::new(Arc::new(plan), Some(choice), Box::default()))
    }

    #[pyo3(signature = (message, rules = None))]
    fn _explain<'py>(
        &self,
        message: &Bound<'py, PyAny>,
        rules: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let live = self.live.load();
        let also = spec::also_explained(live.snapshot.program(), rules)?;
        with_message(message, &live.keys, live.snapshot.as_ref(), Check::Grammar, |snapshot, fields| {
            let explanation = snapshot.explain(fields, &also, now());
            spec::explanation(message.py(), snapshot.program(), &explanation)
        })
    }

    fn _reload(&self, py: Python<'_>, spec: &Bound<'_, PyAny>) -> PyResult<u64> {
        let _changing = self.lock(py)?;
        let path = spec::shared(spec)?.map(|(path, _)| path);
        if path.as_deref() != self.registry.shared().map(|map| map.path()) {
            return Err(config_error("state.shared: stays as it is while the router lives; start it anew".to_owned()));
        }
        let old = self.live.load_full();
        let new = live(py, spec, &self.registry, Some(&old))?;
        let generation = new.snapshot.generation();
        let snapshot = Arc::clone(&new.snapshot);
        self.live.store(Arc::new(new));
        snapshot.publish(Some(&old.snapshot), now());
        Ok(generation)
    }

    fn _rejoin(&self) -> PyResult<()> {
        let rejoined = self.registry.shared().map_or(Ok(()), |map| map.rejoin());
        rejoined.map_err(|error| turnout_error(error.to_string()))
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.live.load().snapshot.generation()
    }

    fn _set_admin(&self, id: &str, state: &str) -> PyResult<()> {
        known(id, self.registry.set_admin(id, spec::state(state)?, "operator", now()))
    }

    fn set_weights(&self, py: Python<'_>, pool: &str, weights: HashMap<String, f64>) -> PyResult<()> {
        // A reload that is under way would take over the weights before and lose these.
        let _changing = self.lock(py)?;
        let live = self.live.load_full();
        let pools = live.snapshot.pools();
        let found = live.snapshot.pool_number(pool).and_then(|number| pools.get(number));
        let found = found.ok_or_else(|| config_error(format!("there is no pool {pool:?}")))?;
        py.detach(|| super::pool::set_weights(found, &weights))
    }

    fn _set_health(&self, id: &str, health: &str) -> PyResult<()> {
        known(id, self.registry.set_health(id, spec::state(health)?, "operator", now()))
    }

    #[pyo3(signature = (name, to = None, hold = None))]
    fn _fail_over(&self, name: &str, to: Option<&str>, hold: Option<f64>) -> PyResult<Vec<String>> {
        let at = now();
        let until = hold.map_or(Nanos::MAX, |hold| at + nanos(hold).max(1));
        let out = self.live.load().snapshot.fail_over(name, to, until, at).map_err(fail_over_error)?;
        Ok(out.iter().map(ToString::to_string).collect())
    }

    fn _fail_back(&self, name: &str, ramp: bool) -> PyResult<Vec<String>> {
        let back = self.live.load().snapshot.fail_back(name, ramp, now()).map_err(fail_over_error)?;
        Ok(back.iter().map(ToString::to_string).collect())
    }

    fn _report_utilisation(&self, id: &str, utilisation: f64) -> PyResult<()> {
        let reported = spec::utilisation(utilisation)?;
        known(id, self.registry.get(id).map(|destination| destination.report_utilisation(reported, now())))
    }

    fn _destinations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.destinations(py)
    }

    fn _pools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.pools(py)
    }

    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.stats(py)
    }

    fn _event_log(&self) -> EventLog {
        EventLog::new(&self.registry)
    }
}

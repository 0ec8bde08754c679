//! `Pool`: the balancer alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::{ArcSwap, Guard};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString};

use super::convert::type_name;
use super::errors::{config_error, no_destination, pool_error};
use super::lease::Lease;
use super::{Dice, lately, now, seconds, spec, unix_seconds};
use crate::balance::hash::xxh64;
use crate::pool::outages::Times;
use crate::pool::{Destination, Nanos, Pool as Members, PoolSpec, Registry, Request, Seen};

/// Members, with their ids as Python strings, made once, and what was seen of them last.
struct Live {
    pool: Arc<Members>,
    /// By member.
    ids: Arc<[Py<PyString>]>,
    seen: Option<Seen>,
}

impl Live {
    fn new(pool: Arc<Members>, ids: Arc<[Py<PyString>]>) -> Self {
        Self { seen: pool.seen(), pool, ids }
    }
}

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct Pool {
    live: ArcSwap<Live>,
    /// One change of members or weights at a time; picks do not take it.
    changing: Mutex<()>,
    registry: Arc<Registry>,
    dice: Dice,
}

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (destinations, *, policy = "round_robin", bounded_load = None, dynamic_adjustment = false, failover = None, seed = None))]
    fn new(
        py: Python<'_>,
        destinations: &Bound<'_, PyAny>,
        policy: &str,
        bounded_load: Option<f64>,
        dynamic_adjustment: bool,
        failover: Option<&Bound<'_, PyAny>>,
        seed: Option<u64>,
    ) -> PyResult<Self> {
        let registry = Registry::new();
        let spec = PoolSpec {
            id: Arc::from("pool"),
            policy: spec::policy(policy, bounded_load.is_some(), "pool")?,
            bounded_load,
            dynamic_adjustment,
            members: spec::members(destinations, "pool")?,
            failover: spec::failover(failover)?,
        };
        let pool = Arc::new(Members::build(spec, &registry, 1, now()).map_err(|error| pool_error(&error))?);
        registry.publish([&pool]);
        let ids = pool.members().iter().map(|member| PyString::new(py, member.id()).unbind()).collect();
        let live = ArcSwap::from_pointee(Live::new(pool, ids));
        Ok(Self { live, changing: Mutex::new(()), registry, dice: Dice::new(seed) })
    }

    #[pyo3(
        signature = (*, key = None, exclude = Vec::new(), classification = None),
        text_signature = "($self, *, key=None, exclude=(), classification=None)"
    )]
    fn select(
        &self,
        py: Python<'_>,
        key: Option<&Bound<'_, PyAny>>,
        exclude: Vec<String>,
        classification: Option<&str>,
    ) -> PyResult<Py<PyString>> {
        let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
        let request = request(key, &exclude, classification)?;
        let (live, rng) = (self.live.load(), self.dice.roll());
        let seen = live.seen.as_ref();
        let pick = match seen.and_then(|seen| live.pool.select_by(seen, &request, lately(), &mut rng.clone())) {
            Some(pick) => pick,
            None => {
                let pick = live.pool.select(&request, now(), &mut rng.clone());
                self.look_again(&live);
                pick.map_err(no_destination)?
            }
        };
        Ok(live.ids[pick.member].clone_ref(py))
    }

    #[pyo3(
        signature = (*, key = None, exclude = Vec::new(), classification = None),
        text_signature = "($self, *, key=None, exclude=(), classification=None)"
    )]
    fn acquire(
        &self,
        key: Option<&Bound<'_, PyAny>>,
        exclude: Vec<String>,
        classification: Option<&str>,
    ) -> PyResult<Lease> {
        let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
        let request = request(key, &exclude, classification)?;
        let (live, rng, at) = (self.live.load(), self.dice.roll(), now());
        let seen = live.seen.as_ref();
        let held = match seen.and_then(|seen| live.pool.acquire_by(seen, &request, at, &mut rng.clone())) {
            Some(held) => held,
            None => {
                let held = live.pool.acquire(&request, at, &mut rng.clone());
                self.look_again(&live);
                held.map_err(no_destination)?
            }
        };
        Ok(Lease::new(held, 1, None))
    }

    fn drain(&self, id: &str) -> PyResult<()> {
        self.set_admin(id, "draining")
    }

    fn enable(&self, id: &str) -> PyResult<()> {
        self.set_admin(id, "enabled")
    }

    fn disable(&self, id: &str) -> PyResult<()> {
        self.set_admin(id, "disabled")
    }

    fn set_health(&self, id: &str, health: &str) -> PyResult<()> {
        let state = spec::state(health)?;
        self.member(id)?;
        known(id, self.registry.set_health(id, state, "operator", now()))
    }

    fn set_weights(&self, py: Python<'_>, weights: HashMap<String, f64>) -> PyResult<()> {
        // A change of members that is under way would take over the weights before and lose these.
        let _changing = self.lock(py)?;
        let pool = Arc::clone(&self.live.load().pool);
        py.detach(|| set_weights(&pool, &weights))
    }

    fn add(&self, destination: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = destination.py();
        let new = spec::member(destination, "pool")?;
        let _changing = self.lock(py)?;
        let old = self.live.load_full();
        let pool = py.detach(|| old.pool.with_member(&new, now())).map_err(|error| pool_error(&error))?;
        let id = PyString::new(py, &new.id).unbind();
        let ids = old.ids.iter().map(|id| id.clone_ref(py)).chain([id]).collect();
        self.replace(py, old, Live::new(Arc::new(pool), ids));
        Ok(())
    }

    fn remove(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        let _changing = self.lock(py)?;
        let old = self.live.load_full();
        let Some(gone) = old.pool.index_of(id) else { return Ok(false) };
        let Some(pool) = py.detach(|| old.pool.without_member(id, now())) else { return Ok(false) };
        let stay = old.ids.iter().enumerate().filter(|(index, _)| *index != gone);
        let ids = stay.map(|(_, id)| id.clone_ref(py)).collect();
        let pool = Arc::new(pool);
        self.replace(py, old, Live::new(Arc::clone(&pool), ids));
        self.registry.forget(id, |id| pool.index_of(id).is_some());
        Ok(true)
    }

    fn destinations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let at = now();
        let pool = Arc::clone(&self.live.load().pool);
        let states = pool.members().iter().map(|member| destination_state(py, member.destination(), at));
        PyList::new(py, states.collect::<PyResult<Vec<_>>>()?)
    }

    fn __len__(&self) -> usize {
        self.live.load().pool.members().len()
    }

    fn __repr__(&self) -> String {
        format!("<Pool of {} destinations by {}>", self.__len__(), self.live.load().pool.choice())
    }

    #[getter]
    fn policy(&self) -> &'static str {
        self.live.load().pool.policy().as_str()
    }
}

impl Pool {
    /// Held while members or weights are replaced.
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, ()>> {
        self.changing
            .lock_py_attached(py)
            .map_err(|_| PyRuntimeError::new_err("an earlier change of this pool panicked"))
    }

    /// Keeps the view that was made meanwhile, if there is one, for the picks to come.
    #[cold]
    fn look_again(&self, live: &Guard<Arc<Live>>) {
        if live.seen.as_ref().is_some_and(|seen| live.pool.is_last(seen)) {
            return;
        }
        let next = Live::new(Arc::clone(&live.pool), Arc::clone(&live.ids));
        // Not in the place of other members, which came meanwhile.
        self.live.compare_and_swap(live, Arc::new(next));
    }

    /// Puts new members in the place of the old, of which many are let go without the GIL.
    fn replace(&self, py: Python<'_>, old: Arc<Live>, new: Live) {
        self.live.store(Arc::new(new));
        let pool = Arc::clone(&old.pool);
        drop(old);
        py.detach(|| drop(pool));
    }

    /// An error if there is no such member: one that is gone may still hold messages.
    fn member(&self, id: &str) -> PyResult<()> {
        known(id, self.live.load().pool.index_of(id))
    }

    fn set_admin(&self, id: &str, state: &str) -> PyResult<()> {
        self.member(id)?;
        known(id, self.registry.set_admin(id, spec::state(state)?, "operator", now()))
    }
}

/// An error if there was no such destination.
pub(super) fn known<T>(id: &str, before: Option<T>) -> PyResult<()> {
    before.map(drop).ok_or_else(|| config_error(format!("no pool has a destination {id:?}")))
}

/// Replaces weights by id.
pub(super) fn set_weights(pool: &Members, weights: &HashMap<String, f64>) -> PyResult<()> {
    let weights = weights.iter().map(|(id, weight)| (id.as_str(), *weight));
    pool.set_weights(weights, now()).map_err(|error| pool_error(&error))
}

fn request<'a>(
    key: Option<&Bound<'_, PyAny>>,
    exclude: &'a [&'a str],
    classification: Option<&str>,
) -> PyResult<Request<'a>> {
    let key = key.map(key_hash).transpose()?;
    let classification = classification.map_or(Ok(0), |name| spec::level(name, "classification"))?;
    Ok(Request { classification, exclude, pinned: None, key })
}

/// The hash of a key: text as UTF-8, bytes as they are, an integer as its decimal digits.
fn key_hash(key: &Bound<'_, PyAny>) -> PyResult<u64> {
    if let Ok(text) = key.cast::<PyString>() {
        return Ok(xxh64(text.to_str()?.as_bytes()));
    }
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return Ok(xxh64(bytes.as_bytes()));
    }
    if key.is_instance_of::<PyInt>() && !key.is_instance_of::<PyBool>() {
        return Ok(xxh64(key.str()?.to_str()?.as_bytes()));
    }
    Err(PyTypeError::new_err(format!("key: give a str, bytes or an int, not a {}", type_name(key))))
}

/// One destination's live state and counts, as the stub describes it.
pub(super) fn destination_state<'py>(
    py: Python<'py>,
    destination: &Destination,
    at: Nanos,
) -> PyResult<Bound<'py, PyDict>> {
    let view = destination.view(at);
    let milliseconds = |nanos: Nanos| seconds(nanos) * 1e3;
    let percentile = |position: usize| view.percentiles.map(|percentiles| milliseconds(percentiles[position]));
    let kinds = PyDict::new(py);
    for (kind, count) in &view.failure_kinds {
        kinds.set_item(kind.as_ref(), count)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("id", view.id.as_ref())?;
    dict.set_item("admin", view.admin.as_str())?;
    dict.set_item("health", view.health.as_str())?;
    dict.set_item("breaker", view.breaker)?;
    dict.set_item("ejected_for", view.ejected_for.map(seconds))?;
    dict.set_item("failed_over", view.failed_over)?;
    dict.set_item("failed_over_for", view.failed_over_for.map(seconds))?;
    dict.set_item("failed_over_to", view.failed_over_to.as_deref())?;
    dict.set_item("in_flight", view.in_flight)?;
    dict.set_item("picks", view.picks)?;
    dict.set_item("attempts", view.attempts)?;
    dict.set_item("successes", view.successes)?;
    dict.set_item("failures", view.failures)?;
    dict.set_item("overloaded", view.overloaded)?;
    dict.set_item("cancelled", view.cancelled)?;
    dict.set_item("ejections", view.outages.ejections)?;
    dict.set_item("recoveries", view.outages.recoveries)?;
    dict.set_item("failovers", view.failovers)?;
    dict.set_item("trials", view.outages.trials)?;
    dict.set_item("trials_passed", view.outages.trials_passed)?;
    dict.set_item("trials_failed", view.outages.trials_failed)?;
    dict.set_item("time_to_detect", times(py, view.outages.detection)?)?;
    dict.set_item("time_to_recover", times(py, view.outages.recovery)?)?;
    let change = view.change;
    dict.set_item("since", change.as_ref().map(|change| unix_seconds(change.at)))?;
    dict.set_item("reason", change.as_ref().map(|change| change.reason.as_ref()))?;
    dict.set_item("success_rate", view.success_rate)?;
    dict.set_item("latency_ms", view.latency.map(milliseconds))?;
    dict.set_item("p50_ms", percentile(0))?;
    dict.set_item("p95_ms", percentile(1))?;
    dict.set_item("p99_ms", percentile(2))?;
    dict.set_item("utilisation", view.utilisation)?;
    dict.set_item("failure_kinds", kinds)?;
    Ok(dict)
}

/// Times in seconds; `None` of none.
fn times(py: Python<'_>, times: Times) -> PyResult<Bound<'_, PyDict>> {
    let of = |time: Nanos| (times.count > 0).then(|| seconds(time));
    let dict = PyDict::new(py);
    dict.set_item("count", times.count)?;
    dict.set_item("mean_s", of(times.sum.checked_div(times.count).unwrap_or(0)))?;
    dict.set_item("last_s", of(times.last))?;
    dict.set_item("longest_s", of(times.longest))?;
    Ok(dict)
}

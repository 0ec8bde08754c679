//! Decisions and plans as Python objects: what a message's fate was, and where attempts are taken from.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::errors::no_destination;
use super::lease::Lease;
use super::{Dice, now};
use crate::router::{Choice, Mode, Origin, Plan as Fixed, Target};

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::First => "first",
        Mode::All { .. } => "all",
    }
}

pub(super) fn stage_name(origin: &Origin) -> &'static str {
    match origin {
        Origin::Rule(_) => "content_based",
        Origin::Urgent => "priority_based",
        Origin::Named => "destination_based",
        Origin::Custom(_) => "custom_rules",
        Origin::Default => "default",
    }
}

fn rule_name(plan: &Fixed) -> Option<&str> {
    match &plan.origin {
        Origin::Rule(number) => Some(&plan.snapshot.program().rule(*number).id),
        Origin::Custom(name) => Some(name),
        _ => None,
    }
}

fn plan_mode(plan: &Fixed) -> Mode {
    match plan.target {
        Target::Pools(_, mode) => mode,
        _ => Mode::First,
    }
}

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct Decision {
    plan: Arc<Fixed>,
    /// None where the message is for dead letters.
    choice: Option<Choice>,
    /// What the other pools of mode `all` picked.
    others: Box<[Choice]>,
    quality: f32,
}

impl Decision {
    pub(super) fn new(plan: Arc<Fixed>, choice: Option<Choice>, others: Box<[Choice]>) -> Self {
        let quality = choice.map_or(0.0, |choice| {
            plan.snapshot.pools()[choice.pool].members()[choice.pick.member].destination().failures().success()
        });
        Self { plan, choice, others, quality }
    }
}

#[pymethods]
impl Decision {
    #[getter]
    fn rule(&self) -> Option<&str> {
        rule_name(&self.plan)
    }

    #[getter]
    fn stage(&self) -> &'static str {
        stage_name(&self.plan.origin)
    }

    #[getter]
    fn pool(&self) -> Option<&str> {
        self.choice.map(|choice| self.plan.snapshot.pools()[choice.pool].id().as_ref())
    }

    #[getter]
    fn destination(&self) -> Option<&str> {
        self.choice.map(|choice| self.plan.snapshot.pools()[choice.pool].members()[choice.pick.member].id().as_ref())
    }

    #[getter]
    fn tier(&self) -> u8 {
        self.choice.map_or(0, |choice| choice.pick.tier)
    }

    #[getter]
    fn reason(&self) -> &'static str {
        self.choice.map_or("dead_letter", |choice| choice.pick.reason.as_str())
    }

    #[getter]
    fn propensity(&self) -> Option<f64> {
        self.choice.and_then(|choice| choice.pick.propensity)
    }

    #[getter]
    fn panic(&self) -> bool {
        self.choice.is_some_and(|choice| choice.pick.panic)
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.plan.snapshot.generation()
    }

    #[getter]
    fn quality(&self) -> f32 {
        self.quality
    }

    #[getter]
    fn mode(&self) -> &'static str {
        mode_name(plan_mode(&self.plan))
    }

    #[getter]
    fn branches<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let decision = slf.get();
        if plan_mode(&decision.plan) == Mode::First {
            return Ok(PyTuple::empty(py));
        }
        let mut branches = vec![slf.clone()];
        for &choice in &decision.others {
            branches.push(Bound::new(py, Self::new(Arc::clone(&decision.plan), Some(choice), Box::default()))?);
        }
        PyTuple::new(py, branches)
    }

    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let py = slf.py();
        let decision = slf.get();
        let dict = PyDict::new(py);
        dict.set_item("rule", decision.rule())?;
        dict.set_item("stage", decision.stage())?;
        dict.set_item("pool", decision.pool())?;
        dict.set_item("destination", decision.destination())?;
        dict.set_item("tier", decision.tier())?;
        dict.set_item("reason", decision.reason())?;
        dict.set_item("propensity", decision.propensity())?;
        dict.set_item("panic", decision.panic())?;
        dict.set_item("generation", decision.generation())?;
        dict.set_item("quality", decision.quality())?;
        dict.set_item("mode", decision.mode())?;
        let branches = Self::branches(slf)?;
        let places = branches.iter().map(|branch| {
            let place = PyDict::new(py);
            place.set_item("pool", branch.getattr("pool")?)?;
            place.set_item("destination", branch.getattr("destination")?)?;
            Ok(place)
        });
        dict.set_item("branches", places.collect::<PyResult<Vec<_>>>()?)?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Decision {} by {}{}: {}>",
            self.destination().unwrap_or("dead letter"),
            self.stage(),
            self.rule().map(|rule| format!(" rule {rule}")).unwrap_or_default(),
            self.reason(),
        )
    }
}

#[pyclass(frozen, module = "turnout._core")]
pub(super) struct Plan {
    fixed: Arc<Fixed>,
    resume: Option<usize>,
    dice: Arc<Dice>,
}

impl Plan {
    pub(super) fn new(fixed: Arc<Fixed>, resume: Option<usize>, dice: Arc<Dice>) -> Self {
        Self { fixed, resume, dice }
    }
}

/// Takes a destination from a plan and wraps the lease with its decision.
pub(super) fn lease(
    py: Python<'_>,
    plan: &Arc<Fixed>,
    branch: Option<usize>,
    exclude: &[&str],
    attempt: u32,
    dice: &Dice,
) -> PyResult<Lease> {
    let (pool, held) = plan.acquire(branch, exclude, now(), &mut dice.roll()).map_err(no_destination)?;
    let choice = Choice { pool, pick: *held.pick() };
    let decision = Py::new(py, Decision::new(Arc::clone(plan), Some(choice), Box::default()))?;
    Ok(Lease::new(held, attempt, Some(decision)))
}

#[pymethods]
impl Plan {
    #[getter]
    fn rule(&self) -> Option<&str> {
        rule_name(&self.fixed)
    }

    #[getter]
    fn stage(&self) -> &'static str {
        stage_name(&self.fixed.origin)
    }

    #[getter]
    fn pools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let pools = self.fixed.snapshot.pools();
        match &self.fixed.target {
            Target::Pools(numbers, _) => {
                PyTuple::new(py, numbers.iter().map(|&number| PyString::new(py, pools[number].id())))
            }
            Target::Destination { pool, .. } => PyTuple::new(py, [PyString::new(py, pools[*pool].id())]),
            Target::DeadLetter => Ok(PyTuple::empty(py)),
        }
    }

    #[getter]
    fn mode(&self) -> &'static str {
        mode_name(plan_mode(&self.fixed))
    }

    #[getter]
    fn quorum(&self) -> usize {
        match plan_mode(&self.fixed) {
            Mode::First => 1,
            Mode::All { quorum } => quorum,
        }
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.fixed.snapshot.generation()
    }

    #[getter]
    fn resume(&self) -> Option<usize> {
        self.resume
    }

    #[pyo3(
        signature = (*, branch = None, exclude = Vec::new()),
        text_signature = "($self, *, branch=None, exclude=())"
    )]
    fn select(&self, branch: Option<usize>, exclude: Vec<String>) -> PyResult<Decision> {
        let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
        let choice = self.fixed.select(branch, &exclude, now(), &mut self.dice.roll()).map_err(no_destination)?;
        Ok(Decision::new(Arc::clone(&self.fixed), Some(choice), Box::default()))
    }

    #[pyo3(
        signature = (*, branch = None, exclude = Vec::new(), attempt = 1),
        text_signature = "($self, *, branch=None, exclude=(), attempt=1)"
    )]
    fn acquire(&self, py: Python<'_>, branch: Option<usize>, exclude: Vec<String>, attempt: u32) -> PyResult<Lease> {
        let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
        lease(py, &self.fixed, branch, &exclude, attempt, &self.dice)
    }
}

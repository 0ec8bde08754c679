//! A router's state and counters as plain dicts, which `turnout.reports` gives shape.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::super::pool::destination_state;
use super::super::{now, seconds, unix_seconds};
use super::Router;
use crate::router::{CLASSIFICATIONS, Snapshot};

impl Router {
    pub(super) fn destinations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let at = now();
        let live = self.live.load();
        let mut seen = HashSet::new();
        let members = live.snapshot.pools().iter().flat_map(|pool| pool.members());
        let states = members
            .filter(|member| seen.insert(Arc::clone(member.id())))
            .map(|member| destination_state(py, member.destination(), at));
        PyList::new(py, states.collect::<PyResult<Vec<_>>>()?)
    }

    pub(super) fn pools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let at = now();
        let live = self.live.load();
        let pools = live.snapshot.pools().iter().map(|pool| {
            let view = pool.describe(at);
            let members = view.members.iter().map(|member| {
                let dict = PyDict::new(py);
                dict.set_item("id", member.id.as_ref())?;
                dict.set_item("weight", member.weight)?;
                dict.set_item("effective_weight", member.effective_weight)?;
                dict.set_item("tier", member.tier)?;
                dict.set_item("clearance", CLASSIFICATIONS.get(usize::from(member.clearance)))?;
                dict.set_item("max_in_flight", member.max_in_flight)?;
                dict.set_item("eligible", member.eligible)?;
                Ok(dict)
            });
            let dict = PyDict::new(py);
            dict.set_item("id", view.id.as_ref())?;
            dict.set_item("policy", view.policy.as_str())?;
            dict.set_item("in_force", view.in_force.as_str())?;
            dict.set_item("healthy_ratio", view.healthy_ratio)?;
            dict.set_item("standing", view.standing.as_str())?;
            dict.set_item("since", view.standing_since.map(unix_seconds))?;
            dict.set_item("destinations", members.collect::<PyResult<Vec<_>>>()?)?;
            Ok(dict)
        });
        PyList::new(py, pools.collect::<PyResult<Vec<_>>>()?)
    }

    pub(super) fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let live = self.live.load();
        let by_rule = PyDict::new(py);
        for (rule, hits) in live.snapshot.rule_hits() {
            by_rule.set_item(rule, hits)?;
        }
        let time = |q: f64| self.decision_time.quantile(q).map(seconds);
        let dict = PyDict::new(py);
        dict.set_item("generation", live.snapshot.generation())?;
        dict.set_item("decisions", self.decisions.load(Ordering::Relaxed))?;
        dict.set_item("no_route", self.no_route.load(Ordering::Relaxed))?;
        dict.set_item("by_rule", by_rule)?;
        dict.set_item("decision_p50", time(0.5))?;
        dict.set_item("decision_p99", time(0.99))?;
        dict.set_item("cache", cache(py, &live.snapshot)?)?;
        Ok(dict)
    }
}

fn cache<'py>(py: Python<'py>, snapshot: &Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let (caching, report) = snapshot.caching();
    let dict = PyDict::new(py);
    dict.set_item("mode", caching.name())?;
    dict.set_item("on", report.on)?;
    dict.set_item("reason", report.reason)?;
    dict.set_item("hits", report.hits)?;
    dict.set_item("misses", report.misses)?;
    dict.set_item("bypassed", report.bypassed)?;
    dict.set_item("entries", report.entries)?;
    dict.set_item("bytes", report.bytes)?;
    Ok(dict)
}

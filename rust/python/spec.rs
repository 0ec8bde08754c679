//! What Python passes in as dicts: rules, pools, a router's configuration. And explanations on the way out.
//!
//! The Python layer has validated a router's configuration with places in its file. Rules and pools that code
//! gives to `RuleSet` and `Pool` come straight here, so every key is checked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};
use smallvec::{SmallVec, smallvec};

use super::convert::{self, Held};
use super::errors::{config_error, rule_error};
use super::nanos;
use crate::balance::Choice;
use crate::cache::{Bounds, Caching};
use crate::error::{Place, RuleError};
use crate::message::path::Path;
use crate::pool::{FailoverSpec, MemberSpec, PoolSpec, RateLimit};
use crate::router::{CLASSIFICATIONS, DefaultRoute, Mode, RouterSpec, RuleSpec, Stage, Urgent};
use crate::rules::explain::Explanation;
use crate::rules::limits::Limits;
use crate::rules::program::{Program, RuleSource};

/// A mapping whose keys are all asked for by name, with errors that say whose they are.
pub(super) struct Section<'a, 'py> {
    known: &'a [&'a str],
    /// The values, in the order of `known`.
    values: SmallVec<[Option<Bound<'py, PyAny>>; 4]>,
    owner: Cow<'static, str>,
}

impl<'a, 'py> Section<'a, 'py> {
    pub(super) fn new(
        object: &Bound<'py, PyAny>,
        owner: impl Into<Cow<'static, str>>,
        known: &'a [&'a str],
    ) -> PyResult<Self> {
        let mut section = Self { known, values: smallvec![None; known.len()], owner: owner.into() };
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            for (key, item) in dict {
                section.set(&key, item)?;
            }
            return Ok(section);
        }
        let mapping = object.cast::<PyMapping>().map_err(|_| {
            config_error(format!("{}: give a mapping, not a {}", section.owner, convert::type_name(object)))
        })?;
        for key in mapping.keys()? {
            let item = mapping.get_item(&key)?;
            section.set(&key, item)?;
        }
        Ok(section)
    }

    /// Takes the value under `key`, as missing if it is None.
    fn set(&mut self, key: &Bound<'py, PyAny>, item: Bound<'py, PyAny>) -> PyResult<()> {
        let name = key.cast::<PyString>().ok().and_then(|name| name.to_str().ok());
        match self.known.iter().position(|known| name == Some(known)) {
            Some(at) => self.values[at] = (!item.is_none()).then_some(item),
            None => {
                let (key, known) = (key.str()?.to_string_lossy().into_owned(), self.known.join(", "));
                return Err(config_error(format!("{}: unknown key {key:?}; known are: {known}", self.owner)));
            }
        }
        Ok(())
    }

    /// The value under `key`; none where it is missing or None.
    fn get(&self, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let at = self.known.iter().position(|known| *known == key);
        Ok(at.and_then(|at| self.values[at].clone()))
    }

    pub(super) fn optional<T: for<'b> FromPyObject<'b, 'py>>(&self, key: &str) -> PyResult<Option<T>> {
        let Some(item) = self.get(key)? else { return Ok(None) };
        item.extract::<T>().map(Some).map_err(|error| {
            let error: PyErr = error.into();
            config_error(format!("{}: {key}: {error}", self.owner))
        })
    }

    pub(super) fn required<T: for<'b> FromPyObject<'b, 'py>>(&self, key: &str) -> PyResult<T> {
        self.optional(key)?.ok_or_else(|| config_error(format!("{}: {key} is missing", self.owner)))
    }

    pub(super) fn list(&self, key: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        match self.get(key)? {
            Some(items) => items.try_iter()?.collect(),
            None => Ok(Vec::new()),
        }
    }
}

const RULE_KEYS: [&str; 4] = ["id", "priority", "when", "match"];

fn source(section: &Section<'_, '_>) -> PyResult<RuleSource> {
    let id: String = section.required("id")?;
    let matches = match section.get("match")? {
        Some(pattern) => {
            let held = Held::default();
            let value = convert::value(pattern, &held).map_err(|problem| {
                rule_error(RuleError { rule: id.clone(), problem: format!("match {problem}"), place: Place::Rule })
            })?;
            Some(value.into_owned())
        }
        None => None,
    };
    let priority = section.optional("priority")?.unwrap_or(0);
    Ok(RuleSource { id, priority, when: section.optional("when")?, matches })
}

/// A rule of a bare `RuleSet`: `{"id", "priority", "when", "match"}`.
pub(super) fn rule_source(rule: &Bound<'_, PyAny>) -> PyResult<RuleSource> {
    source(&Section::new(rule, "rule", &RULE_KEYS)?)
}

fn rule_spec(rule: &Bound<'_, PyAny>) -> PyResult<RuleSpec> {
    let known: Vec<&str> = RULE_KEYS.into_iter().chain(["pools", "mode", "quorum"]).collect();
    let section = Section::new(rule, "rule", &known)?;
    let pools: Vec<String> = section.required("pools")?;
    let mode = match section.required::<String>("mode")?.as_str() {
        "all" => Mode::All { quorum: section.required("quorum")? },
        _ => Mode::First,
    };
    Ok(RuleSpec { source: source(&section)?, pools, mode })
}

/// The level of a clearance or classification by name.
pub(super) fn level(name: &str, owner: &str) -> PyResult<u8> {
    let level = CLASSIFICATIONS.iter().position(|&known| known == name);
    level.and_then(|level| u8::try_from(level).ok()).ok_or_else(|| {
        config_error(format!("{owner}: unknown level {name:?}; there are: {}", CLASSIFICATIONS.join(", ")))
    })
}

/// A policy by its name; `keyed`: whether `auto` is to go by key.
pub(super) fn policy(name: &str, keyed: bool, owner: &str) -> PyResult<Choice> {
    match name.parse().map_err(|error| config_error(format!("{owner}: {error}")))? {
        Choice::Auto { .. } => Ok(Choice::Auto { keyed }),
        fixed => Ok(fixed),
    }
}

/// The way to a key: `message` and names below it.
fn key_path(text: &str, owner: &str) -> PyResult<Path> {
    let mut names = text.split('.').map(Arc::<str>::from);
    let root = names.next().filter(|root| root.as_ref() == "message");
    let segments: Box<[Arc<str>]> = names.collect();
    match root {
        Some(root) if !segments.is_empty() && segments.iter().all(|name| !name.is_empty()) => {
            Ok(Path { root, segments })
        }
        _ => Err(config_error(format!("{owner}: key: {text:?} is no path; write one such as message.content.user.id"))),
    }
}

/// A pool's member: an id, or a mapping with one.
pub(super) fn member(item: &Bound<'_, PyAny>, owner: &str) -> PyResult<MemberSpec> {
    if let Ok(id) = item.cast::<PyString>() {
        let id: Arc<str> = Arc::from(id.to_cow()?.as_ref());
        return Ok(MemberSpec::new(id));
    }
    let known = ["id", "weight", "tier", "max_in_flight", "rate_limit", "clearance"];
    let section = Section::new(item, format!("{owner}: destination"), &known)?;
    let id: String = section.required("id")?;
    let clearance = match section.optional::<String>("clearance")? {
        Some(name) => level(&name, &format!("{owner}: destination {id:?}: clearance"))?,
        None => 0,
    };
    let rate_limit = section.get("rate_limit")?.map(|limit| rate_limit(&limit, &id)).transpose()?;
    Ok(MemberSpec {
        id: Arc::from(id),
        weight: section.optional("weight")?.unwrap_or(1),
        tier: section.optional("tier")?.unwrap_or(0),
        max_in_flight: section.optional("max_in_flight")?,
        rate_limit,
        clearance,
    })
}

/// A limit on messages a second, `{"rate", "burst"}`.
fn rate_limit(item: &Bound<'_, PyAny>, destination: &str) -> PyResult<RateLimit> {
    let owner = format!("destination {destination:?}: rate_limit");
    let section = Section::new(item, owner.clone(), &["rate", "burst"])?;
    let limit = RateLimit::new(section.required("rate")?, section.optional("burst")?);
    limit.map_err(|problem| config_error(format!("{owner}: {problem}")))
}

pub(super) fn members(items: &Bound<'_, PyAny>, owner: &str) -> PyResult<Vec<MemberSpec>> {
    items.try_iter()?.map(|item| member(&item?, owner)).collect()
}

/// Failover settings; what is left out has the default of [`FailoverSpec`].
pub(super) fn failover(settings: Option<&Bound<'_, PyAny>>) -> PyResult<FailoverSpec> {
    let mut spec = FailoverSpec::default();
    let Some(settings) = settings else { return Ok(spec) };
    let known = [
        "eject",
        "streak",
        "rate_window",
        "failure_percent",
        "min_requests",
        "outlier_stdev",
        "outlier_min_requests",
        "recovery_time",
        "max_ejection_time",
        "max_ejected_percent",
        "probation_successes",
        "spill",
        "panic_threshold",
        "on_exhausted",
        "health",
        "slow_start",
    ];
    let section = Section::new(settings, "failover", &known)?;
    spec.eject = section.optional("eject")?.unwrap_or(spec.eject);
    spec.spill = section.optional("spill")?.unwrap_or(spec.spill);
    spec.health = section.optional("health")?.unwrap_or(spec.health);
    spec.streak = section.optional("streak")?.unwrap_or(spec.streak);
    spec.failure_percent = section.optional("failure_percent")?.unwrap_or(spec.failure_percent);
    spec.min_requests = section.optional("min_requests")?.unwrap_or(spec.min_requests);
    spec.outlier_min_requests = section.optional("outlier_min_requests")?.unwrap_or(spec.outlier_min_requests);
    spec.rate_window = section.optional("rate_window")?.map_or(spec.rate_window, nanos);
    if let Some(deviations) = section.optional::<f64>("outlier_stdev")? {
        if !(0.0..=1_000.0).contains(&deviations) {
            return Err(config_error(format!("failover: outlier_stdev must be 0 to 1000, not {deviations}")));
        }
        spec.outlier_stdev_milli = (deviations * 1e3).round() as u32;
    }
    if let Some(name) = section.optional::<String>("on_exhausted")? {
        spec.on_exhausted =
            name.parse().map_err(|problem| config_error(format!("failover: on_exhausted: {problem}")))?;
    }
    spec.probation_successes = section.optional("probation_successes")?.unwrap_or(spec.probation_successes);
    spec.max_ejected_percent = section.optional("max_ejected_percent")?.unwrap_or(spec.max_ejected_percent);
    spec.panic_threshold_percent = section.optional("panic_threshold")?.unwrap_or(spec.panic_threshold_percent);
    spec.ejection_time = section.optional("recovery_time")?.map_or(spec.ejection_time, nanos);
    spec.slow_start = section.optional("slow_start")?.map_or(spec.slow_start, nanos);
    spec.max_ejection_time = section.optional("max_ejection_time")?.map_or(spec.max_ejection_time, nanos);
    Ok(spec)
}

/// What a destination says of its load, checked.
pub(super) fn utilisation(given: f64) -> PyResult<f32> {
    if given.is_finite() && given >= 0.0 {
        return Ok((given as f32).min(f32::MAX));
    }
    Err(config_error(format!("utilisation: {given} is no load; write a number from 0, where 1 is all it can do")))
}

/// A state by its name.
pub(super) fn state<T: FromStr<Err: Display>>(name: &str) -> PyResult<T> {
    name.parse().map_err(|error: T::Err| config_error(error.to_string()))
}

/// A pool, `{"id", "policy", "key", "bounded_load", "dynamic_adjustment", "destinations"}`, and the field that holds the
/// key of a message.
pub(super) fn pool(item: &Bound<'_, PyAny>, failover: &FailoverSpec) -> PyResult<(PoolSpec, Option<Path>)> {
    let known = ["id", "policy", "key", "bounded_load", "dynamic_adjustment", "destinations"];
    let section = Section::new(item, "pool", &known)?;
    let id: String = section.required("id")?;
    let owner = format!("pool {id:?}");
    let key = section.optional::<String>("key")?.map(|path| key_path(&path, &owner)).transpose()?;
    let bounded_load = section.optional("bounded_load")?;
    let keyed = key.is_some() || bounded_load.is_some();
    let spec = PoolSpec {
        policy: policy(&section.required::<String>("policy")?, keyed, &owner)?,
        bounded_load,
        dynamic_adjustment: section.optional("dynamic_adjustment")?.unwrap_or(false),
        members: members(&section.required::<Bound<'_, PyAny>>("destinations")?, &owner)?,
        id: Arc::from(id),
        failover: failover.clone(),
    };
    Ok((spec, key))
}

/// A whole configuration, as `turnout.config` compiles it.
pub(super) fn router(spec: &Bound<'_, PyAny>) -> PyResult<RouterSpec> {
    let known =
        ["stages", "rules", "urgent", "default", "dead_letter", "pools", "admin", "failover", "caching", "shared"];
    let section = Section::new(spec, "router", &known)?;
    let stages = section
        .required::<Vec<String>>("stages")?
        .into_iter()
        .map(|name| Stage::named(&name).ok_or_else(|| config_error(format!("unknown rule family {name:?}"))))
        .collect::<PyResult<_>>()?;
    let rules = section.list("rules")?.iter().map(rule_spec).collect::<PyResult<_>>()?;
    let urgent = match section.get("urgent")? {
        Some(urgent) => {
            let urgent = Section::new(&urgent, "urgent", &["min_priority", "pools"])?;
            Some(Urgent { min_priority: urgent.required("min_priority")?, pools: urgent.required("pools")? })
        }
        None => None,
    };
    let default = match section.optional::<String>("default")? {
        Some(pool) => DefaultRoute::Pool(pool),
        None if section.optional("dead_letter")?.unwrap_or(false) => DefaultRoute::DeadLetter,
        None => DefaultRoute::None,
    };
    let settings = failover(section.get("failover")?.as_ref())?;
    let mut keys = HashMap::new();
    let mut pools = Vec::new();
    for item in &section.list("pools")? {
        let (pool, key) = pool(item, &settings)?;
        keys.extend(key.map(|path| (pool.id.to_string(), path)));
        pools.push(pool);
    }
    let states = section.optional::<HashMap<String, String>>("admin")?.unwrap_or_default();
    let admin = states.into_iter().map(|(id, state)| Ok((id, self::state(&state)?))).collect::<PyResult<_>>()?;
    let caching = caching(&section.required::<Bound<'_, PyAny>>("caching")?)?;
    Ok(RouterSpec { stages, rules, urgent, default, pools, keys, admin, limits: Limits::default(), caching })
}

/// The file of a router's configuration that processes share, and for how many destinations it is made.
pub(super) fn shared(spec: &Bound<'_, PyAny>) -> PyResult<Option<(PathBuf, u32)>> {
    let Some(shared) = spec.cast::<PyMapping>()?.get_item("shared").ok().filter(|shared| !shared.is_none()) else {
        return Ok(None);
    };
    let section = Section::new(&shared, "shared", &["path", "destinations"])?;
    Ok(Some((section.required("path")?, section.required("destinations")?)))
}

fn caching(settings: &Bound<'_, PyAny>) -> PyResult<Caching> {
    let section = Section::new(settings, "caching", &["mode", "max_entries", "max_bytes"])?;
    let bounds = Bounds { entries: section.required("max_entries")?, bytes: section.required("max_bytes")? };
    match section.required::<String>("mode")?.as_str() {
        "auto" => Ok(Caching::Auto(bounds, super::now)),
        "on" => Ok(Caching::On(bounds)),
        "off" => Ok(Caching::Off),
        mode => Err(config_error(format!("caching: unknown mode {mode:?}; there are: auto, on, off"))),
    }
}

/// The numbers of the rules to be explained besides the candidates: those of a list of ids, or of `"all"`.
pub(super) fn also_explained(program: &Program, rules: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<usize>> {
    let Some(rules) = rules else { return Ok(Vec::new()) };
    if let Ok(word) = rules.cast::<PyString>() {
        return match word.to_str()? {
            "all" => Ok(program.numbered().into_iter().map(|(number, _)| number).collect()),
            other => Err(config_error(format!("rules: {other:?} is not \"all\"; write ids as a list"))),
        };
    }
    let number = |id: PyResult<Bound<'_, PyAny>>| {
        let id: String = id?.extract()?;
        program.number(&id).ok_or_else(|| config_error(format!("there is no rule {id:?} to explain")))
    };
    rules.try_iter()?.map(number).collect()
}

/// An explanation as plain dicts: `{"winner", "looked_at", "total", "rules": [{"rule", "matched", "found_by", "predicate",
/// "field", "asked", "seen", "note"}]}`.
pub(super) fn explanation<'py>(
    py: Python<'py>,
    program: &Program,
    explanation: &Explanation,
) -> PyResult<Bound<'py, PyDict>> {
    let id = |number: usize| PyString::new(py, &program.rule(number).id);
    let rules = explanation.rules.iter().map(|rule| {
        let dict = PyDict::new(py);
        dict.set_item("rule", rule.id.as_str())?;
        dict.set_item("matched", rule.matched())?;
        dict.set_item("found_by", rule.found_by.as_deref())?;
        let failure = rule.failure.as_ref();
        dict.set_item("predicate", failure.map(|failure| failure.source.as_ref()))?;
        dict.set_item("field", failure.and_then(|failure| failure.field.as_deref()))?;
        dict.set_item("asked", failure.map(|failure| failure.asked.as_str()))?;
        dict.set_item("seen", failure.map(|failure| failure.seen.as_str()))?;
        dict.set_item("note", failure.and_then(|failure| failure.note.as_deref()))?;
        Ok(dict)
    });
    let dict = PyDict::new(py);
    dict.set_item("winner", explanation.winner.map(id))?;
    dict.set_item("looked_at", explanation.looked_at)?;
    dict.set_item("total", explanation.total)?;
    dict.set_item("rules", rules.collect::<PyResult<Vec<_>>>()?)?;
    Ok(dict)
}

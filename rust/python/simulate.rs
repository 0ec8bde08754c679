//! `simulate`: a scenario in, a report out, both as plain dicts. The run itself has no GIL.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::errors::config_error;
use super::spec::{self, Section};
use super::{nanos, seconds};
use crate::pool::{Admin, Nanos, PoolSpec};
use crate::simulate::report::{DestinationReport, Point, Switch};
use crate::simulate::{Arrivals, Keys, Latency, Report, ServerSpec, Service, Shape, Simulation, Trouble, TroubleKind};

#[pyfunction]
#[pyo3(signature = (pool, scenario, *, failover = None, admin = None))]
pub(super) fn simulate<'py>(
    py: Python<'py>,
    pool: &Bound<'py, PyAny>,
    scenario: &Bound<'py, PyAny>,
    failover: Option<&Bound<'py, PyAny>>,
    admin: Option<HashMap<String, String>>,
) -> PyResult<Bound<'py, PyDict>> {
    // Its messages are made up, and so are their keys.
    let (mut pool, _) = spec::pool(pool, &spec::failover(failover)?)?;
    // Policies are compared on one pool, and those that know no keys have nothing to bound.
    pool.bounded_load = pool.bounded_load.filter(|_| pool.policy.uses_key());
    let state = |(id, state): (String, String)| Ok((id, spec::state(&state)?));
    let admin = admin.unwrap_or_default().into_iter().map(state).collect::<PyResult<_>>()?;
    let simulation = read(scenario, pool, admin)?;
    let mut interrupted = None;
    let run = py.detach(|| {
        let mut go_on = || Python::attach(|py| py.check_signals()).map_err(|error| interrupted = Some(error)).is_ok();
        crate::simulate::run(&simulation, &mut go_on)
    });
    match (interrupted, run) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(config_error(error.to_string())),
        (None, Ok(report)) => written(py, &report),
    }
}

fn read(scenario: &Bound<'_, PyAny>, pool: PoolSpec, admin: Vec<(String, Admin)>) -> PyResult<Simulation> {
    let known = [
        "arrivals", "servers", "duration", "warmup", "routers", "shared", "timeout", "attempts", "backoff", "points",
        "keys", "seed",
    ];
    let section = Section::new(scenario, "scenario", &known)?;
    Ok(Simulation {
        pool,
        admin,
        servers: section.list("servers")?.iter().map(server).collect::<PyResult<_>>()?,
        arrivals: arrivals(&section.required("arrivals")?)?,
        duration: nanos(section.required("duration")?),
        warmup: nanos(section.required("warmup")?),
        routers: section.required("routers")?,
        shared: section.required("shared")?,
        timeout: section.optional("timeout")?.map(nanos),
        attempts: section.required("attempts")?,
        backoff: nanos(section.required("backoff")?),
        buckets: section.required("points")?,
        keys: section.optional("keys")?.map(|item| keys(&item)).transpose()?,
        seed: section.required("seed")?,
    })
}

fn keys(item: &Bound<'_, PyAny>) -> PyResult<Keys> {
    let section = Section::new(item, "keys".to_owned(), &["count", "exponent"])?;
    Ok(Keys { count: section.required("count")?, exponent: section.required("exponent")? })
}

fn unknown(what: &str, name: &str) -> PyErr {
    config_error(format!("scenario: unknown {what} {name:?}"))
}

fn arrivals(item: &Bound<'_, PyAny>) -> PyResult<Arrivals> {
    let known = ["kind", "rate", "every", "lasting", "factor", "clients"];
    let section = Section::new(item, "arrivals", &known)?;
    let kind: String = section.required("kind")?;
    Ok(match kind.as_str() {
        "poisson" => Arrivals::Poisson { rate: section.required("rate")? },
        "constant" => Arrivals::Constant { rate: section.required("rate")? },
        "bursts" => Arrivals::Bursts {
            rate: section.required("rate")?,
            every: nanos(section.required("every")?),
            lasting: nanos(section.required("lasting")?),
            factor: section.required("factor")?,
        },
        "closed" => Arrivals::Closed { clients: section.required("clients")? },
        other => return Err(unknown("kind of arrivals", other)),
    })
}

fn server(item: &Bound<'_, PyAny>) -> PyResult<ServerSpec> {
    let known = ["mean", "distribution", "sigma", "alpha", "slow_share", "slow_factor", "concurrency", "troubles"];
    let section = Section::new(item, "server", &known)?;
    let distribution: String = section.required("distribution")?;
    let shape = match distribution.as_str() {
        "constant" => Shape::Constant,
        "uniform" => Shape::Uniform,
        "exponential" => Shape::Exponential,
        "lognormal" => Shape::Lognormal { sigma: section.required("sigma")? },
        "pareto" => Shape::Pareto { alpha: section.required("alpha")? },
        "bimodal" => {
            Shape::Bimodal { share: section.required("slow_share")?, factor: section.required("slow_factor")? }
        }
        other => return Err(unknown("distribution", other)),
    };
    let mean: f64 = section.required("mean")?;
    Ok(ServerSpec {
        service: Service { mean: mean * 1e9, shape },
        places: section.optional("concurrency")?,
        troubles: section.list("troubles")?.iter().map(trouble).collect::<PyResult<_>>()?,
    })
}

fn trouble(item: &Bound<'_, PyAny>) -> PyResult<Trouble> {
    let known = ["kind", "after", "until", "every", "lasting", "factor", "share", "queue", "retry_after"];
    let section = Section::new(item, "trouble", &known)?;
    let name: String = section.required("kind")?;
    let kind = match name.as_str() {
        "slow" => TroubleKind::Slow(section.required("factor")?),
        "failing" => TroubleKind::Failing(section.required("share")?),
        "fast-failing" => TroubleKind::FailingFast(section.required("share")?),
        "dead" => TroubleKind::Dead,
        "overloaded" => TroubleKind::Overloaded {
            line: section.required("queue")?,
            retry_after: section.optional("retry_after")?.map(nanos),
        },
        other => return Err(unknown("kind of trouble", other)),
    };
    let every = section.optional("every")?.map(nanos);
    let lasting = section.optional("lasting")?.map(nanos);
    Ok(Trouble {
        kind,
        from: nanos(section.required("after")?),
        until: section.optional("until")?.map_or(Nanos::MAX, nanos),
        flapping: lasting.zip(every),
    })
}

fn milliseconds(nanos: Nanos) -> f64 {
    seconds(nanos) * 1e3
}

fn latency<'py>(py: Python<'py>, latency: &Latency) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in [
        ("mean_ms", latency.mean),
        ("p50_ms", latency.p50),
        ("p90_ms", latency.p90),
        ("p99_ms", latency.p99),
        ("p999_ms", latency.p999),
        ("max_ms", latency.max),
    ] {
        dict.set_item(key, milliseconds(value))?;
    }
    Ok(dict)
}

fn destination<'py>(py: Python<'py>, report: &DestinationReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", report.id.as_ref())?;
    dict.set_item("share", report.share)?;
    for (key, value) in [
        ("attempts", report.attempts),
        ("successes", report.successes),
        ("failures", report.failures),
        ("timeouts", report.timeouts),
        ("overloaded", report.overloaded),
        ("ejections", report.ejections),
        ("recoveries", report.recoveries),
        ("most_in_flight", u64::from(report.most_in_flight)),
    ] {
        dict.set_item(key, value)?;
    }
    dict.set_item("latency", report.latency.as_ref().map(|found| latency(py, found)).transpose()?)?;
    Ok(dict)
}

fn point<'py>(py: Python<'py>, point: &Point) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("at", seconds(point.at))?;
    dict.set_item("messages", point.messages)?;
    dict.set_item("undelivered", point.undelivered)?;
    dict.set_item("p50_ms", point.quantiles.map(|[p50, _]| milliseconds(p50)))?;
    dict.set_item("p99_ms", point.quantiles.map(|[_, p99]| milliseconds(p99)))?;
    dict.set_item("attempts", point.attempts.to_vec())?;
    let states = point.states.iter().map(|one| (one.in_use, one.ramping, one.probation, one.out));
    dict.set_item("states", PyList::new(py, states)?)?;
    Ok(dict)
}

fn switch<'py>(py: Python<'py>, switch: &Switch) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("at", seconds(switch.at))?;
    dict.set_item("pool", switch.pool.as_ref())?;
    dict.set_item("to", switch.to.as_str())?;
    dict.set_item("reason", &switch.reason)?;
    Ok(dict)
}

fn written<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("policy", report.policy.as_str())?;
    dict.set_item("bounded_load", report.bounded_load)?;
    let totals = &report.totals;
    for (key, value) in [
        ("messages", totals.messages),
        ("delivered", totals.delivered),
        ("failed", totals.failed),
        ("unrouted", totals.unrouted),
        ("attempts", totals.attempts),
        ("timeouts", totals.timeouts),
        ("events", report.events),
    ] {
        dict.set_item(key, value)?;
    }
    dict.set_item("latency", report.latency.as_ref().map(|found| latency(py, found)).transpose()?)?;
    let destinations = report.destinations.iter().map(|one| destination(py, one)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("destinations", destinations)?;
    dict.set_item("series", report.series.iter().map(|one| point(py, one)).collect::<PyResult<Vec<_>>>()?)?;
    let switches = report.switches.iter().map(|one| switch(py, one)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("switches", switches)?;
    dict.set_item("ended_early", report.ended_early)?;
    Ok(dict)
}

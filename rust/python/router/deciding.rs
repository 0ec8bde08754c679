//! From a message to its decision: the stages, custom rules between them, and a destination of each pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::intern;
use pyo3::prelude::*;

use super::super::decision::Decision;
use super::super::errors::{config_error, match_error, no_destination, no_route, read_error};
use super::super::message::with_message;
use super::super::now;
use super::{Live, Router};
use crate::message::json::Check;
use crate::pool::Nanos;
use crate::router::{Asked, Choice, Mode, Origin, Plan as Fixed, Resolution, Target};

/// One in so many decisions is timed: two clock readings are a tenth of a decision's cost.
const TIMED: u64 = 32;

/// What the stages said, with custom rules not yet asked.
pub(super) enum Answer {
    Plan(Fixed),
    Custom { resume: usize },
}

impl Router {
    /// Asks the stages from number `start` on; an error that there is no route where there is none.
    pub(super) fn ask(
        &self,
        live: &Live,
        message: &Bound<'_, PyAny>,
        check: Check,
        start: usize,
        at: Nanos,
    ) -> PyResult<Answer> {
        let (resolution, asked) =
            with_message(message, &live.keys, live.snapshot.as_ref(), check, |snapshot, fields| {
                snapshot.program().sample(fields);
                let resolution = snapshot.resolve(fields, start, at).map_err(match_error)?;
                let asked = snapshot.asked(fields, resolution.target()).map_err(read_error)?;
                Ok((resolution, asked))
            })?;
        self.answer(live, resolution, asked)
    }

    /// What the stages said, counted.
    pub(super) fn answer(&self, live: &Live, resolution: Resolution, asked: Asked) -> PyResult<Answer> {
        match resolution {
            Resolution::Route(origin, target) => {
                live.snapshot.count(&origin);
                let snapshot = Arc::clone(&live.snapshot);
                Ok(Answer::Plan(Fixed { snapshot, origin, target, asked }))
            }
            Resolution::Custom { resume } => Ok(Answer::Custom { resume }),
            Resolution::Nothing => {
                // Relaxed: a count for people, ordered with nothing.
                self.no_route.fetch_add(1, Ordering::Relaxed);
                Err(no_route("no rule matched and there is no default; set default: to a pool or to dead_letter"))
            }
        }
    }

    /// The plan for a message, custom rules included, which `_custom_rules` of the Python class runs.
    pub(super) fn plan(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>, check: Check, at: Nanos) -> PyResult<Fixed> {
        let router = slf.get();
        let live = router.live.load();
        let answer = router.ask(&live, message, check, 0, at)?;
        Self::finish(slf, &live, || message.clone(), answer, at)
    }

    /// The plan that an answer leads to: custom rules are asked, and the stages behind them, until there is one.
    pub(super) fn finish<'py>(
        slf: &Bound<'py, Self>,
        live: &Live,
        message: impl Fn() -> Bound<'py, PyAny>,
        mut answer: Answer,
        at: Nanos,
    ) -> PyResult<Fixed> {
        loop {
            match answer {
                Answer::Plan(plan) => return Ok(plan),
                Answer::Custom { resume } => {
                    let message = message();
                    let found = slf.call_method1(intern!(slf.py(), "_custom_rules"), (&message,))?;
                    if let Some((rule, target)) = found.extract::<Option<(String, String)>>()? {
                        return Self::custom_plan(live, &message, &rule, &target);
                    }
                    // The first asking checked it as the caller wants it.
                    answer = slf.get().ask(live, &message, Check::Grammar, resume, at)?;
                }
            }
        }
    }

    pub(super) fn custom_plan(live: &Live, message: &Bound<'_, PyAny>, rule: &str, target: &str) -> PyResult<Fixed> {
        let target = live.snapshot.target_named(target).ok_or_else(|| {
            config_error(format!("custom rule {rule:?} routed to {target:?}, which is no pool and no destination"))
        })?;
        let asked = with_message(message, &live.keys, live.snapshot.as_ref(), Check::Grammar, |snapshot, fields| {
            snapshot.asked(fields, Some(&target)).map_err(read_error)
        })?;
        Ok(Fixed { snapshot: Arc::clone(&live.snapshot), origin: Origin::Custom(Arc::from(rule)), target, asked })
    }

    /// Counts a decision that began at `at`; times one in [`TIMED`].
    pub(super) fn count(&self, at: Nanos) {
        // Relaxed: a count for people, ordered with nothing.
        if self.decisions.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIMED) {
            self.decision_time.record(now() - at);
        }
    }

    pub(super) fn decide(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>, check: Check) -> PyResult<Decision> {
        let at = now();
        let plan = Self::plan(slf, message, check, at)?;
        let decision = slf.get().select(plan, at)?;
        slf.get().count(at);
        Ok(decision)
    }

    /// Picks the destinations of a plan.
    pub(super) fn select(&self, plan: Fixed, at: Nanos) -> PyResult<Decision> {
        let mut random = self.dice.roll();
        Ok(match &plan.target {
            Target::DeadLetter => Decision::new(Arc::new(plan), None, Box::default()),
            Target::Pools(pools, Mode::All { quorum }) => {
                let mut choices = Vec::with_capacity(pools.len());
                let mut failed = None;
                for branch in 0..pools.len() {
                    match plan.select(Some(branch), &[], at, &mut random) {
                        Ok(choice) => choices.push(choice),
                        Err(error) => failed = Some(error),
                    }
                }
                if let Some(error) = failed.filter(|_| choices.len() < *quorum) {
                    return Err(no_destination(error));
                }
                let first: Choice = choices.remove(0);
                Decision::new(Arc::new(plan), Some(first), choices.into())
            }
            _ => {
                let choice = plan.select(None, &[], at, &mut random).map_err(no_destination)?;
                Decision::new(Arc::new(plan), Some(choice), Box::default())
            }
        })
    }
}

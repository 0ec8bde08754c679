//! A message's fate: which stage gives it which route, and which destination the route yields.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::facts::WithFacts;
use super::{Asked, DefaultRouteTarget, Mode, Snapshot, Stage};
use crate::error::{NoDestination, ReadError};
use crate::message::value::Value;
use crate::message::{Fields, Read};
use crate::pool::{Lease, Nanos, Pick, Request};
use crate::rules::explain::Explanation;
use crate::rules::matcher::MatchError;

/// Priority of a message that says none, as in DESIGN: 0-9, the middle.
const DEFAULT_PRIORITY: i64 = 4;

/// The levels of classification and clearance, lowest first; a level is its position.
pub const CLASSIFICATIONS: [&str; 4] = ["public", "internal", "confidential", "restricted"];

/// Who gave a message its route.
#[derive(Debug, Clone)]
pub enum Origin {
    /// The rule with this number in the program.
    Rule(usize),
    /// The urgent lane.
    Urgent,
    /// The message itself.
    Named,
    /// A custom rule of this name.
    Custom(Arc<str>),
    /// Nobody: the default route.
    Default,
}

/// Where a message goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// To these pools, by number.
    Pools(Arc<[usize]>, Mode),
    /// To this destination of that pool and no other.
    Destination {
        /// The pool's number.
        pool: usize,
        /// The destination's id.
        id: Arc<str>,
    },
    /// To dead letters.
    DeadLetter,
}

/// The answer of the stages.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// A route.
    Route(Origin, Target),
    /// Custom rules are next; if none yields a route, go on at stage number `resume`.
    Custom {
        /// The stage after.
        resume: usize,
    },
    /// No stage gave a route, and there is no default.
    Nothing,
}

impl Resolution {
    /// Where the message goes, if that is settled.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Route(_, target) => Some(target),
            Self::Custom { .. } | Self::Nothing => None,
        }
    }
}

/// The route of one message, fixed to one generation.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The generation it was made on.
    pub snapshot: Arc<Snapshot>,
    /// Who gave the route.
    pub origin: Origin,
    /// Where to.
    pub target: Target,
    /// What the message asks of the target's pools.
    pub asked: Asked,
}

/// A destination picked in one of the plan's pools.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// The pool's number.
    pub pool: usize,
    /// What the pool picked.
    pub pick: Pick,
}

impl Snapshot {
    /// Asks the stages from number `start` on.
    ///
    /// # Errors
    /// [`MatchError`] if a field that is needed cannot be read, or an expression takes too many steps.
    pub fn resolve<'m>(&'m self, message: &dyn Fields<'m>, start: usize, now: Nanos) -> Result<Resolution, MatchError> {
        for (number, stage) in self.stages.iter().enumerate().skip(start) {
            match stage {
                Stage::ContentBased => {
                    if let Some(number) = self.first(message, now)? {
                        let route = &self.routes[number];
                        let target = Target::Pools(Arc::clone(&route.pools), route.mode);
                        return Ok(Resolution::Route(Origin::Rule(number), target));
                    }
                }
                Stage::PriorityBased => {
                    if let Some((min_priority, route)) = &self.urgent
                        && self.priority(message)? >= *min_priority
                    {
                        let target = Target::Pools(Arc::clone(&route.pools), route.mode);
                        return Ok(Resolution::Route(Origin::Urgent, target));
                    }
                }
                Stage::DestinationBased => {
                    if let Read::Value(Value::Text(name)) = message.read(self.envelope.destination)?
                        && let Some(target) = self.target_named(name.as_str())
                    {
                        return Ok(Resolution::Route(Origin::Named, target));
                    }
                }
                Stage::CustomRules => return Ok(Resolution::Custom { resume: number + 1 }),
            }
        }
        Ok(match &self.default {
            Some(DefaultRouteTarget::Route(route)) => {
                Resolution::Route(Origin::Default, Target::Pools(Arc::clone(&route.pools), route.mode))
            }
            Some(DefaultRouteTarget::DeadLetter) => Resolution::Route(Origin::Default, Target::DeadLetter),
            None => Resolution::Nothing,
        })
    }

    /// The first rule that matches, by number: remembered, or found.
    fn first<'m>(&'m self, message: &dyn Fields<'m>, now: Nanos) -> Result<Option<usize>, MatchError> {
        match &self.cache {
            Some(cache) => cache.first(message, now, |fields| self.program.first(fields)),
            None if self.reads_facts => {
                self.program.first(&WithFacts { message, facts: &self.facts, pools: &self.pools, now })
            }
            None => self.program.first(message),
        }
    }

    /// Counts a decision of the rule that gave it, if one did.
    pub fn count(&self, origin: &Origin) {
        if let Origin::Rule(number) = origin {
            // Relaxed: a count for people, ordered with nothing.
            self.hits[*number].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why the candidates, and the rules with the numbers `also`, match the message or not, live facts included.
    pub fn explain<'m>(&'m self, message: &dyn Fields<'m>, also: &[usize], now: Nanos) -> Explanation {
        self.program.explain(&WithFacts { message, facts: &self.facts, pools: &self.pools, now }, also)
    }

    /// Where a name sends that a message or a custom rule gave: a pool, else a destination and no other.
    pub fn target_named(&self, name: &str) -> Option<Target> {
        if let Some(&pool) = self.pool_numbers.get(name) {
            return Some(Target::Pools(Arc::from([pool]), Mode::First));
        }
        let (id, &pool) = self.home_pools.get_key_value(name)?;
        Some(Target::Destination { pool, id: Arc::clone(id) })
    }

    /// The message's `priority`; 4 where it is missing or null.
    fn priority<'m>(&self, message: &dyn Fields<'m>) -> Result<i64, ReadError> {
        match message.read(self.envelope.priority)? {
            Read::Value(Value::Int(priority)) => Ok(priority),
            Read::Value(Value::Null) | Read::Absent => Ok(DEFAULT_PRIORITY),
            _ => Err(ReadError {
                field: "message.priority".to_owned(),
                problem: "is not an integer; write 0 (least urgent) to 9, or leave it out".to_owned(),
            }),
        }
    }

    /// The level of the message's `classification`; public where it is missing or null.
    ///
    /// # Errors
    /// [`ReadError`] on anything but one of [`CLASSIFICATIONS`]: a message is not sent on a guess.
    pub fn classification<'m>(&self, message: &dyn Fields<'m>) -> Result<u8, ReadError> {
        match message.read(self.envelope.classification)? {
            Read::Absent | Read::Value(Value::Null) => return Ok(0),
            Read::Value(Value::Text(text)) => {
                let level = CLASSIFICATIONS.iter().position(|&name| name == text.as_str());
                if let Some(level) = level.and_then(|level| u8::try_from(level).ok()) {
                    return Ok(level);
                }
            }
            _ => {}
        }
        Err(ReadError {
            field: "message.classification".to_owned(),
            problem: format!("write one of {}", CLASSIFICATIONS.join(", ")),
        })
    }
}

impl Plan {
    /// The pools that may serve: all of the plan's, or its pool number `branch`.
    fn candidates(&self, branch: Option<usize>) -> (&[usize], Option<&str>) {
        let (pools, pinned) = match &self.target {
            Target::Pools(pools, _) => (&pools[..], None),
            Target::Destination { pool, id } => (std::slice::from_ref(pool), Some(id.as_ref())),
            Target::DeadLetter => (&[][..], None),
        };
        match branch {
            Some(branch) => (pools.get(branch..=branch).unwrap_or(&[]), pinned),
            None => (pools, pinned),
        }
    }

    /// Runs `attempt` on the candidates in order of preference until one has a destination. If none has, the
    /// error is the first pool's, with the earliest time at which any of them may have one.
    fn first_of<T>(
        &self,
        branch: Option<usize>,
        exclude: &[&str],
        mut attempt: impl FnMut(usize, &Request<'_>) -> Result<T, NoDestination>,
    ) -> Result<T, NoDestination> {
        let (pools, pinned) = self.candidates(branch);
        let mut failed: Option<NoDestination> = None;
        for (position, &pool) in pools.iter().enumerate() {
            let key = self.asked.keys.get(branch.unwrap_or(0) + position).copied().flatten();
            let request = Request { classification: self.asked.classification, exclude, pinned, key };
            match attempt(pool, &request) {
                Ok(found) => return Ok(found),
                Err(error) => match &mut failed {
                    None => failed = Some(error),
                    Some(first) => {
                        first.full |= error.full;
                        first.moved |= error.moved;
                        first.overloaded |= error.overloaded;
                        first.retry_in = match (first.retry_in, error.retry_in) {
                            (Some(a), Some(b)) => Some(a.min(b)),
                            (a, b) => a.or(b),
                        }
                    }
                },
            }
        }
        Err(failed.unwrap_or_else(|| NoDestination {
            reason: "the route has no pool: the message is for dead letters".to_owned(),
            ..NoDestination::default()
        }))
    }

    /// Picks a destination without holding it.
    ///
    /// # Errors
    /// [`NoDestination`] if no candidate may receive the message now.
    pub fn select(
        &self,
        branch: Option<usize>,
        exclude: &[&str],
        now: Nanos,
        random: &mut fastrand::Rng,
    ) -> Result<Choice, NoDestination> {
        self.first_of(branch, exclude, |pool, request| {
            let pick = self.snapshot.pools[pool].select(request, now, random)?;
            Ok(Choice { pool, pick })
        })
    }

    /// The destination that would be picked, for a report: nothing is counted, and no turn taken.
    ///
    /// # Errors
    /// As [`Plan::select`].
    pub fn peek(&self, exclude: &[&str], now: Nanos, random: &mut fastrand::Rng) -> Result<Choice, NoDestination> {
        self.first_of(None, exclude, |pool, request| {
            let pick = self.snapshot.pools[pool].peek(request, now, random)?;
            Ok(Choice { pool, pick })
        })
    }

    /// Picks a destination and holds it.
    ///
    /// # Errors
    /// As [`Plan::select`].
    pub fn acquire(
        &self,
        branch: Option<usize>,
        exclude: &[&str],
        now: Nanos,
        random: &mut fastrand::Rng,
    ) -> Result<(usize, Lease), NoDestination> {
        self.first_of(branch, exclude, |pool, request| {
            Ok((pool, self.snapshot.pools[pool].acquire(request, now, random)?))
        })
    }
}

//! Live facts that conditions may read: `live.pools.<id>.<fact>` and `live.destinations.<id>.<fact>`.
//!
//! Which fact a path names is settled when the configuration is built, so reading one is an array index.
//! Facts are read afresh for every message and never cached across messages.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::ReadError;
use crate::message::objects::Listed;
use crate::message::path::{FieldId, Path};
use crate::message::value::Value;
use crate::message::{Fields, Read};
use crate::pool::breaker::Phase;
use crate::pool::{Admin, Destination, Health, Nanos, Pool};

const POOL_FACTS: [&str; 3] = ["healthy_ratio", "in_flight", "size"];
const DESTINATION_FACTS: [&str; 4] = ["healthy", "in_flight", "latency_ms", "success_rate"];

/// One live fact.
#[derive(Debug, Clone)]
pub enum Fact {
    /// Share of a pool's destinations that may be picked now, 0..1.
    HealthyRatio(usize),
    /// Messages that a pool's destinations hold.
    PoolInFlight(usize),
    /// Destinations in a pool.
    PoolSize(usize),
    /// Whether a destination is enabled, not unhealthy and not ejected.
    Healthy(Arc<Destination>),
    /// Messages that a destination holds.
    InFlight(Arc<Destination>),
    /// Peak EWMA of a destination's latency in milliseconds; missing before the first delivery.
    Latency(Arc<Destination>),
    /// EWMA of a destination's success rate, 0..1.
    SuccessRate(Arc<Destination>),
}

/// A path below `live` that names no fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FactError {
    /// The path as the rule wrote it.
    pub path: String,
    /// What is wrong and what there is.
    pub problem: String,
}

impl Fact {
    /// The fact that `path` names; `None` for a path into the message.
    ///
    /// # Errors
    /// [`FactError`] if the path starts at `live` and names nothing there is.
    pub fn named(
        path: &Path,
        pools: &HashMap<Arc<str>, usize>,
        destination: impl Fn(&str) -> Option<Arc<Destination>>,
    ) -> Result<Option<Self>, FactError> {
        if path.root.as_ref() != "live" {
            return Ok(None);
        }
        let error = |problem: String| FactError { path: path.to_string(), problem };
        let (kind, id, fact) = match path.segments.as_ref() {
            [kind, id, fact] => (kind.as_ref(), id.as_ref(), fact.as_ref()),
            _ => {
                return Err(error(
                    "write live.pools.<id>.<fact> or live.destinations.<id>.<fact>; ids with other characters \
                     than letters, digits and _ in brackets: live.pools[\"sms-eu\"].healthy_ratio"
                        .to_owned(),
                ));
            }
        };
        let one_of = |names: &[&str]| error(format!("no such fact {fact:?}; there are: {}", names.join(", ")));
        match kind {
            "pools" => {
                let &number = pools.get(id).ok_or_else(|| error(format!("there is no pool {id:?}")))?;
                match fact {
                    "healthy_ratio" => Ok(Some(Self::HealthyRatio(number))),
                    "in_flight" => Ok(Some(Self::PoolInFlight(number))),
                    "size" => Ok(Some(Self::PoolSize(number))),
                    _ => Err(one_of(&POOL_FACTS)),
                }
            }
            "destinations" => {
                let found = destination(id).ok_or_else(|| error(format!("no pool has a destination {id:?}")))?;
                match fact {
                    "healthy" => Ok(Some(Self::Healthy(found))),
                    "in_flight" => Ok(Some(Self::InFlight(found))),
                    "latency_ms" => Ok(Some(Self::Latency(found))),
                    "success_rate" => Ok(Some(Self::SuccessRate(found))),
                    _ => Err(one_of(&DESTINATION_FACTS)),
                }
            }
            _ => Err(error(format!("no facts about {kind:?}; there are: pools, destinations"))),
        }
    }

    fn read(&self, pools: &[Arc<Pool>], now: Nanos) -> Read<'static> {
        let count = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        Read::Value(match self {
            Self::HealthyRatio(pool) => Value::Double(f64::from(pools[*pool].healthy_ratio(now))),
            Self::PoolInFlight(pool) => {
                count(pools[*pool].members().iter().map(|member| u64::from(member.destination().in_flight())).sum())
            }
            Self::PoolSize(pool) => count(pools[*pool].members().len() as u64),
            Self::Healthy(destination) => Value::Bool(is_healthy(destination, now)),
            Self::InFlight(destination) => count(u64::from(destination.in_flight())),
            Self::Latency(destination) => match destination.latency().at(now) {
                Some(nanos) => Value::Double(f64::from(nanos) / 1e6),
                None => return Read::Absent,
            },
            Self::SuccessRate(destination) => Value::Double(f64::from(destination.failures().success_at(now))),
        })
    }
}

fn is_healthy(destination: &Destination, now: Nanos) -> bool {
    destination.admin() == Admin::Enabled
        && destination.health() != Health::Unhealthy
        && matches!(destination.breaker().phase(now), Phase::Closed)
}

/// A message together with the live facts.
pub(super) struct WithFacts<'a, 'm> {
    pub(super) message: &'a dyn Fields<'m>,
    pub(super) facts: &'a [Option<Fact>],
    pub(super) pools: &'a [Arc<Pool>],
    pub(super) now: Nanos,
}

impl WithFacts<'_, '_> {
    fn fact(&self, field: FieldId) -> Option<&Fact> {
        self.facts.get(field.index()).and_then(Option::as_ref)
    }
}

impl<'m> Fields<'m> for WithFacts<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        match self.fact(field) {
            Some(fact) => Ok(fact.read(self.pools, self.now)),
            None => self.message.read(field),
        }
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        if self.fact(field).is_some() { Ok(None) } else { self.message.objects(field) }
    }
}

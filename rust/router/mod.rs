//! From a message to a destination: match -> pool -> policy -> lease, on one immutable snapshot.
//!
//! A [`Snapshot`] is one generation of the configuration: stages, rules, routes and pools, built once and
//! swapped whole by whoever holds it. The fate of a message is [`Snapshot::resolve`]: stages in the order
//! configured, within the rules the higher priority, ties to the earlier rule, then the default route.
//! A [`Plan`] is the outcome, fixed to its generation; attempts take destinations from it one by one.
//!
//! Which rule a message matched may be remembered ([`crate::cache`]), for the life of the snapshot; where the route
//! leads is decided anew for each message.
//!
//! Live state (in-flight counts, ejections, latencies) belongs to the [`Registry`], by destination id, and
//! outlives snapshots.

mod asked;
pub mod facts;
mod failover;
mod resolve;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use asked::Asked;
pub use failover::FailOverError;
pub use resolve::{CLASSIFICATIONS, Choice, Origin, Plan, Resolution, Target};
pub use spec::{BuildError, DefaultRoute, Mode, ROOTS, RouterSpec, RuleSpec, Stage, Urgent};

use crate::cache::{self, Cache, Caching};
use crate::message::path::FieldId;
use crate::pool::{Admin, Pool, Registry};
use crate::rules::program::Program;
use facts::Fact;

/// Where a matched rule sends.
#[derive(Debug, Clone)]
pub struct Route {
    /// Pools by number, in order of preference.
    pub pools: Arc<[usize]>,
    /// One of them, or all.
    pub mode: Mode,
}

/// The fields of a message that stages and clearance read, whatever the rules name.
#[derive(Debug, Clone, Copy)]
struct EnvelopeFields {
    priority: FieldId,
    destination: FieldId,
    classification: FieldId,
}

/// One generation of the configuration, immutable but for its counters.
#[derive(Debug)]
pub struct Snapshot {
    generation: u64,
    program: Program,
    /// By a rule's number in the program, which was built at once and so has no gaps.
    routes: Vec<Route>,
    /// By a rule's number; shared with earlier generations by rule id.
    hits: Vec<Arc<AtomicU64>>,
    stages: Box<[Stage]>,
    urgent: Option<(i64, Route)>,
    default: Option<DefaultRouteTarget>,
    pools: Vec<Arc<Pool>>,
    /// By a pool's number: the field that has a message's key, if its policy goes by key.
    keys: Box<[Option<FieldId>]>,
    pool_numbers: HashMap<Arc<str>, usize>,
    /// The first pool that each destination is a member of.
    home_pools: HashMap<Arc<str>, usize>,
    /// By field number: the live fact that the field names, if it is one.
    facts: Box<[Option<Fact>]>,
    /// Whether some rule reads a live fact.
    reads_facts: bool,
    envelope: EnvelopeFields,
    /// `None`: off, or some rule reads a live fact.
    cache: Option<Cache>,
    caching: Caching,
    /// The admin state that the configuration gives each destination.
    admin: Vec<(String, Admin)>,
    registry: Arc<Registry>,
}

#[derive(Debug, Clone)]
enum DefaultRouteTarget {
    Route(Route),
    DeadLetter,
}

impl Snapshot {
    /// The number of this configuration, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The compiled rules.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The pools, in the order configured.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The pool with this id.
    pub fn pool_number(&self, id: &str) -> Option<usize> {
        self.pool_numbers.get(id).copied()
    }

    /// Live state of destinations, shared by all generations.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The route of the rule with this number.
    pub fn route(&self, number: usize) -> &Route {
        &self.routes[number]
    }

    /// What the cache is told to do, and what it did in this generation.
    pub fn caching(&self) -> (Caching, cache::Report) {
        let report = match &self.cache {
            Some(cache) => cache.report(),
            None => {
                let off = matches!(self.caching, Caching::Off);
                let reason = if off { "off in the configuration" } else { "rules read live facts" };
                cache::Report { reason: reason.to_owned(), ..Default::default() }
            }
        };
        (self.caching, report)
    }

    /// How often each rule has decided, by id, over all generations that had it.
    pub fn rule_hits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.program
            .rules()
            .into_iter()
            .zip(&self.hits)
            // Relaxed: a count for people, ordered with nothing.
            .map(|(rule, hits)| (rule.id.as_ref(), hits.load(Ordering::Relaxed)))
    }
}

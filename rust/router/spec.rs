//! What a configuration says, and how it becomes a [`Snapshot`].
//!
//! The Python layer has checked shapes and references with places in the file; what is checked here again is
//! what would make the snapshot unsound, and rules are compiled here only.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::{Fact, FactError};
use super::{DefaultRouteTarget, EnvelopeFields, Route, Snapshot};
use crate::cache::{Cache, Caching};
use crate::error::{PoolError, RuleError};
use crate::message::path::Path;
use crate::pool::{Admin, Nanos, Pool, PoolSpec, Registry};
use crate::rules::limits::Limits;
use crate::rules::program::{Program, RuleSource};

/// The variables that a rule of a router may name.
pub const ROOTS: [&str; 2] = ["message", "live"];

/// A rule family; a message goes through them in the order configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The rules.
    ContentBased,
    /// An urgent message takes the urgent lane.
    PriorityBased,
    /// The message names its destination, or a pool.
    DestinationBased,
    /// Callables of the host language, which only it can run.
    CustomRules,
}

impl Stage {
    /// All of them, in the order of the specification.
    pub const ALL: [Self; 4] = [Self::ContentBased, Self::PriorityBased, Self::DestinationBased, Self::CustomRules];

    /// The name used in configurations and decisions.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContentBased => "content_based",
            Self::PriorityBased => "priority_based",
            Self::DestinationBased => "destination_based",
            Self::CustomRules => "custom_rules",
        }
    }

    /// The stage of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

/// Whether a route names alternatives or sends to every pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The first pool that has a destination.
    First,
    /// Every pool.
    All {
        /// How many must deliver for the message to count as delivered.
        quorum: usize,
    },
}

/// A rule and where it sends.
#[derive(Debug, Clone)]
pub struct RuleSpec {
    /// The rule.
    pub source: RuleSource,
    /// Ids of pools.
    pub pools: Vec<String>,
    /// One of them, or all.
    pub mode: Mode,
}

/// The urgent lane.
#[derive(Debug, Clone)]
pub struct Urgent {
    /// Messages of at least this priority take it.
    pub min_priority: i64,
    /// Ids of pools, in order of preference.
    pub pools: Vec<String>,
}

/// Where a message goes that no stage gave a route.
#[derive(Debug, Clone)]
pub enum DefaultRoute {
    /// To this pool.
    Pool(String),
    /// To dead letters.
    DeadLetter,
    /// Nowhere: it is an error.
    None,
}

/// One configuration, ready to be built.
#[derive(Debug, Clone)]
pub struct RouterSpec {
    /// Rule families, in order.
    pub stages: Vec<Stage>,
    /// Rules, in the order of the file.
    pub rules: Vec<RuleSpec>,
    /// The urgent lane, if there is one.
    pub urgent: Option<Urgent>,
    /// The default route.
    pub default: DefaultRoute,
    /// Pools.
    pub pools: Vec<PoolSpec>,
    /// By a pool's id: the field that has a message's key, for policies by key. `message.key` where none is given.
    pub keys: HashMap<String, Path>,
    /// The admin state that the configuration gives each destination.
    pub admin: Vec<(String, Admin)>,
    /// Budgets of rules.
    pub limits: Limits,
    /// Whether the rules that messages matched are remembered.
    pub caching: Caching,
}

/// A configuration that cannot go live.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// Rules that do not compile, all of them.
    #[error("{} of the rules cannot be compiled, first: {}", .0.len(), .0[0])]
    Rules(Vec<RuleError>),
    /// A pool that cannot be built.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A reference to a pool that is not there.
    #[error("{user} sends to pool {pool:?}, which does not exist")]
    UnknownPool {
        /// Who refers to it, such as `rule "a"`.
        user: String,
        /// The pool's id.
        pool: String,
    },
    /// A live fact that no pool or destination has.
    #[error(transparent)]
    Fact(#[from] FactError),
}

impl Snapshot {
    /// Builds a generation. Live state is taken from `registry` by destination id; counts of rules from `previous`.
    ///
    /// # Errors
    /// [`BuildError`]; nothing of the registry has been changed then but for destinations added to it.
    pub fn build(
        spec: RouterSpec,
        registry: &Arc<Registry>,
        previous: Option<&Self>,
        now: Nanos,
    ) -> Result<Self, BuildError> {
        let generation = previous.map_or(1, |snapshot| snapshot.generation + 1);
        let pools = spec
            .pools
            .into_iter()
            .map(|pool| {
                let pool = Pool::build(pool, registry, generation, now)?;
                if let Some(old) = previous.and_then(|old| old.pools.get(old.pool_number(pool.id())?)) {
                    pool.adopt_weights(old, now)?;
                }
                Ok(Arc::new(pool))
            })
            .collect::<Result<Vec<_>, PoolError>>()?;
        let pool_numbers: HashMap<Arc<str>, usize> =
            pools.iter().enumerate().map(|(number, pool)| (Arc::clone(pool.id()), number)).collect();
        let route = |user: &dyn Fn() -> String, ids: &[String], mode: Mode| {
            let number = |id: &String| {
                let found = pool_numbers.get(id.as_str()).copied();
                found.ok_or_else(|| BuildError::UnknownPool { user: user(), pool: id.clone() })
            };
            Ok::<_, BuildError>(Route { pools: ids.iter().map(number).collect::<Result<_, _>>()?, mode })
        };

        let mut routes = HashMap::with_capacity(spec.rules.len());
        let mut sources = Vec::with_capacity(spec.rules.len());
        for rule in spec.rules {
            let target = route(&|| format!("rule {:?}", rule.source.id), &rule.pools, rule.mode)?;
            routes.insert(rule.source.id.clone(), target);
            sources.push(rule.source);
        }
        let traffic = previous.map(|old| Arc::clone(old.program.traffic())).unwrap_or_default();
        let program = Program::build_on(traffic, sources, &ROOTS, spec.limits).map_err(BuildError::Rules)?;
        let named = program.fields().paths().len();
        let path = |name: &str| Path { root: Arc::from("message"), segments: Box::from([Arc::from(name)]) };
        let (program, (envelope, keys)) = program.with_fields(|number| {
            let envelope = EnvelopeFields {
                priority: number(path("priority")),
                destination: number(path("destination")),
                classification: number(path("classification")),
            };
            let key = |pool: &Arc<Pool>| {
                let path = || spec.keys.get(&**pool.id()).cloned().unwrap_or_else(|| path("key"));
                pool.policy().uses_key().then(|| number(path()))
            };
            (envelope, pools.iter().map(key).collect())
        });
        let routes = program.rules().iter().filter_map(|rule| routes.remove(rule.id.as_str())).collect();
        let hits = {
            let carried: HashMap<&str, _> = previous
                .map(|old| old.program.rules().into_iter().map(|rule| rule.id.as_str()).zip(&old.hits).collect())
                .unwrap_or_default();
            let carry = |id: &str| carried.get(id).map_or_else(Arc::default, |&count| Arc::clone(count));
            program.rules().iter().map(|rule| carry(&rule.id)).collect()
        };

        let mut home_pools = HashMap::new();
        for (number, pool) in pools.iter().enumerate() {
            for member in pool.members() {
                home_pools.entry(Arc::clone(member.id())).or_insert(number);
            }
        }
        let facts = program
            .fields()
            .paths()
            .iter()
            .map(|path| Fact::named(path, &pool_numbers, |id| registry.get(id)))
            .collect::<Result<Box<[_]>, FactError>>()?;
        let urgent = spec
            .urgent
            .map(|urgent| {
                let target = route(&|| "urgent".to_owned(), &urgent.pools, Mode::First)?;
                Ok::<_, BuildError>((urgent.min_priority, target))
            })
            .transpose()?;
        let default = match spec.default {
            DefaultRoute::Pool(pool) => {
                Some(DefaultRouteTarget::Route(route(&|| "default".to_owned(), &[pool], Mode::First)?))
            }
            DefaultRoute::DeadLetter => Some(DefaultRouteTarget::DeadLetter),
            DefaultRoute::None => None,
        };
        let reads_facts = facts.iter().any(Option::is_some);
        Ok(Self {
            generation,
            // What a live fact says is not in the message.
            cache: if reads_facts { None } else { Cache::new(spec.caching, program.fields(), named) },
            caching: spec.caching,
            program,
            routes,
            hits,
            stages: spec.stages.into(),
            urgent,
            default,
            pools,
            keys,
            pool_numbers,
            home_pools,
            reads_facts,
            facts,
            envelope,
            admin: spec.admin,
            registry: Arc::clone(registry),
        })
    }

    /// Makes this generation live in the registry: what older pools still hold no longer moves breakers, admin states
    /// are as configured, and destinations that are gone are forgotten once they hold nothing. To be called when the
    /// snapshot has taken its predecessor's place. An admin state that the configuration did not change is left as
    /// an operator set it.
    pub fn publish(&self, previous: Option<&Self>, now: Nanos) {
        let before: HashMap<&str, Admin> =
            previous.map(|old| old.admin.iter().map(|(id, admin)| (id.as_str(), *admin)).collect()).unwrap_or_default();
        for (id, admin) in &self.admin {
            if before.get(id.as_str()) != Some(admin) && self.registry.get(id).is_some() {
                self.registry.set_admin(id, *admin, "configuration", now);
            }
        }
        self.registry.publish(&self.pools);
        self.registry.retain(self.home_pools.keys().map(AsRef::as_ref));
    }
}

//! Pools as their users see them, in simulated time.

mod adjusting;
mod clearance;
mod concurrency;
mod eligibility;
mod failover;
mod leases;
mod limits;
mod membership;
mod operator;
mod outages;
mod pitfalls;
mod policies;
mod rates;
mod seen;
mod slow_start;
mod standing;
mod switching;

use super::*;

pub(super) const MS: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000_000_000;

/// A pool, its registry, a clock and a generator.
pub(super) struct Bench {
    pub(super) registry: Arc<Registry>,
    pub(super) pool: Arc<Pool>,
    pub(super) now: Nanos,
    pub(super) rng: fastrand::Rng,
}

/// A spec of members named `a`, `b`, ... (then `m26`, ...), to be changed before use.
pub(super) fn spec(policy: impl Into<Choice>, members: usize) -> PoolSpec {
    let name = |index: usize| match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'a' + index).to_string(),
        _ => format!("m{index}"),
    };
    PoolSpec {
        id: "pool".into(),
        policy: policy.into(),
        bounded_load: None,
        dynamic_adjustment: false,
        members: (0..members).map(|index| MemberSpec::new(name(index))).collect(),
        failover: FailoverSpec::default(),
    }
}

impl Bench {
    pub(super) fn new(spec: PoolSpec) -> Self {
        let registry = Registry::new();
        let pool = Arc::new(Pool::build(spec, &registry, 1, SECOND).unwrap());
        registry.publish([&pool]);
        Self { registry, pool, now: SECOND, rng: fastrand::Rng::with_seed(42) }
    }

    pub(super) fn of(policy: impl Into<Choice>, members: usize) -> Self {
        Self::new(spec(policy, members))
    }

    /// Replaces the pool by another generation of it.
    pub(super) fn reload(&mut self, spec: PoolSpec) {
        let generation = self.pool.generation() + 1;
        self.pool = Arc::new(Pool::build(spec, &self.registry, generation, self.now).unwrap());
        self.registry.publish([&self.pool]);
    }

    pub(super) fn select(&mut self, request: &Request<'_>) -> Result<Pick, NoDestination> {
        self.pool.select(request, self.now, &mut self.rng)
    }

    pub(super) fn acquire(&mut self) -> Result<Lease, NoDestination> {
        self.pool.acquire(&Request::default(), self.now, &mut self.rng)
    }

    /// Ids that `picks` selections go to.
    pub(super) fn ids(&mut self, picks: usize) -> String {
        let pool = Arc::clone(&self.pool);
        (0..picks).map(|_| pool.members()[self.select(&Request::default()).unwrap().member].id().to_string()).collect()
    }

    /// Share of each member in many selections.
    pub(super) fn shares(&mut self, request: &Request<'_>) -> Vec<f64> {
        let mut counts = vec![0u32; self.pool.members().len()];
        (0..10_000).for_each(|_| counts[self.select(request).unwrap().member] += 1);
        counts.into_iter().map(|count| f64::from(count) / 10_000.0).collect()
    }

    pub(super) fn destination(&self, id: &str) -> Arc<Destination> {
        self.registry.get(id).unwrap()
    }

    /// Takes a lease of just this destination.
    pub(super) fn lease_of(&mut self, id: &str) -> Result<Lease, NoDestination> {
        self.pool.acquire(&Request { pinned: Some(id), ..Request::default() }, self.now, &mut self.rng)
    }

    /// So many failures in a row of one destination.
    pub(super) fn fail(&mut self, id: &str, times: usize) {
        for _ in 0..times {
            let lease = self.lease_of(id).unwrap();
            assert!(lease.finish(Outcome::Failure, self.now));
        }
    }

    /// So many outcomes of one destination, of which every `nth` fails (0: none).
    pub(super) fn outcomes(&mut self, id: &str, count: usize, nth: usize) {
        for number in 1..=count {
            let Ok(lease) = self.lease_of(id) else { return };
            let failed = nth > 0 && number % nth == 0;
            lease.finish(if failed { Outcome::Failure } else { Outcome::Success }, self.now);
        }
    }

    /// Reasons of the events of one kind.
    pub(super) fn reasons_of(&self, kind: &str) -> Vec<String> {
        let events = self.registry.events_since(0).events;
        events.iter().filter(|event| event.kind.as_str() == kind).map(|event| event.reason.to_string()).collect()
    }

    pub(super) fn breaker(&self, id: &str) -> &'static str {
        self.destination(id).view(self.now).breaker
    }

    /// What happened to one destination.
    pub(super) fn events_of(&self, id: &str) -> Vec<&'static str> {
        let events = self.registry.events_since(0).events;
        events.iter().filter(|event| *event.destination == *id).map(|event| event.kind.as_str()).collect()
    }
}

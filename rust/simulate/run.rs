//! The loop: the next arrival or the next event that is due, whichever comes first, until nothing is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::PoolError;
use crate::pool::breaker::Phase;
use crate::pool::events::EventKind;
use crate::pool::{Admin, Lease, Nanos, Outcome, Pool, Registry, Request};
use crate::simulate::draw::Ring;
use crate::simulate::report::{DestinationReport, Latencies, Point, Report, States, Switch, Totals};
use crate::simulate::server::{Answer, Server};
use crate::simulate::sharing;
use crate::simulate::spec::{Arrivals, Simulation, SimulationError};

/// When the simulation starts in the pool's time, where 0 means "never".
const START: Nanos = 1_000_000_000;
/// Events between two questions whether to go on.
pub(super) const ASK_EVERY: u64 = 1 << 16;
/// The most events of a run: minutes of computing.
const MOST_EVENTS: u64 = 1_000_000_000;
/// The most messages in flight, at about 0.2 kB each.
const MOST_IN_FLIGHT: usize = 2_000_000;
/// How long a client of a closed loop waits when no destination could take its message.
const CLIENT_WAIT: Nanos = 10_000_000;
/// Spreads the attempts of a message over unrelated seeds.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Simulates. `go_on` is asked every 65,536 events.
///
/// # Errors
/// [`SimulationError`] for what cannot be simulated.
pub fn run(spec: &Simulation, go_on: &mut dyn FnMut() -> bool) -> Result<Report, SimulationError> {
    spec.check()?;
    let mut world = World::build(spec)?;
    world.run(go_on);
    Ok(world.report())
}

/// A message from its arrival to its end.
#[derive(Debug)]
struct Message {
    arrived: Nanos,
    /// What is random about it, whatever the policy does.
    seed: u64,
    /// The hash of its key.
    key: Option<u64>,
    router: u32,
    /// Members tried, the last one included.
    tried: SmallVec<[u32; 4]>,
    /// The attempt under way; between attempts, none.
    attempt: Option<(Lease, Outcome)>,
    timed_out: bool,
}

/// What is counted about a destination.
#[derive(Debug, Default)]
struct Measured {
    attempts: u64,
    successes: u64,
    failures: u64,
    timeouts: u64,
    overloaded: u64,
    in_flight: u32,
    most_in_flight: u32,
    latencies: Latencies,
}

/// A point of the series as it is collected.
#[derive(Debug)]
struct Slice {
    messages: u64,
    undelivered: u64,
    latencies: Latencies,
    attempts: Box<[u64]>,
    states: Box<[States]>,
}

struct World<'a> {
    spec: &'a Simulation,
    registries: Vec<Arc<Registry>>,
    routers: Vec<Arc<Pool>>,
    servers: Vec<Server>,
    /// Arrivals, and what messages are like. Its numbers do not depend on what the policy does.
    nature: fastrand::Rng,
    /// What policies draw.
    choice: fastrand::Rng,
    keys: Option<Ring>,
    next_arrival: Option<Nanos>,
    /// Answers, further attempts, and arrivals of a closed loop: when, in which order, and whose (or nobody's yet).
    due: BinaryHeap<Reverse<(Nanos, u64, Option<u32>)>>,
    messages: Vec<Option<Message>>,
    vacant: Vec<u32>,
    order: u64,
    events: u64,
    totals: Totals,
    latencies: Latencies,
    measured: Vec<Measured>,
    slices: Vec<Slice>,
    sampled: usize,
    ended_early: Option<&'static str>,
}

impl<'a> World<'a> {
    fn build(spec: &'a Simulation) -> Result<Self, SimulationError> {
        let registries = sharing::registries(spec)?;
        let router = |(number, registry): (usize, &Arc<Registry>)| {
            let mut pool = spec.pool.clone();
            if number > 0 {
                pool.id = format!("{}#{number}", pool.id).into(); // to tell their events apart
            }
            let pool = Pool::build(pool, registry, 1, START).map(Arc::new)?;
            registry.publish([&pool]);
            for (id, state) in &spec.admin {
                registry.set_admin(id, *state, "configuration", START);
            }
            Ok(pool)
        };
        let routers = registries.iter().enumerate().map(router).collect::<Result<Vec<_>, PoolError>>()?;
        let members = spec.servers.len();
        let slice = || Slice {
            messages: 0,
            undelivered: 0,
            latencies: Latencies::default(),
            attempts: vec![0; members].into(),
            states: vec![States::default(); members].into(),
        };
        let mut nature = fastrand::Rng::with_seed(spec.seed);
        let mut world = Self {
            registries,
            routers,
            servers: spec.servers.iter().cloned().map(Server::new).collect(),
            next_arrival: spec.arrivals.next(0, &mut nature),
            nature,
            keys: spec.keys.map(Ring::new),
            choice: fastrand::Rng::with_seed(spec.seed ^ ODD),
            due: BinaryHeap::new(),
            messages: Vec::new(),
            vacant: Vec::new(),
            order: 0,
            events: 0,
            totals: Totals::default(),
            latencies: Latencies::default(),
            measured: (0..members).map(|_| Measured::default()).collect(),
            slices: (0..spec.buckets).map(|_| slice()).collect(),
            sampled: 0,
            ended_early: None,
            spec,
        };
        if let Arrivals::Closed { clients } = spec.arrivals {
            (0..clients).for_each(|_| world.plan(0, None));
        }
        Ok(world)
    }

    fn run(&mut self, go_on: &mut dyn FnMut() -> bool) {
        loop {
            let arrival = self.next_arrival.filter(|at| *at < self.spec.duration);
            let due = self.due.peek().map(|Reverse((at, _, _))| *at);
            let now = match (arrival, due) {
                (Some(arrival), Some(due)) => arrival.min(due),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => break,
            };
            self.sample(now);
            if arrival == Some(now) {
                self.next_arrival = self.spec.arrivals.next(now, &mut self.nature);
                self.arrive(now);
            } else if let Some(Reverse((_, _, whose))) = self.due.pop() {
                match whose {
                    Some(number) => self.happen(number, now),
                    None if now < self.spec.duration => self.arrive(now),
                    None => {}
                }
            }
            self.events += 1;
            if self.events.is_multiple_of(ASK_EVERY) && !go_on() {
                self.ended_early = Some("it was interrupted");
            } else if self.events >= MOST_EVENTS {
                self.ended_early = Some("it came to a thousand million events; lower rate or duration");
            } else if self.messages.len() - self.vacant.len() > MOST_IN_FLIGHT {
                self.ended_early = Some("2,000,000 messages are in flight: more come than the destinations can serve");
            }
            if self.ended_early.is_some() {
                break;
            }
        }
        self.sample(self.spec.duration);
    }

    fn plan(&mut self, at: Nanos, whose: Option<u32>) {
        self.order += 1;
        self.due.push(Reverse((at, self.order, whose)));
    }

    fn slice(&self, at: Nanos) -> usize {
        let place = u128::from(at) * self.spec.buckets as u128 / u128::from(self.spec.duration);
        (place as usize).min(self.spec.buckets - 1)
    }

    fn is_measured(&self, message: &Message) -> bool {
        message.arrived >= self.spec.warmup
    }

    fn arrive(&mut self, now: Nanos) {
        let seed = self.nature.u64(..);
        let router = if self.spec.routers == 1 { 0 } else { self.nature.u32(..self.spec.routers as u32) };
        let key = self.keys.as_ref().map(|ring| ring.draw(&mut fastrand::Rng::with_seed(!seed)));
        let (tried, attempt) = (SmallVec::new(), None);
        let message = Message { arrived: now, seed, key, router, tried, attempt, timed_out: false };
        let slice = self.slice(now);
        self.slices[slice].messages += 1;
        self.totals.messages += u64::from(self.is_measured(&message));
        let number = match self.vacant.pop() {
            Some(number) => number,
            None => {
                self.messages.push(None);
                (self.messages.len() - 1) as u32
            }
        };
        self.send(number, message, now);
    }

    /// Makes an attempt: picks a destination and learns when it will answer.
    fn send(&mut self, number: u32, mut message: Message, now: Nanos) {
        let Some(lease) = self.acquire(&message, now) else {
            self.end(number, &message, None, now);
            return;
        };
        let member = lease.pick().member;
        let mut luck = fastrand::Rng::with_seed(message.seed ^ ODD.wrapping_mul(message.tried.len() as u64));
        let Answer { mut at, mut outcome } = self.servers[member].receive(now, &mut luck);
        let patience = self.spec.timeout.map_or(Nanos::MAX, |timeout| now.saturating_add(timeout));
        message.timed_out = at > patience;
        if message.timed_out {
            (at, outcome) = (patience, Outcome::Failure);
        }
        message.tried.push(member as u32);
        message.attempt = Some((lease, outcome));
        let slice = self.slice(now);
        self.slices[slice].attempts[member] += 1;
        let measured = &mut self.measured[member];
        measured.in_flight += 1;
        measured.most_in_flight = measured.most_in_flight.max(measured.in_flight);
        self.messages[number as usize] = Some(message);
        self.plan(at, Some(number));
    }

    fn acquire(&mut self, message: &Message, now: Nanos) -> Option<Lease> {
        let pool = &self.routers[message.router as usize];
        let tried = message.tried.iter().map(|member| &**pool.members()[*member as usize].id());
        let exclude: SmallVec<[&str; 4]> = tried.collect();
        let request = Request { exclude: &exclude, key: message.key, ..Request::default() };
        pool.acquire(&request, START + now, &mut self.choice).ok()
    }

    /// The answer to an attempt, or the time for the next one.
    fn happen(&mut self, number: u32, now: Nanos) {
        let Some(mut message) = self.messages[number as usize].take() else { return };
        let Some((lease, outcome)) = message.attempt.take() else {
            self.send(number, message, now);
            return;
        };
        lease.finish(outcome, START + now);
        let is_measured = self.is_measured(&message);
        let measured = &mut self.measured[lease.pick().member];
        measured.in_flight -= 1;
        if is_measured {
            measured.attempts += 1;
            measured.timeouts += u64::from(message.timed_out);
            self.totals.attempts += 1;
            self.totals.timeouts += u64::from(message.timed_out);
            match outcome {
                Outcome::Success => {
                    measured.successes += 1;
                    measured.latencies.record(START + now - lease.started());
                }
                Outcome::Overloaded { .. } => measured.overloaded += 1,
                Outcome::Failure | Outcome::Cancelled => measured.failures += 1,
            }
        }
        let made = message.tried.len() as u32;
        if outcome == Outcome::Success || made >= self.spec.attempts {
            self.end(number, &message, Some(outcome), now);
            return;
        }
        let longest = self.spec.backoff.saturating_mul(1 << (made - 1).min(16));
        if longest == 0 {
            self.send(number, message, now);
        } else {
            let wait = self.choice.u64(..=longest);
            self.messages[number as usize] = Some(message);
            self.plan(now + wait, Some(number));
        }
    }

    /// The end of a message; no outcome: no destination could take it.
    fn end(&mut self, number: u32, message: &Message, outcome: Option<Outcome>, now: Nanos) {
        self.vacant.push(number);
        let latency = now - message.arrived;
        let (is_measured, slice) = (self.is_measured(message), self.slice(message.arrived));
        let slice = &mut self.slices[slice];
        if outcome == Some(Outcome::Success) {
            slice.latencies.record(latency);
        } else {
            slice.undelivered += 1;
        }
        if is_measured {
            match outcome {
                Some(Outcome::Success) => {
                    self.totals.delivered += 1;
                    self.latencies.record(latency);
                }
                Some(_) => self.totals.failed += 1,
                None => self.totals.unrouted += 1,
            }
        }
        if let Arrivals::Closed { .. } = self.spec.arrivals {
            self.plan(if outcome.is_some() { now } else { now + CLIENT_WAIT }, None);
        }
    }

    /// Notes the states of destinations at the end of every point of the series that is over at `now`.
    fn sample(&mut self, now: Nanos) {
        while self.sampled < self.spec.buckets {
            let end = self.spec.duration as u128 * (self.sampled as u128 + 1) / self.spec.buckets as u128;
            if u128::from(now) < end {
                return;
            }
            let (at, window) = (START + end as Nanos, self.spec.pool.failover.slow_start);
            for pool in &self.routers {
                let states = &mut self.slices[self.sampled].states;
                for (member, states) in pool.members().iter().zip(states.iter_mut()) {
                    let breaker = member.destination().breaker();
                    let recovered = breaker.recovered_at();
                    let ramping = || recovered.is_some_and(|since| at < since.saturating_add(window));
                    let state = match breaker.phase(at) {
                        _ if member.destination().admin() != Admin::Enabled => &mut states.out,
                        Phase::Out(_) => &mut states.out,
                        Phase::Probation => &mut states.probation,
                        Phase::Closed if ramping() => &mut states.ramping,
                        Phase::Closed => &mut states.in_use,
                    };
                    *state += 1;
                }
            }
            self.sampled += 1;
        }
    }

    fn report(self) -> Report {
        let all = self.totals.attempts.max(1) as f64;
        let destination = |(measured, member): (Measured, &crate::pool::MemberSpec)| {
            // Where breakers are shared each is one, which all routers know.
            let known = if self.spec.shared { &self.registries[..1] } else { &self.registries[..] };
            let count = |what: fn(&crate::pool::Destination) -> u64| {
                known.iter().filter_map(|registry| registry.get(&member.id)).map(|one| what(&one)).sum()
            };
            DestinationReport {
                id: Arc::clone(&member.id),
                attempts: measured.attempts,
                share: measured.attempts as f64 / all,
                successes: measured.successes,
                failures: measured.failures,
                timeouts: measured.timeouts,
                overloaded: measured.overloaded,
                ejections: count(|one| one.breaker().outages().ejections),
                recoveries: count(|one| one.breaker().outages().recoveries),
                most_in_flight: measured.most_in_flight,
                latency: measured.latencies.summary(),
            }
        };
        let width =
            |number: usize| (u128::from(self.spec.duration) * number as u128 / self.spec.buckets as u128) as u64;
        let point = |(number, slice): (usize, Slice)| Point {
            at: width(number),
            messages: slice.messages,
            undelivered: slice.undelivered,
            quantiles: slice.latencies.quantiles([0.5, 0.99]),
            attempts: slice.attempts,
            states: slice.states,
        };
        Report {
            policy: self.spec.pool.policy,
            bounded_load: self.spec.pool.bounded_load,
            totals: self.totals,
            latency: self.latencies.summary(),
            destinations: self.measured.into_iter().zip(&self.spec.pool.members).map(destination).collect(),
            series: self.slices.into_iter().enumerate().map(point).collect(),
            switches: switches(&self.registries),
            events: self.events,
            ended_early: self.ended_early,
        }
    }
}

fn switches(registries: &[Arc<Registry>]) -> Vec<Switch> {
    let events = registries.iter().flat_map(|registry| registry.events_since(0).events);
    let switch = |event: crate::pool::Event| match event.kind {
        EventKind::Policy(to) => {
            Some(Switch { at: event.at - START, pool: event.destination, to, reason: event.reason.into_owned() })
        }
        _ => None,
    };
    let mut found: Vec<Switch> = events.filter_map(switch).collect();
    found.sort_by_key(|one| one.at);
    found
}

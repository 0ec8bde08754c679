//! Pools beside pingora's load balancer and tower's two choices: `make bench-pools`. Random answers cannot be equal, so
//! shares are: before anything is timed, destinations of one weight must be chosen as often as their weight says, or one
//! must be chosen each time, where latency decides.
//!
//! - pingora chooses by weight, at random or in turn, and holds nothing: it is compared with selections. It takes at most
//!   65,535 backends.
//! - tower's balancer compares two endpoints by requests pending or by peak latency and dispatches to one: it is compared
//!   with a lease, acquired and ended in success, with a reading of the clock at either end. It is not shared between
//!   threads as it is, so several take turns by a lock.
//!
//! Times are medians of rounds. At last, what a destination more or less costs a pool while a thread selects from it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pingora_load_balancing::selection::SelectionAlgorithm;
use pingora_load_balancing::selection::algorithms::{Random, RoundRobin};
use pingora_load_balancing::selection::weighted::Weighted;
use pingora_load_balancing::{Backend, Backends, LoadBalancer, discovery};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};
use turnout::balance::PolicyKind;
use turnout::pool::{FailoverSpec, MemberSpec, Nanos, Outcome, Pool, PoolSpec, Registry, Request};

type Failing<T> = Result<T, Box<dyn Error>>;
/// One choice: the group of the destination chosen, 0 to 2.
type Choose = Box<dyn Fn(&mut fastrand::Rng) -> Option<usize> + Send + Sync>;

const COUNTS: [usize; 4] = [10, 1_000, 10_000, 100_000];
const THREADS: [usize; 3] = [1, 2, 8];
const STEPS: usize = 100_000;
const ROUNDS: usize = 7;
/// Choices that shares are counted in, or somewhat more: rotations by weight keep their shares over whole turns only.
const SHARES: usize = 30_000;

fn weight(number: usize) -> usize {
    1 + number % 3
}

/// Weights are 1, 2, 3 in turn where `weighted`, else all 1.
fn pool(policy: PolicyKind, count: usize, weighted: bool) -> Failing<Arc<Pool>> {
    let member = |number: usize| {
        let member = MemberSpec::new(format!("d{number}"));
        if weighted { MemberSpec { weight: weight(number) as u32, ..member } } else { member }
    };
    let members = (0..count).map(member).collect();
    let spec = PoolSpec {
        id: "pool".into(),
        policy: policy.into(),
        bounded_load: None,
        dynamic_adjustment: false,
        members,
        failover: FailoverSpec::default(),
    };
    Ok(Arc::new(Pool::build(spec, &Registry::new(), 1, 1)?))
}

fn now(start: Instant) -> Nanos {
    1_000_000_000 + start.elapsed().as_nanos() as Nanos
}

fn selection(policy: PolicyKind, count: usize, weighted: bool) -> Failing<Choose> {
    let (pool, start) = (pool(policy, count, weighted)?, Instant::now());
    Ok(Box::new(move |rng| Some(pool.select(&Request::default(), now(start), rng).ok()?.member % 3)))
}

fn lease(policy: PolicyKind, count: usize) -> Failing<Choose> {
    let (pool, start) = (pool(policy, count, false)?, Instant::now());
    Ok(Box::new(move |rng| {
        let lease = pool.acquire(&Request::default(), now(start), rng).ok()?;
        lease.finish(Outcome::Success, now(start));
        Some(lease.pick().member % 3)
    }))
}

fn pingora<H: SelectionAlgorithm + Send + Sync + 'static>(count: usize) -> Failing<Choose> {
    let backend = |number: usize| {
        let address = format!("10.0.{}.{}:80", number / 256, number % 256);
        Backend::new_with_weight(&address, weight(number))
    };
    let backends: BTreeSet<Backend> = (0..count).map(backend).collect::<Result<_, _>>()?;
    let balancer: LoadBalancer<Weighted<H>> =
        LoadBalancer::from_backends(Backends::new(discovery::Static::new(backends)));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(updated) = pin!(balancer.update()).poll(&mut context) else { return Err("it waits".into()) };
    updated?;
    Ok(Box::new(move |_| Some(balancer.select(b"", 16)?.weight - 1)))
}

/// An endpoint that answers at once, with its number.
#[derive(Debug)]
struct Endpoint(usize);

impl Service<()> for Endpoint {
    type Response = usize;
    type Error = Infallible;
    type Future = Ready<Result<usize, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: ()) -> Self::Future {
        ready(Ok(self.0))
    }
}

fn tower<S>(count: usize, wrap: impl Fn(Endpoint) -> S) -> Choose
where
    S: Service<(), Response = usize, Error = Infallible> + Load + Send + 'static,
    S::Future: Send,
    S::Metric: std::fmt::Debug,
{
    let services: Vec<S> = (0..count).map(|number| wrap(Endpoint(number))).collect();
    let balance = Mutex::new(Balance::new(ServiceList::new::<()>(services)));
    Box::new(move |_| {
        let mut context = Context::from_waker(Waker::noop());
        let mut balance = balance.lock().unwrap_or_else(PoisonError::into_inner);
        let Poll::Ready(Ok(())) = balance.poll_ready(&mut context) else { return None };
        let answer = balance.call(());
        drop(balance);
        match pin!(answer).poll(&mut context) {
            Poll::Ready(Ok(number)) => Some(number % 3),
            _ => None,
        }
    })
}

fn pending(count: usize) -> Choose {
    tower(count, |endpoint| PendingRequests::new(endpoint, CompleteOnResponse::default()))
}

fn peak(count: usize) -> Choose {
    let wrap = |endpoint| PeakEwma::new(endpoint, Duration::from_millis(1), 1e10, CompleteOnResponse::default());
    tower(count, wrap)
}

/// What is known of the shares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shares {
    Weighted,
    Even,
    /// Whoever measures latency prefers who happens to be fast, here by some ns.
    Unknown,
}

/// An error unless one is chosen each time, and the groups as often as is known, within five standard deviations.
fn check(choose: &Choose, shares: Shares, count: usize) -> Failing<()> {
    let weighted = shares == Shares::Weighted;
    let mut due = [0usize; 3];
    (0..count).for_each(|number| due[number % 3] += if weighted { weight(number) } else { 1 });
    let total: usize = due.iter().sum();
    let draws = total * SHARES.div_ceil(total);
    let (mut rng, mut seen) = (fastrand::Rng::with_seed(1), [0usize; 3]);
    for _ in 0..draws {
        seen[choose(&mut rng).ok_or("nothing was chosen")?] += 1;
    }
    for (seen, due) in seen.iter().zip(due) {
        let (share, got) = (due as f64 / total as f64, *seen as f64 / draws as f64);
        if shares != Shares::Unknown && (got - share).abs() > 5.0 * (share * (1.0 - share) / draws as f64).sqrt() {
            return Err(format!("a share of {got:.4}, not {share:.4}").into());
        }
    }
    Ok(())
}

fn median(mut taken: Vec<f64>) -> f64 {
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

/// Ns of one choice: time that passes, by all choices made in it; the median of some rounds.
fn time(choose: &Choose, threads: usize) -> f64 {
    let mut taken = Vec::new();
    for round in 0..ROUNDS as u64 {
        let barrier = Barrier::new(threads + 1);
        let began = std::thread::scope(|scope| {
            for thread in 0..threads as u64 {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(round << 8 | thread);
                    barrier.wait();
                    for _ in 0..STEPS / threads {
                        std::hint::black_box(choose(&mut rng));
                    }
                });
            }
            let began = Instant::now(); // before they are let go: this thread may be the last to go on
            barrier.wait();
            began
        });
        taken.push(began.elapsed().as_secs_f64() * 1e9 / STEPS as f64);
    }
    median(taken)
}

/// µs to make a pool with one destination more or less and put it in the place of the one before, while a thread selects.
fn change(policy: PolicyKind, count: usize) -> Failing<f64> {
    let (live, start) = (RwLock::new(pool(policy, count, true)?), Instant::now());
    let done = AtomicBool::new(false);
    let current = || Arc::clone(&live.read().unwrap_or_else(PoisonError::into_inner));
    let put = |pool: Pool| {
        let mut live = live.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *live, Arc::new(pool))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = fastrand::Rng::with_seed(1);
            while !done.load(Ordering::Relaxed) {
                std::hint::black_box(current().select(&Request::default(), now(start), &mut rng).ok());
            }
        });
        let once = |number: usize| -> Failing<[f64; 2]> {
            let member = MemberSpec::new(format!("new-{number}"));
            let began = Instant::now();
            drop(put(current().with_member(&member, now(start))?));
            let between = Instant::now();
            drop(put(current().without_member(&member.id, now(start)).ok_or("it was added")?));
            Ok([between - began, between.elapsed()].map(|time| time.as_secs_f64() * 1e6))
        };
        let taken: Failing<Vec<[f64; 2]>> = (0..20).map(once).collect();
        done.store(true, Ordering::Relaxed);
        Ok(median(taken?.concat()))
    })
}

fn row(name: &str, shares: Shares, most: usize, build: impl Fn(usize) -> Failing<Choose>) -> Failing<()> {
    let mut cells = Vec::new();
    for count in COUNTS {
        if count > most {
            cells.push(String::new());
            continue;
        }
        let choose = build(count)?;
        check(&choose, shares, count).map_err(|error| format!("{name} of {count}: {error}"))?;
        cells.push(THREADS.map(|threads| format!("{:.0}", time(&choose, threads))).join(" / "));
    }
    println!("| {name} | {} |", cells.join(" | "));
    Ok(())
}

fn main() -> Failing<()> {
    let counts = COUNTS.map(|count| count.to_string()).join(" | ");
    let line = "---:|".repeat(COUNTS.len());
    println!("| ns of 1 / 2 / 8 threads, by destinations | {counts} |\n|---|{line}");
    let all = usize::MAX;
    row("select, weighted_round_robin", Shares::Weighted, all, |count| {
        selection(PolicyKind::WeightedRoundRobin, count, true)
    })?;
    row("pingora, RoundRobin", Shares::Weighted, 65_535, pingora::<RoundRobin>)?;
    row("select, weighted_random", Shares::Weighted, all, |count| selection(PolicyKind::WeightedRandom, count, true))?;
    row("pingora, Random", Shares::Weighted, 65_535, pingora::<Random>)?;
    row("lease, least_connections", Shares::Even, all, |count| lease(PolicyKind::LeastConnections, count))?;
    row("tower, pending requests", Shares::Even, all, |count| Ok(pending(count)))?;
    row("lease, response_time", Shares::Unknown, all, |count| lease(PolicyKind::ResponseTime, count))?;
    row("tower, peak EWMA", Shares::Unknown, all, |count| Ok(peak(count)))?;
    println!("\n| µs of a destination added or removed, by destinations | {counts} |\n|---|{line}");
    for policy in PolicyKind::ALL.into_iter().filter(|policy| *policy != PolicyKind::Maglev) {
        let cells: Vec<String> =
            COUNTS.into_iter().map(|count| Ok(format!("{:.0}", change(policy, count)?))).collect::<Failing<_>>()?;
        println!("| {policy} | {} |", cells.join(" | "));
    }
    Ok(())
}

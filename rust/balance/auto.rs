//! `auto`: which policy a pool starts with, and when another one is tried and kept. Figures in, verdicts out: no
//! clock, no randomness and no pool.
//!
//! The start follows from the pool's [`Shape`]. From then on every window of outcomes is compared with what is usual
//! for the policy in force. Three windows in a row in which the tail, the failures or the imbalance are far beyond it
//! begin a trial of the alternative: its first window is left out, for queues of before drain in it, the next three
//! are averaged. It is kept if its cost is at least a fifth below that of the windows that began the trial, and
//! left at once where its cost doubles. The cost is p99 × (1 + 20 × share of failures) × ⁴√imbalance.
//!
//! What keeps it from going to and fro: a minute between the end of one trial and the next, doubled with every trial in
//! vain up to an hour; the margin; and that what no alternative makes better becomes what is usual. A policy that was
//! kept is not left because all is well again. With keys nothing is ever switched: a key would lose its destination.

use std::fmt;

use crate::balance::PolicyKind;

const SECOND: u64 = 1_000_000_000;
/// Windows in a row that must be bad, and that a trial is judged by.
const WINDOWS: u32 = 3;
/// Least time from the end of a trial to the next one, ns, and the most that it grows to.
const DWELL: u64 = 60 * SECOND;
const LONGEST_DWELL: u64 = 3_600 * SECOND;
/// How much of the cost the alternative must save.
const MARGIN: f64 = 0.2;
/// How many times the cost ends a trial at once.
const UNBEARABLE: f64 = 2.0;
/// How many times the usual p99 is bad.
const BAD_TAIL: f64 = 1.5;
/// How many times the usual share of failures is bad, if it is also so much above it.
const BAD_FAILURES: f64 = 1.5;
const MORE_FAILURES: f64 = 0.02;
/// How many times the usual imbalance is bad.
const BAD_IMBALANCE: f64 = 2.0;
/// What a window weighs in what is usual.
const SMOOTHING: f64 = 0.2;
/// What a failure costs: one message in twenty failed is as bad as a tail twice as long.
const FAILURES_COST: f64 = 20.0;
/// Up to so many destinations, `rendezvous` is as fast as `maglev` and moves fewer keys.
const FEW: usize = 16;

/// What is known of a pool before its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many destinations it has.
    pub destinations: usize,
    /// Whether weights differ, or will.
    pub weighted: bool,
    /// Whether messages go by key.
    pub keyed: bool,
    /// Whether any destination has a cap on messages in flight.
    pub capped: bool,
    /// Whether destinations are known from before, and some takes twice as long as another.
    pub uneven: bool,
}

impl Shape {
    /// The policy to start with.
    pub fn start(&self) -> PolicyKind {
        let kind = match self {
            Self { keyed: true, destinations, .. } if *destinations <= FEW => PolicyKind::Rendezvous,
            Self { keyed: true, .. } => PolicyKind::Maglev,
            Self { destinations: 0 | 1, .. } => PolicyKind::RoundRobin,
            Self { uneven: true, .. } => PolicyKind::ResponseTime,
            Self { capped: true, .. } => PolicyKind::LeastConnections,
            _ => PolicyKind::RoundRobin,
        };
        in_form(kind, self.weighted)
    }
}

/// The policy of the same family that heeds weights, or does not.
fn in_form(kind: PolicyKind, weighted: bool) -> PolicyKind {
    use PolicyKind::{LeastConnections, RoundRobin, WeightedLeastConnections, WeightedRoundRobin};
    match (kind, weighted) {
        (RoundRobin, true) => WeightedRoundRobin,
        (WeightedRoundRobin, false) => RoundRobin,
        (LeastConnections, true) => WeightedLeastConnections,
        (WeightedLeastConnections, false) => LeastConnections,
        (other, _) => other,
    }
}

/// What is tried in place of a policy, in this order.
const fn alternatives(kind: PolicyKind) -> &'static [PolicyKind] {
    use PolicyKind::{LeastConnections, ResponseTime, RoundRobin, WeightedLeastConnections, WeightedRoundRobin};
    match kind {
        RoundRobin | WeightedRoundRobin => &[ResponseTime, LeastConnections],
        LeastConnections | WeightedLeastConnections => &[ResponseTime, RoundRobin],
        ResponseTime => &[LeastConnections, RoundRobin],
        _ => &[],
    }
}

/// What one window of outcomes shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// 99th percentile of latency, ns; `None` without a success.
    pub tail: Option<f64>,
    /// Share of failures and overload, 0..=1.
    pub failures: f64,
    /// Messages held on average by the busiest destination ÷ by all of its tier, for their weights, at least 1;
    /// `None` where there were too few outcomes to tell.
    pub imbalance: Option<f64>,
}

impl Figures {
    fn cost(&self) -> f64 {
        let tail = self.tail.unwrap_or(f64::MAX);
        tail * (1.0 + FAILURES_COST * self.failures) * self.imbalance.unwrap_or(1.0).max(1.0).powf(0.25)
    }

    /// These, with a window that weighs so much.
    fn with(self, window: Self, weight: f64) -> Self {
        let mix = |before: f64, fresh: f64| before + (fresh - before) * weight;
        let either = |before: Option<f64>, fresh: Option<f64>| match (before, fresh) {
            (Some(before), Some(fresh)) => Some(mix(before, fresh)),
            (before, fresh) => fresh.or(before),
        };
        Self {
            tail: either(self.tail, window.tail),
            failures: mix(self.failures, window.failures),
            imbalance: either(self.imbalance, window.imbalance),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tail {
            Some(tail) => write!(f, "p99 {:.3} ms", tail / 1e6)?,
            None => f.write_str("no answer")?,
        }
        write!(f, ", {:.1} % failed", 100.0 * self.failures)?;
        match self.imbalance {
            Some(imbalance) => write!(f, ", imbalance {imbalance:.2}"),
            None => Ok(()),
        }
    }
}

/// Windows and their mean.
#[derive(Debug, Clone, Copy)]
struct Mean {
    figures: Figures,
    windows: u32,
}

impl Mean {
    fn of(window: Figures) -> Self {
        Self { figures: window, windows: 1 }
    }

    fn add(&mut self, window: Figures) {
        self.windows += 1;
        self.figures = self.figures.with(window, 1.0 / f64::from(self.windows));
    }
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The bad windows in a row, if the last one was.
    Watching(Option<Mean>),
    Trial {
        incumbent: PolicyKind,
        before: Figures,
        /// Whether the first window is over.
        drained: bool,
        seen: Option<Mean>,
    },
}

/// What a window led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The policy until now.
    pub from: PolicyKind,
    /// The policy from now on; the same where a trial ends in its favour.
    pub to: PolicyKind,
    /// Why, with the figures.
    pub reason: String,
}

/// The choice of one pool.
#[derive(Debug, Clone)]
pub struct Auto {
    shape: Shape,
    kind: PolicyKind,
    /// What is usual for the policy in force, and of how many windows.
    usual: Figures,
    learnt: u32,
    phase: Phase,
    /// No trial before.
    next_trial: u64,
    /// Trials in vain since a policy was last kept.
    in_vain: u32,
}

/// Nothing fails and all carry the same, until something else is seen.
const IDEAL: Figures = Figures { tail: None, failures: 0.0, imbalance: Some(1.0) };

impl Auto {
    /// Starts by shape.
    pub fn new(shape: Shape) -> Self {
        let phase = Phase::Watching(None);
        Self { kind: shape.start(), shape, usual: IDEAL, learnt: 0, phase, next_trial: 0, in_vain: 0 }
    }

    /// The policy in force.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Goes on where the same pool was before its configuration changed, unless keys or caps have come or gone.
    pub fn adopt(&mut self, before: &Self) {
        if (self.shape.keyed, self.shape.capped) == (before.shape.keyed, before.shape.capped) && !self.shape.keyed {
            let shape = self.shape;
            *self = Self { shape, ..before.clone() };
            self.kind = in_form(self.kind, shape.weighted);
        }
    }

    /// Takes note that weights differ, or do no longer; the form of the policy follows.
    pub fn weigh(&mut self, weighted: bool) -> Option<Verdict> {
        self.shape.weighted = weighted;
        let (from, to) = (self.kind, in_form(self.kind, weighted));
        self.kind = to;
        let reason = if weighted { "weights differ" } else { "all weights are equal" };
        (from != to).then(|| Verdict { from, to, reason: format!("{from} -> {to}: {reason}") })
    }

    /// Takes in a window that ended at `now` ns. `None`: all stays as it is.
    pub fn step(&mut self, window: Figures, now: u64) -> Option<Verdict> {
        match self.phase {
            Phase::Watching(bad) => self.watch(bad, window, now),
            Phase::Trial { drained: false, incumbent, before, seen } => {
                self.phase = Phase::Trial { drained: true, incumbent, before, seen };
                None
            }
            Phase::Trial { incumbent, before, seen, .. } => self.judge(incumbent, before, seen, window, now),
        }
    }

    fn watch(&mut self, bad: Option<Mean>, window: Figures, now: u64) -> Option<Verdict> {
        if !self.is_bad(&window) {
            self.usual = self.usual.with(window, SMOOTHING);
            self.learnt = self.learnt.saturating_add(1);
            self.phase = Phase::Watching(None);
            return None;
        }
        let bad = match bad {
            Some(mut mean) => {
                mean.add(window);
                mean
            }
            None => Mean::of(window),
        };
        self.phase = Phase::Watching(Some(bad));
        let alternatives = alternatives(self.kind);
        if bad.windows < WINDOWS || now < self.next_trial || alternatives.is_empty() {
            return None;
        }
        let from = self.kind;
        let to = in_form(alternatives[self.in_vain as usize % alternatives.len()], self.shape.weighted);
        // A spell that began long before the trial may begin (the dwell) is averaged as a whole: it is what there is.
        self.phase = Phase::Trial { incumbent: from, before: bad.figures, drained: false, seen: None };
        self.kind = to;
        Some(Verdict { from, to, reason: format!("{from} -> {to} on trial: {} (usual: {})", bad.figures, self.usual) })
    }

    fn is_bad(&self, window: &Figures) -> bool {
        let usual = &self.usual;
        let learnt = self.learnt >= WINDOWS;
        let tail = match (window.tail, usual.tail) {
            (Some(tail), Some(usual)) => learnt && tail > usual * BAD_TAIL,
            (tail, _) => tail.is_none(),
        };
        let failures = window.failures > (usual.failures * BAD_FAILURES).max(usual.failures + MORE_FAILURES);
        let imbalance = window.imbalance.is_some_and(|seen| seen > usual.imbalance.unwrap_or(1.0) * BAD_IMBALANCE);
        tail || failures || imbalance
    }

    fn judge(
        &mut self,
        incumbent: PolicyKind,
        before: Figures,
        seen: Option<Mean>,
        window: Figures,
        now: u64,
    ) -> Option<Verdict> {
        let seen = match seen {
            Some(mut mean) => {
                mean.add(window);
                mean
            }
            None => Mean::of(window),
        };
        let (cost, limit) = (seen.figures.cost(), before.cost());
        let unbearable = cost > limit * UNBEARABLE;
        if seen.windows < WINDOWS && !unbearable {
            self.phase = Phase::Trial { incumbent, before, drained: true, seen: Some(seen) };
            return None;
        }
        self.phase = Phase::Watching(None);
        let (from, incumbent) = (self.kind, in_form(incumbent, self.shape.weighted));
        let figures = seen.figures;
        if cost <= limit * (1.0 - MARGIN) {
            (self.usual, self.learnt, self.in_vain) = (figures, WINDOWS, 0);
            self.next_trial = now.saturating_add(DWELL);
            let reason = format!("{from} kept: {figures}; {incumbent} had {before}");
            return Some(Verdict { from, to: from, reason });
        }
        self.in_vain = self.in_vain.saturating_add(1);
        if (self.in_vain as usize).is_multiple_of(alternatives(incumbent).len().max(1)) {
            (self.usual, self.learnt) = (before, WINDOWS); // nothing makes it better: so it is usual
        }
        let dwell = DWELL.saturating_mul(1 << (self.in_vain - 1).min(16)).min(LONGEST_DWELL);
        self.next_trial = now.saturating_add(dwell);
        self.kind = incumbent;
        let than = if unbearable { "far worse" } else { "not better enough" };
        Some(Verdict {
            from,
            to: incumbent,
            reason: format!("{from} -> {incumbent}: {than}: {figures}; {incumbent} had {before}"),
        })
    }
}

#[cfg(test)]
mod tests;

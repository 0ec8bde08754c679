//! What weights should be, from what was observed of the members: numbers in, numbers out, no clock and no state but
//! its own.
//!
//! A member is measured whenever it has 30 more outcomes (before the first time its weight stays as it is set), and
//! measurements are smoothed. In a tier where all measured members report utilisation, weights are what they could
//! carry: successes a second ÷ (utilisation + failures ÷ successes), whatever was configured. Otherwise the weight as
//! set is multiplied by success rate ÷ mean latency. Either way the sum of the tier's weights stays, but for what the
//! bounds cut off: no weight leaves 0.1 to 10 times what was set. Nothing changes until one is off by more than a tenth.
//!
//! Source: gRPC A58 (weighted round robin by ORCA load reports), its error penalty 1 and its expiry after 3 minutes.

use std::fmt;

use crate::pool::Nanos;
use crate::pool::membership::Turnover;

/// Outcomes for one measurement.
const OUTCOMES: u64 = 30;
/// What a measurement weighs beside those before.
const SMOOTHING: f64 = 0.3;
/// After so long without a measurement, nothing is known.
const EXPIRY: Nanos = 180 * 1_000_000_000;
/// The least and the greatest factor.
const LEAST: f64 = 0.1;
const GREATEST: f64 = 10.0;
/// Factors are whole multiples of 1/so many: rotations over such weights are short.
const STEPS: f64 = 100.0;
/// How far off a factor is before factors change.
const THRESHOLD: f64 = 1.1;
/// How far off a factor is from what was last told before it is told again.
const NOTABLE: f64 = 1.25;
/// With many answers, a utilisation below says no more than that.
const IDLE: f64 = 0.01;

/// What was counted of a member since it exists.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Observed {
    /// Successes.
    pub successes: u64,
    /// Failures, overload included.
    pub failures: u64,
    /// Latencies of all successes together, ns.
    pub latency_sum: u64,
    /// Its utilisation, 1: all it can do, if it reports any.
    pub utilisation: Option<f32>,
}

/// A member's place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Weights are relative within a tier.
    pub tier: u8,
    /// Weight as set.
    pub weight: f64,
}

/// New factors.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// What each weight is to be multiplied by.
    pub factors: Vec<f64>,
    /// Those that moved far since they were last told, the furthest first.
    pub notable: Vec<Change>,
}

/// One factor that moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Which member's.
    pub index: usize,
    /// As it was last told.
    pub from: f64,
    /// As it is now.
    pub to: f64,
    /// What was observed.
    pub why: Measure,
}

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measure {
    /// Mean latency, ns; `None` without a success.
    latency: Option<f64>,
    /// Share of successes.
    success: f64,
    /// Utilisation, and what the member could carry, successes a second.
    load: Option<(f64, f64)>,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.latency {
            Some(latency) => write!(f, "{:.3} ms", latency / 1e6)?,
            None => f.write_str("no answer")?,
        }
        write!(f, ", {:.1} % failed", 100.0 * (1.0 - self.success))?;
        match self.load {
            Some((utilisation, capacity)) => write!(f, ", {utilisation:.2} used, good for {capacity:.1}/s"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Track {
    /// Where the measurement under way began.
    from: Observed,
    since: Nanos,
    measure: Option<(Measure, Nanos)>,
    factor: f64,
    told: f64,
}

impl Track {
    fn new(from: Observed, since: Nanos) -> Self {
        Self { from, since, measure: None, factor: 1.0, told: 1.0 }
    }

    fn observe(&mut self, seen: &Observed, now: Nanos) {
        self.measure = self.measure.filter(|(_, at)| now.saturating_sub(*at) <= EXPIRY);
        let successes = seen.successes.saturating_sub(self.from.successes);
        let failures = seen.failures.saturating_sub(self.from.failures);
        let elapsed = now.saturating_sub(self.since);
        let enough = successes + failures >= OUTCOMES && elapsed > 0;
        if !enough && elapsed <= EXPIRY {
            return;
        }
        let latency_sum = seen.latency_sum.saturating_sub(self.from.latency_sum);
        (self.from, self.since) = (*seen, now);
        if !enough {
            return; // what was seen so long ago is not of now
        }
        let all = (successes + failures) as f64;
        let fresh = Measure {
            latency: (successes > 0).then(|| latency_sum.max(1) as f64 / successes as f64),
            success: successes as f64 / all,
            load: seen.utilisation.map(|utilisation| {
                let used = f64::from(utilisation).max(IDLE);
                let penalty = failures as f64 / (successes as f64).max(1.0);
                (used, successes as f64 / (elapsed as f64 / 1e9) / (used + penalty))
            }),
        };
        let measure = self.measure.map_or(fresh, |(before, _)| before.with(fresh));
        self.measure = Some((measure, now));
    }
}

impl Measure {
    fn with(self, fresh: Self) -> Self {
        let mix = |before: f64, fresh: f64| before + (fresh - before) * SMOOTHING;
        Self {
            latency: match (self.latency, fresh.latency) {
                (Some(before), Some(fresh)) => Some(mix(before, fresh)),
                (before, fresh) => fresh.or(before),
            },
            success: mix(self.success, fresh.success),
            load: fresh.load.map(|(used, carried)| match self.load {
                Some((before, could)) => (mix(before, used), mix(could, carried)),
                None => (used, carried),
            }),
        }
    }

    /// How well the member does for each unit of weight as set.
    fn score(&self, by_load: bool, weight: f64) -> f64 {
        match self.load {
            Some((_, carried)) if by_load => carried / weight,
            _ => self.latency.map_or(0.0, |latency| self.success / latency),
        }
    }
}

/// The factors of a pool's weights, and what they follow from.
#[derive(Debug, Clone)]
pub struct Tuner {
    tracks: Vec<Track>,
}

impl Tuner {
    /// Factors of 1 for so many members, which are observed from now on.
    pub fn new(observed: &[Observed], now: Nanos) -> Self {
        Self { tracks: observed.iter().map(|seen| Track::new(*seen, now)).collect() }
    }

    /// Goes on where a member has come, of which so much was counted before, or gone.
    pub(crate) fn succeeded_by(&self, change: Turnover, new: impl FnOnce() -> Observed, now: Nanos) -> Self {
        Self { tracks: change.applied(&self.tracks, || Track::new(new(), now)) }
    }

    /// The factor of a member.
    pub fn factor(&self, index: usize) -> f64 {
        self.tracks.get(index).map_or(1.0, |track| track.factor)
    }

    /// Goes on with a member where another tuner is with it; its outcomes are counted on.
    pub fn adopt(&mut self, index: usize, other: &Self, place: usize) {
        if let (Some(track), Some(theirs)) = (self.tracks.get_mut(index), other.tracks.get(place)) {
            *track = *theirs;
        }
    }

    /// Takes in what was observed up to `now`; new factors, if any is off by more than the threshold. One place and
    /// one observation for each member.
    pub fn step(&mut self, places: &[Place], observed: &[Observed], now: Nanos) -> Option<Changes> {
        for (track, seen) in self.tracks.iter_mut().zip(observed) {
            track.observe(seen, now);
        }
        let factors = self.targets(places);
        let off = |(track, target): (&Track, &f64)| is_apart(track.factor, *target, THRESHOLD);
        if !self.tracks.iter().zip(&factors).any(off) {
            return None;
        }
        let mut notable = Vec::new();
        for (index, (track, to)) in self.tracks.iter_mut().zip(&factors).enumerate() {
            track.factor = *to;
            if places[index].weight > 0.0 && is_apart(track.told, *to, NOTABLE) {
                let why = track.measure.map(|(measure, _)| measure).unwrap_or_default();
                notable.push(Change { index, from: track.told, to: *to, why });
                track.told = *to;
            }
        }
        let distance = |change: &Change| (change.to / change.from).ln().abs();
        notable.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
        Some(Changes { factors, notable })
    }

    fn targets(&self, places: &[Place]) -> Vec<f64> {
        let mut factors = vec![1.0; self.tracks.len()];
        let mut order: Vec<usize> = (0..self.tracks.len()).filter(|index| places[*index].weight > 0.0).collect();
        order.sort_by_key(|index| places[*index].tier);
        for tier in order.chunk_by(|a, b| places[*a].tier == places[*b].tier) {
            let known = |index: &usize| Some((*index, self.tracks[*index].measure?.0));
            let measured: Vec<(usize, Measure)> = tier.iter().filter_map(known).collect();
            let by_load = measured.iter().all(|(_, measure)| measure.load.is_some());
            let score = |index: usize, measure: &Measure| measure.score(by_load, places[index].weight);
            let weights: f64 = measured.iter().map(|(index, _)| places[*index].weight).sum();
            let scores: f64 =
                measured.iter().map(|(index, measure)| places[*index].weight * score(*index, measure)).sum();
            if scores <= 0.0 {
                continue; // nobody is known, or nobody answers: then no one is better
            }
            for (index, measure) in &measured {
                let factor = score(*index, measure) * weights / scores;
                factors[*index] = (factor.clamp(LEAST, GREATEST) * STEPS).round() / STEPS;
            }
        }
        factors
    }
}

fn is_apart(a: f64, b: f64, ratio: f64) -> bool {
    a.max(b) > a.min(b) * ratio
}

#[cfg(test)]
mod tests;

//! A server: places, a line before them, and its troubles.
//!
//! Who comes first is served first, and how long a message takes is known when it comes. So is, therefore, when it will
//! be done: the earliest free place's time, or now, and the time of service (Lindley's recursion). A server needs no
//! events of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;

use crate::pool::{Nanos, Outcome};
use crate::simulate::REFUSAL;
use crate::simulate::spec::{ServerSpec, Trouble, TroubleKind};

/// What becomes of a message at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// When the answer comes, ns from the start; `Nanos::MAX`: never.
    pub(super) at: Nanos,
    pub(super) outcome: Outcome,
}

/// The server behind a destination, shared by all routers.
#[derive(Debug)]
pub(super) struct Server {
    spec: ServerSpec,
    /// When each place is free; empty: there are places for all.
    free: BinaryHeap<Reverse<Nanos>>,
    /// When those in line will be served; filled only where the line matters.
    line: VecDeque<Nanos>,
    minds_line: bool,
}

impl Server {
    pub(super) fn new(spec: ServerSpec) -> Self {
        let free = (0..spec.places.unwrap_or(0)).map(|_| Reverse(0)).collect();
        let minds_line = spec.troubles.iter().any(|trouble| matches!(trouble.kind, TroubleKind::Overloaded { .. }));
        Self { spec, free, line: VecDeque::new(), minds_line }
    }

    /// The answer to a message that comes at `now`, ns from the start. Times of calls never go back.
    pub(super) fn receive(&mut self, now: Nanos, rng: &mut fastrand::Rng) -> Answer {
        let (work, luck) = (self.spec.service.draw(rng), rng.f64());
        while self.line.front().is_some_and(|start| *start <= now) {
            self.line.pop_front();
        }
        for trouble in self.spec.troubles.iter().filter(|trouble| trouble.holds(now)) {
            match trouble.kind {
                TroubleKind::Dead => return Answer { at: Nanos::MAX, outcome: Outcome::Failure },
                TroubleKind::FailingFast(share) if luck < share => {
                    return Answer { at: now + REFUSAL, outcome: Outcome::Failure };
                }
                TroubleKind::Overloaded { line, retry_after } if self.line.len() > line => {
                    return Answer { at: now + REFUSAL, outcome: Outcome::Overloaded { retry_after } };
                }
                _ => {}
            }
        }
        let start = self.free.peek().map_or(now, |Reverse(free)| now.max(*free));
        let (mut factor, mut failing) = (1.0, 0.0f64);
        for trouble in self.spec.troubles.iter().filter(|trouble: &&Trouble| trouble.holds(start)) {
            match trouble.kind {
                TroubleKind::Slow(times) => factor *= times,
                TroubleKind::Failing(share) => failing = failing.max(share),
                _ => {}
            }
        }
        let done = start.saturating_add((work * factor) as Nanos).max(now + 1);
        if let Some(mut place) = self.free.peek_mut() {
            *place = Reverse(done);
        }
        if self.minds_line && start > now {
            self.line.push_back(start);
        }
        Answer { at: done, outcome: if luck < failing { Outcome::Failure } else { Outcome::Success } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::spec::{Service, Shape};

    fn server(places: Option<u32>, troubles: Vec<Trouble>) -> Server {
        let service = Service { mean: 1e6, shape: Shape::Constant };
        Server::new(ServerSpec { service, places, troubles })
    }

    fn always(kind: TroubleKind) -> Vec<Trouble> {
        vec![Trouble { kind, from: 0, until: Nanos::MAX, flapping: None }]
    }

    fn answers(mut server: Server, times: &[Nanos]) -> Vec<(Nanos, Outcome)> {
        let mut rng = fastrand::Rng::with_seed(1);
        times.iter().map(|at| server.receive(*at, &mut rng)).map(|answer| (answer.at, answer.outcome)).collect()
    }

    #[test]
    fn who_comes_first_is_served_first_at_as_many_places_as_there_are() {
        let times = [0, 0, 0, 500_000, 5_000_000];
        let done = |places| answers(server(places, vec![]), &times).into_iter().map(|answer| answer.0 / 100_000);
        assert!(done(Some(1)).eq([10, 20, 30, 40, 60]));
        assert!(done(Some(2)).eq([10, 10, 20, 20, 60]));
        assert!(done(None).eq([10, 10, 10, 15, 60]));
    }

    #[test]
    fn troubles_change_the_answer() {
        let (ok, failure) = (Outcome::Success, Outcome::Failure);
        let asks = Outcome::Overloaded { retry_after: Some(7) };
        let table = [
            (TroubleKind::Slow(3.0), vec![(3_000_000, ok), (6_000_000, ok), (9_000_000, ok)]),
            (TroubleKind::Failing(1.0), vec![(1_000_000, failure), (2_000_000, failure), (3_000_000, failure)]),
            (TroubleKind::FailingFast(1.0), vec![(REFUSAL, failure); 3]),
            (TroubleKind::Dead, vec![(Nanos::MAX, failure); 3]),
            (
                TroubleKind::Overloaded { line: 0, retry_after: Some(7) },
                vec![(1_000_000, ok), (2_000_000, ok), (REFUSAL, asks)],
            ),
        ];
        for (kind, expected) in table {
            assert_eq!(answers(server(Some(1), always(kind)), &[0, 0, 0]), expected, "{kind:?}");
        }
    }

    #[test]
    fn trouble_ends_when_it_is_over() {
        let mut troubles = always(TroubleKind::FailingFast(1.0));
        troubles[0].until = 1_000;
        let outcomes = answers(server(Some(1), troubles), &[999, 1_000]).into_iter().map(|answer| answer.1);
        assert!(outcomes.eq([Outcome::Failure, Outcome::Success]));
    }
}

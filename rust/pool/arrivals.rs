//! Who came to a pool that was in use, and when: they start slowly, while those who were there carry the load.

use crate::pool::membership::Turnover;
use crate::pool::{Nanos, Pool, PoolSpec};

/// By member: when it came; 0: it was there from the beginning. Empty where all were.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(Vec<Nanos>);

impl Arrivals {
    /// Of a pool that takes the place of another. A pool that is new, or has none of the other's members, has nobody who
    /// could carry the load meanwhile, so there nobody comes late.
    pub(crate) fn of(spec: &PoolSpec, before: Option<&Pool>, now: Nanos) -> Self {
        let place = |before: &Pool, id: &str| before.index_of(id);
        let Some(before) = before.filter(|pool| spec.members.iter().any(|one| place(pool, &one.id).is_some())) else {
            return Self::default();
        };
        let at = |id: &str| place(before, id).map_or(now, |index| before.arrivals().at(index).unwrap_or(0));
        let all: Vec<Nanos> = spec.members.iter().map(|member| at(&member.id)).collect();
        if all.iter().all(|at| *at == 0) { Self::default() } else { Self(all) }
    }

    /// Of a pool of which one member of so many has come or gone.
    pub(crate) fn succeeded_by(&self, members: usize, change: Turnover, now: Nanos) -> Self {
        let came_to_others = matches!(change, Turnover::Came) && members > 0;
        if self.0.is_empty() && !came_to_others {
            return Self::default();
        }
        let from_the_beginning = vec![0; if self.0.is_empty() { members } else { 0 }];
        let kept = if self.0.is_empty() { &from_the_beginning } else { &self.0 };
        Self(change.applied(kept, || if came_to_others { now } else { 0 }))
    }

    /// When the member came; `None`: it was there from the beginning.
    #[inline]
    pub(crate) fn at(&self, member: usize) -> Option<Nanos> {
        self.0.get(member).copied().filter(|at| *at != 0)
    }
}

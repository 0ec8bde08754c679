//! A pool's view as of now: when it is out of date, and who makes the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;

use crate::pool::eligible::Eligible;
use crate::pool::group::Served;
use crate::pool::standing::Standing;
use crate::pool::survey::Survey;
use crate::pool::{Nanos, Pool};

/// A view held for the time of one pick.
pub(crate) struct View {
    view: Guard<Option<Arc<Eligible>>>,
    /// Whether it is out of date and another thread is at work on the next.
    pub(crate) in_doubt: bool,
}

impl View {
    /// Never `None` after a pool is built.
    #[inline]
    pub(crate) fn eligible(&self) -> Option<&Eligible> {
        self.view.as_deref()
    }

    pub(crate) fn healthy_ratio(&self) -> f32 {
        self.view.as_ref().map_or(0.0, |view| view.healthy_ratio)
    }
}

/// A pool's view that its caller keeps beside the pool, so that a pick reads one shared pointer and not two.
#[derive(Debug)]
pub struct Seen(Arc<Eligible>);

impl Pool {
    /// The view as it was made last, in date or not.
    pub fn seen(&self) -> Option<Seen> {
        self.eligible.load_full().map(Seen)
    }

    /// Whether it is still the view that was made last.
    #[inline]
    pub fn is_last(&self, seen: &Seen) -> bool {
        seen.0.number == self.views.load(Ordering::Acquire) // acquire: with what changed before the view was made
    }

    /// What it shows, while it is in date.
    #[inline]
    pub(crate) fn shown<'s>(&self, seen: &'s Seen, now: Nanos) -> Option<&'s Eligible> {
        (self.is_last(seen) && self.is_current(&seen.0, now)).then_some(&*seen.0)
    }

    /// The view as of `now`. If it is out of date one thread rebuilds it, and the others go on with the old one, in
    /// doubt: they look at the live state of whom they pick.
    #[inline]
    pub(crate) fn view(&self, now: Nanos) -> View {
        let view = self.eligible.load();
        if view.as_ref().is_some_and(|view| self.is_current(view, now)) {
            View { view, in_doubt: false }
        } else {
            self.refresh(now)
        }
    }

    #[inline]
    fn is_current(&self, view: &Eligible, now: Nanos) -> bool {
        view.epoch == self.registry.epoch() && now < view.valid_until && !self.review_is_due(now)
    }

    /// Whether something other than a state of its members makes the view old.
    #[inline]
    fn review_is_due(&self, now: Nanos) -> bool {
        self.sweep.is_due(now) || self.adjusting_is_due(now) || self.switching_is_due(now)
    }

    #[cold]
    fn refresh(&self, now: Nanos) -> View {
        match self.rebuilding.try_lock() {
            Some(_rebuilding) => self.rebuild_if_due(now),
            None => View { view: self.eligible.load(), in_doubt: true },
        }
    }

    /// The view as of `now`, waited for.
    #[cold]
    pub(crate) fn fresh_view(&self, now: Nanos) -> View {
        let _rebuilding = self.rebuilding.lock();
        self.rebuild_if_due(now)
    }

    fn rebuild_if_due(&self, now: Nanos) -> View {
        if self.sweep.is_due(now) {
            self.sweep(now);
        }
        let adjusted = self.adjusting_is_due(now) && self.adjust(now);
        let switched = self.switching_is_due(now) && self.switch(now);
        if adjusted || switched {
            self.rebuild(now);
        }
        // Another thread may have been through here since the view was found out of date.
        if !self.eligible.load().as_ref().is_some_and(|view| self.is_current(view, now)) {
            self.rebuild(now);
        }
        View { view: self.eligible.load(), in_doubt: false }
    }

    pub(crate) fn rebuild(&self, now: Nanos) {
        let number = self.views.load(Ordering::Relaxed) + 1; // relaxed: `rebuilding` is held
        let next = Arc::new(Eligible::build(self, number, now));
        if let Some(stand) = self.registry.stand(self) {
            // What nobody changed, time did: at the deadline that ended the view before.
            let ended = |view: &Arc<Eligible>| view.valid_until.min(now);
            stand.note(next.standing, self.eligible.load().as_ref().map_or(now, ended));
        }
        self.eligible.store(Some(next));
        self.views.store(number, Ordering::Release);
    }

    /// Who serves at `now`.
    pub(crate) fn standing_at(&self, now: Nanos) -> Standing {
        let survey = Survey::of(self, now);
        Standing::of(self, &Served::of(self, &survey, &survey.serving(self, now), 0))
    }
}

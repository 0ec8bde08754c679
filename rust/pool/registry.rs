//! All destinations by id, shared by the pools of every generation.
//!
//! Every change of a destination's admin state, health or breaker bumps the epoch *after* it is made; a pool whose
//! view is of another epoch builds a new one before it picks. The bump releases and the pool's read acquires, so a
//! pool that sees the new epoch sees the change.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::balance::Cursor;
use crate::pool::destination::{Admin, Destination, Health};
use crate::pool::events::{EventKind, EventLog, Events};
use crate::pool::hot::Slot;
use crate::pool::shared::{Map, SharedError};
use crate::pool::standing::Stand;
use crate::pool::{Nanos, Pool};

/// Which rotation of a pool: rotations go on where they were when a pool's view is rebuilt or its configuration
/// reloaded, or its first destinations would be favoured each time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CursorKey {
    pub(crate) pool: Arc<str>,
    pub(crate) clearance: u8,
    pub(crate) tier: u8,
    /// Which list of the tier.
    pub(crate) list: u8,
}

/// A pool in use.
#[derive(Debug)]
struct Live {
    /// Weak, for a pool keeps its registry.
    pool: Weak<Pool>,
    stand: Arc<Stand>,
}

/// All destinations by id.
#[derive(Debug, Default)]
pub struct Registry {
    epoch: AtomicU64,
    destinations: RwLock<HashMap<Arc<str>, Arc<Destination>>>,
    /// The place given out last.
    slot: Mutex<Option<Slot>>,
    cursors: Mutex<HashMap<CursorKey, Arc<Cursor>>>,
    /// Those that left their pool and held a message then.
    leaving: Mutex<Vec<Arc<str>>>,
    /// The pools in use, by id. Changes of state look here; no pick does.
    live: RwLock<HashMap<Arc<str>, Live>>,
    /// Held while a destination is judged, so that two destinations cannot both be the one that may still be ejected.
    judging: Mutex<()>,
    log: EventLog,
    /// The file that holds destinations' state, if processes share it.
    shared: Option<Arc<Map>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty registry of destinations whose state lies in `map`.
    pub fn sharing(map: Arc<Map>) -> Arc<Self> {
        Arc::new(Self { shared: Some(map), ..Self::default() })
    }

    /// The file that processes share.
    #[inline]
    pub fn shared(&self) -> Option<&Arc<Map>> {
        self.shared.as_ref()
    }

    /// The destination of this id, made if need be (enabled, healthy; closed, or as other processes have it).
    ///
    /// # Errors
    /// The file that processes share has no room for it.
    pub fn get_or_insert(&self, id: &Arc<str>) -> Result<Arc<Destination>, SharedError> {
        if let Some(found) = self.get(id) {
            return Ok(found);
        }
        let mut destinations = self.destinations.write();
        if let Some(found) = destinations.get(id) {
            return Ok(Arc::clone(found));
        }
        let slot = match &self.shared {
            Some(map) => Slot::mapped(Map::place(map, id)?),
            None => self.next_slot(),
        };
        let new = Arc::new(Destination::new(Arc::clone(id), slot));
        destinations.insert(Arc::clone(id), Arc::clone(&new));
        Ok(new)
    }

    fn next_slot(&self) -> Slot {
        let mut last = self.slot.lock();
        let next = last.as_ref().map_or_else(Slot::new, Slot::next);
        *last = Some(next.clone());
        next
    }

    /// The destination of this id.
    pub fn get(&self, id: &str) -> Option<Arc<Destination>> {
        self.destinations.read().get(id).map(Arc::clone)
    }

    /// All destinations, by id.
    pub fn all(&self) -> Vec<Arc<Destination>> {
        let mut all: Vec<_> = self.destinations.read().values().map(Arc::clone).collect();
        all.sort_unstable_by(|a, b| a.id().cmp(b.id()));
        all
    }

    /// Makes a generation live: outcomes of leases from older pools no longer move breakers of these pools'
    /// destinations. Call it when the pools are in use; a pool that is reused keeps its generation, and its leases
    /// stay valid. Forgets the rotations of pools that are gone.
    pub fn publish<'a>(&self, pools: impl IntoIterator<Item = &'a Arc<Pool>>) {
        let pools: Vec<&Arc<Pool>> = pools.into_iter().collect();
        for pool in &pools {
            pool.members().iter().for_each(|member| member.destination().publish(pool.generation()));
        }
        let own: Vec<_> = pools.into_iter().filter(|pool| std::ptr::eq(&raw const **pool.registry(), self)).collect();
        let ids: HashSet<&Arc<str>> = own.iter().map(|pool| pool.id()).collect();
        self.cursors.lock().retain(|key, _| ids.contains(&key.pool));
        {
            let mut live = self.live.write();
            let before = std::mem::take(&mut *live);
            for pool in &own {
                let stand = before.get(pool.id()).map_or_else(Arc::default, |live| Arc::clone(&live.stand));
                live.insert(Arc::clone(pool.id()), Live { pool: Arc::downgrade(pool), stand });
            }
        }
        own.into_iter().for_each(|pool| self.look_at(pool, pool.built_at()));
    }

    /// The pool of this id that is in use.
    pub(crate) fn live(&self, pool: &str) -> Option<Arc<Pool>> {
        self.live.read().get(pool)?.pool.upgrade()
    }

    /// The standing of a pool, if it is the one in use.
    pub(crate) fn stand(&self, pool: &Pool) -> Option<Arc<Stand>> {
        let live = self.live.read();
        live.get(pool.id()).filter(|live| std::ptr::eq(live.pool.as_ptr(), pool)).map(|live| Arc::clone(&live.stand))
    }

    /// Takes note of who serves the pool.
    fn look_at(&self, pool: &Pool, now: Nanos) {
        if let Some(stand) = self.stand(pool) {
            stand.note(pool.standing_at(now), now);
        }
    }

    /// Forgets the destinations that are neither among `ids` nor hold a message.
    pub fn retain<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let ids: HashSet<&str> = ids.into_iter().collect();
        self.destinations.write().retain(|id, destination| ids.contains(&**id) || destination.in_flight() > 0);
    }

    /// Forgets a destination that has left its pool, as soon as it holds nothing; `stays` says of an id whether it is
    /// used after all. One that comes back before finds what it holds still counted.
    pub fn forget(&self, id: &str, stays: impl Fn(&str) -> bool) {
        let mut leaving = self.leaving.lock();
        leaving.push(Arc::from(id));
        let mut destinations = self.destinations.write();
        leaving.retain(|id| {
            let held = destinations.get(id).is_some_and(|destination| destination.in_flight() > 0);
            if !held && !stays(id) {
                destinations.remove(id);
            }
            held && !stays(id)
        });
    }

    /// Sets what the operator wants; the state before, or `None` if there is no such destination.
    pub fn set_admin(&self, id: &str, admin: Admin, reason: &'static str, now: Nanos) -> Option<Admin> {
        let destination = self.get(id)?;
        let before = destination.swap_admin(admin, now);
        if before != admin {
            self.changed(now, &destination, EventKind::Admin(admin), reason);
        }
        Some(before)
    }

    /// Sets what health checks say; the state before, or `None` if there is no such destination.
    pub fn set_health(&self, id: &str, health: Health, reason: &'static str, now: Nanos) -> Option<Health> {
        let destination = self.get(id)?;
        let before = destination.swap_health(health, now);
        if before != health {
            self.changed(now, &destination, EventKind::Health(health), reason);
        }
        Some(before)
    }

    /// Ends an ejection, pause or probation at an operator's word. Whether there was one; `None` if there is no such
    /// destination.
    pub fn recover(&self, id: &str, now: Nanos) -> Option<bool> {
        let destination = self.get(id)?;
        let was_out = destination.breaker().reset(now);
        if was_out {
            self.changed(now, &destination, EventKind::Recovered, "operator");
        }
        Some(was_out)
    }

    /// Takes a destination out at an operator's word, until then, in favour of `to` or of whoever else there is.
    /// `None` if there is no such destination.
    pub fn fail_over(&self, id: &str, to: Option<Arc<str>>, until: Nanos, now: Nanos) -> Option<()> {
        let destination = self.get(id)?;
        destination.aside().begin(until, to);
        self.changed(now, &destination, EventKind::FailedOver { until }, "operator");
        Some(())
    }

    /// Ends that, with a slow start or at once. Whether it was so; `None` if there is no such destination.
    pub fn fail_back(&self, id: &str, ramp: bool, now: Nanos) -> Option<bool> {
        let destination = self.get(id)?;
        let was_out = destination.aside().end(ramp, now);
        if was_out {
            self.changed(now, &destination, EventKind::FailedBack, "operator");
        }
        Some(was_out)
    }

    /// The events with a number above `seq`, of the last 1,024.
    pub fn events_since(&self, seq: u64) -> Events {
        self.log.since(seq)
    }

    /// What happened to the destinations.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Number of changes so far, by all who share them.
    #[inline]
    pub fn epoch(&self) -> u64 {
        // Acquire: whoever sees an epoch sees the changes before it.
        self.epochs().load(Ordering::Acquire)
    }

    #[inline]
    fn epochs(&self) -> &AtomicU64 {
        self.shared.as_ref().map_or(&self.epoch, |map| map.epoch())
    }

    /// Records a change that was made, and tells all pools.
    pub(crate) fn changed(
        &self,
        now: Nanos,
        destination: &Destination,
        kind: EventKind,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.noted(now, destination, kind, reason);
        // Release: publishes the change to whoever sees the new epoch.
        self.epochs().fetch_add(1, Ordering::Release);
        let has_it = |pool: &Arc<Pool>| pool.index_of(destination.id()).is_some();
        let concerned: Vec<Arc<Pool>> =
            self.live.read().values().filter_map(|live| live.pool.upgrade()).filter(has_it).collect();
        concerned.iter().for_each(|pool| self.look_at(pool, now));
    }

    /// Records what changes nothing for pools.
    pub(crate) fn noted(
        &self,
        now: Nanos,
        destination: &Destination,
        kind: EventKind,
        reason: impl Into<Cow<'static, str>>,
    ) {
        let reason = reason.into();
        destination.record().note(now, kind, reason.clone());
        self.log.add(now, destination.id(), kind, reason);
    }

    /// Records what concerns a pool as a whole.
    pub(crate) fn noted_of(&self, now: Nanos, pool: &Pool, kind: EventKind, reason: String) {
        self.log.add(now, pool.id(), kind, reason.into());
    }

    pub(crate) fn cursor(&self, key: CursorKey) -> Arc<Cursor> {
        Arc::clone(self.cursors.lock().entry(key).or_default())
    }

    /// Held while a destination is judged, by a thread of this process and one of all that share.
    pub(crate) fn judging(&self) -> impl Sized + '_ {
        (self.judging.lock(), self.shared.as_ref().map(|map| map.judging()))
    }
}

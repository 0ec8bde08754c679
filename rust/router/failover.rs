//! Manual failover and failback, by the name of a pool or of a destination.

use std::sync::Arc;

use super::Snapshot;
use crate::pool::{Nanos, Pool};

/// Why a failover or failback was refused; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailOverError {
    /// Neither a pool nor a destination.
    #[error("there is no pool and no destination {0:?}")]
    Unknown(String),
    /// Nobody to take over, or not the one named; with a remedy.
    #[error("{0}")]
    Nobody(String),
}

impl Snapshot {
    /// Takes destinations out of use at an operator's word, until then: the first tier of the pool of this name, or
    /// else the destination. Their messages go to `to` first, in pools that have it. Again: a new word replaces the one
    /// before. The ids of those that were taken out.
    ///
    /// # Errors
    /// [`FailOverError`], also where a pool would be left without a destination that an operator lets serve.
    pub fn fail_over(
        &self,
        name: &str,
        to: Option<&str>,
        until: Nanos,
        now: Nanos,
    ) -> Result<Vec<Arc<str>>, FailOverError> {
        let out = self.named(name, to)?;
        let concerned = || self.pools.iter().filter(|pool| out.iter().any(|id| pool.index_of(id).is_some()));
        let stays = |pool: &Pool, index: usize| {
            let id = pool.members()[index].id();
            !out.contains(id) && pool.may_serve(index, now)
        };
        if let Some(to) = to {
            let pools: Vec<&Arc<Pool>> = match self.pool_number(name) {
                Some(number) => vec![&self.pools[number]],
                None => concerned().collect(),
            };
            let takes_over = |pool: &&Arc<Pool>| pool.index_of(to).is_some_and(|index| stays(pool, index));
            if !pools.iter().any(takes_over) {
                return Err(FailOverError::Nobody(format!(
                    "{to:?} cannot take over from {name:?}: name another destination of the same pool that is enabled, \
                     has a weight and is not failed over itself"
                )));
            }
        }
        if out.is_empty() {
            return Err(FailOverError::Nobody(format!("{name:?} has no other destination to take out")));
        }
        for pool in concerned() {
            if !(0..pool.members().len()).any(|index| stays(pool, index)) {
                return Err(FailOverError::Nobody(format!(
                    "pool {:?} would be left without a destination; name one to take over, or drain or disable it",
                    pool.id()
                )));
            }
        }
        for id in &out {
            self.registry.fail_over(id, to.map(Arc::from), until, now);
        }
        Ok(out)
    }

    /// Ends the failover of the destinations of the pool of this name, or else of the destination; with `ramp` they
    /// start slowly. The ids of those that were failed over.
    ///
    /// # Errors
    /// [`FailOverError::Unknown`].
    pub fn fail_back(&self, name: &str, ramp: bool, now: Nanos) -> Result<Vec<Arc<str>>, FailOverError> {
        let all: Vec<Arc<str>> = match self.pool_number(name) {
            Some(number) => self.pools[number].members().iter().map(|member| Arc::clone(member.id())).collect(),
            None => self.named(name, None)?,
        };
        Ok(all.into_iter().filter(|id| self.registry.fail_back(id, ramp, now) == Some(true)).collect())
    }

    /// The destinations that are meant: those of the pool's first tier but `to`, or the destination of this name.
    fn named(&self, name: &str, to: Option<&str>) -> Result<Vec<Arc<str>>, FailOverError> {
        if let Some(number) = self.pool_number(name) {
            let members = self.pools[number].members();
            let first = members.iter().map(crate::pool::Member::tier).min();
            let meant = members.iter().filter(|member| Some(member.tier()) == first && to != Some(&**member.id()));
            return Ok(meant.map(|member| Arc::clone(member.id())).collect());
        }
        let known = self.home_pools.get_key_value(name).map(|(id, _)| vec![Arc::clone(id)]);
        known.ok_or_else(|| FailOverError::Unknown(name.to_owned()))
    }
}

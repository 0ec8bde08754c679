//! Weights that change while the pool is in use: set by an operator or whatever learns them. Where the pool adjusts
//! weights to what it observes (`adjust`), what is set here is multiplied by that.
//!
//! All weights of a call take effect at once: they are written and the pool's view is rebuilt under one lock, while
//! picks go on with the view before. Rotations go on from the turn they are at.
//!
//! Weights are numbers of any size, relative to each other. Policies work with whole shares: weights of up to six
//! decimals count exactly, and so have short rotations; others are rounded to 2^-20 of the greatest of the pool (and
//! never to 0).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::balance::Seat;
use crate::balance::maglev::Table;
use crate::error::PoolError;
use crate::pool::{Member, Nanos, Pool};

/// The greatest weight, and what weights that are not whole are scaled to.
const MOST: f64 = 1e12;
const SCALE: f64 = (1u32 << 20) as f64;

/// The shares of these weights: all 1 where all weights are 0.
pub(crate) fn shares(weights: &[f64]) -> Vec<u32> {
    let most = weights.iter().copied().fold(0.0, f64::max);
    if most == 0.0 {
        return vec![1; weights.len()];
    }
    // The usual case, without a call for each of them.
    if weights.iter().all(|weight| f64::from(*weight as u32) == *weight) {
        return weights.iter().map(|weight| *weight as u32).collect();
    }
    // 0.1 and its like are not exact in binary: off by less than this is off by writing.
    let is_whole = |weight: f64| (weight - weight.round()).abs() <= weight * 1e-9;
    let fits =
        |factor: &f64| most * factor <= f64::from(u32::MAX) && weights.iter().all(|weight| is_whole(weight * factor));
    let factor = (0..=6).map(|decimals| 10f64.powi(decimals)).find(fits).unwrap_or(SCALE / most);
    let share = |weight: f64| if weight == 0.0 { 0 } else { ((weight * factor).round() as u32).max(1) };
    weights.iter().map(|weight| share(*weight)).collect()
}

/// The table of each tier, over all members with a share.
pub(crate) fn tables(members: &[Member], shares: &[u32]) -> BTreeMap<u8, Arc<Table>> {
    let mut tiers: BTreeMap<u8, Vec<Seat>> = BTreeMap::new();
    for (member, share) in members.iter().zip(shares).filter(|(_, share)| **share > 0) {
        let seat = Seat { weight: *share, salt: member.destination().salt() };
        tiers.entry(member.tier).or_default().push(seat);
    }
    tiers.into_iter().map(|(tier, seats)| (tier, Arc::new(Table::build(&seats)))).collect()
}

impl Pool {
    /// Replaces the weights of these members, all at once; others keep theirs. 0: nothing new, unless all weights of
    /// the pool are 0 (then all are equal).
    ///
    /// O(members), and for `maglev` a new table; picks do not wait for it.
    ///
    /// # Errors
    /// [`PoolError`] for an id that is no member's, and a weight that is not a number from 0 to 10^12; nothing has
    /// changed then.
    pub fn set_weights<'a>(
        &self,
        weights: impl IntoIterator<Item = (&'a str, f64)>,
        now: Nanos,
    ) -> Result<(), PoolError> {
        let error = |problem: String| PoolError { pool: self.id().to_string(), problem };
        let _reweighing = self.reweighing.lock();
        let mut new: Vec<f64> = self.members().iter().map(Member::weight).collect();
        for (id, weight) in weights {
            let index = self.index_of(id).ok_or_else(|| error(format!("it has no destination {id:?}")))?;
            if !(0.0..=MOST).contains(&weight) {
                return Err(error(format!("destination {id:?}: weight {weight}; write a number from 0 to 10^12")));
            }
            new[index] = weight;
        }
        let effective: Vec<f64> =
            self.members().iter().zip(&new).map(|(member, weight)| weight * member.factor()).collect();
        let shares = shares(&effective);
        let tables = self.makes_tables().then(|| tables(self.members(), &shares));
        let _rebuilding = self.rebuilding.lock();
        for ((member, weight), share) in self.members().iter().zip(&new).zip(&shares) {
            member.set_weight(*weight, *share);
        }
        if let Some(tables) = tables {
            *self.tables.lock() = tables;
        }
        self.weigh_anew(now);
        self.rebuild(now);
        Ok(())
    }

    /// Takes over the weights that were set on the pool's predecessor, of members whose configured weight is the same:
    /// what the configuration did not change stays as it was set. And, where both adjust weights or choose their policy,
    /// what was observed.
    ///
    /// # Errors
    /// None in fact: the weights are those of a pool.
    pub fn adopt_weights(&self, predecessor: &Self, now: Nanos) -> Result<(), PoolError> {
        let adopted = |member: &Member| {
            let before = predecessor.member(predecessor.index_of(member.id())?)?;
            let set = before.configured() == member.configured() && before.weight() != f64::from(before.configured());
            set.then(|| (Arc::clone(member.id()), before.weight()))
        };
        let adopted: Vec<(Arc<str>, f64)> = self.members().iter().filter_map(adopted).collect();
        let adjusted = self.adopt_adjustment(predecessor);
        let chosen = self.adopt_choice(predecessor);
        if adopted.is_empty() && !adjusted && !chosen {
            return Ok(());
        }
        self.set_weights(adopted.iter().map(|(id, weight)| (&**id, *weight)), now)
    }

    /// The table of a tier, for policies that have one.
    pub(crate) fn table(&self, tier: u8) -> Option<Arc<Table>> {
        self.tables.lock().get(&tier).map(Arc::clone)
    }

    pub(crate) fn makes_tables(&self) -> bool {
        self.policy() == crate::balance::PolicyKind::Maglev
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_few_decimals_are_exact_and_others_are_scaled() {
        // Weights, shares.
        let table: [(&[f64], &[u32]); 8] = [
            (&[3.0, 1.0, 0.0], &[3, 1, 0]),
            (&[0.0, 0.0], &[1, 1]),
            (&[0.5, 0.25], &[50, 25]),
            (&[0.1, 0.2, 0.7], &[1, 2, 7]),
            (&[2.0 / 3.0, 1.0 / 3.0], &[1 << 20, 1 << 19]),
            (&[1.5, 0.0, 1e-9], &[1 << 20, 0, 1]),
            (&[1e12, 5e11], &[1 << 20, 1 << 19]),
            (&[], &[]),
        ];
        for (weights, expected) in table {
            assert_eq!(shares(weights), expected, "{weights:?}");
        }
    }
}

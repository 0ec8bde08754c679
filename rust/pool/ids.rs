//! Where in a pool a destination is, by its id.
//!
//! Numbers alone, by the hash of the id: to copy it for a pool of one member more or less costs a few µs, where a map
//! of ids would count a reference for each. Found in O(log members).

use crate::balance::hash::xxh64;
use crate::pool::Member;

/// Hashes of ids with indices of members, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Ids(Vec<(u64, u32)>);

impl Ids {
    pub(crate) fn of(members: &[Member]) -> Self {
        let mut all: Vec<(u64, u32)> = members.iter().zip(0..).map(|(member, index)| (member.salt(), index)).collect();
        all.sort_unstable();
        Self(all)
    }

    /// The index of the member with this id.
    pub(crate) fn find(&self, id: &str, members: &[Member]) -> Option<usize> {
        let hash = xxh64(id.as_bytes());
        let from = self.0.partition_point(|(other, _)| *other < hash);
        let alike = self.0[from..].iter().take_while(|(other, _)| *other == hash);
        alike.map(|(_, index)| *index as usize).find(|index| members.get(*index).is_some_and(|one| **one.id() == *id))
    }

    /// These, and one of this hash behind all others.
    pub(crate) fn with(&self, hash: u64) -> Self {
        let new = (hash, self.0.len() as u32);
        let mut all = Vec::with_capacity(self.0.len() + 1);
        let place = self.0.partition_point(|one| *one < new);
        all.extend_from_slice(&self.0[..place]);
        all.push(new);
        all.extend_from_slice(&self.0[place..]);
        Self(all)
    }

    /// These but for one; those behind it move up.
    pub(crate) fn without(&self, gone: usize) -> Self {
        let left = self.0.iter().filter(|(_, index)| *index as usize != gone);
        Self(left.map(|(hash, index)| (*hash, index - u32::from(*index as usize > gone))).collect())
    }
}

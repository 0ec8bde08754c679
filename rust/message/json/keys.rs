//! The keys of one object, to tell one that comes twice.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

/// So many keys are compared one by one: most objects have fewer, and need no memory of their own then.
const FEW: usize = 8;

/// What keys an object may have.
pub(super) trait Keys<'m>: Default {
    /// Whether keys are remembered at all.
    const STRICT: bool;
    /// Whether the key comes for the first time.
    fn is_new(&mut self, key: Cow<'m, [u8]>) -> bool;
}

/// Any: of a key that comes twice the last one counts.
#[derive(Debug, Default)]
pub(super) struct AnyKeys;

impl<'m> Keys<'m> for AnyKeys {
    const STRICT: bool = false;

    fn is_new(&mut self, _: Cow<'m, [u8]>) -> bool {
        true
    }
}

/// The keys of an object so far. A new key costs O(1), whoever wrote the message: the hash is keyed at random.
#[derive(Debug, Default)]
pub(super) struct Seen<'m> {
    few: SmallVec<[Cow<'m, [u8]>; FEW]>,
    /// All keys, once there are more than a few.
    many: Option<HashSet<Cow<'m, [u8]>>>,
}

impl<'m> Keys<'m> for Seen<'m> {
    const STRICT: bool = true;

    fn is_new(&mut self, key: Cow<'m, [u8]>) -> bool {
        if let Some(many) = &mut self.many {
            return many.insert(key);
        }
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() == FEW {
            let mut many: HashSet<_> = self.few.drain(..).collect();
            many.insert(key);
            self.many = Some(many);
        } else {
            self.few.push(key);
        }
        true
    }
}

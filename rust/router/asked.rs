//! What a message asks of every pool it may go to: its classification, and its key where a pool goes by key.

use super::{Snapshot, Target};
use crate::balance::hash::xxh64;
use crate::error::ReadError;
use crate::message::value::Value;
use crate::message::{Fields, Read};

/// What a message asks of the pools of its route.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The message's classification, a position in [`CLASSIFICATIONS`](super::CLASSIFICATIONS).
    pub classification: u8,
    /// By position among the target's pools, the hash of the message's key for that pool. Empty, or shorter than the
    /// target's pools, where those that follow have none.
    pub keys: Box<[Option<u64>]>,
}

impl Snapshot {
    /// What the message asks of the pools of `target`; of none where custom rules are yet to name one.
    ///
    /// # Errors
    /// [`ReadError`] on a classification that is none, or a key that cannot be read.
    pub fn asked<'m>(&'m self, message: &dyn Fields<'m>, target: Option<&Target>) -> Result<Asked, ReadError> {
        let classification = self.classification(message)?;
        let Some(Target::Pools(pools, _)) = target else { return Ok(Asked { classification, keys: Box::default() }) };
        if pools.iter().all(|pool| self.keys[*pool].is_none()) {
            return Ok(Asked { classification, keys: Box::default() });
        }
        let key = |pool: &usize| match self.keys[*pool] {
            Some(field) => Ok::<_, ReadError>(hash_of(&message.read(field)?)),
            None => Ok(None),
        };
        Ok(Asked { classification, keys: pools.iter().map(key).collect::<Result<_, _>>()? })
    }
}

/// The hash of a key: text, bytes and integers are keys, anything else is none.
fn hash_of(read: &Read<'_>) -> Option<u64> {
    let Read::Value(value) = read else { return None };
    match value {
        Value::Text(text) => Some(xxh64(text.as_str().as_bytes())),
        Value::Bytes(bytes) => Some(xxh64(bytes)),
        Value::Int(number) => Some(xxh64(number.to_string().as_bytes())),
        Value::Uint(number) => Some(xxh64(number.to_string().as_bytes())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bytes_and_integers_are_keys_and_equal_ones_hash_alike() {
        let hash = |value: Value<'static>| hash_of(&Read::Value(value));
        let known = Some(xxh64(b"42"));
        for value in [Value::text("42"), Value::bytes(*b"42"), 42_i64.into(), 42_u64.into()] {
            assert_eq!(hash(value), known);
        }
        for value in [Value::Null, true.into(), 42.0.into(), Value::list(vec![])] {
            assert_eq!(hash(value), None);
        }
        assert_eq!(hash_of(&Read::Absent), None);
    }
}

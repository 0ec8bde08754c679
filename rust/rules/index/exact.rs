//! Equality, membership and bools: one key for each value.
//!
//! Values that CEL calls equal have the same hash: numbers are hashed as doubles across int, uint and double. Lists and
//! maps are told apart only as such. NaN equals nothing, so its hash does not matter.

use super::table::{mix, mix_bytes};
use crate::message::value::Value;

/// The key of a value under the seed of its field.
pub(super) fn key(seed: u64, value: &Value<'_>) -> u64 {
    match value {
        Value::Text(text) => mix_bytes(seed, text.as_str().as_bytes()),
        Value::Int(number) => number_key(seed, *number as f64),
        Value::Uint(number) => number_key(seed, *number as f64),
        Value::Double(number) => number_key(seed, *number),
        Value::Null => mix(seed ^ 1, 0),
        Value::Bool(flag) => mix(seed ^ 2, u64::from(*flag)),
        Value::Bytes(bytes) => mix_bytes(seed ^ 3, bytes),
        Value::Timestamp(time) => mix(seed ^ 4, time.nanos() as u64),
        Value::Duration(span) => mix(seed ^ 5, span.as_nanos() as u64),
        Value::Type(name) => mix_bytes(seed ^ 6, name.as_bytes()),
        Value::List(_) => mix(seed ^ 7, 0),
        Value::Map(_) => mix(seed ^ 8, 0),
    }
}

fn number_key(seed: u64, number: f64) -> u64 {
    // Adding a positive zero makes the negative one positive: they are equal.
    mix(seed ^ 9, (number + 0.0).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_has_the_same_key() {
        let values = [
            Value::Int(1),
            Value::Uint(1),
            Value::Double(1.0),
            Value::Double(-0.0),
            Value::Int(0),
            Value::Int(i64::MAX),
            Value::Double(9_223_372_036_854_775_808.0),
            Value::Uint(1 << 63),
            Value::Bool(true),
            Value::Null,
            Value::text("1"),
            Value::text("a"),
            Value::shared_text("a"),
            Value::bytes(*b"a"),
            Value::list(vec![Value::Int(1)]),
            Value::list(vec![Value::Double(1.0)]),
            Value::map(vec![]),
        ];
        for one in &values {
            for other in &values {
                if one.equals(other) {
                    assert_eq!(key(3, one), key(3, other), "{one:?} {other:?}");
                }
            }
        }
        assert_ne!(key(3, &Value::Int(1)), key(3, &Value::Bool(true)));
        assert_ne!(key(3, &Value::Int(1)), key(4, &Value::Int(1)));
    }
}

//! CEL's equality and order.
//!
//! Values of different types are unequal, but numbers are compared by value across int, uint and double. A
//! double is compared with an integer *as a double* (so `9223372036854775807 == 9223372036854775808.0`), as the
//! CEL specification's conformance suite asks; between integers the comparison is exact. Who hashes numbers
//! must therefore hash them as doubles and compare what falls together. NaN equals nothing, itself included.
//!
//! Equality walks containers with a stack of its own, so depth costs memory, never the thread's stack; maps
//! are compared by lookup, O(n log n).

use std::cmp::Ordering;

use super::{Map, Value};

/// Two values of types that CEL does not order, such as `null < null` or `"a" < 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoOrder;

impl<'m> Value<'m> {
    /// CEL's heterogeneous equality. Never an error.
    pub fn equals(&self, other: &Value<'_>) -> bool {
        let mut unbounded = usize::MAX;
        self.equals_within(other, &mut unbounded).unwrap_or(false)
    }

    /// [`Value::equals`], at one step for each 16 bytes and each element compared; `None` if `steps` run out.
    ///
    /// An expression can build values that share their parts, so that a small value has exponentially many
    /// elements: only a budget bounds the time to compare them.
    pub fn equals_within(&self, other: &Value<'_>, steps: &mut usize) -> Option<bool> {
        match (self, other) {
            (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => containers_equal(self, other, steps),
            _ => scalars_equal(self, other, steps),
        }
    }

    /// CEL's order: `Ok(None)` where a NaN is compared, which is neither less nor more nor equal.
    ///
    /// # Errors
    /// [`NoOrder`] for types that have none: null, lists, maps, types, and two different types that are not
    /// both numbers.
    pub fn compare(&self, other: &Value<'_>) -> Result<Option<Ordering>, NoOrder> {
        Ok(Some(match (self, other) {
            (Value::Int(one), Value::Int(other)) => one.cmp(other),
            (Value::Text(one), Value::Text(other)) => one.as_str().cmp(other.as_str()),
            (Value::Uint(one), Value::Uint(other)) => one.cmp(other),
            (Value::Int(one), Value::Uint(other)) => i128::from(*one).cmp(&i128::from(*other)),
            (Value::Uint(one), Value::Int(other)) => i128::from(*one).cmp(&i128::from(*other)),
            (Value::Double(one), Value::Double(other)) => return Ok(one.partial_cmp(other)),
            (Value::Int(one), Value::Double(other)) => return Ok((*one as f64).partial_cmp(other)),
            (Value::Double(one), Value::Int(other)) => return Ok(one.partial_cmp(&(*other as f64))),
            (Value::Uint(one), Value::Double(other)) => return Ok((*one as f64).partial_cmp(other)),
            (Value::Double(one), Value::Uint(other)) => return Ok(one.partial_cmp(&(*other as f64))),
            (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
            (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
            (Value::Timestamp(one), Value::Timestamp(other)) => one.cmp(other),
            (Value::Duration(one), Value::Duration(other)) => one.cmp(other),
            _ => return Err(NoOrder),
        }))
    }
}

fn scalars_equal(one: &Value<'_>, other: &Value<'_>, steps: &mut usize) -> Option<bool> {
    Some(match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::Type(one), Value::Type(other)) => one == other,
        (Value::Text(one), Value::Text(other)) => {
            let (one, other) = (one.as_str(), other.as_str());
            one.len() == other.len() && pay(steps, one.len() / 16)? && one == other
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            one.len() == other.len() && pay(steps, one.len() / 16)? && one == other
        }
        _ => one.compare(other) == Ok(Some(Ordering::Equal)),
    })
}

/// Takes `cost` from `steps`; `None` if they run out.
fn pay(steps: &mut usize, cost: usize) -> Option<bool> {
    *steps = steps.checked_sub(cost)?;
    Some(true)
}

fn containers_equal(one: &Value<'_>, other: &Value<'_>, steps: &mut usize) -> Option<bool> {
    let mut open = vec![(one, other)];
    while let Some((one, other)) = open.pop() {
        match (one, other) {
            (Value::List(one), Value::List(other)) => {
                if one.len() != other.len() {
                    return Some(false);
                }
                pay(steps, one.len())?;
                for pair in one.iter().zip(other.iter()) {
                    if !equal_or_open(pair, &mut open, steps)? {
                        return Some(false);
                    }
                }
            }
            (Value::Map(one), Value::Map(other)) => {
                if one.len() != other.len() {
                    return Some(false);
                }
                pay(steps, one.len())?;
                for pair in one.entries().iter().map(|(key, value)| Some((value, Map::get(other, key)?))) {
                    let Some(pair) = pair else { return Some(false) };
                    if !equal_or_open(pair, &mut open, steps)? {
                        return Some(false);
                    }
                }
            }
            _ => return Some(false),
        }
    }
    Some(true)
}

/// Compares two scalars at once, and puts two containers of one kind off.
fn equal_or_open<'a, 'b, 'm, 'n>(
    pair: (&'a Value<'m>, &'b Value<'n>),
    open: &mut Vec<(&'a Value<'m>, &'b Value<'n>)>,
    steps: &mut usize,
) -> Option<bool> {
    match pair {
        (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => {
            open.push(pair);
            Some(true)
        }
        (one, other) => scalars_equal(one, other, steps),
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{Equal, Greater, Less};

    use jiff::SignedDuration;

    use super::*;
    use crate::message::value::{Key, Timestamp};

    #[test]
    fn order_is_that_of_cel() {
        let table: [(Value<'_>, Value<'_>, Result<Option<Ordering>, NoOrder>); 18] = [
            (Value::Int(1), Value::Int(2), Ok(Some(Less))),
            (Value::Int(-1), Value::Uint(0), Ok(Some(Less))),
            (Value::Uint(u64::MAX), Value::Int(i64::MAX), Ok(Some(Greater))),
            (Value::Int(1), Value::Double(1.0), Ok(Some(Equal))),
            (Value::Int(i64::MAX), Value::Double(9_223_372_036_854_775_808.0), Ok(Some(Equal))),
            (Value::Uint(1), Value::Double(0.5), Ok(Some(Greater))),
            (Value::Double(-0.0), Value::Double(0.0), Ok(Some(Equal))),
            (Value::Double(f64::NAN), Value::Int(1), Ok(None)),
            (Value::Double(f64::NAN), Value::Double(f64::NAN), Ok(None)),
            (Value::text("a"), Value::text("b"), Ok(Some(Less))),
            (Value::text("1"), Value::Int(1), Err(NoOrder)),
            (Value::Bool(false), Value::Bool(true), Ok(Some(Less))),
            (Value::bytes(*b"b"), Value::bytes(*b"ab"), Ok(Some(Greater))),
            (Value::Null, Value::Null, Err(NoOrder)),
            (Value::list(vec![]), Value::list(vec![]), Err(NoOrder)),
            (Value::map(vec![]), Value::map(vec![]), Err(NoOrder)),
            (Value::Timestamp(Timestamp::MIN), Value::Timestamp(Timestamp::MAX), Ok(Some(Less))),
            (Value::Duration(SignedDuration::ZERO), Value::Int(0), Err(NoOrder)),
        ];
        for (one, other, expected) in table {
            assert_eq!(one.compare(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.compare(&one), expected.map(|o| o.map(Ordering::reverse)), "{other:?} {one:?}");
        }
    }

    #[test]
    fn different_types_are_unequal_and_numbers_equal_by_value() {
        let list = |items: &[Value<'static>]| Value::list(items.to_vec());
        let table = [
            (Value::Null, Value::Null, true),
            (Value::Null, Value::Bool(false), false),
            (Value::Int(1), Value::Bool(true), false),
            (Value::Int(1), Value::text("1"), false),
            (Value::text("a"), Value::bytes(*b"a"), false),
            (Value::Double(f64::NAN), Value::Double(f64::NAN), false),
            (list(&[Value::Int(1)]), list(&[Value::Double(1.0)]), true),
            (list(&[Value::Int(1)]), list(&[Value::Int(1), Value::Null]), false),
            (list(&[]), Value::map(vec![]), false),
            (list(&[list(&[])]), list(&[Value::map(vec![])]), false),
            (list(&[Value::Double(f64::NAN)]), list(&[Value::Double(f64::NAN)]), false),
            (
                Value::map(vec![(Key::Int(1), Value::Int(2)), (Key::Bool(true), Value::Null)]),
                Value::map(vec![(Key::Bool(true), Value::Null), (Key::Uint(1), Value::Double(2.0))]),
                true,
            ),
            (Value::map(vec![(Key::Int(1), Value::Int(2))]), Value::map(vec![(Key::Int(2), Value::Int(2))]), false),
        ];
        for (one, other, expected) in table {
            assert_eq!(one.equals(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.equals(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn comparing_values_that_share_their_parts_ends_with_the_steps() {
        let mut value = Value::Int(1);
        for _ in 0..60 {
            value = Value::list(vec![value.clone(), value]); // 2^60 elements in 60 lists
        }
        assert_eq!(value.equals_within(&value.clone(), &mut 10_000), None);
    }
}

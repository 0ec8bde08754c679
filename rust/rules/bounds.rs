//! Two comparisons that bound one field, as in `message.total >= 10 && message.total < 20`: one test of both bounds.
//!
//! The bounds of one test are looked up as one range, and a rule of two comparisons takes the memory of one.

use std::cmp::Ordering;
use std::sync::Arc;

use super::condition::{Asked, Bounds, Comparison, Condition, Predicate, Test};
use super::index;
use crate::message::path::FieldTable;
use crate::message::value::Value;

/// Bounds that stand further apart than this are two tests: joining must not take the square of a long rule.
const NEAR: usize = 64;

/// Replaces pairs among `parts`, all of which must hold. CEL's comparisons alone: a list of which a pattern compares the
/// elements may meet either bound with another of them.
pub(super) fn join(parts: &mut Vec<Condition>, table: &FieldTable) {
    let mut at = 0;
    while at < parts.len() {
        let mut later = at + 1..parts.len().min(at + NEAR);
        if let Some((other, both)) = later.find_map(|other| Some((other, joined(&parts[at], &parts[other], table)?))) {
            parts[at] = Condition::Predicate(Arc::new(both));
            parts.remove(other);
        }
        at += 1;
    }
}

/// The one test that holds where both of these do, if there is such a test.
fn joined(one: &Condition, other: &Condition, table: &FieldTable) -> Option<Predicate> {
    let (one, sign, constant) = comparison(one)?;
    let (other, other_sign, other_constant) = comparison(other)?;
    if one.field != other.field {
        return None;
    }
    let (lower, upper, turned) = match (is_lower(sign), is_lower(other_sign)) {
        (true, false) => ((sign, constant), (other_sign, other_constant), false),
        (false, true) => ((other_sign, other_constant), (sign, constant), true),
        _ => return None,
    };
    let includes_lower = lower.0 == Comparison::GreaterOrEqual;
    let includes_upper = upper.0 == Comparison::LessOrEqual;
    // Values of one axis alone have a range that can be looked up.
    let same_axis = index::place(lower.1)?.0 == index::place(upper.1)?.0;
    let holds_for_some = match lower.1.compare(upper.1).ok()?? {
        Ordering::Less => true,
        Ordering::Equal => includes_lower && includes_upper,
        Ordering::Greater => false,
    };
    if !same_axis || !holds_for_some {
        return None;
    }
    let bounds = Bounds { lower: lower.1.clone(), includes_lower, upper: upper.1.clone(), includes_upper };
    let source = (turned || one.source.is_some() || other.source.is_some())
        .then(|| format!("{} && {}", one.source(table), other.source(table)).into());
    Some(Predicate { test: Test::Between(Box::new(bounds)), source, ..one.clone() })
}

fn is_lower(sign: Comparison) -> bool {
    matches!(sign, Comparison::Greater | Comparison::GreaterOrEqual)
}

fn comparison(part: &Condition) -> Option<(&Predicate, Comparison, &Value<'static>)> {
    match part {
        Condition::Predicate(predicate) => match &predicate.test {
            Test::Compares(sign, constant) if predicate.asked == Asked::True && !predicate.elements => {
                Some((predicate, *sign, constant))
            }
            _ => None,
        },
        _ => None,
    }
}

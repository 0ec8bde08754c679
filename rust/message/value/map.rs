//! Maps in the order they were written, found by key.
//!
//! Up to eight entries a lookup compares keys one by one; beyond that it is a binary search in an index
//! sorted once, when the map is made. Sorting rather than hashing: hostile keys cannot make it slow.

use std::cmp::Ordering;
use std::fmt;

use super::{Text, Value};

/// Up to so many entries, comparing all keys is no slower than searching an index.
const LINEAR: usize = 8;

/// A map's key. Numbers that are equal are the same key (CEL: `{1: "a"}[1u]`, `{1: "a"}[1.0]`).
#[derive(Debug, Clone)]
pub enum Key<'m> {
    /// Text, the only key JSON has.
    Text(Text<'m>),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// `true` or `false`.
    Bool(bool),
}

impl<'m> Key<'m> {
    /// The key that `value` looks up: doubles without a fraction are integers. `None` for what is never a key.
    pub fn lookup(value: &Value<'m>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Key::Text(text.clone())),
            Value::Int(value) => Some(Key::Int(*value)),
            Value::Uint(value) => Some(Key::Uint(*value)),
            Value::Bool(value) => Some(Key::Bool(*value)),
            Value::Double(value) => whole(*value),
            _ => None,
        }
    }

    /// The key as a value, as a comprehension over the map sees it.
    pub fn to_value(&self) -> Value<'m> {
        match self {
            Key::Text(text) => Value::Text(text.clone()),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::Bool(value) => Value::Bool(*value),
        }
    }

    /// The same key, borrowed from nothing.
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Key::Text(text) => Key::Text(text.into_owned()),
            Key::Int(value) => Key::Int(value),
            Key::Uint(value) => Key::Uint(value),
            Key::Bool(value) => Key::Bool(value),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Bool(_) => 0,
            Key::Int(_) | Key::Uint(_) => 1,
            Key::Text(_) => 2,
        }
    }

    fn number(&self) -> i128 {
        match self {
            Key::Int(value) => i128::from(*value),
            Key::Uint(value) => i128::from(*value),
            Key::Bool(value) => i128::from(*value),
            Key::Text(_) => 0,
        }
    }
}

/// The integer that `value` is exactly, as a key.
fn whole<'m>(value: f64) -> Option<Key<'m>> {
    // The bounds are powers of two, so exact as doubles; `i64::MAX as f64` would round up beyond the range.
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    const TWO_64: f64 = 18_446_744_073_709_551_616.0;
    if value.fract() != 0.0 {
        return None; // NaN and the infinities too: their fraction is NaN
    }
    if (-TWO_63..TWO_63).contains(&value) {
        Some(Key::Int(value as i64))
    } else if (TWO_63..TWO_64).contains(&value) {
        Some(Key::Uint(value as u64))
    } else {
        None
    }
}

/// An order in which equal keys stand together: bools, numbers by value, text by its bytes.
impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Text(one), Key::Text(other)) => one.as_str().cmp(other.as_str()),
            _ => self.rank().cmp(&other.rank()).then_with(|| self.number().cmp(&other.number())),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Text(text) => write!(f, "{:?}", text.as_str()),
            Key::Int(value) => write!(f, "{value}"),
            Key::Uint(value) => write!(f, "{value}u"),
            Key::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// A map whose keys all differ. Never changed once made.
#[derive(Debug, Clone, Default)]
pub struct Map<'m> {
    entries: Box<[(Key<'m>, Value<'m>)]>,
    /// Numbers of the entries in the order of their keys; empty up to [`LINEAR`] entries.
    sorted: Box<[u32]>,
}

impl<'m> Map<'m> {
    /// A map of these entries, in this order. Of entries with equal keys the last one's value holds, in the
    /// first one's place, as in Python and in most JSON parsers. O(n log n).
    pub fn new(entries: Vec<(Key<'m>, Value<'m>)>) -> Self {
        match Self::distinct(entries) {
            Ok(map) => map,
            Err(entries) => Self::distinct(last_of_each(entries)).unwrap_or_default(),
        }
    }

    /// A map of these entries, in this order, or the entries back if two keys are equal. O(n log n).
    pub fn distinct(entries: Vec<(Key<'m>, Value<'m>)>) -> Result<Self, Vec<(Key<'m>, Value<'m>)>> {
        if entries.len() <= LINEAR {
            for (at, (key, _)) in entries.iter().enumerate() {
                if entries[..at].iter().any(|(earlier, _)| earlier == key) {
                    return Err(entries);
                }
            }
            return Ok(Self { entries: entries.into(), sorted: Box::default() });
        }
        let sorted = by_key(&entries);
        if sorted.windows(2).any(|pair| entries[pair[0] as usize].0 == entries[pair[1] as usize].0) {
            return Err(entries);
        }
        Ok(Self { entries: entries.into(), sorted })
    }

    /// The entries, in the order they were written.
    pub fn entries(&self) -> &[(Key<'m>, Value<'m>)] {
        &self.entries
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value under `key`.
    pub fn get(&self, key: &Key<'_>) -> Option<&Value<'m>> {
        self.find(|candidate| candidate.cmp(key))
    }

    /// The value under the text `key`.
    pub fn get_str(&self, key: &str) -> Option<&Value<'m>> {
        self.find(|candidate| match candidate {
            Key::Text(text) => text.as_str().cmp(key),
            _ => Ordering::Less, // text is last in the order of keys
        })
    }

    fn find(&self, order: impl Fn(&Key<'m>) -> Ordering) -> Option<&Value<'m>> {
        if self.sorted.is_empty() {
            return self.entries.iter().find(|(key, _)| order(key) == Ordering::Equal).map(|(_, value)| value);
        }
        let at = self.sorted.binary_search_by(|&entry| order(&self.entries[entry as usize].0)).ok()?;
        Some(&self.entries[self.sorted[at] as usize].1)
    }

    /// The same map, borrowed from nothing.
    pub(super) fn to_owned_map(&self) -> Map<'static> {
        Map {
            entries: self.entries.iter().map(|(k, v)| (k.clone().into_owned(), v.clone().into_owned())).collect(),
            sorted: self.sorted.clone(),
        }
    }
}

/// The numbers of the entries in the order of their keys, equal keys in the order they were written.
fn by_key(entries: &[(Key<'_>, Value<'_>)]) -> Box<[u32]> {
    // A message or rule with 2^32 entries would not fit in memory: an entry takes more than 32 bytes.
    let mut sorted: Box<[u32]> = (0..entries.len() as u32).collect();
    sorted.sort_by(|&one, &other| entries[one as usize].0.cmp(&entries[other as usize].0));
    sorted
}

/// One entry for each key: at the first one's place, with the last one's value.
fn last_of_each<'m>(mut entries: Vec<(Key<'m>, Value<'m>)>) -> Vec<(Key<'m>, Value<'m>)> {
    let sorted = by_key(&entries);
    let mut kept = vec![true; entries.len()];
    let mut start = 0;
    while start < sorted.len() {
        let first = sorted[start] as usize;
        let mut end = start + 1;
        while end < sorted.len() && entries[sorted[end] as usize].0 == entries[first].0 {
            kept[sorted[end] as usize] = false;
            end += 1;
        }
        let last = sorted[end - 1] as usize;
        if last != first {
            entries[first].1 = std::mem::replace(&mut entries[last].1, Value::Null);
        }
        start = end;
    }
    let mut kept = kept.into_iter();
    entries.retain(|_| kept.next().unwrap_or(true));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str) -> Key<'_> {
        Key::Text(Text::Borrowed(key))
    }

    #[test]
    fn equal_numbers_are_one_key() {
        let map = Map::new(vec![(Key::Int(1), "one".into()), (Key::Uint(u64::MAX), "max".into())]);
        let table: [(Value<'_>, Option<&str>); 9] = [
            (Value::Int(1), Some("one")),
            (Value::Uint(1), Some("one")),
            (Value::Double(1.0), Some("one")),
            (Value::Double(1.5), None),
            (Value::Bool(true), None),
            (Value::text("1"), None),
            (Value::Uint(u64::MAX), Some("max")),
            (Value::Double(18_446_744_073_709_551_616.0), None),
            (Value::Double(f64::NAN), None),
        ];
        for (value, expected) in table {
            let found = Key::lookup(&value).and_then(|key| map.get(&key)).and_then(Value::as_str);
            assert_eq!(found, expected, "{value:?}");
        }
    }

    #[test]
    fn every_entry_is_found_at_every_size_and_order_is_kept() {
        for size in [0, 1, LINEAR, LINEAR + 1, 100] {
            let names: Vec<String> = (0..size).map(|n| format!("k{}", (n * 37) % 101)).collect();
            let map = Map::new(names.iter().enumerate().map(|(n, name)| (text(name), Value::Int(n as i64))).collect());
            assert_eq!(map.len(), size);
            for (n, name) in names.iter().enumerate() {
                assert!(map.get_str(name).unwrap().equals(&Value::Int(n as i64)));
                assert_eq!(map.entries()[n].0, text(name));
            }
            assert!(map.get_str("absent").is_none());
            assert!(map.get(&Key::Int(0)).is_none());
        }
    }

    #[test]
    fn of_equal_keys_the_last_value_holds_in_the_first_place() {
        for padding in [0, 20] {
            let names: Vec<String> = (0..padding).map(|n| format!("p{n}")).collect();
            let mut entries = vec![(text("a"), Value::Int(1)), (text("b"), Value::Int(2)), (text("a"), Value::Int(3))];
            entries.extend(names.iter().map(|name| (text(name), Value::Null)));
            assert!(Map::distinct(entries.clone()).is_err());
            let map = Map::new(entries);
            assert_eq!(map.len(), 2 + padding);
            assert_eq!(map.entries()[0].0, text("a"));
            assert!(map.get_str("a").unwrap().equals(&Value::Int(3)));
        }
    }
}

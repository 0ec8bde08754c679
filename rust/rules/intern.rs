//! Predicates that are the same are kept once: in a large rule set most are.
//!
//! Same is true equality of all that a predicate is, its source text included; hashes only say where to look.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use super::condition::{Bounds, Condition, Predicate, Test};
use super::index::hash;
use crate::hash::{mix, mix_bytes};
use crate::message::value::Value;

/// The predicates of the rules that are being compiled.
#[derive(Default)]
pub(super) struct Interner {
    known: HashMap<Same, (), BuildHasherDefault<Folding>>,
}

impl Interner {
    /// Replaces the condition's predicates by those met before that are the same.
    pub(super) fn intern(&mut self, condition: &mut Condition) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.iter_mut().for_each(|part| self.intern(part)),
            Condition::Within { condition, .. } => self.intern(condition),
            Condition::Expression(_) => {}
            Condition::Predicate(predicate) => self.share(predicate),
            Condition::Tests(tests) => tests.iter_mut().for_each(|test| self.share(test)),
        }
    }

    fn share(&mut self, predicate: &mut Arc<Predicate>) {
        // One that has other owners has been here before: the compilers make each for one condition.
        if Arc::strong_count(predicate) > 1 {
            return;
        }
        match self.known.entry(Same::new(predicate)) {
            Entry::Occupied(known) => *predicate = Arc::clone(&known.key().predicate),
            Entry::Vacant(new) => {
                new.insert(());
            }
        }
    }
}

/// [`crate::hash`] as a hasher.
#[derive(Default)]
struct Folding(u64);

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix_bytes(self.0, bytes);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }

    fn write_u32(&mut self, word: u32) {
        self.0 = mix(self.0, u64::from(word));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Same {
    /// Kept, since the predicates lie far apart in memory.
    hash: u64,
    predicate: Arc<Predicate>,
}

impl Same {
    fn new(predicate: &Arc<Predicate>) -> Self {
        let mut state = Folding::default();
        predicate.field.hash(&mut state);
        match &predicate.source {
            // It says almost all of it.
            Some(source) => source.hash(&mut state),
            None => hash_test(&predicate.test, &mut state),
        }
        Self { hash: state.finish(), predicate: Arc::clone(predicate) }
    }
}

impl Hash for Same {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Feeds what tells the test from others of its kind, and of other kinds as far as that comes cheap.
fn hash_test<H: Hasher>(test: &Test, state: &mut H) {
    match test {
        Test::Equals(value) | Test::Compares(_, value) => state.write_u64(hash(value)),
        Test::OneOf(values) => values.iter().for_each(|value| state.write_u64(hash(value))),
        Test::Between(bounds) => {
            state.write_u64(hash(&bounds.lower));
            state.write_u64(hash(&bounds.upper));
        }
        Test::Prefix { text, .. } | Test::Suffix { text, .. } | Test::EqualsIgnoreCase(text) | Test::Contains(text) => {
            state.write(text.as_bytes());
        }
        Test::Matches(regex) => state.write(regex.as_str().as_bytes()),
        Test::Wildcard(literals) => literals.iter().for_each(|literal| state.write(literal.as_bytes())),
        Test::Cidr(network) => network.hash(state),
        Test::AnythingBut(tests) => tests.iter().for_each(|test| hash_test(test, state)),
        Test::Present | Test::IsTrue => {}
    }
}

impl PartialEq for Same {
    fn eq(&self, other: &Self) -> bool {
        let same_hash = self.hash == other.hash;
        let (one, other) = (&*self.predicate, &*other.predicate);
        same_hash
            && one.field == other.field
            && one.asked == other.asked
            && one.elements == other.elements
            && one.source == other.source
            && one.quote == other.quote
            && same_test(&one.test, &other.test)
    }
}

impl Eq for Same {}

fn same_test(one: &Test, other: &Test) -> bool {
    match (one, other) {
        (Test::Equals(one), Test::Equals(other)) => same_value(one, other),
        (Test::OneOf(one), Test::OneOf(other)) => same_values(one, other),
        (Test::Compares(sign, one), Test::Compares(other_sign, other)) => sign == other_sign && same_value(one, other),
        (Test::Between(one), Test::Between(other)) => same_bounds(one, other),
        (Test::Prefix { text: one, ignore_case }, Test::Prefix { text: other, ignore_case: other_case })
        | (Test::Suffix { text: one, ignore_case }, Test::Suffix { text: other, ignore_case: other_case }) => {
            ignore_case == other_case && one == other
        }
        (Test::EqualsIgnoreCase(one), Test::EqualsIgnoreCase(other)) | (Test::Contains(one), Test::Contains(other)) => {
            one == other
        }
        // The limit on their size is one for all rules of a set.
        (Test::Matches(one), Test::Matches(other)) => one.as_str() == other.as_str(),
        (Test::Wildcard(one), Test::Wildcard(other)) => one == other,
        (Test::Cidr(one), Test::Cidr(other)) => one == other,
        (Test::Present, Test::Present) | (Test::IsTrue, Test::IsTrue) => true,
        (Test::AnythingBut(one), Test::AnythingBut(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| same_test(one, other))
        }
        _ => false,
    }
}

fn same_bounds(one: &Bounds, other: &Bounds) -> bool {
    same_value(&one.lower, &other.lower)
        && same_value(&one.upper, &other.upper)
        && one.includes_lower == other.includes_lower
        && one.includes_upper == other.includes_upper
}

/// Closer than CEL's equality: `1` is not `1.0`, which is written otherwise.
fn same_value(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
        (Value::List(one), Value::List(other)) => same_values(one, other),
        // Constants that are maps are too rare to be compared.
        (Value::Map(_), _) => false,
        _ => one.type_name() == other.type_name() && one.equals(other),
    }
}

fn same_values(one: &[Value<'_>], other: &[Value<'_>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::path::FieldTable;
    use crate::rules::expression;
    use crate::rules::limits::Limits;

    #[test]
    fn only_the_same_predicates_are_shared() {
        let sources = [
            ("message.a == 1", "message.a == 1", true),
            ("message.a == 1", "message.b == 1", false),
            ("message.a == 1", "message.a == 1.0", false),
            ("message.a == 1", "message.a != 1", false),
            ("message.a == 'x'", "message.a == \"x\"", false), // explained by other texts
            ("message.a in [1, 'x']", "message.a in [1, 'x']", true),
            ("message.a.matches('x+')", "message.a.matches('x+')", true),
            ("message.a.startsWith('x')", "message.a.endsWith('x')", false),
            ("message.a", "!message.a", false),
        ];
        for (one, other, shared) in sources {
            let mut fields = FieldTable::default();
            let mut interner = Interner::default();
            let mut compile = |source: &str| {
                let mut condition = expression::compile(source, &["message"], &mut fields, &Limits::default()).unwrap();
                interner.intern(&mut condition);
                match condition {
                    Condition::Predicate(predicate) => predicate,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(Arc::ptr_eq(&compile(one), &compile(other)), shared, "{one} and {other}");
        }
    }
}

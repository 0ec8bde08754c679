//! The operands of `&&` that many rules have in common, compiled once.
//!
//! In a large rule set most tests are those of other rules too, such as `message.channel == "sms"`. So a condition that
//! is a plain conjunction is taken apart before it is parsed, and an operand that was met before, letter for letter,
//! comes to the predicate that it came to then. Whatever is not plain (`||` or `?` outside of parentheses, escapes,
//! comments) and whatever is wrong is compiled as a whole, so that every error and its place are those of
//! [`compile`].
//!
//! Cost: a look at each byte. Memory: at most [`SLOTS`] texts and predicates, and only of operands met twice.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{compile, lower};
use crate::error::ConditionError;
use crate::hash::mix_bytes;
use crate::message::path::FieldTable;
use crate::rules::condition::{Condition, Predicate};
use crate::rules::intern::Interner;
use crate::rules::limits::Limits;

/// So many operands are remembered.
const SLOTS: usize = 512;

/// The operands met so far. All conditions must be compiled with one table of fields, the same roots and limits.
#[derive(Default)]
pub(in crate::rules) struct Operands {
    conjunctions: usize,
    /// By hash; none before the second conjunction, so that a single rule does not pay for them.
    slots: Box<[Slot]>,
}

#[derive(Clone, Default)]
struct Slot {
    /// The hash of the operand met last.
    last: u64,
    /// An operand met more often, and what it came to.
    known: Option<(Box<str>, Arc<Predicate>)>,
}

impl Operands {
    /// As [`compile`]; predicates that are remembered are interned.
    ///
    /// # Errors
    /// As [`compile`].
    pub(in crate::rules) fn compile(
        &mut self,
        source: &str,
        roots: &[&str],
        fields: &mut FieldTable,
        limits: &Limits,
        interner: &mut Interner,
    ) -> Result<Condition, ConditionError> {
        // A node and a constant take a byte at least, so a source this short is within these limits however it is cut.
        let short = source.len() <= limits.nodes.min(limits.literals).min(limits.source_bytes);
        if short
            && memchr::memchr(b'&', source.as_bytes()).is_some()
            && let Some(operands) = operands(source)
            && self.has_slots()
            && let Some(condition) = self.conjunction(&operands, roots, fields, limits, interner)
        {
            return Ok(condition);
        }
        compile(source, roots, fields, limits)
    }

    fn has_slots(&mut self) -> bool {
        self.conjunctions += 1;
        if self.conjunctions == 2 {
            self.slots = vec![Slot::default(); SLOTS].into();
        }
        self.conjunctions > 1
    }

    /// `None` if an operand cannot be compiled by itself.
    fn conjunction(
        &mut self,
        operands: &[&str],
        roots: &[&str],
        fields: &mut FieldTable,
        limits: &Limits,
        interner: &mut Interner,
    ) -> Option<Condition> {
        // The conjunction is a level above its operands.
        let below = Limits { nesting: limits.nesting.checked_sub(1)?, ..limits.clone() };
        let mut parts = Vec::with_capacity(operands.len());
        for &text in operands {
            let hash = mix_bytes(1, text.as_bytes());
            let slot = &mut self.slots[hash as usize % SLOTS];
            if let Some((known, predicate)) = &slot.known
                && **known == *text
            {
                parts.push(Condition::Predicate(Arc::clone(predicate)));
                continue;
            }
            let mut condition = compile(text, roots, fields, &below).ok()?;
            if slot.last == hash {
                interner.intern(&mut condition);
                if let Condition::Predicate(predicate) = &condition {
                    slot.known = Some((text.into(), Arc::clone(predicate)));
                }
            }
            slot.last = hash;
            parts.push(condition);
        }
        Some(lower::all_of(parts, fields))
    }
}

/// What CEL takes for blanks.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// The operands of a plain conjunction, which may be a single one; `None` if the source is anything else. What is in
/// the operands is left to the parser.
fn operands(source: &str) -> Option<SmallVec<[&str; 8]>> {
    let bytes = source.as_bytes();
    let mut found: SmallVec<[&str; 8]> = SmallVec::new();
    let (mut start, mut at, mut depth) = (0, 0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'&' if depth == 0 => {
                if bytes.get(at + 1) != Some(&b'&') {
                    return None;
                }
                found.push(source[start..at].trim_matches(BLANKS));
                at += 1;
                start = at + 1;
            }
            b'"' | b'\'' => at += quoted(byte, &bytes[at + 1..])?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b'|' | b'?' if depth == 0 => return None,
            b'/' | b'\\' | b'`' => return None,
            _ => {}
        }
        at += 1;
    }
    found.push(source[start..].trim_matches(BLANKS));
    (depth == 0 && !found.iter().any(|operand| operand.is_empty())).then_some(found)
}

/// How many bytes a text takes after its opening quote; `None` if it is not plain.
fn quoted(quote: u8, rest: &[u8]) -> Option<usize> {
    let end = rest.iter().position(|byte| matches!(*byte, b'\\' | b'\n' | b'\r') || *byte == quote)?;
    let triple = end == 0 && rest.get(1) == Some(&quote);
    (rest[end] == quote && !triple).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_conjunctions_are_taken_apart() {
        let table: [(&str, Option<&[&str]>); 16] = [
            ("a", Some(&["a"])),
            ("a&&b", Some(&["a", "b"])),
            (" a == 'x && y' \n&& \"'\" in b ", Some(&["a == 'x && y'", "\"'\" in b"])),
            ("f(a && b) && [c || d] && {'k': e ? 1 : 2}", Some(&["f(a && b)", "[c || d]", "{'k': e ? 1 : 2}"])),
            ("a == '' && b", Some(&["a == ''", "b"])),
            ("a || b && c", None),
            ("a && b ? c : d", None),
            ("a & b", None),
            ("a &&", None),
            ("(a && b", None),
            ("a) && (b", None),
            ("a == '''x''' && b", None),
            ("a == 'x\\' && y' && b", None),
            ("a // && b\n && c", None),
            ("a.`b` && c", None),
            ("a == 'x && b", None),
        ];
        for (source, expected) in table {
            assert_eq!(operands(source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn an_operand_met_before_is_the_same_predicate() {
        let mut operands = Operands::default();
        let (mut fields, mut interner) = (FieldTable::default(), Interner::default());
        let mut first_test = |source: &str| {
            let limits = Limits::default();
            let compiled = operands.compile(source, &["message"], &mut fields, &limits, &mut interner);
            match compiled.unwrap() {
                Condition::Tests(tests) => Arc::clone(&tests[0]),
                other => panic!("{other:?}"),
            }
        };
        let all: Vec<_> = (0..5).map(|n| first_test(&format!("message.a == 'x' && message.b == {n}"))).collect();
        assert!(Arc::ptr_eq(&all[3], &all[4]));
        let other = first_test("message.a == \"x\" && message.b == 1");
        assert!(!Arc::ptr_eq(&all[3], &other), "other letters");
    }

    #[test]
    fn what_is_wrong_is_told_as_of_the_whole() {
        for source in [
            "message.a == 1 && message.b = 2",
            "message.a && 5 && nothing",
            "message.a == 1 && ",
            "message.a == 1 && !!!message.b.c[0](",
        ] {
            let (mut fields, limits) = (FieldTable::default(), Limits::default());
            let whole = compile(source, &["message"], &mut FieldTable::default(), &limits).unwrap_err();
            let (mut operands, mut interner) = (Operands::default(), Interner::default());
            for _ in 0..3 {
                let compiled = operands.compile(source, &["message"], &mut fields, &limits, &mut interner);
                assert_eq!(compiled.unwrap_err(), whole, "{source}");
            }
        }
    }
}

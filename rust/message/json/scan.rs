//! A strict scanner of JSON (RFC 8259) over bytes: it finds and checks values, and converts only those asked for.
//!
//! Why not a parser that builds values: a message is mostly fields that no rule names. Skipping them at the speed of
//! a scan, remembering where the named ones start, and converting those when they are read is what makes routing raw
//! bytes cheaper than parsing them. The tests hold it to `serde_json`: the same texts accepted, the same values read.
//!
//! The whole grammar is checked on the way; that the bytes are UTF-8 is not, and is asked of whoever scans.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::ends::{Ahead, Ends, Unknown};
use super::keys::{AnyKeys, Keys};
use super::number;
use super::problem::Problem;
use super::text::{self, Raw};
use crate::message::value::{Key, MAX_DEPTH, Value};

/// What is wrong, and the byte where. Two words, so that the result of a step is handed back in registers: through
/// memory it costs more than the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) problem: Problem,
}

/// A position in a text of JSON, and what is known ahead of where texts end. `K` says what keys an object may have;
/// where it forbids some, halves of surrogate pairs are faults too.
#[derive(Debug)]
pub(super) struct Scanner<'m, E, K> {
    bytes: &'m [u8],
    at: usize,
    ends: E,
    keys: PhantomData<K>,
}

impl<'m, K> Scanner<'m, Ahead, K> {
    /// For going through all that follows `at`.
    #[inline(always)] // Made in its place: moving a window would cost a small message a tenth.
    pub(super) fn ahead(bytes: &'m [u8], at: usize) -> Self {
        Self { bytes, at, ends: Ahead::from(at), keys: PhantomData }
    }
}

impl<'m, E: Ends, K: Keys<'m>> Scanner<'m, E, K> {
    /// The whole text.
    pub(super) fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Whether all bytes so far are known to be ASCII: those outside of texts are, or they were refused.
    pub(super) fn ascii(&self) -> bool {
        self.ends.ascii()
    }

    /// The byte at the position, past white space; 0 at the end, which no value starts with.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u8 {
        let byte = self.byte();
        if byte > b' ' {
            return byte;
        }
        // One space is usual, more are not.
        if byte == b' '
            && let Some(&next) = self.bytes.get(self.at + 1)
            && next > b' '
        {
            self.at += 1;
            return next;
        }
        self.peek_past_space()
    }

    #[inline(never)]
    fn peek_past_space(&mut self) -> u8 {
        let mut at = self.at;
        loop {
            match self.bytes.get(at) {
                Some(b' ' | b'\r' | b'\t') => at += 1,
                Some(b'\n') => {
                    at += 1;
                    // What stands deep is indented by many.
                    while self.bytes.get(at..at + 8).is_some_and(|eight| eight == [b' '; 8]) {
                        at += 8;
                    }
                }
                other => {
                    self.at = at;
                    return other.copied().unwrap_or(0);
                }
            }
        }
    }

    /// Checks that nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.peek();
        if self.at == self.bytes.len() { Ok(()) } else { self.fault(Problem::TextAfterEnd) }
    }

    fn fault<T>(&self, problem: Problem) -> Result<T, Fault> {
        Err(Fault { offset: self.at, problem })
    }

    fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Steps over the opening bracket; false if the container is empty (and then it is behind us).
    fn open(&mut self, close: u8) -> bool {
        self.at += 1;
        if self.peek() == close {
            self.at += 1;
            return false;
        }
        true
    }

    /// Steps over `,` (true) or the closing bracket (false).
    #[inline(always)]
    fn more(&mut self, close: u8, expected: Problem) -> Result<bool, Fault> {
        match self.peek() {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.fault(expected),
        }
    }

    /// Goes through an object: `each` is called with every key, the position at its value, and must step over that.
    #[inline(always)]
    pub(super) fn object(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self, Raw<'m>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return self.fault(Problem::TooDeep);
        }
        let mut keys = K::default();
        let mut more = self.open(b'}');
        while more {
            if self.peek() != b'"' {
                return self.fault(Problem::NoKey);
            }
            let start = self.at;
            let key = self.string()?;
            if K::STRICT && !key.meant().is_some_and(|key| keys.is_new(key)) {
                return Err(Fault { offset: start, problem: Problem::RepeatedKey });
            }
            if self.peek() != b':' {
                return self.fault(Problem::NoColon);
            }
            self.at += 1;
            each(self, key)?;
            more = self.more(b'}', Problem::NoNextEntry)?;
        }
        Ok(())
    }

    /// Goes through a list: `each` is called at every element, and must step over it.
    #[inline(always)]
    pub(super) fn list(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return self.fault(Problem::TooDeep);
        }
        let mut more = self.open(b']');
        while more {
            each(self)?;
            more = self.more(b']', Problem::NoNextElement)?;
        }
        Ok(())
    }

    /// Steps over a value, checking it.
    #[inline(always)]
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        // Most values are text, and a call costs as much as stepping over one.
        if self.peek() == b'"' { self.string().map(drop) } else { self.skip_other(depth) }
    }

    #[inline(never)]
    fn skip_other(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            b'{' => self.object(depth, |scanner, _| scanner.skip(depth + 1)),
            b'[' => self.list(depth, |scanner| scanner.skip(depth + 1)),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ if self.at == self.bytes.len() => self.fault(Problem::EndsEarly),
            _ => self.fault(Problem::NoValue),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.fault(Problem::NoWord);
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over text in quotes.
    #[inline(always)]
    fn string(&mut self) -> Result<Raw<'m>, Fault> {
        let opening = self.at;
        let (close, escaped) = match self.ends.close(self.bytes) {
            Some(known) => known,
            None => text::close(self.bytes, opening)?,
        };
        self.at = close + 1;
        let raw = Raw::new(&self.bytes[opening + 1..close], escaped);
        if K::STRICT && escaped && raw.meant().is_none() {
            return Err(Fault { offset: opening, problem: Problem::HalfPair });
        }
        Ok(raw)
    }

    /// Steps over a number.
    fn number(&mut self) -> Result<&'m [u8], Fault> {
        let start = self.at;
        self.at = number::end(self.bytes, start)?;
        Ok(&self.bytes[start..self.at])
    }
}

/// Converting goes back where it finds what is no value, so it knows nothing ahead.
impl<'m> Scanner<'m, Unknown, AnyKeys> {
    pub(super) fn lenient(bytes: &'m [u8], at: usize) -> Self {
        Self { bytes, at, ends: Unknown, keys: PhantomData }
    }

    /// Converts the value at the position, stepping over it. A fault says why it is no value of the message model.
    pub(super) fn value(&mut self, depth: usize) -> Result<Value<'m>, Fault> {
        let first = self.peek();
        let start = self.at;
        match first {
            b'"' => match self.string()?.text() {
                Some(text) => Ok(Value::Text(text::shared(text))),
                None => Err(Fault { offset: start, problem: Problem::HalfPair }),
            },
            b'{' => {
                let mut entries = Vec::new();
                let mut faults = Vec::new();
                self.object(depth, |scanner, key| {
                    let start = scanner.at;
                    let Some(key) = key.text() else {
                        return Err(Fault { offset: start, problem: Problem::HalfPair });
                    };
                    let value = scanner.value(depth + 1).or_else(|fault| {
                        scanner.at = start;
                        scanner.skip(depth + 1)?;
                        faults.push((entries.len(), fault));
                        Ok(Value::Null)
                    })?;
                    entries.push((Key::Text(text::shared(key)), value));
                    Ok(())
                })?;
                standing(&entries, faults).map_or_else(|| Ok(Value::map(entries)), Err)
            }
            b'[' => {
                let mut items = Vec::new();
                self.list(depth, |scanner| {
                    items.push(scanner.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::List(items.into()))
            }
            b'-' | b'0'..=b'9' => {
                let digits = self.number()?;
                number::value(digits).map_err(|problem| Fault { offset: start, problem })
            }
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'n' => self.word("null").map(|()| Value::Null),
            _ => self.skip(depth).map(|()| Value::Null),
        }
    }
}

/// The first of the `faults`, by the number of their entry, that no later entry of the same key does away with.
fn standing(entries: &[(Key<'_>, Value<'_>)], faults: Vec<(usize, Fault)>) -> Option<Fault> {
    if faults.is_empty() {
        return None;
    }
    let last: BTreeMap<&Key<'_>, usize> = entries.iter().enumerate().map(|(at, (key, _))| (key, at)).collect();
    faults.into_iter().find(|(at, _)| last.get(&entries[*at].0) == Some(at)).map(|(_, fault)| fault)
}

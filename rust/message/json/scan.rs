//! A strict scanner of JSON (RFC 8259) over text: it finds and checks values, and converts only those asked for.
//!
//! Why not a parser that builds values: a message is mostly fields that no rule names. Skipping them at the speed of
//! a scan, remembering where the named ones start, and converting those when they are read is what makes routing raw
//! bytes cheaper than parsing them. The tests hold it to `serde_json`: the same texts accepted, the same values read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::keys::Seen;
use crate::message::value::{Key, MAX_DEPTH, Text, Value};

/// What is wrong, and the byte where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) problem: &'static str,
}

/// Text between quotes, as it stands in the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'m> {
    source: &'m str,
    escaped: bool,
}

impl<'m> Raw<'m> {
    /// The text meant; `None` if an escape is half of a surrogate pair, so that there is no such Unicode text.
    pub(super) fn text(self) -> Option<Cow<'m, str>> {
        if self.escaped { unescape(self.source).map(Cow::Owned) } else { Some(Cow::Borrowed(self.source)) }
    }
}

/// A position in a text of JSON. If `STRICT`, keys that come twice and halves of surrogate pairs are faults as well;
/// otherwise nothing of that is paid for.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'m, const STRICT: bool> {
    text: &'m str,
    at: usize,
}

impl<'m> Scanner<'m, false> {
    pub(super) fn lenient(text: &'m str, at: usize) -> Self {
        Self { text, at }
    }
}

impl<'m> Scanner<'m, true> {
    pub(super) fn strict(text: &'m str) -> Self {
        Self { text, at: 0 }
    }
}

impl<'m, const STRICT: bool> Scanner<'m, STRICT> {
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The byte at the position, past white space; 0 at the end, which no value starts with.
    pub(super) fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Checks that nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { self.fault("text after the end of the message") }
    }

    fn fault<T>(&self, problem: &'static str) -> Result<T, Fault> {
        Err(Fault { offset: self.at, problem })
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
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
    fn more(&mut self, close: u8, expected: &'static str) -> Result<bool, Fault> {
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
    pub(super) fn object(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self, Raw<'m>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return self.fault("nested too deeply");
        }
        let mut seen = STRICT.then(Seen::default);
        let mut more = self.open(b'}');
        while more {
            if self.peek() != b'"' {
                return self.fault("expected a key in double quotes");
            }
            let start = self.at;
            let key = self.string()?;
            if let Some(seen) = &mut seen
                && !key.text().is_some_and(|key| seen.is_new(key))
            {
                return Err(Fault { offset: start, problem: REPEATED });
            }
            if self.peek() != b':' {
                return self.fault("expected `:` after the key");
            }
            self.at += 1;
            each(self, key)?;
            more = self.more(b'}', "expected `,` or `}`")?;
        }
        Ok(())
    }

    /// Goes through a list: `each` is called at every element, and must step over it.
    pub(super) fn list(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return self.fault("nested too deeply");
        }
        let mut more = self.open(b']');
        while more {
            each(self)?;
            more = self.more(b']', "expected `,` or `]`")?;
        }
        Ok(())
    }

    /// Steps over a value, checking it.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' => self.object(depth, |scanner, _| scanner.skip(depth + 1)),
            b'[' => self.list(depth, |scanner| scanner.skip(depth + 1)),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.fault(if self.at == self.text.len() { "the message ends too early" } else { "expected a value" }),
        }
    }

    /// Converts the value at the position, stepping over it. A fault says why it is no value of the message model.
    pub(super) fn value(&mut self, depth: usize) -> Result<Value<'m>, Fault> {
        match self.peek() {
            b'"' => {
                let start = self.at;
                match self.string()?.text() {
                    Some(text) => Ok(Value::Text(text_of(text))),
                    None => Err(Fault { offset: start, problem: HALF_PAIR }),
                }
            }
            b'{' => {
                let mut entries = Vec::new();
                let mut faults = Vec::new();
                self.object(depth, |scanner, key| {
                    let start = scanner.at;
                    let Some(key) = key.text() else { return Err(Fault { offset: start, problem: HALF_PAIR }) };
                    let value = scanner.value(depth + 1).or_else(|fault| {
                        scanner.at = start;
                        scanner.skip(depth + 1)?;
                        faults.push((entries.len(), fault));
                        Ok(Value::Null)
                    })?;
                    entries.push((Key::Text(text_of(key)), value));
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
                let start = self.at;
                let digits = self.number()?;
                number(digits).map_err(|problem| Fault { offset: start, problem })
            }
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'n' => self.word("null").map(|()| Value::Null),
            _ => self.skip(depth).map(|()| Value::Null),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.fault("expected a value: `true`, `false`, `null`, a number, text, a list or an object");
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over text in quotes.
    fn string(&mut self) -> Result<Raw<'m>, Fault> {
        let bytes = self.text.as_bytes();
        let opening = self.at;
        let start = opening + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = plain_until(bytes, at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    let raw = Raw { source: &self.text[start..at], escaped };
                    if STRICT && escaped && raw.text().is_none() {
                        return Err(Fault { offset: opening, problem: HALF_PAIR });
                    }
                    return Ok(raw);
                }
                Some(b'\\') => {
                    escaped = true;
                    at += match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u')
                            if bytes.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
                        {
                            6
                        }
                        _ => return Err(Fault { offset: at, problem: "an escape that JSON does not have" }),
                    };
                }
                Some(_) => {
                    return Err(Fault { offset: at, problem: "a control character in text; escape it as `\\u00..`" });
                }
                None => return Err(Fault { offset: opening, problem: "text without a closing quote" }),
            }
        }
    }

    /// Steps over a number. Its grammar is RFC 8259's: no leading zeros, no `+`, no bare point.
    fn number(&mut self) -> Result<&'m str, Fault> {
        let start = self.at;
        if self.byte() == b'-' {
            self.at += 1;
        }
        if self.byte() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.byte().is_ascii_digit() {
            return self.fault("expected a digit");
        }
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }
}

const REPEATED: &str = "a key that its object has already; send each key once";
pub(super) const HALF_PAIR: &str = "text with half of a surrogate pair, which is no Unicode; send valid text";

/// A number's value: an integer where it is written as one.
fn number(digits: &str) -> Result<Value<'static>, &'static str> {
    if digits.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Double(number)),
            _ => Err("number beyond the range of a double; send it as text"),
        };
    }
    if let Ok(number) = digits.parse::<i64>() {
        return Ok(Value::Int(number));
    }
    digits.parse::<u64>().map(Value::Uint).map_err(|_| "integer beyond 64 bits; send it as text")
}

fn text_of(text: Cow<'_, str>) -> Text<'_> {
    match text {
        Cow::Borrowed(text) => Text::Borrowed(text),
        Cow::Owned(text) => Text::Shared(text.into()),
    }
}

/// The first position from `at` on that holds a quote, a backslash or a control character; the end if none does.
///
/// Eight bytes at a time, as most text is short ("SIMD within a register", Hacker's Delight 6-1): a byte of the word is zero, or below 32,
/// exactly where the borrow of the subtraction reaches its top bit while its own top bit is clear. A borrow can only
/// be carried upwards, so the lowest bit found is always right, and the lowest is the one that is asked for.
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let long = at + SHORT;
    while let Some(Ok(word)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let word = u64::from_le_bytes(word);
        let zero_where = |byte: u8| {
            let differs = word ^ (ONES * u64::from(byte));
            differs.wrapping_sub(ONES) & !differs
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (zero_where(b'"') | zero_where(b'\\') | control) & TOPS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
        if at == long {
            at = plain_blocks(bytes, at);
        }
    }
    while bytes.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// Text of up to so many bytes is searched in words; what is longer, in blocks.
const SHORT: usize = 64;

/// Steps over blocks of plain bytes. Written so that a block compiles to a few vector instructions.
#[inline(never)] // Inlined, it costs the many short texts 8 % in registers.
fn plain_blocks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(Ok(block)) = bytes.get(at..at + 32).map(<[u8; 32]>::try_from) {
        let special = block.iter().fold(false, |found, &byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
        if special {
            break;
        }
        at += 32;
    }
    at
}

/// The first of the `faults`, by the number of their entry, that no later entry of the same key does away with.
fn standing(entries: &[(Key<'_>, Value<'_>)], faults: Vec<(usize, Fault)>) -> Option<Fault> {
    if faults.is_empty() {
        return None;
    }
    let last: BTreeMap<&Key<'_>, usize> = entries.iter().enumerate().map(|(at, (key, _))| (key, at)).collect();
    faults.into_iter().find(|(at, _)| last.get(&entries[*at].0) == Some(at)).map(|(_, fault)| fault)
}

/// Replaces the escapes of checked text; `None` if one is half of a surrogate pair.
fn unescape(source: &str) -> Option<String> {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(position) = rest.find('\\') {
        text.push_str(&rest[..position]);
        let escape = rest.as_bytes().get(position + 1)?;
        rest = &rest[position + 2..];
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = hex(rest)?;
                rest = &rest[4..];
                if (0xD800..0xDC00).contains(&unit) {
                    let low = hex(rest.strip_prefix("\\u")?)?;
                    rest = &rest[6..];
                    char::decode_utf16([unit, low]).next()?.ok()?
                } else {
                    char::from_u32(u32::from(unit))?
                }
            }
            byte => char::from(*byte), // `"`, `\` and `/` stand for themselves
        });
    }
    text.push_str(rest);
    Some(text)
}

fn hex(text: &str) -> Option<u16> {
    u16::from_str_radix(text.get(..4)?, 16).ok()
}

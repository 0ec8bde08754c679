//! Texts of JSON: where one ends, and what it means.

use std::borrow::Cow;

use super::block::unicode;
use super::ends::escape;
use super::problem::Problem;
use super::scan::Fault;
use crate::message::value::Text;

/// What stands between the quotes of a checked text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'m> {
    source: &'m [u8],
    /// Whether there may be escapes.
    escaped: bool,
}

impl<'m> Raw<'m> {
    #[inline(always)]
    pub(super) fn new(source: &'m [u8], escaped: bool) -> Self {
        Self { source, escaped }
    }

    /// The bytes meant; `None` if an escape is half of a surrogate pair, so that there is no such Unicode text.
    #[inline(always)]
    pub(super) fn meant(self) -> Option<Cow<'m, [u8]>> {
        if self.escaped { self.unescaped() } else { Some(Cow::Borrowed(self.source)) }
    }

    #[inline(never)]
    fn unescaped(self) -> Option<Cow<'m, [u8]>> {
        if !self.source.contains(&b'\\') {
            return Some(Cow::Borrowed(self.source));
        }
        unescape(unicode(self.source)?).map(|text| Cow::Owned(text.into_bytes()))
    }

    /// The text meant; `None` as in [`Raw::meant`].
    pub(super) fn text(self) -> Option<Cow<'m, str>> {
        let source = unicode(self.source)?;
        if self.escaped && source.contains('\\') {
            unescape(source).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(source))
        }
    }
}

pub(super) fn shared(text: Cow<'_, str>) -> Text<'_> {
    match text {
        Cow::Borrowed(text) => Text::Borrowed(text),
        Cow::Owned(text) => Text::Shared(text.into()),
    }
}

/// Steps over the text that starts with the quote at `opening`: where it ends, and whether it has escapes.
#[inline(never)]
pub(super) fn close(bytes: &[u8], opening: usize) -> Result<(usize, bool), Fault> {
    let mut at = opening + 1;
    let mut escaped = false;
    loop {
        at = plain_until(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => match escape(&bytes[at + 1..]) {
                Some(length) => {
                    escaped = true;
                    at += 1 + length;
                }
                None => return Err(Fault { offset: at, problem: Problem::NoEscape }),
            },
            Some(_) => return Err(Fault { offset: at, problem: Problem::Control }),
            None => return Err(Fault { offset: opening, problem: Problem::NoClose }),
        }
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

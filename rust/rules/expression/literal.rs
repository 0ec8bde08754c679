//! The values of literals: numbers, and text and bytes with their escapes.

use std::sync::Arc;

use smol_str::SmolStr;

use super::lexer::{Span, error_at};
use crate::error::ConditionError;
use crate::message::value::Value;

/// An integer without a suffix, after `negative` if a minus stands before it.
pub(super) fn int(source: &str, span: Span, negative: bool) -> Result<Value<'static>, ConditionError> {
    let text = span.of(source);
    let magnitude = magnitude(text);
    let value = match magnitude {
        Some(magnitude) if negative => 0_i64.checked_sub_unsigned(magnitude),
        Some(magnitude) => i64::try_from(magnitude).ok(),
        None => None,
    };
    value.map(Value::Int).ok_or_else(|| {
        let advice = match magnitude {
            Some(_) if !negative => format!("the integer {text} is above 9223372036854775807: write {text}u"),
            _ => format!("the integer {text} does not fit in 64 bits: write {text}.0 for a double"),
        };
        error_at(source, span.start as usize, advice)
    })
}

/// An integer with the suffix `u`.
pub(super) fn uint(source: &str, span: Span) -> Result<Value<'static>, ConditionError> {
    let text = span.of(source);
    magnitude(&text[..text.len() - 1])
        .map(Value::Uint)
        .ok_or_else(|| error_at(source, span.start as usize, format!("the integer {text} does not fit in 64 bits")))
}

fn magnitude(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A double, after `negative` if a minus stands before it.
pub(super) fn double(source: &str, span: Span, negative: bool) -> Result<Value<'static>, ConditionError> {
    let text = span.of(source);
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Value::Double(if negative { -value } else { value })),
        _ => Err(error_at(source, span.start as usize, format!("the number {text} is too large for a double"))),
    }
}

/// The parts of a quoted literal: whether it is raw, and what stands between its quotes, starting at `start`.
struct Quoted<'s> {
    source: &'s str,
    raw: bool,
    start: usize,
    body: &'s str,
}

impl<'s> Quoted<'s> {
    fn new(source: &'s str, span: Span) -> Self {
        let text = span.of(source);
        let prefix = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        let quotes = &text[prefix..];
        let triple =
            quotes.len() >= 6 && matches!(quotes.as_bytes(), [b'"', b'"', b'"', ..] | [b'\'', b'\'', b'\'', ..]);
        let width = if triple { 3 } else { 1 };
        Self {
            source,
            raw: text[..prefix].contains(['r', 'R']),
            start: span.start as usize + prefix + width,
            body: &quotes[width..quotes.len() - width],
        }
    }

    /// The text as it is written, if there is nothing to replace in it.
    fn plain(&self) -> Option<&'s str> {
        // Windows line ends become newlines, as in the specification's grammar.
        let stands = |byte: u8| byte != b'\r' && (byte != b'\\' || self.raw);
        self.body.bytes().all(stands).then_some(self.body)
    }

    /// Hands each part to `push`: runs of text, and escapes.
    fn parts(&self, mut push: impl FnMut(Part<'s>) -> Result<(), &'static str>) -> Result<(), ConditionError> {
        let mut at = 0;
        while at < self.body.len() {
            let rest = &self.body[at..];
            let (width, result) = if rest.starts_with("\r\n") {
                (2, push(Part::Run("\n")))
            } else if rest.starts_with('\r') {
                (1, push(Part::Run("\n")))
            } else if rest.starts_with('\\') && !self.raw {
                match escape(&rest[1..]) {
                    Ok((width, part)) => (1 + width, push(part)),
                    Err(advice) => (0, Err(advice)),
                }
            } else {
                let stops = |c: char| c == '\r' || (c == '\\' && !self.raw);
                let width = rest.find(stops).unwrap_or(rest.len());
                (width, push(Part::Run(&rest[..width])))
            };
            result.map_err(|advice| error_at(self.source, self.start + at, advice))?;
            at += width;
        }
        Ok(())
    }
}

enum Part<'s> {
    Run(&'s str),
    /// `\x` and octal: a code point in text, a byte in bytes.
    Unit(u8),
    /// `\u` and `\U`: text only.
    Point(char),
}

/// Reads what follows a backslash: how many bytes it takes, and what it stands for.
fn escape(rest: &str) -> Result<(usize, Part<'static>), &'static str> {
    let hex = |width: usize| {
        let digits = rest.get(1..1 + width).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let simple = |text| Ok((1, Part::Run(text)));
    let point = |value: Option<u32>, width| match value {
        Some(value) => match char::from_u32(value) {
            Some(point) => Ok((width, Part::Point(point))),
            None => Err("this escape is no Unicode character: it is a surrogate or above \\U0010ffff"),
        },
        None if width == 5 => Err("`\\u` takes four hexadecimal digits, as in \"\\u00e9\""),
        None => Err("`\\U` takes eight hexadecimal digits, as in \"\\U0001f600\""),
    };
    match rest.as_bytes().first() {
        Some(b'a') => simple("\x07"),
        Some(b'b') => simple("\x08"),
        Some(b'f') => simple("\x0c"),
        Some(b'n') => simple("\n"),
        Some(b'r') => simple("\r"),
        Some(b't') => simple("\t"),
        Some(b'v') => simple("\x0b"),
        Some(b'\\') => simple("\\"),
        Some(b'?') => simple("?"),
        Some(b'"') => simple("\""),
        Some(b'\'') => simple("'"),
        Some(b'`') => simple("`"),
        Some(b'x' | b'X') => match hex(2) {
            Some(value) => Ok((3, Part::Unit(value as u8))),
            None => Err("`\\x` takes two hexadecimal digits, as in \"\\x0a\""),
        },
        Some(b'u') => point(hex(4), 5),
        Some(b'U') => point(hex(8), 9),
        Some(b'0'..=b'3') => match rest.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) => Ok((3, Part::Unit(value))),
            None => Err("an octal escape takes three digits, from \\000 to \\377"),
        },
        _ => Err("no such escape: write `\\\\` for a backslash, or put r before the quotes, as in r\"\\d+\""),
    }
}

/// Text with its escapes replaced.
pub(super) fn text(source: &str, span: Span) -> Result<SmolStr, ConditionError> {
    let quoted = Quoted::new(source, span);
    if let Some(plain) = quoted.plain() {
        return Ok(SmolStr::new(plain));
    }
    let mut text = String::with_capacity(quoted.body.len());
    quoted.parts(|part| {
        match part {
            Part::Run(run) => text.push_str(run),
            Part::Unit(unit) => text.push(char::from(unit)),
            Part::Point(point) => text.push(point),
        }
        Ok(())
    })?;
    Ok(SmolStr::from(text))
}

/// Bytes with their escapes replaced; characters stand for their UTF-8.
pub(super) fn bytes(source: &str, span: Span) -> Result<Arc<[u8]>, ConditionError> {
    let quoted = Quoted::new(source, span);
    if let Some(plain) = quoted.plain() {
        return Ok(Arc::from(plain.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(quoted.body.len());
    quoted.parts(|part| {
        match part {
            Part::Run(run) => bytes.extend_from_slice(run.as_bytes()),
            Part::Unit(unit) => bytes.push(unit),
            Part::Point(_) => {
                return Err("bytes have no `\\u` escapes: write the character itself, or its bytes as \\x");
            }
        }
        Ok(())
    })?;
    Ok(Arc::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(source: &str) -> Span {
        Span { start: 0, end: source.len() as u32 }
    }

    #[test]
    fn text_is_unescaped() {
        let table = [
            (r#""plain""#, Ok("plain")),
            (r#"'a\n\t\"\x41\101\u00e9\U0001f600'"#, Ok("a\n\t\"AAé😀")),
            (r#"r'\d+\n'"#, Ok(r"\d+\n")),
            ("'''a\r\nb\rc'''", Ok("a\nb\nc")),
            (r#"'\r\n'"#, Ok("\r\n")),
            (r#"'\377'"#, Ok("ÿ")),
            (r#""""a"b""""#, Ok("a\"b")),
            (r#"'\d'"#, Err((1, "r before the quotes"))),
            (r#"'ab\u12'"#, Err((3, "four hexadecimal"))),
            (r#"'\ud800'"#, Err((1, "surrogate"))),
            (r#"'\U00110000'"#, Err((1, "surrogate"))),
            (r#"'\xé0'"#, Err((1, "two hexadecimal"))),
            (r#"'\19'"#, Err((1, "three digits"))),
            (r#"'\400'"#, Err((1, "no such escape"))),
        ];
        for (source, expected) in table {
            match (text(source, whole(source)), expected) {
                (Ok(text), Ok(expected)) => assert_eq!(&*text, expected, "{source}"),
                (Err(error), Err((at, advice))) => {
                    assert!(error.problem.contains(advice), "{source}: {}", error.problem);
                    assert!(
                        matches!(error.place, crate::error::Place::Text { offset, .. } if offset == at),
                        "{error:?}"
                    );
                }
                (result, _) => panic!("{source}: {result:?}"),
            }
        }
    }

    #[test]
    fn bytes_take_octets_and_no_code_points() {
        let source = r#"b'é\xff\303\277'"#;
        assert_eq!(&*bytes(source, whole(source)).unwrap(), b"\xc3\xa9\xff\xc3\xbf");
        let source = r#"b'\u00e9'"#;
        assert!(bytes(source, whole(source)).unwrap_err().problem.contains("no `\\u`"));
    }

    #[test]
    fn integers_end_at_64_bits() {
        let table = [
            ("9223372036854775807", false, Some(Value::Int(i64::MAX))),
            ("9223372036854775808", false, None),
            ("9223372036854775808", true, Some(Value::Int(i64::MIN))),
            ("9223372036854775809", true, None),
            ("0x8000000000000000", true, Some(Value::Int(i64::MIN))),
            ("99999999999999999999", false, None),
        ];
        for (source, negative, expected) in table {
            let value = int(source, whole(source), negative).ok();
            assert_eq!(value.is_some(), expected.is_some(), "{source}");
            assert!(value.zip(expected).is_none_or(|(value, expected)| value.equals(&expected)), "{source}");
        }
        assert!(uint("18446744073709551616u", whole("18446744073709551616u")).is_err());
        assert!(double("1e999", whole("1e999"), false).is_err());
    }
}

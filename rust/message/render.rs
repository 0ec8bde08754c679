//! Values as text for people: compact JSON, cut to length.

use std::fmt::{self, Write};

use super::value::{Key, Value};

/// A value as compact JSON. What JSON lacks is written as CEL writes it: `b"\\x01"`, `timestamp("…")`, `duration("…")`.
pub struct Compact<'v, 'm>(pub &'v Value<'m>);

impl fmt::Display for Compact<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self.0, f)
    }
}

/// A value as compact JSON of at most `limit` characters; what was cut off is an ellipsis.
pub fn render(value: &Value<'_>, limit: usize) -> String {
    let mut cut = Cut { text: String::new(), left: limit, full: false };
    // The only error is that the limit is reached, and then the text says so.
    let complete = write_value(value, &mut cut).is_ok();
    debug_assert!(complete || cut.full);
    if cut.full {
        cut.text.pop();
        cut.text.push('…');
    }
    cut.text
}

/// How many bytes a value takes as compact JSON; `None` if more than `limit`.
pub fn compact_bytes(value: &Value<'_>, limit: usize) -> Option<usize> {
    struct Count {
        left: usize,
    }
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut count = Count { left: limit };
    write_value(value, &mut count).ok()?;
    Some(limit - count.left)
}

struct Cut {
    text: String,
    left: usize,
    full: bool,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.left == 0 {
                self.full = true;
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.text.push(character);
        }
        Ok(())
    }
}

/// Writes the value as [`Compact`] does.
pub(crate) fn write_value(value: &Value<'_>, out: &mut dyn Write) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(flag) => write!(out, "{flag}"),
        Value::Int(number) => write!(out, "{number}"),
        Value::Uint(number) => write!(out, "{number}"),
        // `{:?}` keeps the point of 300.0, which says that it is a double.
        Value::Double(number) => write!(out, "{number:?}"),
        Value::Text(text) => write_text(text.as_str(), out),
        Value::Bytes(bytes) => write!(out, "b\"{}\"", bytes.escape_ascii()),
        Value::List(items) => {
            out.write_char('[')?;
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.write_char(',')?;
                }
                write_value(item, out)?;
            }
            out.write_char(']')
        }
        Value::Map(map) => {
            out.write_char('{')?;
            for (position, (key, item)) in map.entries().iter().enumerate() {
                if position > 0 {
                    out.write_char(',')?;
                }
                match key {
                    Key::Text(text) => write_text(text.as_str(), out)?,
                    Key::Int(number) => write!(out, "{number}")?,
                    Key::Uint(number) => write!(out, "{number}")?,
                    Key::Bool(flag) => write!(out, "{flag}")?,
                }
                out.write_char(':')?;
                write_value(item, out)?;
            }
            out.write_char('}')
        }
        Value::Timestamp(time) => write!(out, "timestamp(\"{time}\")"),
        Value::Duration(span) => {
            let sign = if span.is_negative() { "-" } else { "" };
            let size = span.unsigned_abs();
            write!(out, "duration(\"{sign}{}", size.as_secs())?;
            match size.subsec_nanos() {
                0 => out.write_str("s\")"),
                nanos => write!(out, ".{}s\")", format!("{nanos:09}").trim_end_matches('0')),
            }
        }
        Value::Type(name) => out.write_str(name),
    }
}

/// Writes the text as JSON, between quotes.
pub(crate) fn write_text(text: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_str("\"")?;
    write_escaped(text, out)?;
    out.write_str("\"")
}

/// Writes what stands between the quotes.
pub(crate) fn write_escaped(text: &str, out: &mut dyn Write) -> fmt::Result {
    let is_escaped = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f);
    let mut rest = text;
    while let Some(at) = rest.bytes().position(is_escaped) {
        out.write_str(&rest[..at])?;
        match rest.as_bytes()[at] {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            control => write!(out, "\\u{control:04x}")?,
        }
        rest = &rest[at + 1..];
    }
    out.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::json;

    #[test]
    fn json_comes_back_compact() {
        let text = r#"{"a":[1,-2,3.5,true,null],"b":"x\"y\\\n\u0001é","c":{},"d":[]}"#;
        let value = json::value(text.as_bytes()).unwrap();
        assert_eq!(Compact(&value).to_string(), text);
        assert_eq!(compact_bytes(&value, 1000), Some(text.len()));
        assert_eq!(compact_bytes(&value, text.len() - 1), None);
    }

    #[test]
    fn a_long_value_is_cut_to_the_limit() {
        let value = json::value(br#"["abcdefgh"]"#).unwrap();
        assert_eq!(render(&value, 12), r#"["abcdefgh"]"#);
        assert_eq!(render(&value, 11), r#"["abcdefgh…"#);
        assert_eq!(render(&value, 1), "…");
    }
}

//! Numbers of JSON: where one ends, and its value.

use super::problem::Problem;
use super::scan::Fault;
use crate::message::value::Value;

/// Where the number that starts at `start` ends. Its grammar is RFC 8259's: no leading zeros, no `+`, no bare point.
pub(super) fn end(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let mut at = start;
    if byte(at) == b'-' {
        at += 1;
    }
    at = if byte(at) == b'0' { at + 1 } else { digits(bytes, at)? };
    if byte(at) == b'.' {
        at = digits(bytes, at + 1)?;
    }
    if matches!(byte(at), b'e' | b'E') {
        at += 1;
        if matches!(byte(at), b'+' | b'-') {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

/// Steps over one digit or more, eight at a time.
fn digits(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    if !is_digit(start) {
        return Err(Fault { offset: start, problem: Problem::NoDigit });
    }
    let mut at = start;
    while let Some(Ok(word)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let others = no_digits(u64::from_le_bytes(word));
        if others != 0 {
            return Ok(at + (others.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    while is_digit(at) {
        at += 1;
    }
    Ok(at)
}

/// The top bits of those bytes of a word that are no digits. Set aside while it is added to, no byte carries.
fn no_digits(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let beyond_zero = word ^ (ONES * u64::from(b'0'));
    (((beyond_zero & !TOPS) + ONES * (128 - 10)) | beyond_zero) & TOPS
}

/// A number's value: an integer where it is written as one.
pub(super) fn value(digits: &[u8]) -> Result<Value<'static>, Problem> {
    let digits = str::from_utf8(digits).map_err(|_| Problem::NoDigit)?;
    if digits.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Double(number)),
            _ => Err(Problem::BeyondDouble),
        };
    }
    if let Ok(number) = digits.parse::<i64>() {
        return Ok(Value::Int(number));
    }
    digits.parse::<u64>().map(Value::Uint).map_err(|_| Problem::Beyond64Bits)
}

//! Spans of time as text, parts of timestamps, and time zones.
//!
//! Spans are written as in Go (`1h30m`, `1.5s`, `-250ms`), which is what the CEL specification says, and are
//! held to ±2^63 nanoseconds (292 years), which is where its conformance suite wants an error.

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::error::Failure;
use crate::message::value::Timestamp;

/// A part of a timestamp or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Getter {
    FullYear,
    Month,
    DayOfMonth,
    Date,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// An offset, or a zone of the time zone database.
#[derive(Debug, Clone)]
pub(super) enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    Named(TimeZone),
}

impl Zone {
    /// Reads `+01:00`, `-09:30`, `02:00`, or a name such as `Europe/Berlin`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(offset) = offset(text) {
            return Ok(Zone::Fixed(offset));
        }
        TimeZone::get(text).map(Zone::Named).map_err(|_| Failure::Invalid("time zone"))
    }

    fn offset_at(&self, at: Timestamp) -> i32 {
        match self {
            Zone::Fixed(seconds) => *seconds,
            Zone::Named(zone) => zone.to_offset(at.to_jiff()).seconds(),
        }
    }
}

fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let [h1, h2, b':', m1, m2] = digits else { return None };
    let number = |tens: &u8, ones: &u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

impl Getter {
    /// The part of `at`, in `zone`. Months, days of the month and of the year count from 0, `getDate` from 1,
    /// days of the week from Sunday as 0.
    pub(super) fn of_timestamp(self, at: Timestamp, zone: &Zone) -> i64 {
        let civil = at.civil(zone.offset_at(at));
        match self {
            Getter::FullYear => civil.year,
            Getter::Month => i64::from(civil.month) - 1,
            Getter::DayOfMonth => i64::from(civil.day) - 1,
            Getter::Date => civil.day.into(),
            Getter::DayOfWeek => civil.weekday.into(),
            Getter::DayOfYear => civil.day_of_year.into(),
            Getter::Hours => civil.hour.into(),
            Getter::Minutes => civil.minute.into(),
            Getter::Seconds => civil.second.into(),
            Getter::Milliseconds => i64::from(civil.nanos) / 1_000_000,
        }
    }

    /// The whole span in hours, minutes or seconds, or its milliseconds beyond whole seconds; `None` for dates.
    pub(super) fn of_duration(self, span: SignedDuration) -> Option<i64> {
        match self {
            Getter::Hours => Some(span.as_secs() / 3600),
            Getter::Minutes => Some(span.as_secs() / 60),
            Getter::Seconds => Some(span.as_secs()),
            Getter::Milliseconds => Some(i64::from(span.subsec_millis())),
            _ => None,
        }
    }
}

/// The span of so many nanoseconds, if it is within the range.
pub(super) fn duration_of(nanos: i128) -> Result<SignedDuration, Failure> {
    i64::try_from(nanos).map(SignedDuration::from_nanos).map_err(|_| Failure::Range("duration"))
}

/// Reads a span such as `1h30m`, `1.5s`, `-250ms`, `0`.
pub(super) fn parse_duration(text: &str) -> Result<SignedDuration, Failure> {
    const INVALID: Failure = Failure::Invalid("duration");
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(INVALID);
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(INVALID);
        }
        let (unit, after) = split_unit(after).ok_or(INVALID)?;
        // 19 digits hold every number of nanoseconds within the range; more are beyond it or below a nanosecond.
        let whole = whole.trim_start_matches('0');
        if whole.len() > 19 {
            return Err(Failure::Range("duration"));
        }
        let fraction = &fraction[..fraction.len().min(18)];
        nanos += number(whole) * unit + number(fraction) * unit / 10_i128.pow(fraction.len() as u32);
        if nanos > 1 << 64 {
            return Err(Failure::Range("duration")); // before many parts could overflow the sum
        }
        rest = after;
    }
    duration_of(if negative { -nanos } else { nanos })
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn split_unit(text: &str) -> Option<(i128, &str)> {
    // "ms" before "m": the first that fits is the unit.
    let units = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    units.iter().find_map(|&(unit, nanos)| text.strip_prefix(unit).map(|rest| (nanos, rest)))
}

/// The number that at most 19 digits make; 0 for none.
fn number(digits: &str) -> i128 {
    digits.bytes().fold(0, |number, digit| number * 10 + i128::from(digit - b'0'))
}

/// A span in seconds, with as many digits of the fraction as it has: `90s`, `-0.25s`.
pub(super) fn format_duration(span: SignedDuration) -> String {
    let nanos = span.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    format!("{sign}{seconds}.{}s", format!("{fraction:09}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        let table = [
            ("90s", Ok("90s")),
            ("1h30m", Ok("5400s")),
            ("-1.5h", Ok("-5400s")),
            ("+250ms", Ok("0.25s")),
            ("1ns", Ok("0.000000001s")),
            ("1us1µs1μs", Ok("0.000003s")),
            (".5s", Ok("0.5s")),
            ("1.s", Ok("1s")),
            ("0", Ok("0s")),
            ("-0", Ok("0s")),
            ("0.1234567891s", Ok("0.123456789s")),
            ("9223372036854775807ns", Ok("9223372036.854775807s")),
            ("-9223372036854775808ns", Ok("-9223372036.854775808s")),
            ("9223372036854775808ns", Err(Failure::Range("duration"))),
            ("99999999999999999999s", Err(Failure::Range("duration"))),
            ("320000000000s", Err(Failure::Range("duration"))),
            ("", Err(Failure::Invalid("duration"))),
            ("-", Err(Failure::Invalid("duration"))),
            ("s", Err(Failure::Invalid("duration"))),
            (".s", Err(Failure::Invalid("duration"))),
            ("1d", Err(Failure::Invalid("duration"))),
            ("5", Err(Failure::Invalid("duration"))),
            ("1 s", Err(Failure::Invalid("duration"))),
            ("1é", Err(Failure::Invalid("duration"))),
        ];
        for (text, expected) in table {
            let written = parse_duration(text).map(format_duration);
            assert_eq!(written.as_deref().map_err(Clone::clone), expected, "{text}");
        }
    }

    #[test]
    fn zones_are_offsets_or_names() {
        let at = Timestamp::parse("2026-07-01T12:00:00Z").unwrap();
        let table = [
            ("UTC", Some(12)),
            ("Europe/Berlin", Some(14)),
            ("+05:30", Some(17)),
            ("-02:30", Some(9)),
            ("02:00", Some(14)),
            ("-00:00", Some(12)),
            ("24:00", None),
            ("+1:00", None),
            ("Mars/Olympus", None),
            ("", None),
        ];
        for (zone, hour) in table {
            let hours = Zone::parse(zone).ok().map(|zone| Getter::Hours.of_timestamp(at, &zone));
            assert_eq!(hours, hour, "{zone}");
        }
        let last = Zone::parse("Asia/Tokyo").unwrap();
        assert_eq!(Getter::FullYear.of_timestamp(Timestamp::MAX, &last), 10_000);
    }
}

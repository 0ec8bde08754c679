//! Points in time, from year 1 to year 9999, to the nanosecond: CEL's (and protobuf's) range.
//!
//! `jiff::Timestamp` ends 26 hours before the year 9999 does, so that every time zone can show it; "never
//! expires" is usually written as the last moment of that year, which must be a value like any other.
//! Civil dates are computed by Howard Hinnant's `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>).

use std::fmt;

use jiff::SignedDuration;

const NANOS: i128 = 1_000_000_000;
const DAY: i64 = 86_400;

/// A point in time between [`Timestamp::MIN`] and [`Timestamp::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    seconds: i64,
    /// Nanoseconds after that second, below 10^9.
    nanos: u32,
}

/// A date and a time of day, as a calendar shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// The year, from 1 (0 and 10000 in time zones at the very ends).
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Below 10^9.
    pub nanos: u32,
    /// 0 is Sunday.
    pub weekday: u8,
    /// Days since 1 January.
    pub day_of_year: u16,
}

impl Timestamp {
    /// `0001-01-01T00:00:00Z`
    pub const MIN: Self = Self { seconds: -62_135_596_800, nanos: 0 };
    /// `9999-12-31T23:59:59.999999999Z`
    pub const MAX: Self = Self { seconds: 253_402_300_799, nanos: 999_999_999 };

    /// `nanos` (below 10^9) after `seconds` since 1970-01-01T00:00:00Z; `None` outside the range.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let within = (Self::MIN.seconds..=Self::MAX.seconds).contains(&seconds) && nanos < NANOS as u32;
        within.then_some(Self { seconds, nanos })
    }

    /// `nanos` since 1970-01-01T00:00:00Z; `None` outside the range.
    pub fn from_nanos(nanos: i128) -> Option<Self> {
        Self::new(i64::try_from(nanos.div_euclid(NANOS)).ok()?, nanos.rem_euclid(NANOS) as u32)
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Timestamp::seconds`], below 10^9.
    pub fn subsecond_nanos(self) -> u32 {
        self.nanos
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub fn nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// This point moved by `span`; `None` outside the range.
    pub fn checked_add(self, span: SignedDuration) -> Option<Self> {
        Self::from_nanos(self.nanos() + span.as_nanos())
    }

    /// The nearest point in time that jiff has, for asking a time zone's offset.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.nanos()).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The calendar's view, `offset` seconds east of UTC.
    pub fn civil(self, offset: i32) -> Civil {
        let local = self.seconds + i64::from(offset);
        let (days, of_day) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            nanos: self.nanos,
            weekday: (days + 4).rem_euclid(7) as u8, // 1970-01-01 was a Thursday
            day_of_year: (days - days_from_civil(year, 1, 1)) as u16,
        }
    }

    /// Reads RFC 3339, such as `2026-01-31T08:00:00.5+01:00`: the offset is a must, a fraction may have up to
    /// nine digits, a leap second is refused. `None` if the text is not so, or outside the range.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Digits(text.as_bytes());
        let (year, _, month, _, day) =
            (rest.number(4)?, rest.one(b"-")?, rest.number(2)?, rest.one(b"-")?, rest.number(2)?);
        rest.one(b"Tt")?;
        let (hour, _, minute, _, second) =
            (rest.number(2)?, rest.one(b":")?, rest.number(2)?, rest.one(b":")?, rest.number(2)?);
        let nanos = if rest.one(b".").is_some() { rest.fraction()? } else { 0 };
        let offset = match rest.one(b"Zz+-")? {
            b'Z' | b'z' => 0,
            sign => {
                let (hours, _, minutes) = (rest.number(2)?, rest.one(b":")?, rest.number(2)?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 3600 + minutes * 60) * if sign == b'-' { -1 } else { 1 }
            }
        };
        let valid = rest.0.is_empty()
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !valid {
            return None;
        }
        let days = days_from_civil(year, month as u8, day as u8);
        Self::new(days * DAY + hour * 3600 + minute * 60 + second - offset, nanos)
    }
}

/// RFC 3339 in UTC, with as many digits of the fraction as it has.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil(0);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos != 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// The rest of a text made of fixed-width numbers.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, width: usize) -> Option<i64> {
        let digits = self.0.get(..width).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        self.0 = &self.0[width..];
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn one(&mut self, of: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        of.contains(&first).then(|| {
            self.0 = rest;
            first
        })
    }

    /// One to nine digits after the point, in nanoseconds.
    fn fraction(&mut self) -> Option<u32> {
        let width = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&width) {
            return None;
        }
        let digits = self.number(width)?;
        u32::try_from(digits * 10_i64.pow(9 - width as u32)).ok()
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to this date of the Gregorian calendar.
fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year }; // years start in March, so that leap days end them
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day so many days after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_and_written_alike() {
        let table = [
            ("1970-01-01T00:00:00Z", Some((0, 0)), "1970-01-01T00:00:00Z"),
            ("2009-02-13T23:31:30Z", Some((1_234_567_890, 0)), "2009-02-13T23:31:30Z"),
            ("2009-02-14T00:31:30.5+01:00", Some((1_234_567_890, 500_000_000)), "2009-02-13T23:31:30.5Z"),
            ("2024-02-29T00:00:00-23:59", Some((1_709_251_140, 0)), "2024-02-29T23:59:00Z"),
            ("0001-01-01T00:00:00Z", Some((-62_135_596_800, 0)), "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", Some((253_402_300_799, 999_999_999)), "9999-12-31T23:59:59.999999999Z"),
            ("9999-12-31T23:59:59-00:01", None, ""),
            ("0001-01-01T00:00:00+00:01", None, ""),
            ("2023-02-29T00:00:00Z", None, ""),
            ("2023-02-28T24:00:00Z", None, ""),
            ("2023-02-28T00:00:60Z", None, ""),
            ("2023-02-28T00:00:00", None, ""),
            ("2023-02-28T00:00:00.Z", None, ""),
            ("2023-02-28T00:00:00.0000000001Z", None, ""),
            ("2023-02-28 00:00:00Z", None, ""),
            ("2023-02-28T00:00:00ZZ", None, ""),
            ("", None, ""),
        ];
        for (text, expected, written) in table {
            let parsed = Timestamp::parse(text);
            assert_eq!(parsed.map(|t| (t.seconds(), t.subsecond_nanos())), expected, "{text}");
            if let Some(parsed) = parsed {
                assert_eq!(parsed.to_string(), written);
            }
        }
    }

    #[test]
    fn the_calendar_agrees_with_jiffs() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let at = Timestamp::new(random.i64(Timestamp::MIN.seconds..253_402_200_000), random.u32(..1_000_000_000))
                .unwrap();
            let expected = at.to_jiff().to_zoned_datetime(jiff::tz::TimeZone::UTC);
            let civil = at.civil(0);
            assert_eq!(
                (civil.year, civil.month, civil.day),
                (i64::from(expected.year()), expected.month() as u8, expected.day() as u8)
            );
            assert_eq!(
                (civil.hour, civil.minute, civil.second),
                (expected.hour() as u8, expected.minute() as u8, expected.second() as u8)
            );
            assert_eq!(civil.weekday, expected.weekday().to_sunday_zero_offset() as u8);
            assert_eq!(i64::from(civil.day_of_year) + 1, i64::from(expected.day_of_year()));
            assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
            assert_eq!(Timestamp::from_nanos(at.nanos()), Some(at));
        }
    }
}

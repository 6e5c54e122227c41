//! Times and spans as sources write them, to microseconds since 1970 and back.

use atalaya_schema::{parse_time_us, seconds_f64_to_us, seconds_to_us};

/// A second in microseconds.
pub(crate) const SECOND_US: i64 = 1_000_000;

/// An hour in microseconds.
pub(crate) const HOUR_US: i64 = 3_600 * SECOND_US;

/// A day in microseconds.
pub(crate) const DAY_US: i64 = 24 * HOUR_US;

/// The year 10000: later times are refused.
const MAX_TIME_US: i64 = 253_402_300_800 * SECOND_US;

/// Numbers from here on are milliseconds since 1970, not seconds (which would be the year 5138).
const FIRST_MILLISECONDS: f64 = 1e11;

const FIRST_MILLISECONDS_US: i64 = 100_000_000_000 * SECOND_US;

/// Numbers from here on are microseconds.
const FIRST_MICROSECONDS: f64 = 1e14;

/// Numbers from here on are nanoseconds.
const FIRST_NANOSECONDS: f64 = 1e17;

/// A time that can be stored: of the years 1970 to 9999.
pub(crate) fn bounded(us: i64) -> Option<i64> {
    (0..MAX_TIME_US).contains(&us).then_some(us)
}

/// A time given as a number: seconds since 1970, or milli-, micro- or nanoseconds where it is too large for seconds.
pub(crate) fn from_number(number: f64) -> Option<i64> {
    let us = match number.abs() {
        n if n < FIRST_MILLISECONDS => seconds_f64_to_us(number),
        n if n < FIRST_MICROSECONDS => rounded(number * 1e3),
        n if n < FIRST_NANOSECONDS => rounded(number),
        _ => rounded(number * 1e-3),
    };
    us.and_then(bounded)
}

fn rounded(us: f64) -> Option<i64> {
    const LIMIT: f64 = 9.2e18;
    #[allow(clippy::cast_possible_truncation, reason = "checked against the limit")]
    (us.abs() < LIMIT).then(|| us.round() as i64)
}

/// A time given as text: RFC 3339 (also with a space for the `T`, or without an offset, which is read as UTC), or a
/// number as text.
pub(crate) fn from_text(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let us = match text.as_bytes().get(4) {
        Some(b'-') => parse_time_us(text).or_else(|| slowly(text)),
        _ => match seconds_to_us(text) {
            Some(us) if us < FIRST_MILLISECONDS_US => Some(us),
            _ => text.parse().ok().and_then(from_number),
        },
    };
    us.and_then(bounded)
}

/// Whatever else jiff can read.
fn slowly(text: &str) -> Option<i64> {
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let civil: jiff::civil::DateTime = text.parse()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).map(|time| time.timestamp())
    });
    time.and_then(|time| time.round(jiff::Unit::Microsecond)).ok().map(jiff::Timestamp::as_microsecond)
}

/// Appends microseconds as seconds, without trailing zeros: `0.00087`, `3600`.
pub(crate) fn push_seconds(us: i64, out: &mut String) {
    if us < 0 {
        out.push('-');
    }
    let magnitude = us.unsigned_abs();
    push_unsigned(magnitude / SECOND_US.unsigned_abs(), out);
    let mut fraction = magnitude % SECOND_US.unsigned_abs();
    if fraction == 0 {
        return;
    }
    out.push('.');
    let mut unit = 100_000;
    while fraction > 0 {
        let digit = fraction / unit;
        out.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        fraction %= unit;
        unit /= 10;
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_unsigned(mut number: u64, out: &mut String) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits[at..].iter().for_each(|&digit| out.push(char::from(digit)));
}

/// Appends a number in decimal digits with its sign.
pub(crate) fn push_signed(number: i64, out: &mut String) {
    if number < 0 {
        out.push('-');
    }
    push_unsigned(number.unsigned_abs(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let us = 1_521_911_720_865_716;
        for text in [
            "2018-03-24T17:15:20.865716Z",
            "2018-03-24 17:15:20.865716+00:00",
            "2018-03-24T18:15:20.865716+01:00",
            "2018-03-24T09:15:20.8657158-0800",
            "2018-03-24T17:15:20.865716",
            "1521911720.865716",
            " 1521911720.865716 ",
        ] {
            assert_eq!(from_text(text), Some(us), "{text}");
        }
        assert_eq!(from_text("1521911720865"), Some(1_521_911_720_865_000));
        assert_eq!(from_text("2024-02-29"), Some(1_709_164_800_000_000));
        assert_eq!(from_number(1_521_911_720.865_716), Some(us));
        assert_eq!(from_number(1_521_911_720_865.0), Some(1_521_911_720_865_000));
        assert_eq!(from_number(1.521_911_720_865_716e15), Some(us));
        assert_eq!(from_number(1.521_911_720_865_716e18), Some(us));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "-", "yesterday", "2018-13-24T17:15:20Z", "2023-02-29T00:00:00Z", "-5", "1e99"] {
            assert_eq!(from_text(text), None, "{text}");
        }
        assert_eq!(from_number(f64::NAN), None);
        assert_eq!(from_number(-1.0), None);
    }

    #[test]
    fn spans_are_written_short() {
        for (us, short) in [(870, "0.00087"), (3_600_000_000, "3600"), (-1_500_000, "-1.5"), (1, "0.000001"), (0, "0")]
        {
            let mut written = String::new();
            push_seconds(us, &mut written);
            assert_eq!(written, short);
        }
    }
}

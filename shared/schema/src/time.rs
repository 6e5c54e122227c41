//! Times in text, to the microsecond and the same from every format.

const US_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Bytes of `2018-03-24T17:15:20`.
const SECONDS_TEXT_BYTES: usize = 19;
const FRACTION_DIGITS: usize = 6;

/// Microseconds since 1970 of an RFC 3339 time with any number of decimals; more than six are rounded.
/// A leap second is the first second of the next minute.
#[must_use]
pub fn parse_time_us(text: &str) -> Option<i64> {
    let (time, rest) = text.as_bytes().split_at_checked(SECONDS_TEXT_BYTES)?;
    if time[4] != b'-'
        || time[7] != b'-'
        || !matches!(time[10], b'T' | b't' | b' ')
        || time[13] != b':'
        || time[16] != b':'
    {
        return None;
    }
    let (year, month, day) = (number(&time[..4])?, number(&time[5..7])?, number(&time[8..10])?);
    let (hour, minute, second) = (number(&time[11..13])?, number(&time[14..16])?, number(&time[17..19])?);
    if day == 0 || day > days_in_month(year, month)? || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, zone) = match rest.split_first()? {
        (b'.', rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (round_fraction(&rest[..digits])?.us, &rest[digits..])
        }
        _ => (0, rest),
    };
    let seconds = days_of(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some((seconds - zone_seconds(zone)?) * US_PER_SECOND + fraction_us)
}

fn zone_seconds(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] if hours.len() == 2 => {
            let (hours, minutes) = (number(hours)?, number(&[*tens, *ones])?);
            let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Microseconds of a number of seconds in decimal text (`1521911720.865716`, `0.00087`, `9.5e-07`), as exact as the
/// text: six decimals stay what they are, more are rounded as `printf("%.6f")` rounds the number that the text was
/// printed from, so that logs which print the same number with six decimals and in full give the same value.
#[must_use]
pub fn seconds_to_us(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return scientific(text);
    }
    let rounded =
        if fraction.is_empty() { Rounded { us: 0, tie: false } } else { round_fraction(fraction.as_bytes())? };
    if rounded.tie {
        return seconds_f64_to_us(text.parse().ok()?);
    }
    let us = whole.parse::<i64>().ok()?.checked_mul(US_PER_SECOND)?.checked_add(rounded.us)?;
    Some(if unsigned.len() < text.len() { -us } else { us })
}

fn scientific(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if plain { seconds_f64_to_us(text.parse().ok()?) } else { None }
}

/// Microseconds of a number of seconds, rounded to nearest from the exact value of the float, ties to even; none if it
/// is not finite or too large.
#[must_use]
pub fn seconds_f64_to_us(seconds: f64) -> Option<i64> {
    const FRACTION_BITS: u32 = 52;
    const EXPONENT_BIAS: i64 = 1075;
    let bits = seconds.to_bits();
    let exponent = ((bits >> FRACTION_BITS) & 0x7ff) as i64;
    let fraction = u128::from(bits & ((1 << FRACTION_BITS) - 1));
    if !seconds.is_finite() {
        return None;
    }
    let mantissa = if exponent == 0 { fraction } else { fraction | (1 << FRACTION_BITS) };
    let product = mantissa * US_PER_SECOND as u128;
    // The product has at most 73 bits, so that 54 more still fit.
    let us = match exponent.max(1) - EXPONENT_BIAS {
        shift @ 0..=54 => product << shift,
        55.. => return None,
        shift if shift < -100 => 0,
        shift => {
            let (whole, rest) = (product >> -shift, product & ((1 << -shift) - 1));
            let half = 1 << (-shift - 1);
            whole + u128::from(rest > half || (rest == half && whole % 2 == 1))
        }
    };
    let us = i64::try_from(us).ok()?;
    Some(if seconds.is_sign_negative() { -us } else { us })
}

struct Rounded {
    /// 0 to 1,000,000.
    us: i64,
    /// Whether the digits stood exactly between two microseconds; `us` is the larger one.
    tie: bool,
}

/// Decimals to microseconds; none without a digit.
fn round_fraction(digits: &[u8]) -> Option<Rounded> {
    let (exact, rest) = digits.split_at(digits.len().min(FRACTION_DIGITS));
    let mut us = number(exact)?;
    for _ in exact.len()..FRACTION_DIGITS {
        us *= 10;
    }
    let up = rest.first().is_some_and(|&digit| digit >= b'5');
    let tie = matches!(rest, [b'5', zeros @ ..] if zeros.iter().all(|&digit| digit == b'0'));
    Some(Rounded { us: us + i64::from(up), tie })
}

/// Up to six digits.
fn number(digits: &[u8]) -> Option<i64> {
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    (!digits.is_empty()).then_some(number)
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days since 1970 of a date in the Gregorian calendar; years begin in March, so that leap days come last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - DAYS_TO_EPOCH
}

/// Year, month and day of days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// RFC 3339, UTC, six decimals: `2018-03-24T17:15:20.866586Z`.
#[must_use]
pub fn format_time(us: i64) -> String {
    let mut text = String::with_capacity(SECONDS_TEXT_BYTES + 1 + FRACTION_DIGITS + 1);
    write_time(us, &mut text);
    text
}

/// Appends what [`format_time`] gives.
pub fn write_time(us: i64, text: &mut String) {
    let (seconds, us) = (us.div_euclid(US_PER_SECOND), us.rem_euclid(US_PER_SECOND));
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(days);
    if year < 0 {
        text.push('-');
    }
    for (number, digits, after) in [
        (year.abs(), 4, '-'),
        (month, 2, '-'),
        (day, 2, 'T'),
        (second / 3600, 2, ':'),
        (second / 60 % 60, 2, ':'),
        (second % 60, 2, '.'),
        (us, 6, 'Z'),
    ] {
        write_number(number, digits, text);
        text.push(after);
    }
}

fn write_number(number: i64, digits: usize, text: &mut String) {
    let mut power = 10i64.pow(digits as u32 - 1);
    while number / power >= 10 {
        power *= 10;
    }
    while power > 0 {
        text.push(char::from(b'0' + (number / power % 10) as u8));
        power /= 10;
    }
}

#[cfg(test)]
mod tests;

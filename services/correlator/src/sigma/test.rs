//! What a rule asks of one value.

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use super::pattern::Pattern;

/// Bytes a compiled regular expression may take.
const MAX_REGEX_BYTES: usize = 4 << 20;

/// A question about the value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// It matches a pattern; an uncased pattern is in lower case.
    Text {
        /// The pattern.
        pattern: Pattern,
        /// Whether case counts.
        cased: bool,
    },
    /// A regular expression, flags inside, finds something in it.
    Regex(Box<str>),
    /// It is an address within a network.
    Cidr(Net),
    /// It is a number on this side of another.
    Compare(Compare, Number),
    /// There is no value.
    Null,
}

/// How a number stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// Less.
    Lt,
    /// Less or the same.
    Lte,
    /// More.
    Gt,
    /// More or the same.
    Gte,
}

impl Compare {
    /// Whether `value` stands so to `other`.
    #[must_use]
    pub fn holds(self, value: f64, other: f64) -> bool {
        match self {
            Self::Lt => value < other,
            Self::Lte => value <= other,
            Self::Gt => value > other,
            Self::Gte => value >= other,
        }
    }
}

/// A finite number that can be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number(u64);

impl Number {
    /// Of a finite number.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self((value + 0.0).to_bits()))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    bits: u128,
    mask: u128,
    v6: bool,
}

impl Net {
    /// Reads `ADDRESS/BITS`, or an address alone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (bits, v6) = bits_of(address.trim().parse().ok()?);
        let width = if v6 { 128 } else { 32 };
        let length = length.unwrap_or(width);
        if length > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        Some(Self { bits: bits & mask, mask, v6 })
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, v6) = bits_of(address);
        v6 == self.v6 && bits & self.mask == self.bits
    }
}

fn bits_of(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), false),
        IpAddr::V6(v6) => (u128::from(v6), true),
    }
}

/// Compiles a regular expression as rules use it.
///
/// # Errors
/// With the reason, if it is none or uses what a linear-time engine has not (look-around, back references).
pub fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("regular expression of more than {limit} bytes when compiled"),
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            format!("regular expression '{pattern}': {reason}")
        }
    })
}

impl Test {
    /// Whether a value passes; none stands for no value. The plain meaning, one value at a time: the engine decides the
    /// same for many at once, and tests hold it against this.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return *self == Self::Null };
        match self {
            Self::Text { pattern, cased: true } => pattern.matches(value),
            Self::Text { pattern, cased: false } => pattern.matches(&value.to_lowercase()),
            Self::Regex(text) => regex(text).is_ok_and(|regex| regex.is_match(value)),
            Self::Cidr(net) => value.parse().is_ok_and(|address| net.contains(address)),
            Self::Compare(compare, number) => value.parse().is_ok_and(|value| compare.holds(value, number.get())),
            Self::Null => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (net, address, inside) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("192.168.1.1", "192.168.1.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("fe80::/10", "fe80::1", true),
            ("fe80::/10", "2001:db8::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ] {
            let found = Net::parse(net).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, inside, "{address} in {net}");
        }
        for bad in ["10.0.0.0/33", "10.0.0/8", "", "x/8", "::/129"] {
            assert_eq!(Net::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn regular_expressions_say_what_they_cannot_do() {
        assert!(regex("(?i)a.+b").is_ok());
        assert!(regex("a(?=b)").unwrap_err().contains("look-around"));
        assert!(regex("(").is_err());
    }
}

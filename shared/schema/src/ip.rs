//! Addresses in canonical text.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

/// An IP address in canonical text (RFC 5952; a v4-mapped address becomes v4; a zone is left out), or none if it is no
/// address. Text that is canonical already is returned as it is, other text is written into `buffer`, which is cleared
/// first: nothing is allocated once the buffer has grown to 39 bytes.
#[must_use]
pub fn canonical_ip<'a>(text: &'a str, buffer: &'a mut String) -> Option<&'a str> {
    if is_canonical_v4(text.as_bytes()) {
        return Some(text);
    }
    let address = match text.split_once('%') {
        Some((address, _zone)) => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
        None => text.parse().ok()?,
    };
    buffer.clear();
    write!(buffer, "{}", address.to_canonical()).ok()?;
    Some(if buffer == text { text } else { buffer })
}

/// Four numbers up to 255 with dots between, none with a leading zero.
fn is_canonical_v4(text: &[u8]) -> bool {
    if !(7..=15).contains(&text.len()) {
        return false;
    }
    let (mut dots, mut digits, mut number) = (0, 0, 0u16);
    for &byte in text {
        match byte {
            b'.' if digits > 0 => (dots, digits, number) = (dots + 1, 0, 0),
            b'0'..=b'9' if digits == 0 || (number > 0 && digits < 3) => {
                (digits, number) = (digits + 1, number * 10 + u16::from(byte - b'0'));
            }
            _ => return false,
        }
        if number > 255 {
            return false;
        }
    }
    dots == 3 && digits > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(canonical_ip(text, &mut "left over".to_owned()), expected, "{text}");
    }

    #[test]
    fn addresses_become_canonical() {
        for same in
            ["0.0.0.0", "10.47.1.100", "255.255.255.255", "::", "::1", "2001:db8::8:800:200c:417a", "1:0:0:4::8"]
        {
            check(same, Some(same));
        }
        check("::ffff:10.0.0.1", Some("10.0.0.1"));
        check("::ffff:0a00:0001", Some("10.0.0.1"));
        check("2001:0DB8:0:0:0:0:0:1", Some("2001:db8::1"));
        check("2001:db8:0:1:1:1:1:1", Some("2001:db8:0:1:1:1:1:1"));
        check("2001:db8:0:0:1:0:0:1", Some("2001:db8::1:0:0:1"));
        check("fe80::1%eth0", Some("fe80::1"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "1.2.3.4/24",
            "1..2.3",
            "1.2.3.",
            "a",
            "1.2.3.4%eth0",
            "-",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_std(address: IpAddr) {
            let text = address.to_string();
            let expected = address.to_canonical().to_string();
            let mut buffer = String::new();
            prop_assert_eq!(canonical_ip(&text, &mut buffer), Some(expected.as_str()));
        }

        #[test]
        fn any_text_is_canonical_as_std_has_it(text in "[0-9a-f.:]{0,20}") {
            let expected = text.parse::<IpAddr>().ok().map(|address| address.to_canonical().to_string());
            let mut buffer = String::new();
            prop_assert_eq!(canonical_ip(&text, &mut buffer), expected.as_deref());
        }
    }
}

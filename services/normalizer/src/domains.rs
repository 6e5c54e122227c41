//! Names: lower case, hosts, registered domains.

use std::net::IpAddr;

/// Bytes of a domain name at most; a longer text has no registered domain.
const MAX_NAME_BYTES: usize = 255;

/// The text in lower case (ASCII), written to `buffer` only where it differs.
pub(crate) fn lower<'b>(text: &'b str, buffer: &'b mut String) -> &'b str {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        buffer.clear();
        buffer.push_str(text);
        buffer.make_ascii_lowercase();
        buffer
    } else {
        text
    }
}

/// A domain name: lower case, without the last dot; the root stays `.`.
pub(crate) fn name<'b>(text: &'b str, buffer: &'b mut String) -> &'b str {
    let text = match text.strip_suffix('.') {
        Some("") | None => text,
        Some(rest) => rest,
    };
    lower(text, buffer)
}

/// A host's name: as a domain name, without a port; none for an address, or where nothing is left.
pub(crate) fn host<'b>(text: &'b str, buffer: &'b mut String) -> Option<&'b str> {
    let text = match text.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) => return None,
        None => text,
    };
    let host = name(text, buffer);
    (!host.is_empty() && host != "." && !is_address(host)).then_some(host)
}

/// Whether a host's text is an address: no top-level domain is all digits.
fn is_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit()) || (host.contains(':') && host.parse::<IpAddr>().is_ok())
}

/// The registered domain of a host's name in lower case: the public suffix and one label more.
pub(crate) fn registered(host: &str) -> Option<&str> {
    if host.len() > MAX_NAME_BYTES { None } else { psl::domain_str(host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_without_last_dot() {
        let mut buffer = String::new();
        for (text, expected) in [("WWW.Example.COM.", "www.example.com"), (".", "."), ("a", "a"), ("", "")] {
            assert_eq!(name(text, &mut buffer), expected);
        }
    }

    #[test]
    fn addresses_are_no_hosts() {
        let mut buffer = String::new();
        for (text, expected) in [
            ("Example.com:8080", Some("example.com")),
            ("192.168.0.4", None),
            ("192.168.0.4:80", None),
            ("[::1]:80", None),
            ("::1", None),
            ("", None),
            (".", None),
            ("wpad", Some("wpad")),
        ] {
            assert_eq!(host(text, &mut buffer), expected, "{text}");
        }
    }

    #[test]
    fn registered_domains_follow_the_public_suffixes() {
        for (host, expected) in [
            ("ise.wrccdc.org", Some("wrccdc.org")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("co.uk", None),
            ("wpad", None),
            ("newyork.dmevals.local", Some("dmevals.local")),
        ] {
            assert_eq!(registered(host), expected, "{host}");
        }
        assert_eq!(registered(&"a.".repeat(200)), None);
    }
}

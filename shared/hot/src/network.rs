//! Networks in CIDR form, and addresses as keys.

use std::net::{IpAddr, Ipv6Addr};

use crate::HotError;

/// A network of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    v4: bool,
    first: u128,
    last: u128,
}

impl Network {
    /// Reads `ADDRESS/BITS`, or an address alone.
    pub(crate) fn parse(text: &str) -> Result<Self, HotError> {
        let bad = || HotError::Request(format!("'{text}' is no network: write it as 10.0.0.0/8 or 2001:db8::/32"));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(width), |bits| bits.parse().ok().filter(|bits| *bits <= width)).ok_or_else(bad)?;
        let host = width - bits;
        let mask = if host == 128 { u128::MAX } else { (1 << host) - 1 };
        let number = number_of(address);
        Ok(Self { v4: address.is_ipv4(), first: number & !mask, last: number | mask })
    }

    /// Whether an address lies in it; v4-mapped addresses count as v4.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.v4 && (self.first..=self.last).contains(&number_of(address))
    }

    /// The first and the last address.
    #[must_use]
    pub fn range(&self) -> (IpAddr, IpAddr) {
        (self.address(self.first), self.address(self.last))
    }

    fn address(&self, number: u128) -> IpAddr {
        let v6 = Ipv6Addr::from_bits(number);
        if self.v4 { IpAddr::from(std::net::Ipv4Addr::from_bits(low_bits(number))) } else { IpAddr::from(v6) }
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn low_bits(number: u128) -> u32 {
    u32::try_from(number & u128::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// An address as rows hold it: RFC 5952, v4-mapped as v4.
pub(crate) fn canonical(text: &str) -> Result<String, HotError> {
    let address = text.trim().parse::<IpAddr>();
    let address = address.map_err(|_| HotError::Request(format!("'{text}' is no IP address")))?;
    Ok(address.to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        for (network, address) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.1.2.3", "10.1.2.3"),
            ("0.0.0.0/0", "255.255.255.255"),
            ("10.0.0.0/8", "::ffff:10.1.1.1"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("::/0", "ffff::"),
        ] {
            assert!(holds(network, address), "{network} {address}");
        }
        assert!(!holds("10.0.0.0/8", "11.0.0.0") && !holds("::/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "x/8", "::/129"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Network::parse("10.9.8.7/16").unwrap().range(),
            ("10.9.0.0".parse().unwrap(), "10.9.255.255".parse().unwrap())
        );
    }

    #[test]
    fn addresses_are_canonical() {
        assert_eq!(canonical(" ::FFFF:1.2.3.4 ").unwrap(), "1.2.3.4");
        assert_eq!(canonical("2001:DB8:0:0::1").unwrap(), "2001:db8::1");
        assert!(canonical("host").is_err());
    }
}

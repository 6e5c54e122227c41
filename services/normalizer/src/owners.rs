//! Whose an address or a name is: what tenants say they own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use atalaya_model::Tenant;

use crate::domains;

/// Networks and domains of all tenants together, at most.
const MAX_CLAIMS: usize = 1_000_000;

/// Bits of an IPv6 address; an IPv4 address is held as the IPv6 address that maps it.
const ADDRESS_BITS: u8 = 128;

/// Bits before an IPv4 address within the IPv6 address that maps it.
const V4_PREFIX_BITS: u8 = 96;

/// What a tenant owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// Whose.
    pub tenant: Tenant,
    /// Networks, CIDR or single addresses.
    pub networks: Vec<String>,
    /// Domains, with all their subdomains.
    pub domains: Vec<String>,
}

/// A claim that says nothing.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// No network.
    #[error("tenant {tenant}: '{network}' is no network: write an address and a prefix length, as in 10.0.0.0/8")]
    Network {
        /// Whose file.
        tenant: Tenant,
        /// What stands there.
        network: String,
    },
    /// No domain.
    #[error("tenant {tenant}: '{domain}' is no domain: write it as in example.com")]
    Domain {
        /// Whose file.
        tenant: Tenant,
        /// What stands there.
        domain: String,
    },
    /// Too much.
    #[error("more than {MAX_CLAIMS} networks and domains")]
    TooMany,
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'o> {
    /// No tenant claims it.
    Nobody,
    /// One tenant's.
    One(&'o Tenant),
    /// Several tenants claim it with the same precision.
    Ambiguous,
}

/// None stands for several owners.
type Owner = Option<Tenant>;

/// The ownership table. Of several networks that hold an address the longest prefix counts, of several domains that
/// hold a name the longest.
#[derive(Clone, Debug, Default)]
pub struct Ownership {
    /// By prefix length, then by the prefix's bits.
    networks: BTreeMap<u8, HashMap<u128, Owner>>,
    domains: HashMap<Box<str>, Owner>,
    version: String,
}

impl Ownership {
    /// The table of what these tenants own.
    ///
    /// # Errors
    /// If a network or a domain cannot be read, or there are too many.
    pub fn new(assets: &[Assets]) -> Result<Self, OwnershipError> {
        let claims: usize = assets.iter().map(|assets| assets.networks.len() + assets.domains.len()).sum();
        if claims > MAX_CLAIMS {
            return Err(OwnershipError::TooMany);
        }
        let mut ownership = Self { version: version(assets), ..Self::default() };
        for Assets { tenant, networks, domains } in assets {
            for network in networks {
                let (bits, prefix) = parse_network(network)
                    .ok_or_else(|| OwnershipError::Network { tenant: tenant.clone(), network: network.clone() })?;
                claim(ownership.networks.entry(bits).or_default().entry(prefix), tenant);
            }
            for domain in domains {
                let name = parse_domain(domain)
                    .ok_or_else(|| OwnershipError::Domain { tenant: tenant.clone(), domain: domain.clone() })?;
                claim(ownership.domains.entry(name), tenant);
            }
        }
        Ok(ownership)
    }

    /// Whether nobody owns anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.domains.is_empty()
    }

    /// Changes with what is owned: hexadecimal.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whose an address is.
    #[must_use]
    pub fn of_address(&self, address: &str) -> Claim<'_> {
        if self.networks.is_empty() {
            return Claim::Nobody;
        }
        let Ok(address) = address.split('%').next().unwrap_or_default().parse::<IpAddr>() else { return Claim::Nobody };
        let bits = bits_of(address);
        let mut longest_first = self.networks.iter().rev();
        longest_first.find_map(|(&length, owners)| owners.get(&(bits & mask(length)))).map_or(Claim::Nobody, claimed)
    }

    /// Whose a name is.
    #[must_use]
    pub fn of_name(&self, name: &str) -> Claim<'_> {
        if self.domains.is_empty() {
            return Claim::Nobody;
        }
        let mut buffer = String::new();
        let Some(host) = domains::host(name, &mut buffer) else { return Claim::Nobody };
        let parents = std::iter::successors(Some(host), |name| name.split_once('.').map(|(_, parent)| parent));
        parents.into_iter().find_map(|name| self.domains.get(name)).map_or(Claim::Nobody, claimed)
    }

    /// Whose an event is: its addresses tell, and where they are nobody's its names. Two owners, or an ambiguous one,
    /// are nobody: never a guess.
    pub fn of_event<'o, 'e>(
        &'o self,
        addresses: &[Claim<'o>],
        names: impl Iterator<Item = &'e str>,
    ) -> Option<&'o Tenant> {
        let claim = match agreed(addresses.iter().copied()) {
            Claim::Nobody => agreed(names.map(|name| self.of_name(name))),
            claim => claim,
        };
        if let Claim::One(tenant) = claim { Some(tenant) } else { None }
    }
}

fn agreed<'o>(claims: impl Iterator<Item = Claim<'o>>) -> Claim<'o> {
    claims.fold(Claim::Nobody, |so_far, claim| match (so_far, claim) {
        (Claim::Nobody, other) | (other, Claim::Nobody) => other,
        (Claim::One(one), Claim::One(other)) if one == other => so_far,
        _ => Claim::Ambiguous,
    })
}

fn claimed(owner: &Owner) -> Claim<'_> {
    owner.as_ref().map_or(Claim::Ambiguous, Claim::One)
}

fn claim<K: Eq + std::hash::Hash>(entry: std::collections::hash_map::Entry<'_, K, Owner>, tenant: &Tenant) {
    entry
        .and_modify(|owner| {
            if owner.as_ref() != Some(tenant) {
                *owner = None;
            }
        })
        .or_insert_with(|| Some(tenant.clone()));
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(ADDRESS_BITS - length)).unwrap_or(0)
}

fn parse_network(text: &str) -> Option<(u8, u128)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let before = if address.is_ipv4() { V4_PREFIX_BITS } else { 0 };
    let most = ADDRESS_BITS - before;
    let length = length.map_or(Some(most), |length| length.parse().ok()).filter(|&length| length <= most)? + before;
    Some((length, bits_of(address) & mask(length)))
}

fn parse_domain(text: &str) -> Option<Box<str>> {
    let mut buffer = String::new();
    let name = domains::host(text.trim_start_matches("*."), &mut buffer)?;
    let valid = name.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    valid.then(|| name.into())
}

/// A hash of everything owned, order aside.
fn version(assets: &[Assets]) -> String {
    let mut claims: Vec<_> = assets
        .iter()
        .flat_map(|assets| {
            assets.networks.iter().chain(&assets.domains).map(move |claim| format!("{} {claim}\n", assets.tenant))
        })
        .collect();
    claims.sort_unstable();
    let hash = atalaya_model::EventId::of("ownership", &[claims.concat().as_bytes()]);
    hash.to_string()[..VERSION_DIGITS].to_owned()
}

const VERSION_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        name.parse().unwrap()
    }

    fn assets(name: &str, networks: &[&str], domains: &[&str]) -> Assets {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Assets { tenant: tenant(name), networks: owned(networks), domains: owned(domains) }
    }

    fn table() -> Ownership {
        Ownership::new(&[
            assets("acme", &["10.0.0.0/8", "2001:db8::/32"], &["acme.com", "shared.org"]),
            assets(
                "globex",
                &["10.9.0.0/16", "192.0.2.7", "2001:db8:9::/48"],
                &["*.globex.net", "lab.acme.com", "shared.org"],
            ),
            assets("initech", &["10.9.9.0/24"], &[]),
            assets("hooli", &["10.9.9.0/24"], &[]),
        ])
        .unwrap()
    }

    #[test]
    fn the_longest_prefix_owns() {
        let (table, acme, globex) = (table(), tenant("acme"), tenant("globex"));
        for (address, expected) in [
            ("10.1.2.3", Claim::One(&acme)),
            ("::ffff:10.1.2.3", Claim::One(&acme)),
            ("10.9.1.1", Claim::One(&globex)),
            ("10.9.9.1", Claim::Ambiguous),
            ("192.0.2.7", Claim::One(&globex)),
            ("192.0.2.8", Claim::Nobody),
            ("2001:db8::1", Claim::One(&acme)),
            ("2001:db8:9::1", Claim::One(&globex)),
            ("not an address", Claim::Nobody),
        ] {
            assert_eq!(table.of_address(address), expected, "{address}");
        }
    }

    #[test]
    fn the_longest_domain_owns() {
        let (table, acme, globex) = (table(), tenant("acme"), tenant("globex"));
        for (name, expected) in [
            ("acme.com", Claim::One(&acme)),
            ("WWW.Acme.com.", Claim::One(&acme)),
            ("x.lab.acme.com", Claim::One(&globex)),
            ("globex.net", Claim::One(&globex)),
            ("shared.org", Claim::Ambiguous),
            ("notacme.com", Claim::Nobody),
            ("com", Claim::Nobody),
        ] {
            assert_eq!(table.of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn events_are_owned_by_addresses_then_names_and_never_by_a_guess() {
        let table = table();
        let owner = |addresses: &[&'static str], names: &[&'static str]| {
            let claims: Vec<_> = addresses.iter().map(|address| table.of_address(address)).collect();
            table.of_event(&claims, names.iter().copied()).map(ToString::to_string)
        };
        assert_eq!(owner(&["10.1.1.1", "8.8.8.8"], &["globex.net"]).as_deref(), Some("acme"));
        assert_eq!(owner(&["8.8.8.8"], &["www.globex.net"]).as_deref(), Some("globex"));
        assert_eq!(owner(&["10.1.1.1", "10.9.1.1"], &[]), None);
        assert_eq!(owner(&["10.9.9.9"], &["acme.com"]), None);
        assert_eq!(owner(&["8.8.8.8"], &["shared.org", "acme.com"]), None);
        assert_eq!(owner(&[], &[]), None);
    }

    #[test]
    fn wrong_claims_name_the_tenant() {
        for (networks, domains) in
            [(&["10.0.0.0/33"][..], &[][..]), (&["x"], &[]), (&[], &["a b"]), (&[], &["10.0.0.1"])]
        {
            let error = Ownership::new(&[assets("acme", networks, domains)]).unwrap_err().to_string();
            assert!(error.starts_with("tenant acme: "), "{error}");
        }
    }

    #[test]
    fn the_version_follows_what_is_owned() {
        assert_eq!(table().version(), table().version());
        assert_ne!(table().version(), Ownership::default().version());
    }
}

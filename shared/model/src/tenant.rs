//! Tenants, and the partition that all events of a tenant meet in.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The tenant of whatever is nobody's or ambiguous.
pub const DEFAULT_TENANT: &str = "default";

/// What stands in place of a tenant where a source serves many: the normalizer assigns the owner.
pub const SHARED: &str = "shared";

/// The domain of live data; every backfill or replay has a domain of its own.
pub const LIVE_DOMAIN: &str = "live";

const MAX_TENANT_BYTES: usize = 63;

/// A tenant's name: 1 to 63 of `a-z`, `0-9` and `-`, never `shared`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

/// A text that cannot name a tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no tenant name: use 1 to 63 of a-z, 0-9 and '-', and not 'shared'")]
pub struct ParseTenantError(String);

impl Tenant {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(DEFAULT_TENANT.into())
    }
}

impl FromStr for Tenant {
    type Err = ParseTenantError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let valid = (1..=MAX_TENANT_BYTES).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && name != SHARED;
        if valid { Ok(Self(name.into())) } else { Err(ParseTenantError(name.to_owned())) }
    }
}

impl TryFrom<String> for Tenant {
    type Error = ParseTenantError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0.as_ref().to_owned()
    }
}

impl Borrow<str> for Tenant {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The partition of a tenant's slot: XXH3-64 (seed 0) over the tenant's bytes, a zero byte and the slot as
/// little-endian u16, modulo `partitions`. Wire law: changing it needs a new stream.
///
/// # Panics
/// If `partitions` is zero.
#[must_use]
pub fn partition_of(tenant: &str, slot: u16, partitions: u16) -> u16 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(tenant.as_bytes());
    hasher.update(&[0]);
    hasher.update(&slot.to_le_bytes());
    let partition = hasher.digest() % u64::from(partitions);
    u16::try_from(partition).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["default", "acme", "a-1"] {
            assert!(good.parse::<Tenant>().is_ok(), "{good}");
        }
        for bad in ["", "shared", "Acme", "a.b", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }

    /// Wire law: these values may never change.
    #[test]
    fn partitions_are_law() {
        let found = ["default", "acme", "globex"].map(|tenant| partition_of(tenant, 0, 16));
        assert_eq!(found, PARTITIONS_OF_LAW);
    }

    const PARTITIONS_OF_LAW: [u16; 3] = [2, 14, 7];
}

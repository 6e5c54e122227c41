//! Which addresses were seen in a network: addresses by the prefix they begin with, and prefixes by family.
//!
//! Addresses stand as their bytes, families apart, so that a network is one slice.

use std::net::IpAddr;
use std::ops::ControlFlow;

use atalaya_model::Tenant;
use futures::{StreamExt, TryStreamExt, stream};

use super::Store;
use super::read::rows;
use crate::HotError;
use crate::kinds::EntityKind;
use crate::lookup::Network;

/// Bytes of a prefix: /16 and /32.
const V4_PREFIX_BYTES: usize = 2;
const V6_PREFIX_BYTES: usize = 4;

/// Partitions of addresses read at once.
const PREFIXES_AT_ONCE: usize = 8;

/// Prefixes of a network looked at, at most: every one of v4 there is.
const MAX_PREFIXES: usize = 1 << 16;

/// An address as its bytes.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The prefix whose partition an address stands in.
pub(super) fn prefix_of(address: IpAddr) -> Vec<u8> {
    let mut prefix = octets(address);
    prefix.truncate(if address.is_ipv4() { V4_PREFIX_BYTES } else { V6_PREFIX_BYTES });
    prefix
}

/// The partition that an address's prefix stands in: the family.
pub(super) fn root_of(address: IpAddr) -> Vec<u8> {
    vec![if address.is_ipv4() { 4 } else { 6 }]
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

impl Store {
    pub(super) async fn read_addresses(
        &self,
        tenant: &Tenant,
        kind: EntityKind,
        network: Network,
        limit: usize,
    ) -> Result<Vec<String>, HotError> {
        let (first, last) = network.range();
        let (from, to) = (prefix_of(first), prefix_of(last));
        let prefixes = if from == to {
            vec![from]
        } else {
            self.read_prefix(tenant, kind, root_of(first), (from, to), MAX_PREFIXES).await?
        };
        let (from, to) = (octets(first), octets(last));
        let mut reads = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            reads.push(self.read_prefix(tenant, kind, prefix, (from.clone(), to.clone()), limit));
        }
        let mut reads = stream::iter(reads).buffered(PREFIXES_AT_ONCE);
        let mut addresses = Vec::new();
        while let Some(found) = reads.try_next().await? {
            addresses.extend(found.iter().filter_map(|octets| address_of(octets)).map(|address| address.to_string()));
            if addresses.len() >= limit {
                addresses.truncate(limit);
                break;
            }
        }
        Ok(addresses)
    }

    /// What stands in a partition from one value to another.
    async fn read_prefix(
        &self,
        tenant: &Tenant,
        kind: EntityKind,
        prefix: Vec<u8>,
        (from, to): (Vec<u8>, Vec<u8>),
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, HotError> {
        let key = (tenant.as_str(), kind as i8, prefix, from, to);
        let mut found = Vec::new();
        let take = |page: &scylla::response::query_result::QueryRowsResult| {
            for (value,) in rows::<(&[u8],)>(page, "entities_by_prefix")? {
                found.push(value.to_vec());
                if found.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.prefixes, &key, limit, take).await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_under_their_prefix() {
        for (address, prefix) in [("10.1.2.3", &[10, 1][..]), ("2001:db8::1", &[0x20, 0x01, 0x0d, 0xb8][..])] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(prefix_of(address), prefix);
            assert_eq!(address_of(&octets(address)), Some(address));
        }
        assert_eq!(address_of(&[1, 2, 3]), None);
    }
}

//! Keys of the embedded tables. The tenant comes first, ended by a zero byte; times are turned around, newest first.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atalaya_model::Class;

use crate::kinds::EntityKind;
use crate::posting::{Place, PostingKey, SegmentId};

/// Longer values are filed under their first bytes and a hash; rows are checked by the whole value.
const MAX_VALUE_BYTES: usize = 256;

const HASH_BYTES: usize = 16;
const SEGMENT_ID_BYTES: usize = 12;
const TIME_BYTES: usize = 8;
const CLASS_BYTES: usize = 2;

/// Bytes after the entity in the key of a posting.
const POSTING_KEY_BYTES: usize = TIME_BYTES + CLASS_BYTES + SEGMENT_ID_BYTES;

const TEXT: u8 = 0;
const V4: u8 = 4;
const V6: u8 = 6;

/// Begins a key with the tenant: 0 ends the name, and no name holds one.
pub(super) fn put_tenant(tenant: &str, key: &mut Vec<u8>) {
    key.extend_from_slice(tenant.as_bytes());
    key.push(0);
}

/// A time so that later ones sort first.
pub(super) const fn newest_first(time_us: i64) -> [u8; TIME_BYTES] {
    (!time_us ^ i64::MIN).to_be_bytes()
}

/// A time so that earlier ones sort first.
pub(super) const fn oldest_first(time_us: i64) -> [u8; TIME_BYTES] {
    (time_us ^ i64::MIN).to_be_bytes()
}

const fn read_newest_first(bytes: [u8; TIME_BYTES]) -> i64 {
    !(i64::from_be_bytes(bytes) ^ i64::MIN)
}

/// Appends tenant, kind and value. Addresses stand as numbers, so that those of a network follow each other.
pub(super) fn put_entity(tenant: &str, kind: EntityKind, value: &str, key: &mut Vec<u8>) {
    put_tenant(tenant, key);
    key.push(kind as u8);
    match value.parse::<IpAddr>() {
        Ok(address) if kind.is_address() => put_address(address, key),
        _ => {
            key.push(TEXT);
            put_value(value, key);
        }
    }
}

fn put_address(address: IpAddr, key: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            key.push(V4);
            key.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            key.push(V6);
            key.extend_from_slice(&v6.octets());
        }
    }
}

/// Appends a value with its length before it.
pub(super) fn put_value(value: &str, key: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    let cut = if bytes.len() > MAX_VALUE_BYTES { MAX_VALUE_BYTES - HASH_BYTES } else { bytes.len() };
    let hash = blake3::hash(bytes);
    let rest = if cut < bytes.len() { &hash.as_bytes()[..HASH_BYTES] } else { &[] };
    let length = u16::try_from(cut + rest.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(&bytes[..cut]);
    key.extend_from_slice(rest);
}

/// Appends what orders the postings of an entity.
pub(super) fn put_posting_key(posting: &PostingKey, key: &mut Vec<u8>) {
    key.extend_from_slice(&newest_first(posting.max_time.0));
    key.extend_from_slice(&class_number(posting.class).to_be_bytes());
    key.extend_from_slice(posting.segment.as_bytes());
}

/// Reads what follows the entity in a posting's key.
pub(super) fn read_posting_key(rest: &[u8]) -> Option<PostingKey> {
    let (time, rest) = rest.split_first_chunk()?;
    let (class, segment) = rest.split_first_chunk()?;
    Some(PostingKey {
        max_time: Reverse(read_newest_first(*time)),
        class: Class::from_uid(u16::from_be_bytes(*class).into())?,
        segment: SegmentId::from_slice(segment)?,
    })
}

fn class_number(class: Class) -> u16 {
    u16::try_from(class.uid()).unwrap_or(u16::MAX)
}

/// Tenant, kind and family: where the addresses of a kind begin.
pub(super) fn addresses_prefix(tenant: &str, kind: EntityKind, address: IpAddr) -> Vec<u8> {
    let mut key = Vec::new();
    put_tenant(tenant, &mut key);
    key.push(kind as u8);
    key.push(if address.is_ipv4() { V4 } else { V6 });
    key
}

/// An address as the bytes that follow [`addresses_prefix`].
pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    let mut key = Vec::new();
    put_address(address, &mut key);
    key.split_off(1)
}

/// The address that follows [`addresses_prefix`] in a posting's key.
pub(super) fn read_address(rest: &[u8]) -> Option<IpAddr> {
    let address = rest.get(..rest.len().checked_sub(POSTING_KEY_BYTES)?)?;
    if let Ok(octets) = <[u8; 4]>::try_from(address) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(address).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// The key of a segment: by received time, so that what is written later sorts later and is never sorted in.
pub(super) fn segment_key(place: &Place) -> [u8; TIME_BYTES + SEGMENT_ID_BYTES] {
    let mut key = [0; TIME_BYTES + SEGMENT_ID_BYTES];
    key[..TIME_BYTES].copy_from_slice(&oldest_first(place.received_us));
    key[TIME_BYTES..].copy_from_slice(place.segment.as_bytes());
    key
}

/// Tenant and bucket of event ids.
pub(super) fn ids_prefix(tenant: &str, bucket: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant.len() + 2 + TIME_BYTES + SEGMENT_ID_BYTES);
    put_tenant(tenant, &mut key);
    key.push(bucket);
    key
}

/// Appends the place of a segment to [`ids_prefix`], newest received first.
pub(super) fn put_place(place: &Place, key: &mut Vec<u8>) {
    key.extend_from_slice(&newest_first(place.received_us));
    key.extend_from_slice(place.segment.as_bytes());
}

/// Reads what follows [`ids_prefix`]; the partition stands in the value.
pub(super) fn read_place(rest: &[u8], partition: u16) -> Option<Place> {
    let (time, segment) = rest.split_first_chunk()?;
    Some(Place { partition, received_us: read_newest_first(*time), segment: SegmentId::from_slice(segment)? })
}

/// Tenant, then the times of rows, newest first, each with its id.
pub(super) fn timed_key(tenant: &str, time_us: i64, id: &[u8; 16]) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant.len() + 1 + TIME_BYTES + id.len());
    put_tenant(tenant, &mut key);
    key.extend_from_slice(&newest_first(time_us));
    key.extend_from_slice(id);
    key
}

/// Reads what follows the tenant in [`timed_key`].
pub(super) fn read_timed(rest: &[u8]) -> Option<(i64, [u8; 16])> {
    let (time, id) = rest.split_first_chunk()?;
    Some((read_newest_first(*time), id.try_into().ok()?))
}

/// The smallest key above every key that begins so; none if there is no such key.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut key = prefix[..=last].to_vec();
    key[last] += 1;
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn postings_sort_newest_first(a in any::<i64>(), b in any::<i64>()) {
            let key = |time_us| {
                let segment = SegmentId::of("m");
                let posting = PostingKey { max_time: Reverse(time_us), class: Class::DnsActivity, segment };
                let mut key = Vec::new();
                put_posting_key(&posting, &mut key);
                assert_eq!(read_posting_key(&key), Some(posting));
                key
            };
            prop_assert_eq!(key(a).cmp(&key(b)), b.cmp(&a));
            prop_assert_eq!(oldest_first(a).cmp(&oldest_first(b)), a.cmp(&b));
        }

        #[test]
        fn no_entity_is_a_prefix_of_another(a in "[a-c\0]{0,3}", b in "[a-c\0]{0,3}", long in "[a-z]{300}") {
            let key = |value: &str| {
                let mut key = Vec::new();
                put_entity("acme", EntityKind::User, value, &mut key);
                key
            };
            prop_assert!(a == b || !key(&a).starts_with(&key(&b)));
            let longer = long.clone() + "x";
            prop_assert!(key(&long).len() < 300);
            prop_assert_ne!(key(&long), key(&longer));
        }

        #[test]
        fn addresses_read_back(address: IpAddr) {
            let mut key = Vec::new();
            put_entity("acme", EntityKind::SrcIp, &address.to_string(), &mut key);
            let prefix = addresses_prefix("acme", EntityKind::SrcIp, address);
            prop_assert_eq!(&key[prefix.len()..], address_bytes(address));
            key.extend_from_slice(&[0; POSTING_KEY_BYTES]);
            prop_assert_eq!(read_address(&key[prefix.len()..]), Some(address));
        }
    }
}

//! Reading events: postings, segments, addresses, event ids and indicators.

use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use atalaya_model::{EventId, Tenant};
use atalaya_schema::EventBatch;
use fjall::Keyspace;

use super::Store;
use super::keys::{
    address_bytes, addresses_prefix, after_prefix, ids_prefix, newest_first, put_entity, put_place, put_posting_key,
    put_tenant, put_value, read_address, read_place, read_posting_key, segment_key,
};
use super::write::body_of;
use crate::HotError;
use crate::kinds::EntityKind;
use crate::lookup::{Cursor, Entity, Network, StoredIndicator};
use crate::plan::{ID_FRAGMENT_BYTES, id_parts};
use crate::posting::{Place, Posting};

fn damaged(what: &str) -> HotError {
    HotError::Damaged { what: what.to_owned(), reason: "its key cannot be read".to_owned() }
}

/// From a key on, while keys begin with a prefix.
fn range(table: &Keyspace, from: Bound<Vec<u8>>, prefix: &[u8]) -> fjall::Iter {
    let end = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
    table.range::<Vec<u8>, _>((from, end))
}

impl Store {
    pub(super) fn read_postings(
        &self,
        entity: &Entity,
        cursor: Cursor,
        from_us: i64,
        limit: usize,
    ) -> Result<Vec<Posting>, HotError> {
        let mut prefix = Vec::new();
        put_entity(entity.tenant.as_str(), entity.kind, &entity.value, &mut prefix);
        let mut start = prefix.clone();
        let start = match cursor {
            Cursor::From(newest_us) => {
                start.extend_from_slice(&newest_first(newest_us));
                Bound::Included(start)
            }
            Cursor::After(posting) => {
                put_posting_key(&posting, &mut start);
                Bound::Excluded(start)
            }
        };
        let mut postings = Vec::with_capacity(limit);
        let generations = self.generations.all();
        for generation in &generations {
            for stored in range(&generation.postings, start.clone(), &prefix).take(limit) {
                let (key, value) = stored.into_inner()?;
                let key = read_posting_key(&key[prefix.len()..]).ok_or_else(|| damaged("a posting"))?;
                if key.max_time.0 < from_us {
                    break;
                }
                postings.push(Posting::decode(key, &value)?);
            }
        }
        if generations.len() > 1 {
            postings.sort_unstable_by_key(Posting::key);
            postings.truncate(limit);
        }
        Ok(postings)
    }

    pub(super) fn read_segment(&self, place: &Place) -> Result<Option<Arc<EventBatch>>, HotError> {
        let key = segment_key(place);
        for generation in self.generations.all() {
            if !generation.days.contains(place.received_us) {
                continue;
            }
            let Some(segment) = generation.segments.get(key)? else { continue };
            let damaged = |reason: String| HotError::Damaged {
                what: format!("a segment of partition {} received at {} µs", place.partition, place.received_us),
                reason,
            };
            let body = body_of(&segment).ok_or_else(|| damaged("it has no body of this version".to_owned()))?;
            let batch = EventBatch::decode(body).map_err(|error| damaged(error.to_string()))?;
            return Ok(Some(Arc::new(batch)));
        }
        Ok(None)
    }

    /// Addresses are keyed as numbers: after each one found, the next is one seek away.
    pub(super) fn read_addresses(
        &self,
        tenant: &Tenant,
        kind: EntityKind,
        network: Network,
        limit: usize,
    ) -> Result<Vec<String>, HotError> {
        let (first, last) = network.range();
        let prefix = addresses_prefix(tenant.as_str(), kind, first);
        let at = |address: IpAddr| [prefix.as_slice(), &address_bytes(address)].concat();
        let end = after_prefix(&at(last)).map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = std::collections::BTreeSet::new();
        for generation in self.generations.all() {
            let mut start = at(first);
            let mut seen = 0;
            while seen < limit {
                let range = (Bound::Included(start), end.clone());
                let Some(stored) = generation.postings.range::<Vec<u8>, _>(range).next() else { break };
                let key = stored.key()?;
                let address = read_address(&key[prefix.len()..]).ok_or_else(|| damaged("a posting"))?;
                found.insert(address);
                seen += 1;
                let Some(next) = after_prefix(&at(address)) else { break };
                start = next;
            }
        }
        Ok(found.into_iter().take(limit).map(|address| address.to_string()).collect())
    }

    pub(super) fn read_holders(
        &self,
        tenant: &Tenant,
        event: EventId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, HotError> {
        let (bucket, fragment) = id_parts(event.as_bytes());
        let prefix = ids_prefix(tenant.as_str(), bucket);
        let mut start = prefix.clone();
        let start = match after {
            Some(place) => {
                put_place(&place, &mut start);
                Bound::Excluded(start)
            }
            None => Bound::Included(start),
        };
        let mut places = Vec::new();
        let generations = self.generations.all();
        for generation in &generations {
            let mut found = 0;
            for stored in range(&generation.ids, start.clone(), &prefix) {
                let (key, value) = stored.into_inner()?;
                let (partition, fragments) = value.split_first_chunk().ok_or_else(|| damaged("an event's place"))?;
                if !fragments.chunks_exact(ID_FRAGMENT_BYTES).any(|held| held == fragment) {
                    continue;
                }
                let place = read_place(&key[prefix.len()..], u16::from_be_bytes(*partition));
                places.push(place.ok_or_else(|| damaged("an event's place"))?);
                found += 1;
                if found == limit {
                    break;
                }
            }
        }
        places.sort_unstable_by_key(|place| (std::cmp::Reverse(place.received_us), place.segment));
        places.truncate(limit);
        Ok(places)
    }

    pub(super) fn read_indicators(
        &self,
        tenant: &Tenant,
        value: &str,
        limit: usize,
    ) -> Result<Vec<StoredIndicator>, HotError> {
        let mut prefix = Vec::new();
        put_tenant(tenant.as_str(), &mut prefix);
        put_value(value, &mut prefix);
        let stored = self.indicators.prefix(&prefix).take(limit);
        stored.map(|stored| Ok(StoredIndicator { row: stored.value()?.to_vec() })).collect()
    }
}

//! The start: what stands on disk becomes what is in memory.

use super::commit::REVISION;
use super::state::{State, StreamState};
use super::store::{Store, first_key, incarnation_key, io, trimmed_key};
use super::{LEASES, Options};
use crate::{BusError, Sequence, Stream, now_us};

/// The key in `meta` of the number of partitions.
const PARTITIONS: &str = "partitions";

/// Reads the keys of every stream. Answers with the newest revision given out, too.
pub(super) fn recover(store: &Store, options: &Options) -> Result<(State, u64), BusError> {
    check_partitions(store, options.partitions)?;
    drop_leases(store)?;
    let [raw, evt, alert, dlq] = Stream::ALL;
    let streams = [stream(store, raw)?, stream(store, evt)?, stream(store, alert)?, stream(store, dlq)?];
    let revision = store.meta().get(REVISION).map_err(io)?.map_or(Ok(0), |bytes| number(&bytes, u64::from_le_bytes))?;
    Ok((State::new(streams, options.tail_bytes), revision))
}

/// Creates what a new journal needs; a journal with another number of partitions is refused.
fn check_partitions(store: &Store, partitions: u16) -> Result<(), BusError> {
    if let Some(bytes) = store.meta().get(PARTITIONS).map_err(io)? {
        let found = number(&bytes, u16::from_be_bytes)?;
        return if found == partitions {
            Ok(())
        } else {
            Err(BusError::Mismatch(format!("the journal has {found} partitions, {partitions} are configured")))
        };
    }
    if partitions == 0 {
        return Err(BusError::Mismatch("at least one partition is needed".to_owned()));
    }
    let now_us = u64::try_from(now_us()).unwrap_or_default();
    let mut batch = store.batch(true);
    batch.insert(store.meta(), PARTITIONS, partitions.to_be_bytes());
    for stream in Stream::ALL {
        batch.insert(store.meta(), incarnation_key(stream), now_us.to_be_bytes());
    }
    batch.commit().map_err(io)
}

fn drop_leases(store: &Store) -> Result<(), BusError> {
    let mut batch = store.batch(false);
    for guard in store.buckets().prefix(format!("{LEASES}/")) {
        batch.remove(store.buckets(), guard.key().map_err(io)?);
    }
    batch.commit().map_err(io)
}

fn stream(store: &Store, stream: Stream) -> Result<StreamState, BusError> {
    let meta = |key| store.meta().get(key).map_err(io);
    let incarnation = meta(incarnation_key(stream))?.map_or(Ok(0), |bytes| number(&bytes, u64::from_be_bytes))?;
    let first = meta(first_key(stream))?.map_or(Ok(1), |bytes| number(&bytes, Sequence::from_be_bytes))?;
    let mut state = StreamState::new(incarnation, first);
    for key in store.keys(stream, 0, Sequence::MAX) {
        state.restore(&key?)?;
    }
    let prefix = trimmed_key(stream, "");
    for guard in store.meta().prefix(&prefix) {
        let (key, sequence) = guard.into_inner().map_err(io)?;
        let subject = std::str::from_utf8(&key[prefix.len()..]).map_err(io)?;
        state.subjects.restore_trimmed(subject, number(&sequence, Sequence::from_be_bytes)?);
    }
    Ok(state)
}

fn number<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Result<T, BusError> {
    bytes.try_into().map(read).map_err(|_| io("an entry of the journal's own is damaged"))
}

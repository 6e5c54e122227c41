//! The journal on disk: a keyspace per stream, and one for the buckets.
//!
//! Size and subject stand in the key, and the values stand apart from the keys, so that a scan by subject, a trim and
//! the start read keys only.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode,
    Readable, Slice, Snapshot,
};

use crate::{BusError, Message, Sequence, Stream, Subject, codec};

/// Bytes of a memtable before it goes to disk: RAW and EVT, ALERT and DLQ, the others.
const LARGE_MEMTABLE_BYTES: u64 = 8 << 20;
const MIDDLE_MEMTABLE_BYTES: u64 = 4 << 20;
const SMALL_MEMTABLE_BYTES: u64 = 2 << 20;

/// Bytes of all memtables beyond which appends wait for the disk; more than what need not go to disk yet.
const MAX_MEMTABLE_BYTES: u64 = 48 << 20;

/// How often, and for how long at most, appends look whether the disk has caught up.
const DISK_PAUSE: Duration = Duration::from_millis(1);
const MAX_DISK_PAUSES: u32 = 30_000;

/// Bytes of blocks kept in memory: live readers read the tail, not the disk.
const CACHE_BYTES: u64 = 4 << 20;

/// Bytes of the write-ahead log before laggard keyspaces are flushed for it.
const LOG_BYTES: u64 = 128 << 20;

/// Files held open.
const OPEN_FILES: usize = 64;

/// Threads that flush and compact: of two, one spins while the other compacts.
const WORKERS: usize = 1;

/// Values below this stay beside their key, bytes.
const INLINE_BYTES: u32 = 512;

/// Bytes of a file of values.
const VALUE_FILE_BYTES: u64 = 32 << 20;

/// Messages and bytes that one read from disk brings at most, and keys that it looks at.
const CHUNK_MESSAGES: usize = 256;
const CHUNK_BYTES: usize = 512 << 10;
const CHUNK_KEYS: usize = 8_192;

/// Bytes of a key before the subject: sequence and length of the value, both big-endian.
const KEY_PREFIX_BYTES: usize = 12;

/// The keyspaces.
pub(super) struct Store {
    database: Database,
    streams: [Keyspace; Stream::ALL.len()],
    buckets: Keyspace,
    meta: Keyspace,
}

/// What one read from disk brought.
pub(super) struct Chunk {
    /// The messages under the filter, in order.
    pub(super) messages: Vec<Message>,
    /// Everything up to here was looked at.
    pub(super) upto: Sequence,
}

/// What a key says of a message.
pub(super) struct Key<'a> {
    pub(super) sequence: Sequence,
    /// Bytes of the stored value.
    pub(super) bytes: u32,
    pub(super) subject: &'a str,
}

impl<'a> Key<'a> {
    pub(super) fn encode(sequence: Sequence, bytes: u32, subject: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(KEY_PREFIX_BYTES + subject.len());
        key.extend_from_slice(&sequence.to_be_bytes());
        key.extend_from_slice(&bytes.to_be_bytes());
        key.extend_from_slice(subject.as_bytes());
        key
    }

    pub(super) fn decode(key: &'a [u8]) -> Result<Self, BusError> {
        let parse = || {
            let (sequence, rest) = key.split_first_chunk()?;
            let (bytes, subject) = rest.split_first_chunk()?;
            let subject = std::str::from_utf8(subject).ok()?;
            Some(Self { sequence: Sequence::from_be_bytes(*sequence), bytes: u32::from_be_bytes(*bytes), subject })
        };
        parse().ok_or_else(|| io(format!("{key:?} is no key of a message")))
    }

    /// Bytes a message takes: key and value.
    pub(super) fn weight(&self) -> u64 {
        (KEY_PREFIX_BYTES + self.subject.len()) as u64 + u64::from(self.bytes)
    }
}

pub(super) fn io(error: impl std::fmt::Display) -> BusError {
    BusError::Io(error.to_string())
}

pub(super) fn durability(sync: bool) -> PersistMode {
    if sync { PersistMode::SyncAll } else { PersistMode::Buffer }
}

/// The key in `meta` of a stream's incarnation.
pub(super) fn incarnation_key(stream: Stream) -> String {
    format!("incarnation/{stream}")
}

/// The key in `meta` of the sequence from which on nothing was trimmed.
pub(super) fn first_key(stream: Stream) -> String {
    format!("first/{stream}")
}

/// The key in `meta` of the newest message that was trimmed under a subject.
pub(super) fn trimmed_key(stream: Stream, subject: &str) -> String {
    format!("trimmed/{stream}/{subject}")
}

fn keyspace_options(memtable_bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .data_block_compression_policy(CompressionPolicy::disabled())
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<Self, BusError> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .journal_compression(CompressionType::None)
            .max_journaling_size(LOG_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            .worker_threads(WORKERS)
            .open()
            .map_err(io)?;
        let values = KvSeparationOptions::default()
            .compression(CompressionType::None)
            .separation_threshold(INLINE_BYTES)
            .file_target_size(VALUE_FILE_BYTES);
        let stream = |stream: Stream| {
            let memtable_bytes = match stream {
                Stream::Raw | Stream::Evt => LARGE_MEMTABLE_BYTES,
                Stream::Alert | Stream::Dlq => MIDDLE_MEMTABLE_BYTES,
            };
            let options = || keyspace_options(memtable_bytes).with_kv_separation(Some(values.clone()));
            database.keyspace(stream.name(), options).map_err(io)
        };
        let [raw, evt, alert, dlq] = Stream::ALL;
        let streams = [stream(raw)?, stream(evt)?, stream(alert)?, stream(dlq)?];
        let small = |name| database.keyspace(name, || keyspace_options(SMALL_MEMTABLE_BYTES)).map_err(io);
        Ok(Self { streams, buckets: small("buckets")?, meta: small("meta")?, database })
    }

    pub(super) fn batch(&self, sync: bool) -> OwnedWriteBatch {
        self.database.batch().durability(Some(durability(sync)))
    }

    /// Waits while more is in memory than the disk has taken, so that a slow disk slows writers and nothing grows.
    pub(super) fn wait_for_disk(&self) {
        for _ in 0..MAX_DISK_PAUSES {
            if self.database.write_buffer_size() <= MAX_MEMTABLE_BYTES {
                return;
            }
            std::thread::sleep(DISK_PAUSE);
        }
    }

    pub(super) fn stream(&self, stream: Stream) -> &Keyspace {
        &self.streams[stream as usize]
    }

    pub(super) fn buckets(&self) -> &Keyspace {
        &self.buckets
    }

    pub(super) fn meta(&self) -> &Keyspace {
        &self.meta
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// The keys of a stream from one sequence to before another.
    pub(super) fn keys(
        &self,
        stream: Stream,
        from: Sequence,
        before: Sequence,
    ) -> impl Iterator<Item = Result<Slice, BusError>> {
        let range = from.to_be_bytes()..before.to_be_bytes();
        self.stream(stream).range(range).map(|guard| guard.key().map_err(io))
    }

    /// One message, if it is there.
    pub(super) fn get(&self, stream: Stream, sequence: Sequence) -> Result<Option<Message>, BusError> {
        let chunk = read(&self.snapshot(), self.stream(stream), stream, |_| true, sequence..=sequence)?;
        Ok(chunk.messages.into_iter().next())
    }
}

/// Reads the messages under a filter in a range of sequences, as many as one chunk takes.
pub(super) fn read(
    snapshot: &Snapshot,
    keyspace: &Keyspace,
    stream: Stream,
    wanted: impl Fn(&str) -> bool,
    range: RangeInclusive<Sequence>,
) -> Result<Chunk, BusError> {
    let (from, upto) = (*range.start(), *range.end());
    let mut chunk = Chunk { messages: Vec::new(), upto };
    let (mut bytes, mut keys, mut looked_at) = (0, 0, from.saturating_sub(1));
    for guard in snapshot.range(keyspace, from.to_be_bytes()..upto.saturating_add(1).to_be_bytes()) {
        if chunk.messages.len() >= CHUNK_MESSAGES || bytes >= CHUNK_BYTES || keys >= CHUNK_KEYS {
            chunk.upto = looked_at;
            break;
        }
        let is_wanted = |key: &Slice| Key::decode(key).is_ok_and(|key| wanted(key.subject));
        let (key, value) = match guard.into_inner_if(is_wanted) {
            Ok(found) => found,
            Err(_) if !chunk.messages.is_empty() => {
                chunk.upto = looked_at;
                break;
            }
            Err(error) => return Err(damaged(snapshot, keyspace, stream, looked_at, &error)),
        };
        let key = Key::decode(&key)?;
        keys += 1;
        looked_at = key.sequence;
        if let Some(value) = value {
            bytes += value.len();
            chunk.messages.push(message(stream, &key, value)?);
        }
    }
    Ok(chunk)
}

/// The message that could not be read: the one after the last that could.
fn damaged(
    snapshot: &Snapshot,
    keyspace: &Keyspace,
    stream: Stream,
    before: Sequence,
    error: &fjall::Error,
) -> BusError {
    let mut rest = snapshot.range(keyspace, before.saturating_add(1).to_be_bytes()..);
    let key = rest.next().and_then(|guard| guard.key().ok());
    let sequence = key.and_then(|key| Key::decode(&key).ok().map(|key| key.sequence)).unwrap_or(before + 1);
    BusError::Damaged { stream, sequence, reason: error.to_string() }
}

fn message(stream: Stream, key: &Key<'_>, value: Slice) -> Result<Message, BusError> {
    let sequence = key.sequence;
    let damaged = |reason| BusError::Damaged { stream, sequence, reason };
    let subject = Subject::new(key.subject).map_err(|error| damaged(error.to_string()))?;
    let (headers, body) = codec::decode(value).map_err(damaged)?;
    Ok(Message { stream, subject, sequence, headers: Arc::new(headers), body, decoded: None })
}

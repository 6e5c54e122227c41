//! The port: what every adapter offers and every stage uses.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Fence, Filter, Headers, Subject};

/// The streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Records as received: `raw.<lane>.<source>`.
    Raw,
    /// Events: `evt.<partition>.<lane>.<class>`.
    Evt,
    /// Alerts `alert.<partition>`, and actions `action.<tenant>`.
    Alert,
    /// Parked records: `dlq.<stage>`.
    Dlq,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Evt, Self::Alert, Self::Dlq];

    /// The stream's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "RAW",
            Self::Evt => "EVT",
            Self::Alert => "ALERT",
            Self::Dlq => "DLQ",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message's number in its stream, from 1; 0 stands for none.
pub type Sequence = u64;

/// A body already decoded, handed on inside one process so that no reader decodes it again.
pub type Decoded = Arc<dyn Any + Send + Sync>;

/// A message to append; its subject is the fence's.
#[derive(Clone)]
pub struct Outgoing {
    /// What can be known without opening the body.
    pub headers: Headers,
    /// The body as it is stored.
    pub body: Bytes,
    /// The body decoded, where the writer has it.
    pub decoded: Option<Decoded>,
}

/// A stored message.
#[derive(Clone)]
pub struct Message {
    /// Its stream.
    pub stream: Stream,
    /// Its subject.
    pub subject: Subject,
    /// Its number.
    pub sequence: Sequence,
    /// What can be known without opening the body.
    pub headers: Arc<Headers>,
    /// The body.
    pub body: Bytes,
    /// The body decoded, if it is still at hand from its writer.
    pub decoded: Option<Decoded>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {} ({} bytes)", self.stream, self.sequence, self.subject, self.body.len())
    }
}

/// How a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Differs for every creation of the stream: creation time in microseconds since 1970.
    pub incarnation: u64,
    /// From here on nothing was trimmed; what is older was kept because it is the newest under its fence.
    /// `last + 1` if there is nothing.
    pub first: Sequence,
    /// The newest number ever given out.
    pub last: Sequence,
    /// Messages held.
    pub messages: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Bytes it may hold; beyond, appends are refused.
    pub max_bytes: u64,
    /// EVT and ALERT: how many partitions there are; a process with another value refuses to start.
    pub partitions: u16,
}

/// What can go wrong with the bus as a whole.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The URL names no adapter.
    #[error("'{0}' names no bus: use file:DIR, nats://HOST:PORT or tls://HOST:PORT")]
    Url(String),
    /// Another process holds the bus.
    #[error("{path} is in use by another process: {reason}")]
    InUse {
        /// The directory.
        path: String,
        /// What is known of the holder.
        reason: String,
    },
    /// The next message of a reader was trimmed: what lies between is lost to it.
    #[error("{stream}: messages {expected} to {found} are gone; a reader needed them")]
    Gap {
        /// The stream.
        stream: Stream,
        /// The first message that was needed.
        expected: Sequence,
        /// The first one there.
        found: Sequence,
    },
    /// The bus is not the one this process or position belongs to.
    #[error("{0}")]
    Mismatch(String),
    /// Disk or network.
    #[error("bus: {0}")]
    Io(String),
    /// A stored message that cannot be read.
    #[error("{stream} {sequence} is damaged: {reason}")]
    Damaged {
        /// The stream.
        stream: Stream,
        /// The message.
        sequence: Sequence,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why an append was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The last message under the fence is another than expected: somebody else writes here, or an answer was lost.
    #[error("fenced: the last message under {fence} is not {expected}")]
    Fenced {
        /// The fence.
        fence: Filter,
        /// What the writer expected.
        expected: Sequence,
    },
    /// The stream is full: wait until readers have moved on.
    #[error("{0} is full")]
    Full(Stream),
    /// No answer: it may or may not be stored.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// Refused for what it is: too large. Trying again is of no use.
    #[error("refused: {0}")]
    Refused(String),
}

/// Why a bucket refused.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The entry's revision is another than expected.
    #[error("{key}: its revision is not {expected}")]
    Conflict {
        /// The entry.
        key: String,
        /// What was expected; 0 for an entry that must not exist.
        expected: u64,
    },
    /// A key no bucket takes.
    #[error(
        "'{0}' is no key: use 1 to {MAX_KEY_BYTES} letters, digits, '-', '_', '/', '=' and single dots between them"
    )]
    Key(String),
    /// Disk or network: a write may or may not have happened.
    #[error("bucket: {0}")]
    Io(String),
}

/// Bytes of a bucket's key at most.
pub const MAX_KEY_BYTES: usize = 512;

/// Whether a text can be a bucket's key: what every adapter takes.
#[must_use]
pub fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/=.".contains(&b))
        && text.split('.').all(|token| !token.is_empty())
}

/// An entry of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// Grows with every write, never 0, and never the same again, not even after a removal.
    pub revision: u64,
}

/// The bus.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Appends under `fence.subject()` if the last message under `fence.filter()` has sequence `expected` (0: none).
    /// The answer comes after the message is on disk.
    async fn append(&self, fence: &Fence, expected: Sequence, message: Outgoing) -> Result<Sequence, AppendError>;

    /// The newest message under a filter.
    async fn last(&self, stream: Stream, filter: &Filter) -> Result<Option<Message>, BusError>;

    /// One message by number; none if it was trimmed or is not there yet.
    async fn get(&self, stream: Stream, sequence: Sequence) -> Result<Option<Message>, BusError>;

    /// Reads what is under a filter, in order, after a sequence, then waits for more. A message under the filter that
    /// was trimmed before the reader came to it is [`BusError::Gap`], never a silent skip; a sequence beyond the end of
    /// the stream is [`BusError::Mismatch`].
    async fn read(&self, stream: Stream, filter: &Filter, after: Sequence) -> Result<Box<dyn Reader>, BusError>;

    /// Removes messages with a sequence below `before`, whatever their subject, but never the newest message under
    /// any of the `fences`. Answers with the new [`StreamInfo::first`].
    async fn trim(&self, stream: Stream, before: Sequence, fences: &[Filter]) -> Result<Sequence, BusError>;

    /// How a stream stands.
    async fn info(&self, stream: Stream) -> Result<StreamInfo, BusError>;

    /// A small map of shared state with revisions, created if it is not there.
    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, BusError>;
}

/// A reader's place in a stream.
#[async_trait]
pub trait Reader: Send {
    /// The next message; waits for it. Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<Message, BusError>;

    /// The next message if it is there already.
    async fn try_next(&mut self) -> Result<Option<Message>, BusError>;
}

/// A small map of shared state: leases, floors, outbox, cursors, control, silences, ledger, producers.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// An entry.
    async fn get(&self, key: &str) -> Result<Option<Entry>, BucketError>;

    /// Writes an entry if its revision is `expected` (0: it must not exist); answers with the new revision.
    /// With a `ttl` it vanishes by itself unless it is written again before.
    async fn put(&self, key: &str, value: Bytes, expected: u64, ttl: Option<Duration>) -> Result<u64, BucketError>;

    /// Removes an entry, whatever its revision. Where the bus is a NATS server, one that is killed soon after may bring
    /// the entry back as it was: whoever removes must bear that.
    async fn delete(&self, key: &str) -> Result<(), BucketError>;

    /// Every entry whose key begins so, by key.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, BucketError>;
}

//! The bus: streams of messages under subjects, appended behind a fence, read in order from a position.
//!
//! [`Bus`] is the port, no wider than its users need. Adapters: [`journal`] (embedded, durable). [`FencedWriter`] is
//! the one way a stage writes; exactness comes from it and from nothing else. An answer is given only after what it
//! answers for is on disk.

pub mod journal;

mod chain;
mod codec;
mod floors;
mod headers;
mod lane;
mod lease;
mod port;
mod subject;
mod trim;
mod writer;

#[cfg(feature = "conformance")]
pub mod conformance;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use chain::{ChainCheck, verify_position};
pub use floors::{Floor, FloorEntry, Floors};
pub use headers::{HEADERS_VERSION, Headers, HeadersError, Kind, MAX_HEADER_BYTES, Position};
pub use lane::OutputLane;
pub use lease::{Lease, LeaseError};
pub use port::{
    AppendError, Bucket, BucketError, Bus, BusError, Decoded, Entry, MAX_KEY_BYTES, Message, Outgoing, Reader,
    Sequence, Stream, StreamInfo, is_key,
};
pub use subject::{Fence, Filter, Subject, SubjectError};
pub use trim::{TrimReader, Trimmed, Trimmer, keep_trimmed};
pub use writer::{FencedWriter, Part, Unfinished, WriteError};

/// Opens the bus a URL names: `file:DIR`.
///
/// # Errors
/// If the scheme is unknown, or the bus cannot be opened.
pub async fn open(url: &str) -> Result<Arc<dyn Bus>, BusError> {
    let Some(("file", directory)) = url.split_once(':') else { return Err(BusError::Url(url.to_owned())) };
    let directory = directory.to_owned();
    let open = move || journal::Journal::open(directory, &journal::Options::default());
    let journal = tokio::task::spawn_blocking(open).await.map_err(|error| BusError::Io(error.to_string()))??;
    Ok(Arc::new(journal))
}

/// The wall clock, microseconds since 1970. For adapters and workers only: a core takes the time as an argument.
#[must_use]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

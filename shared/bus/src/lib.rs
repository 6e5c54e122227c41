//! The bus: streams of messages under subjects, appended behind a fence, read in order from a position.
//!
//! [`Bus`] is the port, no wider than its users need. Adapters: [`journal`] (embedded, durable) and [`nats`] (servers).
//! [`FencedWriter`] is the one way a stage writes; exactness comes from it and from nothing else. An answer is given
//! only after what it answers for is on disk.

pub mod journal;
pub mod nats;
pub mod repair;

mod chain;
mod codec;
mod floors;
mod gaps;
mod group;
mod headers;
mod holder;
mod lane;
mod lease;
mod leased;
mod patience;
mod port;
mod subject;
mod trim;
mod writer;

pub mod conformance;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use chain::{ChainCheck, verify_position};
pub use floors::{Floor, FloorEntry, Floors};
pub use gaps::{Gap, Gaps};
pub use group::Group;
pub use headers::{HEADERS_VERSION, Headers, HeadersError, Kind, MAX_HEADER_BYTES, Position};
pub use holder::holder_name;
pub use lane::OutputLane;
pub use lease::{Claim, Lease, LeaseError, LeaseMs, ShortLease};
pub use leased::{Damage, Stop, work_leased};
pub use patience::{is_unanswered, patiently};
pub use port::{
    AppendError, Bucket, BucketError, Bus, BusError, Decoded, Entry, MAX_KEY_BYTES, Message, Outgoing, Reader,
    Sequence, Stream, StreamInfo, is_key,
};
pub use subject::{Fence, Filter, Subject, SubjectError};
pub use trim::{TrimReader, Trimmed, Trimmer, keep_trimmed};
pub use writer::{FencedWriter, Part, Unfinished, WriteError};

/// Opens the bus a URL names, as [`open_with`] does, with nothing else said of NATS.
///
/// # Errors
/// As [`open_with`].
pub async fn open(url: &str) -> Result<Arc<dyn Bus>, BusError> {
    open_with(url, &nats::Options::default()).await
}

/// Opens the bus a URL names: `file:DIR`, or `nats://HOST:PORT` or `tls://HOST:PORT` as [`nats::Nats::connect`] takes
/// them. The options count for NATS only.
///
/// # Errors
/// If the scheme is unknown, or the bus cannot be opened.
pub async fn open_with(url: &str, options: &nats::Options) -> Result<Arc<dyn Bus>, BusError> {
    match url.split_once(':') {
        Some(("file", directory)) => {
            let directory = directory.to_owned();
            let open = move || journal::Journal::open(directory, &journal::Options::default());
            let journal =
                tokio::task::spawn_blocking(open).await.map_err(|error| BusError::Io(error.to_string()))??;
            Ok(Arc::new(journal))
        }
        Some(("nats" | "tls", _)) => Ok(Arc::new(nats::Nats::connect(url, options).await?)),
        _ => Err(BusError::Url(url.to_owned())),
    }
}

/// The wall clock, microseconds since 1970. For adapters and workers only: a core takes the time as an argument.
#[must_use]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

//! The bus: streams of messages under subjects, appended behind a fence, read in order from a position.
//!
//! [`Bus`] is the port, no wider than its users need. Adapters: [`journal`] (embedded, durable). [`FencedWriter`] is
//! the one way a stage writes; exactness comes from it and from nothing else. An answer is given only after what it
//! answers for is on disk.

pub mod journal;

mod codec;
mod headers;
mod lease;
mod port;
mod subject;
mod trim;
mod writer;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use headers::{Headers, HeadersError, Kind, MessageRef, Position};
pub use lease::{Lease, LeaseError};
pub use port::{
    AppendError, Bucket, BucketError, Bus, BusError, Decoded, Entry, Message, Outgoing, Reader, Sequence, Stream,
    StreamInfo,
};
pub use subject::{Fence, Filter, Subject, SubjectError};
pub use trim::{Floors, Trimmer};
pub use writer::{ChainCheck, FencedWriter, OutputLane, Part, Unfinished, WriteError};

/// Opens the bus a URL names: `file:DIR`.
///
/// # Errors
/// If the scheme is unknown, or the bus cannot be opened.
pub async fn open(url: &str) -> Result<std::sync::Arc<dyn Bus>, BusError> {
    match url.split_once(':') {
        Some(("file", directory)) => Ok(std::sync::Arc::new(journal::Journal::open(directory, &journal::Options::default())?)),
        _ => Err(BusError::Url(url.to_owned())),
    }
}

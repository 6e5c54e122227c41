//! The archive: append-only Delta tables on a file system or an object store, one for each event class.
//!
//! Guarantees: a message's rows are in its table once, whoever appends them how often ([`Archive::append`]); what was
//! answered is on disk; a version is seen as a whole or not at all. Tables are readable by every Delta reader: no
//! deletion vectors, no column mapping, protocol (1, 2).
//!
//! Layout: `<root>/<class>/day=YYYY-MM-DD/policy=<retention class>/part-….parquet`, each file sorted by tenant and
//! time. The log's transactions hold the last message of each partition ([`Scope`]): they are the writer's position.

mod aborting;
mod admit;
mod archive;
mod encode;
mod error;
mod held;
mod layout;
mod local;
mod log;
mod s3;
mod snapshot;
mod stats;
mod storage;
mod sweep;
mod table;
mod uploads;

use std::sync::Arc;

use object_store::ObjectStore;

pub use archive::Archive;
pub use error::ArchiveError;
pub use layout::{BLOOM, DAY, POLICY, STANDARD_POLICY, STATISTICS, day_name, day_of, partition_fields, table_schema};
pub use s3::S3Options;
pub use snapshot::{Covered, DataFile, Feed, Scope, StoredBatch, TableSnapshot};
pub use stats::{Bound, ColumnRange};
pub use sweep::{SWEEP_AGE, Swept};
pub use table::Committed;

/// Opens the archive a URL names: `file:DIR`, `s3://BUCKET/PREFIX` or `memory:`.
///
/// # Errors
/// As [`Archive::open`].
pub async fn open(url: &str) -> Result<Archive, ArchiveError> {
    Archive::open(url)
}

/// The store a URL names, of the same kinds and by the same settings as an archive; paths begin at the URL's. What it
/// answered for is on disk.
///
/// # Errors
/// As [`Archive::open_with`].
pub fn open_store(url: &str, s3: &S3Options) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    Ok(storage::Root::parse(url, s3)?.store)
}

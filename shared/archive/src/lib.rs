//! The archive: append-only Delta tables on a file system or an object store, one for each event class.
//!
//! Guarantees: a message's rows are in its table once, whoever appends them how often ([`Archive::append`]); what was
//! answered is on disk; a version is seen as a whole or not at all. Tables are readable by every Delta reader: no
//! deletion vectors, no column mapping, protocol (1, 2).
//!
//! Layout: `<root>/<class>/day=YYYY-MM-DD/policy=<retention class>/part-….parquet`, each file sorted by tenant and
//! time. The log's transactions hold the last message of each partition ([`Scope`]): they are the writer's position.

mod admit;
mod archive;
mod encode;
mod error;
mod layout;
mod local;
mod log;
mod snapshot;
mod stats;
mod storage;
mod table;

pub use archive::Archive;
pub use error::ArchiveError;
pub use layout::{BLOOM, DAY, POLICY, STANDARD_POLICY, STATISTICS, day_name, day_of, partition_fields, table_schema};
pub use snapshot::{Covered, DataFile, Feed, Scope, StoredBatch, TableSnapshot};
pub use stats::{Bound, ColumnRange};
pub use table::Committed;

/// Opens the archive a URL names: `file:DIR`, `s3://BUCKET/PREFIX` or `memory:`.
///
/// # Errors
/// As [`Archive::open`].
pub async fn open(url: &str) -> Result<Archive, ArchiveError> {
    Archive::open(url)
}

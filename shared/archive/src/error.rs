//! What can go wrong with the archive.

use deltalake_core::DeltaTableError;

/// What can go wrong with the archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The URL names no archive.
    #[error("'{0}' names no archive: use file:DIR, s3://BUCKET/PREFIX or memory:")]
    Url(String),
    /// What section `s3` says cannot be used.
    #[error("s3.{0}")]
    Options(String),
    /// Disk or network.
    #[error("archive store: {0}")]
    Store(#[from] object_store::Error),
    /// The log of a table cannot be read or written.
    #[error("log of table {table}: {source}")]
    Log {
        /// The table.
        table: &'static str,
        /// What Delta says.
        source: Box<DeltaTableError>,
    },
    /// The table is of a kind this code must not touch; a person has to look.
    #[error("table {table} cannot be used: {reason}")]
    Unsupported {
        /// The table.
        table: &'static str,
        /// What is in the way.
        reason: String,
    },
    /// Rows that cannot be written as Parquet.
    #[error("rows of table {table}: {reason}")]
    Encode {
        /// The table.
        table: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// Rows of a message that the caller did not name as covered: nothing would keep them from being written twice.
    #[error("rows of {scope} {sequence} are not covered by the append")]
    Uncovered {
        /// Application id of the partition.
        scope: String,
        /// The message.
        sequence: u64,
    },
    /// A commit got no answer: it may or may not be there. Appending the same again is safe.
    #[error("table {table}: no answer to commit {version}, which may or may not be there; append again: {reason}")]
    Unanswered {
        /// The table.
        table: &'static str,
        /// The version tried.
        version: u64,
        /// What came instead of an answer.
        reason: String,
    },
    /// Other writers won every time.
    #[error("table {table}: other writers won {attempts} times in a row")]
    Contended {
        /// The table.
        table: &'static str,
        /// Tries.
        attempts: u32,
    },
    /// The store does not create objects atomically: commits would overwrite each other.
    #[error("{0}: this store has no atomic create (If-None-Match: *), do not use it")]
    NotAtomic(String),
}

impl ArchiveError {
    /// Whether trying again is of no use.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Url(_)
                | Self::Options(_)
                | Self::Unsupported { .. }
                | Self::Encode { .. }
                | Self::Uncovered { .. }
                | Self::NotAtomic(_)
        )
    }

    /// Whether the store answered that it does not know who asks, does not allow it, or has no such bucket.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        matches!(self, Self::Store(PermissionDenied { .. } | Unauthenticated { .. } | NotFound { .. }))
    }
}

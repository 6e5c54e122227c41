//! A table as one version of its log describes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use atalaya_model::Class;
use atalaya_schema::EventBatch;
use object_store::path::Path;

use crate::stats::ColumnRange;

/// The stream rows came through: each has sequences of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// Events.
    Evt,
    /// Alerts.
    Alert,
}

/// A partition of one life of a stream: what a writer of the archive covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The stream.
    pub feed: Feed,
    /// The stream's incarnation.
    pub incarnation: u64,
    /// The partition.
    pub partition: u16,
}

const ALERT_PREFIX: &str = "alert.";

/// The application id in the log: `<incarnation>.<partition>`, after `alert.` for alerts.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.feed == Feed::Alert { ALERT_PREFIX } else { "" };
        write!(f, "{prefix}{}.{}", self.incarnation, self.partition)
    }
}

impl Scope {
    /// The scope in an application id; none for those of others.
    #[must_use]
    pub fn parse(app_id: &str) -> Option<Self> {
        let (feed, rest) = app_id.strip_prefix(ALERT_PREFIX).map_or((Feed::Evt, app_id), |rest| (Feed::Alert, rest));
        let (incarnation, partition) = rest.split_once('.')?;
        Some(Self { feed, incarnation: incarnation.parse().ok()?, partition: partition.parse().ok()? })
    }
}

/// Every message of a scope up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The partition.
    pub scope: Scope,
    /// The last message.
    pub sequence: u64,
}

/// The rows of one message, and where it stands.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// The partition.
    pub scope: Scope,
    /// The message.
    pub sequence: u64,
    /// Its rows.
    pub events: Arc<EventBatch>,
}

/// A data file.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// Its path in [`crate::Archive::store`].
    pub path: Path,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// When it was written, milliseconds since 1970.
    pub modified_ms: i64,
    /// Partition value: days since 1970.
    pub day: Option<i32>,
    /// Partition value: retention class.
    pub policy: Option<Box<str>>,
    /// What the log says of its columns.
    pub ranges: Box<[ColumnRange]>,
}

impl DataFile {
    /// What the log says of a column.
    #[must_use]
    pub fn range(&self, column: &str) -> Option<&ColumnRange> {
        self.ranges.iter().find(|range| range.column == column)
    }

    /// Smallest and largest event time, microseconds since 1970, where the log has them.
    #[must_use]
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let range = self.range("time")?;
        Some((range.min.as_ref()?.as_int()?, range.max.as_ref()?.as_int()?))
    }
}

/// A table at one version: cheap to clone, never changed.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    /// The table.
    pub class: Class,
    /// The version.
    pub version: u64,
    /// Its columns, those this code does not know included.
    pub schema: SchemaRef,
    /// Its files, in no order.
    pub files: Arc<Vec<Arc<DataFile>>>,
    /// The last message of each partition whose rows are in.
    pub positions: Arc<BTreeMap<Scope, u64>>,
    /// What Delta calls metadata; kept for the next change of columns.
    pub(crate) metadata: Arc<deltalake_core::kernel::Metadata>,
    /// The writer version the table asks for.
    pub(crate) writer_version: i64,
}

impl TableSnapshot {
    /// The last message of a partition whose rows are in.
    #[must_use]
    pub fn position(&self, scope: &Scope) -> Option<u64> {
        self.positions.get(scope).copied()
    }

    /// Rows of all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_ids_read_back() {
        for feed in [Feed::Evt, Feed::Alert] {
            let scope = Scope { feed, incarnation: 1_795_500_000_000_000, partition: 15 };
            assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
        }
        for other in ["", "spark", "1.2.3", "alert.1", "x.1"] {
            assert_eq!(Scope::parse(other), None, "{other}");
        }
    }
}

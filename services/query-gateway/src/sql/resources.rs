//! What queries may use, and what they share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::ObjectStore;
use serde::Deserialize;
use url::Url;

/// What all queries together may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Queries at a time; others wait for their turn until their deadline.
    pub concurrent: usize,
    /// Memory of one query in bytes, beyond which it spills or ends.
    pub memory_bytes: usize,
    /// Disk that all queries together may spill to, in bytes.
    pub spill_bytes: u64,
    /// Where they spill to; the system's directory for temporary files if none.
    pub spill_directory: Option<PathBuf>,
    /// Memory for what files say of themselves, shared by all queries, in bytes.
    pub metadata_bytes: usize,
    /// Threads that work on one query.
    pub partitions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent: 4,
            memory_bytes: 256 << 20,
            spill_bytes: 4 << 30,
            spill_directory: None,
            metadata_bytes: 64 << 20,
            partitions: std::thread::available_parallelism().map_or(2, usize::from).min(8),
        }
    }
}

/// What one query may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// From the call to the last batch.
    pub deadline: Duration,
    /// Rows of the answer; more are cut.
    pub max_rows: u64,
    /// Bytes of the answer in memory; more are cut.
    pub max_bytes: u64,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(30), max_rows: 1_000_000, max_bytes: 256 << 20 }
    }
}

/// The only place files are read from; says nothing of where the archive lies.
const ARCHIVE_URL: &str = "archive://tables/";

/// The URL of the archive's store in plans.
pub(crate) fn archive_url() -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse(ARCHIVE_URL)
}

/// What queries share: caches, disk, and the archive's store, which is the only one there is.
pub(crate) fn shared_runtime(store: Arc<dyn ObjectStore>, limits: &Limits) -> Result<RuntimeEnv> {
    let mode = match &limits.spill_directory {
        Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(limits.spill_bytes);
    RuntimeEnvBuilder::new()
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(limits.metadata_bytes)
        .with_object_store_registry(Arc::new(ArchiveOnly { store }))
        .build()
}

/// The same with a memory pool of the query's own: what one query takes is not taken from another.
pub(crate) fn query_runtime(shared: &RuntimeEnv, limits: &Limits) -> Result<Arc<RuntimeEnv>> {
    RuntimeEnvBuilder::from_runtime_env(shared)
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
        .build_arc()
}

/// Knows the archive's store and takes no other.
#[derive(Debug)]
struct ArchiveOnly {
    store: Arc<dyn ObjectStore>,
}

impl ObjectStoreRegistry for ArchiveOnly {
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.as_str() == ARCHIVE_URL {
            Ok(Arc::clone(&self.store))
        } else {
            Err(DataFusionError::Plan(format!("{url} cannot be read: there is nothing but the archive's tables")))
        }
    }
}

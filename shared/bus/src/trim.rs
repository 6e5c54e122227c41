//! Lets go of what every named reader is done with, oldest first.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::LaneId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Bus, BusError, Filter, Floor, Floors, Lease, LeaseError, OutputLane, Sequence, Stream};

/// Bytes let go in one step at most: a larger purge stalls every publisher of a server.
const STEP_BYTES: u64 = 16 << 20;

/// Per cent of `max_bytes` above which readers that yield no longer hold a stream back.
const YIELD_PERCENT: u64 = 80;

const LANES: &str = "lanes";
const GAPS: &str = "gaps";

/// A reader that a trim waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrimReader {
    /// Its name in the bucket `floors`; without a floor there it stands at zero.
    pub name: String,
    /// Whether what it reads can be rebuilt: a nearly full stream does not wait for it, and the gap is recorded in
    /// bucket `gaps` under `<STREAM>.<reader>.<scope>`.
    pub yields: bool,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// From here on nothing was trimmed.
    pub first: Sequence,
    /// Whether another step would find more to do now.
    pub more: bool,
}

/// Trims one stream below the lowest floor of its readers. Whoever holds the lease `trim.<stream>` runs it.
pub struct Trimmer {
    bus: Arc<dyn Bus>,
    stream: Stream,
    readers: Vec<TrimReader>,
    keep_bytes: u64,
    floors: Floors,
}

/// What lies between a reader's floor and what was trimmed: the archive has it.
#[derive(Debug, Serialize, Deserialize)]
struct Gap {
    from: Sequence,
    to: Sequence,
}

/// A part of the stream that has floors of its own.
struct Scope {
    name: String,
    filter: Filter,
}

impl Trimmer {
    /// A trimmer that leaves the newest `keep_bytes` (the replay window) in place.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn open(
        bus: Arc<dyn Bus>,
        stream: Stream,
        readers: Vec<TrimReader>,
        keep_bytes: u64,
    ) -> Result<Self, BusError> {
        let floors = Floors::open(bus.as_ref()).await?;
        Ok(Self { bus, stream, readers, keep_bytes, floors })
    }

    /// Lets go of at most 16 MiB. A scope whose newest message is at or below a reader's floor does not hold back,
    /// a position whose output is half written does.
    ///
    /// # Errors
    /// If the bus does not answer, or an entry of it cannot be read.
    pub async fn step(&self) -> Result<Trimmed, BusError> {
        let info = self.bus.info(self.stream).await?;
        let unchanged = Trimmed { first: info.first, more: false };
        if info.bytes <= self.keep_bytes || info.messages == 0 {
            return Ok(unchanged);
        }
        let lanes = self.lanes().await?;
        let scopes = self.scopes(&lanes, info.partitions);
        if scopes.is_empty() && !self.readers.is_empty() {
            return Ok(unchanged);
        }
        let yielding = info.bytes.saturating_mul(100) >= info.max_bytes.saturating_mul(YIELD_PERCENT);
        let (limit, passed) = self.limit(&scopes, yielding, info.last + 1).await?;
        let outputs = self.outputs(&lanes, info.partitions);
        let mut limit = limit;
        for output in &outputs {
            limit = limit.min(self.half_written(output).await?.unwrap_or(limit));
        }
        let average = (info.bytes / info.messages).max(1);
        let wanted = ((info.bytes - self.keep_bytes).min(STEP_BYTES) / average).max(1);
        let before = limit.min(info.first.saturating_add(wanted));
        if before <= info.first {
            return Ok(unchanged);
        }
        self.record_gaps(&passed, before).await?;
        let kept: Vec<_> = outputs.iter().flat_map(|output| output.kept(info.partitions)).collect();
        let first = self.bus.trim(self.stream, before, &kept).await?;
        let more = first < limit && self.bus.info(self.stream).await?.bytes > self.keep_bytes;
        Ok(Trimmed { first, more })
    }

    /// The lowest sequence some reader still needs, and the yielding readers that were not waited for.
    async fn limit(
        &self,
        scopes: &[Scope],
        yielding: bool,
        end: Sequence,
    ) -> Result<(Sequence, Vec<(String, Sequence)>), BusError> {
        let floors: HashMap<(String, String), Floor> = (self.floors.all(self.stream).await)
            .map_err(|error| BusError::Io(error.to_string()))?
            .into_iter()
            .map(|(reader, scope, floor)| ((reader, scope), floor))
            .collect();
        let (mut limit, mut passed) = (end, Vec::new());
        for scope in scopes {
            let Some(newest) = self.bus.last(self.stream, &scope.filter).await? else { continue };
            for reader in &self.readers {
                let key = (reader.name.clone(), scope.name.clone());
                let floor = floors.get(&key).map_or(0, |floor| floor.position.sequence);
                if newest.sequence <= floor {
                    continue;
                }
                if reader.yields && yielding {
                    passed.push((format!("{}.{}.{}", self.stream, reader.name, scope.name), floor));
                } else {
                    limit = limit.min(floor + 1);
                }
            }
        }
        Ok((limit, passed))
    }

    /// The oldest message of a position whose output is not complete yet.
    async fn half_written(&self, output: &OutputLane) -> Result<Option<Sequence>, BusError> {
        let Some(newest) = self.bus.last(self.stream, output.filter()).await? else { return Ok(None) };
        if newest.headers.end || newest.headers.covers.is_none() {
            return Ok(None);
        }
        let mut oldest = newest.clone();
        while let Some(before) = self.bus.get(self.stream, oldest.headers.predecessor).await? {
            if before.headers.covers != newest.headers.covers {
                break;
            }
            oldest = before;
        }
        Ok(Some(oldest.sequence))
    }

    async fn record_gaps(&self, passed: &[(String, Sequence)], before: Sequence) -> Result<(), BusError> {
        let fail = |error: crate::BucketError| BusError::Io(error.to_string());
        for (key, floor) in passed.iter().filter(|(_, floor)| floor + 1 < before) {
            let bucket = self.bus.bucket(GAPS).await?;
            let entry = bucket.get(key).await.map_err(fail)?;
            let known: Option<Gap> = entry.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok());
            let from = known.map_or(floor + 1, |gap| gap.from.min(floor + 1));
            let gap = serde_json::to_vec(&Gap { from, to: before - 1 }).map_err(|e| BusError::Io(e.to_string()))?;
            let revision = entry.map_or(0, |entry| entry.revision);
            bucket.put(key, Bytes::from(gap), revision, None).await.map_err(fail)?;
        }
        Ok(())
    }

    async fn lanes(&self) -> Result<BTreeSet<LaneId>, BusError> {
        let entries = self.bus.bucket(LANES).await?.list("").await.map_err(|e| BusError::Io(e.to_string()))?;
        Ok(entries.iter().filter_map(|entry| entry.key.parse().ok()).collect())
    }

    fn scopes(&self, lanes: &BTreeSet<LaneId>, partitions: u16) -> Vec<Scope> {
        let partitioned = |subject: fn(u16) -> String| {
            let scope = |p: u16| Scope { name: p.to_string(), filter: Filter::of_tokens(&subject(p)) };
            (0..partitions).map(scope).collect()
        };
        match self.stream {
            Stream::Raw => {
                let scope =
                    |lane: &LaneId| Scope { name: lane.to_string(), filter: OutputLane::raw(lane).filter().clone() };
                lanes.iter().map(scope).collect()
            }
            Stream::Evt => partitioned(|p| format!("evt.{p}.>")),
            Stream::Alert => partitioned(|p| format!("alert.{p}")),
            Stream::Dlq => Vec::new(),
        }
    }

    fn outputs(&self, lanes: &BTreeSet<LaneId>, partitions: u16) -> Vec<OutputLane> {
        match self.stream {
            Stream::Raw => lanes.iter().map(OutputLane::raw).collect(),
            Stream::Evt => lanes.iter().map(OutputLane::evt).collect(),
            Stream::Alert => (0..partitions).map(OutputLane::alert).collect(),
            Stream::Dlq => lanes.iter().map(|lane| OutputLane::dlq("normalizer", lane.as_str())).collect(),
        }
    }
}

/// Pause between two looks at a stream.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long a stream stays with a trimmer that no longer answers.
const LEASE: Duration = Duration::from_secs(10);

/// Trims a stream for as long as it is polled, while nobody else does: under the lease `trim.<STREAM>`. Readers are
/// named as in bucket `floors`; none of them yields.
pub async fn keep_trimmed(
    bus: Arc<dyn Bus>,
    stream: Stream,
    readers: &[&str],
    keep_bytes: u64,
    holder: &str,
) -> Infallible {
    loop {
        if let Err(error) = trim_under_lease(&bus, stream, readers, keep_bytes, holder).await {
            tracing::warn!(%stream, "not trimmed, to be tried again: {error}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn trim_under_lease(
    bus: &Arc<dyn Bus>,
    stream: Stream,
    readers: &[&str],
    keep_bytes: u64,
    holder: &str,
) -> Result<(), BusError> {
    let lease_error = |error: LeaseError| BusError::Io(error.to_string());
    let leases = bus.bucket("leases").await?;
    let name = format!("trim.{stream}");
    let Some(mut lease) = Lease::acquire(leases, &name, holder, LEASE).await.map_err(lease_error)? else {
        return Ok(());
    };
    let readers = readers.iter().map(|name| TrimReader { name: (*name).to_owned(), yields: false }).collect();
    let trimmer = Trimmer::open(Arc::clone(bus), stream, readers, keep_bytes).await?;
    while lease.renew().await.map_err(lease_error)? {
        if !trimmer.step().await?.more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

//! Lets go of what every named reader is done with, oldest first.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::LaneId;

use crate::{Bus, BusError, Filter, Floor, Floors, Gap, Gaps, Lease, LeaseError, OutputLane, Sequence, Stream};

/// Bytes let go in one step at most: a larger purge stalls every publisher of a server.
const STEP_BYTES: u64 = 16 << 20;

/// Per cent of `max_bytes` above which readers that yield no longer hold a stream back.
const YIELD_PERCENT: u64 = 80;

/// Per cent of `max_bytes` that stay for a replay at most: the window yields long before the stream is full.
const MAX_KEEP_PERCENT: u64 = 50;

const LANES: &str = "lanes";

/// A reader that a trim waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrimReader {
    /// Its name in the bucket `floors`; without a floor there it stands at zero.
    pub name: String,
    /// Whether what it reads can be rebuilt: a nearly full stream does not wait for it, and the gap is recorded
    /// ([`Gaps`]).
    pub yields: bool,
}

impl TrimReader {
    /// A reader that a stream always waits for.
    #[must_use]
    pub fn awaited(name: &str) -> Self {
        Self { name: name.to_owned(), yields: false }
    }

    /// A reader that a nearly full stream does not wait for.
    #[must_use]
    pub fn yielding(name: &str) -> Self {
        Self { name: name.to_owned(), yields: true }
    }
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

/// A reader that is not waited for in a scope, and how far it was.
struct Passed {
    reader: String,
    scope: String,
    floor: Sequence,
}

/// A part of the stream that has floors of its own.
struct Scope {
    name: String,
    filter: Filter,
}

impl Trimmer {
    /// A trimmer that leaves the newest `keep_bytes` (the replay window) in place, half of the stream's bytes at most.
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
        let keep_bytes = self.keep_bytes.min(info.max_bytes / 100 * MAX_KEEP_PERCENT);
        if info.bytes <= keep_bytes || info.messages == 0 {
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
        let wanted = ((info.bytes - keep_bytes).min(STEP_BYTES) / average).max(1);
        let before = limit.min(info.first.saturating_add(wanted));
        if before <= info.first {
            return Ok(unchanged);
        }
        self.record_gaps(&passed, before).await?;
        let kept: Vec<_> = outputs.iter().flat_map(|output| output.kept(info.partitions)).collect();
        let first = self.bus.trim(self.stream, before, &kept).await?;
        let more = first < limit && self.bus.info(self.stream).await?.bytes > keep_bytes;
        Ok(Trimmed { first, more })
    }

    /// The lowest sequence some reader still needs, and the yielding readers that were not waited for.
    async fn limit(
        &self,
        scopes: &[Scope],
        yielding: bool,
        end: Sequence,
    ) -> Result<(Sequence, Vec<Passed>), BusError> {
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
                    passed.push(Passed { reader: reader.name.clone(), scope: scope.name.clone(), floor });
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

    /// Records what is let go before readers came to it. The bucket is opened only here: most trimmers never need it.
    async fn record_gaps(&self, passed: &[Passed], before: Sequence) -> Result<(), BusError> {
        for Passed { reader, scope, floor } in passed.iter().filter(|passed| passed.floor + 1 < before) {
            let gap = Gap { from: floor + 1, to: before - 1 };
            let recorded = Gaps::open(self.bus.as_ref()).await?.record(self.stream, reader, scope, gap).await;
            recorded.map_err(|error| BusError::Io(error.to_string()))?;
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

/// Trims a stream for as long as it is polled, while nobody else does: under the lease `trim.<STREAM>`.
pub async fn keep_trimmed(
    bus: Arc<dyn Bus>,
    stream: Stream,
    readers: Vec<TrimReader>,
    keep_bytes: u64,
    holder: &str,
) -> Infallible {
    loop {
        if let Err(error) = trim_under_lease(&bus, stream, &readers, keep_bytes, holder).await {
            tracing::warn!(%stream, "not trimmed, to be tried again: {error}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn trim_under_lease(
    bus: &Arc<dyn Bus>,
    stream: Stream,
    readers: &[TrimReader],
    keep_bytes: u64,
    holder: &str,
) -> Result<(), BusError> {
    let lease_error = |error: LeaseError| BusError::Io(error.to_string());
    let leases = bus.bucket("leases").await?;
    let name = format!("trim.{stream}");
    let Some(mut lease) = Lease::acquire(leases, &name, holder, LEASE).await.map_err(lease_error)? else {
        return Ok(());
    };
    let trimmer = Trimmer::open(Arc::clone(bus), stream, readers.to_vec(), keep_bytes).await?;
    while lease.renew().await.map_err(lease_error)? {
        if !trimmer.step().await?.more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::journal::{Journal, Options};
    use crate::{Fence, Headers, Outgoing, Subject};

    #[tokio::test]
    async fn the_replay_window_yields_before_the_stream_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { max_bytes: 1 << 20, sync: false, ..Options::default() };
        let bus: Arc<dyn Bus> = Arc::new(Journal::open(directory.path(), &options).unwrap());
        let subject = Subject::new("dlq.test.a").unwrap();
        let fence = Fence::new(Stream::Dlq, subject, Filter::new("dlq.test.a").unwrap()).unwrap();
        let message = || Outgoing { headers: Headers::default(), body: Bytes::from(vec![1; 10_000]), decoded: None };
        let mut last = 0;
        while let Ok(sequence) = bus.append(&fence, last, message()).await {
            last = sequence;
        }
        let trimmer = Trimmer::open(Arc::clone(&bus), Stream::Dlq, Vec::new(), u64::MAX).await.unwrap();
        while trimmer.step().await.unwrap().more {}
        let bytes = bus.info(Stream::Dlq).await.unwrap().bytes;
        assert!((400_000..=524_288).contains(&bytes), "{bytes}");
        assert!(bus.append(&fence, last, message()).await.is_ok());
    }
}

//! Keeps every stage still while a repair is made: by holding what they would have to lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{Bucket, BucketError, Bus, BusError, Lease, LeaseError, Stream};

const LEASES: &str = "leases";
const LANES: &str = "lanes";

/// How long a lease stays with a repair that has died.
const TTL: Duration = Duration::from_secs(30);

/// How long the leases of whoever has died are waited for: a collector's is the longest, 15 s.
const PATIENCE: Duration = Duration::from_secs(25);

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who reads a partition of EVT and of ALERT under a lease `<stream>.<partition>.<reader>`.
const EVT_READERS: [&str; 3] = ["correlator", "archive", "hot"];
const ALERT_READERS: [&str; 3] = ["archive", "hot", "notifier"];

/// Why the stages are not known to stand still.
#[derive(Debug, thiserror::Error)]
pub enum HaltError {
    /// Somebody works.
    #[error("services are running, stop them first: {0}")]
    Running(String),
    /// A lease was lost or cannot be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The bus does not answer.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A bucket does not answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Every lease of a bus, held.
pub struct Halted {
    leases: Vec<Lease>,
}

impl Halted {
    /// Takes every lease there is. Those of whoever has died run out meanwhile; a lease that is renewed belongs to a
    /// service that runs.
    ///
    /// # Errors
    /// [`HaltError::Running`] names who runs.
    pub async fn take(bus: &dyn Bus, holder: &str) -> Result<Self, HaltError> {
        let bucket = bus.bucket(LEASES).await?;
        wait_until_free(bucket.as_ref()).await?;
        let mut halted = Self { leases: Vec::new() };
        for name in names(bus).await? {
            match Lease::acquire(Arc::clone(&bucket), &name, holder, TTL).await? {
                Some(lease) => halted.leases.push(lease),
                None => {
                    halted.release().await;
                    return Err(HaltError::Running(name));
                }
            }
        }
        Ok(halted)
    }

    /// Works while they are held, and gives them back.
    ///
    /// # Errors
    /// The work's own; [`HaltError`] if a lease was lost.
    pub async fn during<T, E: From<HaltError>>(mut self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let ended = tokio::select! {
            ended = work => ended,
            lost = self.keep() => Err(lost.into()),
        };
        self.release().await;
        ended
    }

    async fn keep(&mut self) -> HaltError {
        loop {
            sleep(TTL / 3).await;
            for lease in &mut self.leases {
                match lease.renew().await {
                    Ok(true) => {}
                    Ok(false) => return HaltError::Running("a service has started".to_owned()),
                    Err(error) => return error.into(),
                }
            }
        }
    }

    async fn release(self) {
        for lease in self.leases {
            // One that is not given back runs out by itself.
            let _ = lease.release().await;
        }
    }
}

/// Waits until no lease is held.
async fn wait_until_free(leases: &dyn Bucket) -> Result<(), HaltError> {
    let began = Instant::now();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let held: Vec<_> = leases.list("").await?.into_iter().filter(|entry| !entry.value.is_empty()).collect();
        if held.is_empty() {
            return Ok(());
        }
        let renewed = held.iter().any(|entry| {
            let before = seen.insert(entry.key.clone(), entry.revision);
            before.is_some_and(|before| before != entry.revision)
        });
        if renewed || began.elapsed() > PATIENCE {
            let who = |value: &[u8]| {
                let holder = serde_json::from_slice::<Value>(value).ok()?;
                Some(holder["holder"].as_str()?.to_owned())
            };
            let held = held.iter().map(|entry| match who(&entry.value) {
                Some(holder) => format!("{} is held by {holder}", entry.key),
                None => format!("{} is held", entry.key),
            });
            return Err(HaltError::Running(held.take(3).collect::<Vec<_>>().join(", ")));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Every lease that a stage would take.
async fn names(bus: &dyn Bus) -> Result<Vec<String>, HaltError> {
    let lanes = bus.bucket(LANES).await?.list("").await?;
    let mut names: Vec<_> = lanes.into_iter().map(|entry| format!("raw.{}", entry.key)).collect();
    for (stream, readers) in [(Stream::Evt, EVT_READERS), (Stream::Alert, ALERT_READERS)] {
        let partitions = bus.info(stream).await?.partitions;
        let stream = stream.name().to_lowercase();
        let of = |partition: u16| readers.map(|reader| format!("{stream}.{partition}.{reader}"));
        names.extend((0..partitions).flat_map(of));
    }
    names.extend(Stream::ALL.map(|stream| format!("trim.{stream}")));
    names.extend(["action.hot".to_owned(), "ledger".to_owned()]);
    Ok(names)
}

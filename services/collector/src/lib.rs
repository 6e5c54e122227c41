//! Takes every source in, spools it durably and writes RAW.
//!
//! Consumes files (read once or followed) and what is pushed or replayed over gRPC `Ingest`. Produces RAW:
//! `raw.<lane>.<source>`, each message a spool entry, records and the opens, heartbeats and closes of inputs in order of
//! their lane; bucket `lanes` names the lanes, bucket `producers` the producers that belong to this collector.
//!
//! Guarantees: what was answered is on disk. A record is admitted once, remembered in the commit that spools it: a file
//! taken in again, grown or recompressed gives only what is new, a batch pushed again gives nothing, and what was known
//! is counted. A crash at any point loses nothing that was answered and takes nothing in twice. A full RAW fills the
//! spool, a full spool holds the sources back; nothing is dropped but records longer than [`cut::MAX_RECORD_BYTES`],
//! which are counted and named. A tenant that pushes more than its quota is slowed, then refused, and nobody else is.
//!
//! Limits: [`cut::CUT_BYTES`] and 1,000 records a message, [`sources::push::MAX_BATCH_RECORDS`] a batch,
//! [`sources::files::MAX_FILES`] a source, `spool_max_bytes` the spool. A file that is rewritten in place to the same or a
//! greater length, between two looks, cannot be told from one that grew.

pub mod admission;
pub mod config;
pub mod cut;
pub mod intake;
pub mod quota;
pub mod sources;
pub mod spool;

mod inputs;
mod lane;
mod presence;
mod publish;
mod server;
mod telemetry;
mod trim;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, BusError, is_unanswered, now_us, patiently};
use atalaya_chassis::Shutdown;
use atalaya_chassis::config::Directory;
use atalaya_model::Principals;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::{Config, SourceFile};

use crate::intake::{Intake, LaneSender};
use crate::lane::Lane;
use crate::publish::Publisher;
use crate::sources::files;
use crate::sources::producers::Producers;
use crate::sources::push::Door;
use crate::sources::quotas::Turnstiles;
use crate::spool::Spool;
use crate::trim::{LaneProgress, Progress};

/// Bytes of recent spool entries kept in memory: publishers read there.
const SPOOL_TAIL_BYTES: usize = 16 << 20;

/// How long a drain may take. What was answered is on disk; inputs that are still open are closed by the next start.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// How long a drain waits for RAW to take what the spool holds; the rest is published by the next start.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

/// Pause before a source that failed is started again.
const SOURCE_PAUSE: Duration = Duration::from_secs(10);

/// What the collector talks to.
pub struct Deps {
    /// Where RAW is.
    pub bus: Arc<dyn Bus>,
    /// The collector's own journal.
    pub spool: Arc<Journal>,
    /// Who may push and replay.
    pub principals: Arc<Principals>,
    /// Where `Ingest` is served.
    pub listener: TcpListener,
}

/// The collector as a service of its own.
pub struct Service;

impl atalaya_chassis::Service for Service {
    const NAME: &'static str = "atalaya-collector";
    const ABOUT: &'static str = "Takes every source in, spools it durably and writes RAW";
    type Config = Config;
    type Deps = Deps;

    fn configure(directory: &Directory) -> anyhow::Result<Config> {
        Config::read(directory)
    }

    async fn connect(config: &Config) -> anyhow::Result<Deps> {
        let listener = TcpListener::bind(&config.listen).await;
        Ok(Deps {
            bus: atalaya_bus::open_with(&config.bus, &config.nats)
                .await
                .with_context(|| format!("bus {}", config.bus))?,
            spool: Arc::new(open_spool(&config.spool, config.spool_max_bytes)?),
            principals: Arc::clone(&config.principals),
            listener: listener.with_context(|| format!("collector.listen: {}", config.listen))?,
        })
    }

    fn run(
        config: Config,
        deps: Deps,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        run(config, deps, shutdown)
    }
}

/// Opens the spool's journal, or creates it.
///
/// # Errors
/// If another process holds it, or it cannot be read.
pub fn open_spool(directory: &Path, max_bytes: u64) -> Result<Journal, BusError> {
    let options = Options { max_bytes, partitions: 1, tail_bytes: SPOOL_TAIL_BYTES, ..Options::default() };
    Journal::open(directory, &options)
}

/// Takes the sources in until the drain is asked for; then closes every input, and gives RAW what it takes.
///
/// # Errors
/// If the configuration is wrong, the bus does not answer at the start, or the spool fails.
pub async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate()?;
    let Deps { bus, spool, principals, listener } = deps;
    let tls = config.door()?;
    let starting = || async {
        let (leases, owners) = (bus.bucket(presence::LEASES).await?, bus.bucket(spool::PRODUCERS).await?);
        Ok((leases, owners, Workers::start(&config, &bus, Arc::clone(&spool), &shutdown).await?))
    };
    let starting = patiently(starting, |error: &anyhow::Error| is_unanswered(error.as_ref()));
    let Some(started) = shutdown.unless_requested(starting).await else { return Ok(()) };
    let (leases, owners, (mut workers, intake)) = started?;
    let producers = Producers::new(intake.clone(), config.id.clone(), owners, Arc::clone(&leases));
    // Dropped, a set aborts what it holds: nothing outlives this call.
    let (mut presence, mut sources, mut server) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    presence.spawn(presence::hold(leases, config.id.clone()));
    intake.recover().await?;
    let turnstiles = Arc::new(Turnstiles::new(&config));
    for file in config.sources {
        sources.spawn(source(file, intake.clone(), shutdown.clone()));
    }
    let door = Door { intake, producers: Arc::new(producers), turnstiles, shutdown: shutdown.clone() };
    server.spawn(server::serve(listener, tls, door, principals, shutdown.clone()));
    tokio::select! {
        // First: what ends because of the drain did not end by itself.
        biased;
        () = shutdown.requested() => {}
        ended = server.join_next() => return by_itself("ingest door", ended),
        ended = workers.lanes.join_next() => return by_itself("a lane", ended),
        ended = workers.publishers.join_next() => return by_itself("a publisher", ended),
    }
    // Sources and streams close their inputs and let go of the intake; then the lanes end, then what publishes them.
    let drain = async {
        while sources.join_next().await.is_some() {}
        while let Some(ended) = server.join_next().await {
            ended.context("ingest door")??;
        }
        workers.drain().await
    };
    tokio::time::timeout(DRAIN_DEADLINE, drain).await.unwrap_or_else(|_| {
        telemetry::drain_cut_short();
        Ok(())
    })
}

/// What was to run until the drain has ended before.
fn by_itself(what: &str, ended: Option<Result<anyhow::Result<()>, JoinError>>) -> anyhow::Result<()> {
    if let Some(ended) = ended {
        ended.with_context(|| what.to_owned())??;
    }
    anyhow::bail!("{what} ended by itself")
}

/// Everything between the intake and RAW.
struct Workers {
    lanes: JoinSet<anyhow::Result<()>>,
    publishers: JoinSet<anyhow::Result<()>>,
    last_words: CancellationToken,
}

impl Workers {
    async fn start(
        config: &Config,
        bus: &Arc<dyn Bus>,
        journal: Arc<Journal>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(Self, Intake)> {
        let ids = spool::claim(&journal, &config.id, config.lanes).await?;
        let (mut ends, mut writers, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for id in &ids {
            let writer = publish::resume(bus, id).await.with_context(|| format!("lane {id}"))?;
            publish::register(bus.as_ref(), id, &config.id).await?;
            ends.push(spool::lane_end(&journal, id).await?);
            written.push(publish::written(&writer));
            writers.push(writer);
        }
        let now_ms = u64::try_from(now_us() / 1_000).unwrap_or_default();
        let spool = Spool::open(journal, &ends, &written, now_ms).await?;
        spool.sweep(inputs::BUCKET).await?;
        let progress = ends.iter().map(|end| LaneProgress { written: end.sequence, ..LaneProgress::default() });
        let progress = Arc::new(Progress::new(progress.collect()));
        let linger = Duration::from_millis(config.linger_ms);
        let last_words = CancellationToken::new();
        let mut workers = Self { lanes: JoinSet::new(), publishers: JoinSet::new(), last_words };
        let mut senders = Vec::new();
        for (index, (id, writer)) in ids.iter().zip(writers).enumerate() {
            let (sender, requests) = LaneSender::new(id.clone());
            senders.push(sender);
            let lane = Lane::new(
                id.clone(),
                index,
                &ends[index],
                spool.clone(),
                Arc::clone(&progress),
                linger,
                shutdown.clone(),
            );
            workers.lanes.spawn(lane.run(requests));
            let publisher = Publisher {
                lane: id.clone(),
                index,
                bus: Arc::clone(bus),
                spool: spool.clone(),
                progress: Arc::clone(&progress),
                last_words: workers.last_words.clone(),
            };
            workers.publishers.spawn(publisher.run(writer));
        }
        let (trimmed, last_words) = (spool.clone(), workers.last_words.clone());
        workers.publishers.spawn(async move {
            last_words.run_until_cancelled(trim::run(trimmed, ids, &progress)).await.transpose()?;
            Ok(())
        });
        Ok((workers, Intake::new(spool, senders, config.lanes)))
    }

    /// The lanes write what they still have; then RAW has some time to take it.
    async fn drain(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.lanes.join_next().await {
            ended.context("a lane")??;
        }
        self.last_words.cancel();
        let publishing = async {
            while let Some(ended) = self.publishers.join_next().await {
                ended.context("a publisher")??;
            }
            Ok(())
        };
        // What RAW did not take in time is in the spool.
        tokio::time::timeout(PUBLISH_DEADLINE, publishing).await.unwrap_or(Ok(()))
    }
}

/// Runs a source, again and again if it fails.
async fn source(file: SourceFile, intake: Intake, shutdown: Shutdown) {
    let name = file.name.clone();
    while !shutdown.is_requested() {
        let outcome = match files::Source::of(file.clone()) {
            Ok(source) => files::run(source, intake.clone(), shutdown.clone()).await,
            Err(error) => Err(anyhow::anyhow!(error)),
        };
        if !shutdown.is_requested() {
            telemetry::source_ended(&name, &outcome);
        }
        if outcome.is_ok() {
            return;
        }
        let _ = shutdown.unless_requested(tokio::time::sleep(SOURCE_PAUSE)).await;
    }
}

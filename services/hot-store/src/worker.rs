//! The loop of one scope: read → file → sync → floor.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::{
    Bucket, Bus, BusError, ChainCheck, Filter, Floor, FloorEntry, Floors, Lease, Message, Position, Reader, Stream,
    verify_position,
};
use atalaya_chassis::Shutdown;
use atalaya_hot::{Hot, HotError};
use atalaya_model::Books;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lot::Lot;
use crate::scope::{READER, Scope};
use crate::{Config, Deps, telemetry};

const LEASES_BUCKET: &str = "leases";

/// Pause before a scope that failed, or that somebody else holds, is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Pause before a scope with a hole or an unreadable message is tried again: somebody has to repair it.
const DAMAGED_RETRY_AFTER: Duration = Duration::from_secs(30);

/// What all scopes share.
struct Shared {
    bus: Arc<dyn Bus>,
    hot: Arc<dyn Hot>,
    floors: Floors,
    leases: Arc<dyn Bucket>,
    holder: String,
    config: Config,
    shutdown: Shutdown,
}

/// Why filing stopped.
#[derive(Debug, thiserror::Error)]
enum StopError {
    /// Somebody has to look.
    #[error(transparent)]
    Damaged(anyhow::Error),
    /// It may work next time.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<BusError> for StopError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Damaged { .. } | BusError::Mismatch(_) => Self::Damaged(error.into()),
            error => Self::Failed(error.into()),
        }
    }
}

impl From<HotError> for StopError {
    fn from(error: HotError) -> Self {
        match error {
            HotError::Damaged { .. } => Self::Damaged(error.into()),
            error => Self::Failed(error.into()),
        }
    }
}

/// Files until the drain is asked for, then what is at hand.
pub(crate) async fn run(config: Config, deps: Deps, shutdown: Shutdown) -> anyhow::Result<()> {
    let Deps { bus, hot } = deps;
    let events = bus.info(Stream::Evt).await.context("stream EVT")?.partitions;
    let alerts = bus.info(Stream::Alert).await.context("stream ALERT")?.partitions;
    let shared = Arc::new(Shared {
        floors: Floors::open(bus.as_ref()).await?,
        leases: bus.bucket(LEASES_BUCKET).await?,
        holder: format!("hot-store-{}", std::process::id()),
        bus,
        hot,
        config,
        shutdown,
    });
    let mut tasks = JoinSet::new();
    for scope in Scope::all(events, alerts) {
        tasks.spawn(serve(Arc::clone(&shared), scope));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a partition's task")?;
    }
    Ok(())
}

/// Takes a scope whenever it is free, and files it, until the drain is asked for.
async fn serve(shared: Arc<Shared>, scope: Scope) {
    let (shutdown, ttl) = (&shared.shutdown, shared.config.lease());
    while !shutdown.is_requested() {
        let leases = Arc::clone(&shared.leases);
        let pause = match Lease::acquire(leases, &scope.to_string(), &shared.holder, ttl).await {
            Ok(Some(lease)) => serve_held(&shared, scope, lease).await,
            Ok(None) => ttl / 3,
            Err(error) => {
                telemetry::failed(scope, &error.into());
                RETRY_AFTER
            }
        };
        shutdown.unless_requested(tokio::time::sleep(pause)).await;
    }
}

/// Files a scope while its lease lasts; answers with how long to leave it alone.
async fn serve_held(shared: &Shared, scope: Scope, mut lease: Lease) -> Duration {
    let ended = tokio::select! {
        ended = work(shared, scope) => ended,
        lost = renew(&mut lease, shared.config.lease()) => lost,
    };
    // A lease that is not given back runs out by itself.
    let _ = lease.release().await;
    telemetry::left(scope);
    match ended {
        Ok(()) => RETRY_AFTER,
        Err(StopError::Failed(error)) => {
            telemetry::failed(scope, &error);
            RETRY_AFTER
        }
        Err(StopError::Damaged(error)) => {
            telemetry::damaged(scope, &error);
            DAMAGED_RETRY_AFTER
        }
    }
}

/// Renews the lease until it is lost.
async fn renew(lease: &mut Lease, ttl: Duration) -> Result<(), StopError> {
    loop {
        tokio::time::sleep(ttl / 3).await;
        if !lease.renew().await.context("lease")? {
            return Ok(());
        }
    }
}

/// A scope being filed.
struct Work<'a> {
    shared: &'a Shared,
    scope: Scope,
    filter: Filter,
    incarnation: u64,
    floor: FloorEntry,
    reader: Box<dyn Reader>,
    chain: ChainCheck,
}

async fn work(shared: &Shared, scope: Scope) -> Result<(), StopError> {
    let (bus, stream) = (shared.bus.as_ref(), scope.stream());
    let floor = shared.floors.hold(stream, READER, &scope.floor()).await.context("floor")?;
    let after = floor.floor().map(|floor| floor.position.clone()).unwrap_or_default();
    telemetry::taken(scope, after.sequence);
    verify_position(bus, stream, &after).await?;
    let filter = scope.filter().context("filter")?;
    let incarnation = bus.info(stream).await?.incarnation;
    let reader = bus.read(stream, &filter, after.sequence).await?;
    let chain = ChainCheck::new(after.sequence);
    Work { shared, scope, filter, incarnation, floor, reader, chain }.run().await
}

impl Work<'_> {
    async fn run(&mut self) -> Result<(), StopError> {
        loop {
            let first = match self.shared.shutdown.unless_requested(self.reader.next()).await {
                None => return Ok(()),
                Some(Err(BusError::Gap { stream, expected, found })) => {
                    self.pass_gap(stream, expected, found).await?;
                    continue;
                }
                Some(first) => first?,
            };
            self.chain.check(&first)?;
            let lot = self.gather(first).await?;
            self.file(lot).await?;
        }
    }

    /// Goes on behind what was trimmed.
    async fn pass_gap(&mut self, stream: Stream, expected: u64, found: u64) -> Result<(), StopError> {
        telemetry::gap(self.scope, &BusError::Gap { stream, expected, found });
        let after = found.saturating_sub(1);
        self.reader = self.shared.bus.read(stream, &self.filter, after).await?;
        self.chain = ChainCheck::new(after);
        Ok(())
    }

    /// Adds what is there already, and what comes within the linger time. An error here comes again when the lot is
    /// filed, and is met then.
    async fn gather(&mut self, first: Message) -> Result<Lot, StopError> {
        let until = Instant::now() + self.shared.config.linger();
        let mut lot = Lot::new(first);
        while !lot.is_full() {
            let next = match self.reader.try_next().await {
                Ok(Some(message)) => message,
                Ok(None) => match tokio::time::timeout_at(until, self.reader.next()).await {
                    Ok(Ok(message)) => message,
                    Ok(Err(_)) | Err(_) => break,
                },
                Err(_) => break,
            };
            self.chain.check(&next)?;
            lot.add(next);
        }
        Ok(lot)
    }

    async fn file(&mut self, lot: Lot) -> Result<(), StopError> {
        let Some(last) = lot.last() else { return Ok(()) };
        let position = Position { incarnation: self.incarnation, sequence: last.sequence, id: last.headers.id.clone() };
        let filed = match self.scope {
            Scope::Events(partition) => self.shared.file_events(lot, partition).await?,
            Scope::Alerts(_) => self.shared.file_alerts(&lot).await?,
            Scope::Actions => self.shared.file_actions(&lot).await?,
        };
        let mut books = self.floor.floor().map(|floor| floor.books.clone()).unwrap_or_default();
        books.merge(&filed);
        Ok(self.floor.set(Floor { position, books }).await.context("floor")?)
    }
}

impl Shared {
    async fn file_events(&self, lot: Lot, partition: u16) -> Result<Books, StopError> {
        let started = Instant::now();
        let decoding = tokio::task::spawn_blocking(move || (lot.events(partition), lot));
        let (messages, lot) = decoding.await.context("decoding")?;
        let messages = messages.map_err(StopError::Damaged)?;
        if messages.is_empty() {
            return Ok(Books::default());
        }
        let filed = self.hot.file(&messages).await?;
        self.hot.sync().await?;
        let total = |of: fn(&atalaya_hot::Filed) -> u64| filed.iter().map(of).sum();
        telemetry::filed(
            Scope::Events(partition),
            total(|filed| filed.rows),
            total(|filed| filed.expired),
            started.elapsed(),
        );
        Ok(lot.books(&filed))
    }

    async fn file_alerts(&self, lot: &Lot) -> Result<Books, StopError> {
        let alerts = lot.alerts().map_err(StopError::Damaged)?;
        if !alerts.is_empty() {
            self.hot.file_alerts(&alerts).await?;
            self.hot.sync().await?;
        }
        Ok(Books::default())
    }

    async fn file_actions(&self, lot: &Lot) -> Result<Books, StopError> {
        for (action, own) in lot.actions().map_err(StopError::Damaged)? {
            if own {
                self.hot.act(&action).await?;
            } else {
                telemetry::foreign_action(&action);
            }
        }
        self.hot.sync().await?;
        Ok(Books::default())
    }
}

//! One stream's fold: taken up from bucket `ledger`, folded on, stored about each second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{
    Bucket, BucketError, Bus, BusError, ChainCheck, Filter, FloorEntry, Floors, Message, Position, Reader, Sequence,
    verify_position,
};
use atalaya_chassis::Shutdown;
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior};

use super::fold::Fold;
use super::{Folds, Ledger};
use crate::telemetry;

/// The bucket of the folds, one entry a stream.
const BUCKET: &str = "ledger";

/// The ledger's name among the floors.
const READER: &str = "ledger";

/// How often a fold is stored.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// How often the floors of a stream move: they only let the trimmer go on.
const FLOORS_EVERY: Duration = Duration::from_secs(5);

/// Messages folded before anything else is looked at.
const MAX_MESSAGES_PER_TURN: usize = 1_024;

/// Losses kept as alarms.
const MAX_LOSSES: usize = 16;

/// Why folding stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("entry {key} of bucket ledger: {reason}")]
    Entry { key: &'static str, reason: String },
}

/// Which fold of the ledger is meant.
pub(super) type Slot<F> = fn(&mut Folds) -> &mut F;

/// Reads a fold that another gateway keeps.
pub(super) async fn read<F: Fold>(ledger: &Ledger, slot: Slot<F>) -> Result<u64, KeeperError> {
    let bucket = ledger.bus.bucket(BUCKET).await?;
    let (fold, revision) = load::<F>(bucket.as_ref()).await?;
    *slot(&mut ledger.lock().folds) = fold;
    Ok(revision)
}

async fn load<F: Fold>(bucket: &dyn Bucket) -> Result<(F, u64), KeeperError> {
    let key = F::STREAM.name();
    let Some(entry) = bucket.get(key).await? else { return Ok((F::default(), 0)) };
    let fold = serde_json::from_slice(&entry.value);
    Ok((fold.map_err(|error| KeeperError::Entry { key, reason: error.to_string() })?, entry.revision))
}

/// Folds a stream until the drain is asked for.
pub(super) async fn keep<F: Fold>(ledger: Ledger, slot: Slot<F>, shutdown: Shutdown) -> Result<(), KeeperError> {
    let revision = read(&ledger, slot).await?;
    let mut keeper = Keeper::open(ledger, slot, revision).await?;
    let mut store = tokio::time::interval(STORE_EVERY);
    store.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.requested() => {
                keeper.catch_up().await?;
                keeper.store().await?;
                return keeper.move_floors().await;
            }
            message = keeper.reader.next() => keeper.turn(message).await?,
            _ = store.tick() => keeper.store().await?,
        }
        if keeper.floors_at <= Instant::now() {
            keeper.store().await?;
            keeper.move_floors().await?;
        }
    }
}

struct Keeper<F: Fold> {
    ledger: Ledger,
    slot: Slot<F>,
    bucket: Arc<dyn Bucket>,
    revision: u64,
    stored: Sequence,
    reader: Box<dyn Reader>,
    chain: ChainCheck,
    incarnation: u64,
    floors: Floors,
    held: BTreeMap<String, FloorEntry>,
    floors_at: Instant,
}

impl<F: Fold> Keeper<F> {
    async fn open(ledger: Ledger, slot: Slot<F>, revision: u64) -> Result<Self, KeeperError> {
        let position = slot(&mut ledger.lock().folds).position().clone();
        verify_position(ledger.bus.as_ref(), F::STREAM, &position).await?;
        let info = ledger.bus.info(F::STREAM).await?;
        let after = position.sequence;
        Ok(Self {
            bucket: ledger.bus.bucket(BUCKET).await?,
            reader: open_reader::<F>(ledger.bus.as_ref(), after).await?,
            floors: Floors::open(ledger.bus.as_ref()).await?,
            chain: ChainCheck::open(ledger.bus.as_ref(), F::STREAM, after).await?,
            incarnation: info.incarnation,
            held: BTreeMap::new(),
            floors_at: Instant::now() + FLOORS_EVERY,
            stored: after,
            ledger,
            slot,
            revision,
        })
    }

    /// Folds what is there, up to a bound.
    async fn turn(&mut self, first: Result<Message, BusError>) -> Result<(), KeeperError> {
        let (mut next, mut turns) = (Some(first), 0);
        while let Some(message) = next.take() {
            match message {
                Ok(message) => self.fold(&message)?,
                Err(BusError::Gap { expected, found, .. }) => return self.pass_gap(expected, found).await,
                Err(error) => return Err(error.into()),
            }
            turns += 1;
            if turns < MAX_MESSAGES_PER_TURN {
                next = self.reader.try_next().await.transpose();
            }
        }
        Ok(())
    }

    /// Before the end: what the other stages wrote last is folded too.
    async fn catch_up(&mut self) -> Result<(), KeeperError> {
        for _ in 0..MAX_MESSAGES_PER_TURN {
            let Some(message) = self.reader.try_next().await? else { break };
            self.fold(&message)?;
        }
        Ok(())
    }

    fn fold(&mut self, message: &Message) -> Result<(), BusError> {
        self.chain.check(message)?;
        let (sequence, id) = (message.sequence, message.headers.id.clone());
        let position = Position { incarnation: self.incarnation, sequence, id };
        let mut shared = self.ledger.lock();
        if let Err(reason) = (self.slot)(&mut shared.folds).take(message, position) {
            shared.last_error = telemetry::unreadable(F::STREAM, sequence, &reason);
        }
        Ok(())
    }

    /// Messages that were trimmed before they were counted: the books cannot balance, which is said, and goes on.
    async fn pass_gap(&mut self, expected: Sequence, found: Sequence) -> Result<(), KeeperError> {
        let loss = telemetry::uncounted(F::STREAM, expected, found);
        {
            let mut shared = self.ledger.lock();
            (self.slot)(&mut shared.folds).skip_to(found.saturating_sub(1));
            shared.losses.truncate(MAX_LOSSES - 1);
            shared.losses.insert(0, loss);
        }
        self.chain = ChainCheck::open(self.ledger.bus.as_ref(), F::STREAM, found.saturating_sub(1)).await?;
        self.reader = open_reader::<F>(self.ledger.bus.as_ref(), found.saturating_sub(1)).await?;
        Ok(())
    }

    async fn store(&mut self) -> Result<(), KeeperError> {
        let (value, sequence) = {
            let mut shared = self.ledger.lock();
            let fold = (self.slot)(&mut shared.folds);
            if fold.position().sequence == self.stored {
                return Ok(());
            }
            (serde_json::to_vec(fold), fold.position().sequence)
        };
        let key = F::STREAM.name();
        let value = Bytes::from(value.map_err(|error| KeeperError::Entry { key, reason: error.to_string() })?);
        self.revision = match self.bucket.put(key, value.clone(), self.revision, None).await {
            Ok(revision) => revision,
            Err(error) => match self.bucket.get(key).await? {
                Some(entry) if entry.value == value => entry.revision,
                _ => return Err(error.into()),
            },
        };
        self.stored = sequence;
        Ok(())
    }

    /// Lets the trimmer go up to what is stored.
    async fn move_floors(&mut self) -> Result<(), KeeperError> {
        self.floors_at = Instant::now() + FLOORS_EVERY;
        let (scopes, position) = {
            let mut shared = self.ledger.lock();
            let fold = (self.slot)(&mut shared.folds);
            (fold.scopes(), fold.position().clone())
        };
        if position.sequence != self.stored {
            return Ok(());
        }
        for (scope, newest) in scopes {
            let entry = match self.held.remove(&scope) {
                Some(entry) => entry,
                None => self.floors.hold(F::STREAM, READER, &scope).await?,
            };
            let entry = self.held.entry(scope).or_insert(entry);
            if entry.floor().is_none_or(|floor| floor.position.sequence < newest) {
                let floor = atalaya_bus::Floor { position: position.clone(), ..atalaya_bus::Floor::default() };
                entry.set(floor).await?;
            }
        }
        Ok(())
    }
}

async fn open_reader<F: Fold>(bus: &dyn Bus, after: Sequence) -> Result<Box<dyn Reader>, BusError> {
    let everything = Filter::new(">").map_err(|error| BusError::Io(error.to_string()))?;
    bus.read(F::STREAM, &everything, after).await
}

//! The one loop: alerts in → core → outbox → position → attempts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::{
    Bucket, Bus, ChainCheck, Damage, Filter, Kind, Message, Position, Reader, Stream, now_us, verify_position,
};
use atalaya_chassis::Shutdown;
use atalaya_model::{Alert, Books};
use atalaya_proto::alert_v1::Alerts;
use prost::Message as _;
use tokio::time::Instant;

use crate::delivery::{Deliveries, Senders};
use crate::grouping::{Attempt, Grouping, Outcome};
use crate::outbox::{MAX_FORGOTTEN_PER_WRITE, Outbox};
use crate::silences::Silences;
use crate::{Config, telemetry};

/// Alerts taken in before the outbox is written, about.
const MAX_ALERTS_PER_BATCH: usize = 1_024;

/// Messages taken in before the outbox is written.
const MAX_MESSAGES_PER_BATCH: usize = 256;

/// The floor moves at most this often; so does the position of messages without alerts.
const FLOOR_EVERY: Duration = Duration::from_millis(250);

/// A silence counts at the latest after this.
const SILENCES_EVERY: Duration = Duration::from_secs(1);

/// How long nothing may happen before it is looked whether something is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(3);

/// How long a drain waits for attempts under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The worker of one partition.
pub(crate) struct Worker {
    grouping: Grouping,
    outbox: Outbox,
    deliveries: Deliveries,
    reader: Box<dyn Reader>,
    chain: ChainCheck,
    incarnation: u64,
    silences: Silences,
    silences_bucket: Arc<dyn Bucket>,
    silences_at: Option<Instant>,
    partition: u16,
    /// Covered in memory, not yet in the outbox.
    covered: Option<Position>,
    counted: Books,
    floor_at: Instant,
    floor_stale: bool,
}

impl Worker {
    pub(crate) async fn resume(
        bus: &Arc<dyn Bus>,
        config: &Config,
        senders: Senders,
        partition: u16,
    ) -> anyhow::Result<Self> {
        let (outbox, episodes) = Outbox::open(bus.as_ref(), partition).await.context("outbox")?;
        verify_position(bus.as_ref(), Stream::Alert, outbox.position()).await?;
        let after = outbox.position().sequence;
        let filter = Filter::new(&format!("alert.{partition}"))?;
        Ok(Self {
            grouping: Grouping::resume(config.routes()?, config.retry(), episodes, now_us()),
            deliveries: Deliveries::new(senders),
            reader: bus.read(Stream::Alert, &filter, after).await?,
            chain: ChainCheck::open(bus.as_ref(), Stream::Alert, after).await?,
            incarnation: bus.info(Stream::Alert).await?.incarnation,
            silences: Silences::default(),
            silences_bucket: bus.bucket("silences").await?,
            silences_at: None,
            outbox,
            partition,
            covered: None,
            counted: Books::default(),
            floor_at: Instant::now(),
            floor_stale: true,
        })
    }

    /// Works until the drain is asked for.
    pub(crate) async fn work(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        loop {
            self.step().await?;
            let wake_at = self.wake_at();
            tokio::select! {
                () = shutdown.requested() => return self.drain().await,
                message = self.reader.next() => self.take_batch(message?).await?,
                ended = self.deliveries.next() => self.note_all(ended),
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let mut wake_at = Instant::now() + LONGEST_SLEEP;
        let now = now_us();
        if let Some(at_us) = self.grouping.next_after(now) {
            let wait_us = u64::try_from(at_us - now).unwrap_or(0);
            wake_at = wake_at.min(Instant::now() + Duration::from_micros(wait_us));
        }
        if self.floor_stale || self.covered.is_some() {
            wake_at = wake_at.min(self.floor_at);
        }
        wake_at
    }

    async fn take_batch(&mut self, first: Message) -> anyhow::Result<()> {
        if self.silences_at.is_none_or(|at| at.elapsed() >= SILENCES_EVERY) {
            self.silences = Silences::read(self.silences_bucket.as_ref()).await?;
            self.silences_at = Some(Instant::now());
        }
        let now = now_us();
        let (mut next, mut alerts, mut messages) = (Some(first), 0, 0);
        while let Some(message) = next.take() {
            alerts += self.take(&message, now)?;
            messages += 1;
            if alerts < MAX_ALERTS_PER_BATCH && messages < MAX_MESSAGES_PER_BATCH {
                next = self.reader.try_next().await?;
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &Message, now: i64) -> anyhow::Result<usize> {
        self.chain.check(message)?;
        let alerts = if message.headers.kind == Kind::Data { decode(message)? } else { Vec::new() };
        let intake = self.grouping.intake(message.sequence, &alerts, &self.silences, now);
        if intake.refused > 0 {
            telemetry::outbox_full(self.partition, intake.refused);
        }
        self.counted.merge(&intake.books);
        let (sequence, id) = (message.sequence, message.headers.id.clone());
        self.covered = Some(Position { incarnation: self.incarnation, sequence, id });
        Ok(alerts.len())
    }

    fn note_all(&mut self, first: Result<(Attempt, Outcome), tokio::task::JoinError>) {
        let mut next = Some(first);
        while let Some(ended) = next {
            match ended {
                Ok((attempt, outcome)) => self.note(&attempt, outcome),
                // Only a panic ends here: the message stays in flight, and is tried again after the next start.
                Err(error) => telemetry::interrupted(self.partition, &error.into()),
            }
            next = self.deliveries.try_next();
        }
    }

    fn note(&mut self, attempt: &Attempt, outcome: Outcome) {
        let failure = match &outcome {
            Outcome::Delivered => None,
            Outcome::Failed { reason, .. } | Outcome::Refused { reason } => Some(reason.clone()),
        };
        match (self.grouping.outcome(attempt, outcome, now_us()), failure) {
            (Some(reason), _) => telemetry::undeliverable(attempt, &reason),
            (None, Some(reason)) => telemetry::attempt_failed(attempt, &reason),
            (None, None) => telemetry::delivered(attempt),
        }
    }

    /// Stores what changed, then does what follows from it.
    async fn step(&mut self) -> anyhow::Result<()> {
        let now = now_us();
        self.grouping.write_due(now);
        let changed = self.grouping.take_changed();
        self.floor_stale |= !changed.is_empty();
        let changed_any = !changed.is_empty();
        self.outbox.store(changed).await?;
        let floor_due = Instant::now() >= self.floor_at;
        if changed_any || floor_due || !self.counted.is_empty() {
            self.advance().await?;
        }
        let deliveries = &mut self.deliveries;
        for attempt in self.grouping.attempts(now, |receiver| deliveries.take_place(receiver)) {
            deliveries.begin(attempt, now);
        }
        if floor_due {
            self.forget(now).await?;
            self.publish().await?;
        }
        Ok(())
    }

    async fn advance(&mut self) -> anyhow::Result<()> {
        if let Some(position) = self.covered.take() {
            self.outbox.advance(position, &std::mem::take(&mut self.counted)).await?;
            self.floor_stale = true;
        }
        Ok(())
    }

    async fn forget(&mut self, now: i64) -> anyhow::Result<()> {
        let position = self.outbox.position().sequence;
        let ids = self.grouping.forgettable(position, now, MAX_FORGOTTEN_PER_WRITE);
        if !ids.is_empty() {
            let books = self.grouping.forget(&ids);
            self.outbox.forget(&ids, &books).await?;
        }
        Ok(())
    }

    async fn publish(&mut self) -> anyhow::Result<()> {
        self.outbox.publish(self.grouping.settled()).await?;
        self.floor_stale = false;
        self.floor_at = Instant::now() + FLOOR_EVERY;
        Ok(())
    }

    /// Lets attempts under way end; what is not delivered then is tried again by the next worker.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while !self.deliveries.is_empty() {
            match tokio::time::timeout_at(deadline, self.deliveries.next()).await {
                Ok(ended) => self.note_all(ended),
                Err(_) => break,
            }
        }
        self.outbox.store(self.grouping.take_changed()).await?;
        self.advance().await?;
        self.publish().await
    }
}

fn decode(message: &Message) -> Result<Vec<Alert>, Damage> {
    let wrong = |reason: String| Damage::new(format!("ALERT {}: {reason}", message.sequence));
    let body = Alerts::decode(message.body.clone()).map_err(|error| wrong(error.to_string()))?;
    let alerts = body.alerts.into_iter().map(Alert::try_from).collect::<Result<_, _>>();
    alerts.map_err(|error| wrong(error.to_string()))
}

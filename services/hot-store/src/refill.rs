//! Filling what the trim took before it was filed: from the archive, beside the filing of what comes.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_archive::DataFile;
use atalaya_bus::{Bus, BusError, Filter, Floor, FloorEntry, Gap, Gaps, Kind, Message, Sequence, Stream};
use atalaya_model::{Books, Class, Counts};
use atalaya_schema::{col, text_value};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use crate::archived::{self, Wanted};
use crate::balance::{self, Refilled, Uneven};
use crate::scope::{READER, Scope};
use crate::telemetry;
use crate::worker::Shared;

/// The archive's name in bucket `floors`.
const ARCHIVE: &str = "archive";

/// Pause between two looks at the archive's floor, or at the own one.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// First pause after the archive or the store failed; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Pause after the books contradicted each other: somebody has to look.
const UNEVEN_PAUSE: Duration = Duration::from_secs(30);

/// What a partition of EVT lacks: as it is recorded, and as this process knows it.
pub(crate) struct Holes {
    gaps: Gaps,
    scope: String,
    known: watch::Sender<Option<Gap>>,
    /// Held while the entry changes.
    entry: Mutex<()>,
}

impl Holes {
    /// What is recorded of a partition.
    pub(crate) async fn open(bus: &dyn Bus, partition: u16) -> anyhow::Result<Self> {
        let (gaps, scope) = (Gaps::open(bus).await?, partition.to_string());
        let known = watch::Sender::new(gaps.get(Stream::Evt, READER, &scope).await?);
        Ok(Self { gaps, scope, known, entry: Mutex::new(()) })
    }

    /// Records what was met. Only then may the floor pass it.
    pub(crate) async fn add(&self, gap: Gap) -> anyhow::Result<()> {
        let _changing = self.entry.lock().await;
        let whole = self.gaps.record(Stream::Evt, READER, &self.scope, gap).await?;
        self.known.send_replace(Some(whole));
        Ok(())
    }

    async fn met(&self) -> anyhow::Result<Gap> {
        let mut known = self.known.subscribe();
        let met = known.wait_for(Option::is_some).await?;
        met.context("a gap was met")
    }

    /// What is left beyond a sequence.
    fn beyond(&self, sequence: Sequence) -> Option<Gap> {
        let from = sequence + 1;
        self.known.borrow().filter(|gap| gap.to >= from).map(|gap| Gap { from: from.max(gap.from), to: gap.to })
    }

    /// Forgets what was refilled up to a sequence; whether nothing is left.
    async fn close(&self, upto: Sequence) -> anyhow::Result<bool> {
        let _changing = self.entry.lock().await;
        let left = self.gaps.get(Stream::Evt, READER, &self.scope).await?.filter(|gap| gap.to > upto);
        if left.is_none() {
            self.gaps.forget(Stream::Evt, READER, &self.scope).await?;
        }
        self.known.send_replace(left);
        Ok(left.is_none())
    }
}

/// The refilling of a partition. It has the partition's lease, as its filing has.
pub(crate) struct Refill<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) partition: u16,
    pub(crate) incarnation: u64,
    pub(crate) filter: &'a Filter,
    pub(crate) floor: &'a Mutex<FloorEntry>,
    pub(crate) holes: &'a Holes,
}

impl Refill<'_> {
    /// Refills whatever is met, for as long as it is polled. The archive and the store may be away for as long as they
    /// like.
    ///
    /// # Errors
    /// If the bus fails: the partition is to be taken again.
    pub(crate) async fn run(&self) -> anyhow::Result<Infallible> {
        loop {
            let gap = self.holes.met().await?;
            match self.refill(gap).await {
                Ok(()) => telemetry::refilled(self.scope(), gap),
                Err(error) if error.is::<Uneven>() => {
                    telemetry::uneven(self.scope(), &error);
                    sleep(UNEVEN_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Refills a gap, and what is added to it meanwhile; counts it; forgets it. Whatever stops it, it starts over: what
    /// was filed is filed again, what was counted is not missing any more.
    async fn refill(&self, gap: Gap) -> anyhow::Result<()> {
        self.wait_for_archive(gap.to).await?;
        let (mut upto, mut refilled) = (gap.from.saturating_sub(1), Refilled::default());
        if self.missing().await?.is_some_and(|missing| missing.is_empty()) {
            // It was counted before, or nothing was lost after all.
            upto = gap.to;
        }
        loop {
            if let Some(left) = self.holes.beyond(upto) {
                self.wait_for_archive(left.to).await?;
                self.fill(left, &mut refilled).await;
                upto = left.to;
                continue;
            }
            let Some(missing) = self.missing().await? else {
                sleep(LOOK_EVERY).await;
                continue;
            };
            if self.holes.beyond(upto).is_some() {
                continue;
            }
            self.count(&balance::outcome(&missing, &std::mem::take(&mut refilled))?).await?;
            if self.holes.close(upto).await? {
                return Ok(());
            }
        }
    }

    /// Waits until the archive has every message of the partition up to there.
    async fn wait_for_archive(&self, upto: Sequence) -> anyhow::Result<()> {
        loop {
            let archived = self.archive_floor().await?.position.sequence;
            let newest = self.shared.bus.last(Stream::Evt, self.filter).await?.map_or(0, |message| message.sequence);
            if archived >= upto.min(newest) {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn archive_floor(&self) -> anyhow::Result<Floor> {
        let entry = self.shared.floors.hold(Stream::Evt, ARCHIVE, &self.partition.to_string()).await?;
        let of_stream = |floor: &&Floor| floor.position.incarnation == self.incarnation;
        Ok(entry.floor().filter(of_stream).cloned().unwrap_or_default())
    }

    /// Files what the archive has of a gap, however often that takes.
    async fn fill(&self, gap: Gap, refilled: &mut Refilled) {
        let wanted = Wanted { partition: self.partition, incarnation: self.incarnation, gap };
        for class in Class::ALL {
            let (mut done, mut pause) = (HashSet::new(), FIRST_PAUSE);
            while let Err(error) = self.fill_class(class, wanted, &mut done, refilled).await {
                telemetry::refill_failed(self.scope(), &error);
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }

    async fn fill_class(
        &self,
        class: Class,
        wanted: Wanted,
        done: &mut HashSet<String>,
        refilled: &mut Refilled,
    ) -> anyhow::Result<()> {
        let Some(snapshot) = self.shared.archive.snapshot(class).await? else { return Ok(()) };
        for file in archived::files(&snapshot, &wanted) {
            if !done.contains(file.path.as_ref()) {
                let of_file = self.fill_file(class, Arc::clone(&file), wanted).await?;
                refilled.merge(&of_file);
                done.insert(file.path.to_string());
            }
        }
        Ok(())
    }

    async fn fill_file(&self, class: Class, file: Arc<DataFile>, wanted: Wanted) -> anyhow::Result<Refilled> {
        let (store, hot) = (self.shared.archive.store(), &self.shared.hot);
        let mut refilled = Refilled::default();
        // Tasks of their own: decoding must not hold up the filing of what comes.
        let lots = tokio::spawn(archived::lots(Arc::clone(&store), Arc::clone(&file), wanted));
        for lot in lots.await?? {
            let _turn = self.shared.refills.acquire().await?;
            let reading = archived::messages(Arc::clone(&store), class, Arc::clone(&file), lot);
            let messages = tokio::spawn(reading).await??;
            let filed = hot.file(&messages).await?;
            hot.sync().await?;
            for (message, filed) in messages.iter().zip(filed) {
                let source = text_value(message.batch.rows.column(col::SOURCE).as_ref(), 0).unwrap_or_default();
                refilled.add(source, filed.rows, filed.expired);
                telemetry::refilled_rows(filed.rows);
            }
        }
        Ok(refilled)
    }

    /// The events that are archived and not counted here; none while that cannot be told: filing has not caught up with
    /// the archive, or the archive moved on meanwhile.
    async fn missing(&self) -> anyhow::Result<Option<Books>> {
        let archived = self.archive_floor().await?;
        let filed = self.floor.lock().await.floor().cloned().unwrap_or_default();
        if filed.position.sequence < archived.position.sequence {
            return Ok(None);
        }
        let between = self.events_between(archived.position.sequence, filed.position.sequence).await?;
        let Some(between) = between else { return Ok(None) };
        Ok(Some(balance::missing(&archived.books, &filed.books, &between)?))
    }

    /// The events of what is after one sequence and up to another; none if some of it is gone.
    async fn events_between(&self, after: Sequence, upto: Sequence) -> anyhow::Result<Option<Books>> {
        let mut books = Books::default();
        if after >= upto {
            return Ok(Some(books));
        }
        let mut reader = self.shared.bus.read(Stream::Evt, self.filter, after).await?;
        loop {
            match reader.try_next().await {
                Ok(Some(message)) if message.sequence <= upto => add_events(&message, &mut books),
                Ok(_) => return Ok(Some(books)),
                Err(BusError::Gap { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn count(&self, books: &Books) -> anyhow::Result<()> {
        let mut floor = self.floor.lock().await;
        let mut moved = floor.floor().cloned().unwrap_or_default();
        moved.books.merge(books);
        floor.set(moved).await.context("floor")
    }

    fn scope(&self) -> Scope {
        Scope::Events(self.partition)
    }
}

fn add_events(message: &Message, books: &mut Books) {
    if message.headers.kind == Kind::Data {
        for (key, counts) in message.headers.books.iter().filter(|(_, counts)| counts.events > 0) {
            books.add(key, Counts { events: counts.events, ..Counts::default() });
        }
    }
}

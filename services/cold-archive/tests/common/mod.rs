//! What the cold archive's tests share: a real bus and archive, writers of EVT and ALERT, and the service in a task.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use atalaya_archive::Archive;
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, FencedWriter, Floors, Headers, Kind, LeaseMs, OutputLane, Part, Position, Stream, Subject};
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_cold_archive::{Config, Deps, run};
use atalaya_model::{Books, Class, Counts, EventId, LaneId, LedgerKey};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::{EventBatch, Rows, col};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;
use tokio::task::JoinHandle;

pub const PARTITIONS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    directory: tempfile::TempDir,
    pub bus: Arc<dyn Bus>,
    pub archive: Archive,
}

impl World {
    pub fn new() -> Self {
        Self::small(Options::default().max_bytes)
    }

    /// With streams of so many bytes.
    pub fn small(max_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { partitions: PARTITIONS, sync: false, max_bytes, ..Options::default() };
        let bus = Arc::new(Journal::open(directory.path().join("bus"), &options).unwrap());
        let archive = Archive::open(&format!("file:{}", directory.path().join("archive").display())).unwrap();
        Self { directory, bus, archive }
    }

    /// Another life of the archive: nothing it knows is in memory.
    pub fn reopened(&self) -> Archive {
        Archive::open(&format!("file:{}", self.directory.path().join("archive").display())).unwrap()
    }

    /// The same archive over a bus that is empty.
    pub fn lose_the_bus(&mut self) {
        let options = Options { partitions: PARTITIONS, sync: false, ..Options::default() };
        self.bus = Arc::new(Journal::open(self.directory.path().join("other"), &options).unwrap());
    }

    pub fn start(&self, config: Config) -> Service {
        let (trigger, shutdown) = Shutdown::new();
        let deps = Deps { bus: Arc::clone(&self.bus), archive: self.reopened() };
        Service { trigger, task: tokio::spawn(run(config, deps, shutdown)) }
    }

    /// Archived events by the floors' books of EVT.
    pub async fn archived(&self) -> u64 {
        let floors = Floors::open(self.bus.as_ref()).await.unwrap().all(Stream::Evt).await.unwrap();
        floors.iter().filter(|(reader, ..)| reader == "archive").map(|(.., f)| f.books.total(|_| true).archived).sum()
    }

    /// Waits until the books say so.
    pub async fn until_archived(&self, events: u64) {
        let reached = async {
            while self.archived().await < events {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "{} of {events} archived", self.archived().await);
        assert_eq!(self.archived().await, events);
    }

    /// Event ids of every row of a table, sorted.
    pub async fn ids(&self, class: Class) -> Vec<Vec<u8>> {
        let archive = self.reopened();
        let mut ids = Vec::new();
        let Some(snapshot) = archive.snapshot(class).await.unwrap() else { return ids };
        for file in snapshot.files.iter() {
            let body = archive.store().get(&file.path).await.unwrap().bytes().await.unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(body).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let column = batch.column_by_name("event_id").unwrap().as_binary::<i32>().clone();
                ids.extend(column.iter().map(|id| id.unwrap().to_vec()));
            }
        }
        ids.sort();
        ids
    }
}

pub struct Service {
    trigger: Trigger,
    pub task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub async fn drain(self) {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub fn quick() -> Config {
    Config { flush_ms: 50, lease_ms: LeaseMs::SHORTEST, ..Config::default() }
}

/// A normalizer's lane; positions count up by themselves.
pub struct Lane {
    name: LaneId,
    writer: FencedWriter,
    next: u64,
    pub ids: Vec<Vec<u8>>,
}

impl Lane {
    pub async fn new(world: &World, name: &str) -> Self {
        let name: LaneId = name.parse().unwrap();
        let writer = FencedWriter::resume(Arc::clone(&world.bus), OutputLane::evt(&name)).await.unwrap();
        Self { name, writer, next: 1, ids: Vec::new() }
    }

    fn covers(&mut self) -> Position {
        self.next += 1;
        Position { incarnation: 1, sequence: self.next - 1, id: format!("{}-{}", self.name, self.next - 1) }
    }

    /// One position: a message of `rows` rows in each of some partitions.
    pub async fn events(&mut self, class: Class, partitions: &[u16], rows: u32) {
        let covers = self.covers();
        let mut parts = Vec::new();
        for &partition in partitions {
            let mut builder = Rows::new(class);
            for row in 0..rows {
                builder.begin();
                let id = EventId::of("test", &[covers.id.as_bytes(), &partition.to_le_bytes(), &row.to_le_bytes()]);
                self.ids.push(id.as_bytes().to_vec());
                builder.id(col::EVENT_ID, id.as_bytes());
                builder.text(col::TENANT, "acme");
                builder.time(col::TIME, 1_795_500_000_000_000 + i64::from(row));
                builder.time(col::INGEST_TIME, 1_700_000_000_000_000 + i64::from(row));
                builder.end();
            }
            let batch = Arc::new(EventBatch::new(class, builder.finish()).unwrap());
            let mut books = Books::default();
            books.add(&key("live"), Counts { events: rows.into(), ..Counts::default() });
            let headers = Headers { id: format!("{}/{partition}", covers.id), rows, books, ..Headers::default() };
            let body = batch.encode();
            // Every other message is handed on decoded, as within one process.
            let decoded = partition.is_multiple_of(2).then_some(batch as atalaya_bus::Decoded);
            parts.push(Part { subject: self.subject(partition, class.name()), headers, body, decoded });
        }
        self.writer.write(covers, parts, Books::default()).await.unwrap();
    }

    /// The end of a backfill's input.
    pub async fn close(&mut self, partition: u16, domain: &str) {
        let covers = self.covers();
        let mut header = RawHeader { domain: domain.to_owned(), ..RawHeader::default() };
        header.set_entry(Entry::Close);
        let id = format!("{}/{partition}", covers.id);
        let headers = Headers { id, kind: Kind::Input, domain: domain.to_owned(), ..Headers::default() };
        let subject = self.subject(partition, "input");
        let part = Part { subject, headers, body: header.encode_to_vec().into(), decoded: None };
        self.writer.write(covers, vec![part], Books::default()).await.unwrap();
    }

    pub async fn mark(&mut self) {
        let covers = self.covers();
        self.writer.pass(covers, Books::default());
        self.writer.flush().await.unwrap();
    }

    fn subject(&self, partition: u16, token: &str) -> Subject {
        Subject::new(&format!("evt.{partition}.{}.{token}", self.name)).unwrap()
    }

    pub fn sorted(&self) -> Vec<Vec<u8>> {
        let mut ids = self.ids.clone();
        ids.sort();
        ids
    }
}

pub fn key(domain: &str) -> LedgerKey {
    LedgerKey { source: "zeek".into(), tenant: "acme".into(), domain: domain.into() }
}

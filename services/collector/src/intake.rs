//! What a source sees of the collector: inputs to hand cuts into, and what was admitted before.
//!
//! Handing in waits for room in the lane: that is the back-pressure, all the way from a full RAW to the source.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use atalaya_bus::now_us;
use atalaya_model::LaneId;
use atalaya_proto::raw_v1::Entry;
use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::admission::{Continuation, Digest, continuations_of};
use crate::cut::{Cut, Note, Stamp};
use crate::inputs;
use crate::spool::{ADMITTED, Spool, SpoolError};

/// Requests that may wait for a lane.
pub(crate) const LANE_REQUESTS: usize = 1_024;

/// KiB of records that may wait for a lane, those being written included.
const LANE_ROOM_KIB: u32 = 8 << 10;

/// Followed files that are read at the same time, and whole ones: a backfill never holds back what is live.
const FOLLOWED_READERS: usize = 8;
const WHOLE_READERS: usize = 4;

/// Something to be written into a lane.
pub(crate) struct Request {
    pub(crate) entry: Entry,
    pub(crate) stamp: Arc<Stamp>,
    /// The input; 0 on an open: the entry's own offset becomes the input.
    pub(crate) input: u64,
    pub(crate) cut: Cut,
    /// Answered with the offset once it is on disk.
    pub(crate) done: Vec<oneshot::Sender<u64>>,
    /// Held until it is on disk.
    pub(crate) room: Vec<OwnedSemaphorePermit>,
}

/// The way into a lane.
#[derive(Clone)]
pub(crate) struct LaneSender {
    id: LaneId,
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
}

impl LaneSender {
    pub(crate) fn new(id: LaneId) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(LANE_REQUESTS);
        (Self { id, requests, room: Arc::new(Semaphore::new(LANE_ROOM_KIB as usize)) }, receiver)
    }

    async fn send(&self, entry: Entry, stamp: Arc<Stamp>, input: u64, cut: Cut) -> Result<Receipt, SpoolError> {
        let kib = u32::try_from(cut.bytes() >> 10).unwrap_or(u32::MAX).saturating_add(1).min(LANE_ROOM_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| SpoolError::Closed)?;
        let (done, receipt) = oneshot::channel();
        let request = Request { entry, stamp, input, cut, done: vec![done], room: vec![room] };
        self.requests.send(request).await.map_err(|_| SpoolError::Closed)?;
        Ok(Receipt(receipt))
    }
}

/// Tells when what was handed in is on disk.
#[must_use = "what is not awaited may not be on disk"]
pub struct Receipt(oneshot::Receiver<u64>);

impl Receipt {
    /// Waits for the disk; answers with the offset in the lane.
    ///
    /// # Errors
    /// If the spool failed.
    pub async fn on_disk(self) -> Result<u64, SpoolError> {
        self.0.await.map_err(|_| SpoolError::Closed)
    }
}

struct Shared {
    spool: Spool,
    lanes: Vec<LaneSender>,
    /// Lanes that new inputs go to: fewer than there are if the configuration took some away.
    in_use: usize,
    domains: AtomicU64,
    claims: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    followed: Arc<Semaphore>,
    whole: Arc<Semaphore>,
}

/// The door of the collector for its sources. Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

impl Intake {
    pub(crate) fn new(spool: Spool, lanes: Vec<LaneSender>, in_use: usize) -> Self {
        let claims = Mutex::default();
        let (followed, whole) = (Arc::new(Semaphore::new(FOLLOWED_READERS)), Arc::new(Semaphore::new(WHOLE_READERS)));
        Self(Arc::new(Shared { spool, lanes, in_use, domains: AtomicU64::new(1), claims, followed, whole }))
    }

    /// Opens an input, in the lane that its name falls into.
    ///
    /// # Errors
    /// If the spool failed.
    pub async fn open(&self, stamp: Stamp) -> Result<Input, SpoolError> {
        let lane = &self.0.lanes[inputs::lane_of(&stamp.input_name, self.0.in_use)];
        let stamp = Arc::new(stamp);
        let cut = Cut::new(Bytes::new(), now_us());
        let receipt = lane.send(Entry::Open, Arc::clone(&stamp), 0, cut).await?;
        let number = receipt.on_disk().await?;
        Ok(self.input(stamp, lane.clone(), number))
    }

    /// An input that an earlier run left open.
    pub(crate) fn adopt(&self, lane: &LaneId, stamp: Stamp, number: u64) -> Option<Input> {
        let lane = self.0.lanes.iter().find(|sender| sender.id == *lane)?;
        Some(self.input(Arc::new(stamp), lane.clone(), number))
    }

    /// Closes what an earlier run left open.
    pub(crate) async fn recover(&self) -> Result<(), SpoolError> {
        let entries = self.0.spool.notes(inputs::BUCKET, "").await?;
        inputs::recover(self, &entries).await
    }

    fn input(&self, stamp: Arc<Stamp>, lane: LaneSender, number: u64) -> Input {
        let name = format!("{}.{}.{number}", lane.id, self.0.spool.epoch_ms());
        Input { stamp, lane, number, name }
    }

    /// What is remembered under a key.
    ///
    /// # Errors
    /// If the spool cannot be read.
    pub async fn note(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, SpoolError> {
        self.0.spool.note(bucket, key).await
    }

    /// How far inputs were admitted from an anchor.
    ///
    /// # Errors
    /// If the spool cannot be read.
    pub async fn continuations(&self, anchor: Digest) -> Result<Vec<Continuation>, SpoolError> {
        let entries = self.0.spool.notes(ADMITTED, &continuations_of(anchor)).await?;
        Ok(entries.iter().filter_map(|(_, value)| Continuation::decode(value)).collect())
    }

    /// Waits until no other whole file with this root is being read: two copies of one file, taken in side by side,
    /// would not know of each other.
    pub async fn claim(&self, root: Digest) -> OwnedMutexGuard<()> {
        let claim = {
            let mut claims = self.0.claims.lock().unwrap_or_else(PoisonError::into_inner);
            claims.retain(|_, claim| Arc::strong_count(claim) > 1);
            Arc::clone(claims.entry(root).or_default())
        };
        claim.lock_owned().await
    }

    /// The right to read of a followed file now.
    pub(crate) async fn followed_reader(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.followed).acquire_owned().await.ok()
    }

    /// The right to read a whole file now.
    pub(crate) async fn whole_reader(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.whole).acquire_owned().await.ok()
    }

    /// A domain that was never used: `<what>-<ms>-<n>`.
    #[must_use]
    pub fn new_domain(&self, what: &str) -> String {
        format!("{what}-{}-{}", now_us() / 1_000, self.0.domains.fetch_add(1, Ordering::Relaxed))
    }
}

/// One ordered arrival: a file, a connection.
pub struct Input {
    stamp: Arc<Stamp>,
    lane: LaneSender,
    number: u64,
    name: String,
}

impl Input {
    /// Hands a cut in; waits for room, not for the disk.
    ///
    /// # Errors
    /// If the spool failed.
    pub async fn take(&self, mut cut: Cut) -> Result<Receipt, SpoolError> {
        for admitted in std::mem::take(&mut cut.admitted) {
            let value = Some(admitted.continuation.encode());
            cut.note(Note { bucket: ADMITTED, key: admitted.key(&self.name), value });
        }
        self.lane.send(Entry::Records, Arc::clone(&self.stamp), self.number, cut).await
    }

    /// Says that the input is alive, and at the end of its data.
    ///
    /// # Errors
    /// If the spool failed.
    pub async fn heartbeat(&self) -> Result<(), SpoolError> {
        let cut = Cut::new(Bytes::new(), now_us());
        let receipt = self.lane.send(Entry::Heartbeat, Arc::clone(&self.stamp), self.number, cut).await?;
        receipt.on_disk().await.map(|_| ())
    }

    /// Ends it, with what is to be remembered in the same commit. Everything handed in before is on disk then.
    ///
    /// # Errors
    /// If the spool failed.
    pub async fn close(self, notes: Vec<Note>) -> Result<(), SpoolError> {
        let own = Note { bucket: inputs::BUCKET, key: self.key(), value: None };
        self.close_with(own, notes).await
    }

    /// As [`Input::close`], but with what becomes of the entry that says the input is open.
    pub(crate) async fn close_with(self, own: Note, notes: Vec<Note>) -> Result<(), SpoolError> {
        let mut cut = Cut::new(Bytes::new(), now_us());
        cut.notes = notes;
        cut.note(own);
        let receipt = self.lane.send(Entry::Close, self.stamp, self.number, cut).await?;
        receipt.on_disk().await.map(|_| ())
    }

    /// The key of the entry that says it is open.
    pub(crate) fn key(&self) -> String {
        inputs::key(&self.lane.id, self.number)
    }

    /// What is said of it.
    #[must_use]
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

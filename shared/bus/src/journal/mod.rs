//! The embedded bus: a durable log in a directory, for one process.
//!
//! Appends are checked against their fence and committed in groups by one thread, which answers after the sync. The
//! newest messages stay in memory, with their decoded bodies, so that live readers neither read nor decode. What was
//! answered survives a kill and a power cut. After a failure of the disk nothing is taken any more until a restart.

mod bucket;
mod commit;
mod lock;
mod reader;
mod recover;
mod state;
mod store;
mod subjects;
mod trim;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::bucket::JournalBucket;
use self::commit::{Append, Committer, MAX_MESSAGE_BYTES, Request};
use self::lock::DirectoryLock;
use self::reader::JournalReader;
use self::state::State;
use self::store::Store;
use self::trim::TrimJob;
use crate::{
    AppendError, Bucket, Bus, BusError, Fence, Filter, Message, Outgoing, Reader, Sequence, Stream, StreamInfo,
    Subject, codec, is_key,
};

/// Requests that wait for the committing thread at most.
const QUEUE_REQUESTS: usize = 256;

/// How long closing waits for reads under way, and how often it looks.
const MAX_CLOSE: Duration = Duration::from_secs(10);
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// The bucket of leases: a journal has one process at a time, so whoever held a lease before the start is gone.
const LEASES: &str = "leases";

/// How a journal is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes a stream may hold; beyond, appends are refused. Kinds other than data have a small reserve.
    pub max_bytes: u64,
    /// Partitions of EVT and ALERT; fixed when the journal is created.
    pub partitions: u16,
    /// Whether an answer waits for the sync to disk. Without, a kill loses nothing, a power cut may: for simulations.
    pub sync: bool,
    /// Bytes of recent messages kept in memory, decoded bodies estimated.
    pub tail_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_bytes: 8 << 30, partitions: 16, sync: true, tail_bytes: 32 << 20 }
    }
}

/// The embedded bus.
pub struct Journal {
    handle: Arc<Handle>,
}

/// What journal and buckets share: the way to the committing thread.
struct Handle {
    core: Arc<Core>,
    requests: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What all share, the thread included.
struct Core {
    state: Mutex<State>,
    store: Mutex<Option<(Arc<Store>, DirectoryLock)>>,
    max_bytes: u64,
    partitions: u16,
    sync: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn store(&self) -> Result<Arc<Store>, BusError> {
        let store = locked(&self.store).as_ref().map(|(store, _)| Arc::clone(store));
        store.ok_or_else(|| BusError::Io("the journal is closed".to_owned()))
    }

    /// Lets go of the store, once nobody reads from it any more, then of the directory.
    fn close(&self) {
        self.state().close("the journal is closed");
        let Some((store, lock)) = locked(&self.store).take() else { return };
        let start = Instant::now();
        while Arc::strong_count(&store) > 1 && start.elapsed() < MAX_CLOSE {
            std::thread::sleep(CLOSE_PAUSE);
        }
        drop(store);
        drop(lock);
    }
}

impl Handle {
    async fn send(&self, request: Request) -> Result<(), String> {
        let closed = || "the journal is closed".to_owned();
        self.requests.as_ref().ok_or_else(closed)?.send(request).await.map_err(|_| closed())
    }
}

/// Waits until the directory is free, so that it can be opened again at once.
impl Drop for Handle {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Journal {
    /// Opens a journal, or creates it.
    ///
    /// # Errors
    /// [`BusError::InUse`] if another process holds it, [`BusError::Mismatch`] if it has other partitions.
    pub fn open(directory: impl AsRef<Path>, options: &Options) -> Result<Self, BusError> {
        let directory = directory.as_ref();
        std::fs::create_dir_all(directory)
            .map_err(|error| BusError::Io(format!("{}: {error}", directory.display())))?;
        let lock = DirectoryLock::acquire(directory)?;
        let store = Arc::new(Store::open(&directory.join("store"))?);
        let (state, revision) = recover::recover(&store, options)?;
        let core = Arc::new(Core {
            state: Mutex::new(state),
            store: Mutex::new(Some((Arc::clone(&store), lock))),
            max_bytes: options.max_bytes,
            partitions: options.partitions,
            sync: options.sync,
        });
        let (requests, receiver) = mpsc::channel(QUEUE_REQUESTS);
        let committer = Committer { core: Arc::clone(&core), store, requests: receiver, revision, trims: Vec::new() };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || committer.run());
        let thread = Mutex::new(Some(thread.map_err(store::io)?));
        Ok(Self { handle: Arc::new(Handle { core, requests: Some(requests), thread }) })
    }

    /// Appends as [`Bus::append`] does, and writes entries of buckets (bucket, key, value) in the same commit, whatever
    /// their revision.
    ///
    /// # Errors
    /// As [`Bus::append`]: then no entry is written either.
    pub async fn append_with(
        &self,
        fence: &Fence,
        expected: Sequence,
        message: Outgoing,
        entries: Vec<(String, String, Bytes)>,
    ) -> Result<Sequence, AppendError> {
        let Outgoing { headers, body, decoded } = message;
        let value = codec::encode(&headers, &body).map_err(AppendError::Refused)?;
        if value.len() > MAX_MESSAGE_BYTES {
            let reason = format!("a message of {} bytes, more than {MAX_MESSAGE_BYTES}", value.len());
            return Err(AppendError::Refused(reason));
        }
        if let Some((bucket, key, _)) = entries.iter().find(|(bucket, key, _)| !is_bucket(bucket) || !is_key(key)) {
            return Err(AppendError::Refused(format!("'{bucket}' and '{key}' are no bucket and key")));
        }
        let (answer, answered) = oneshot::channel();
        let (fence, headers) = (fence.clone(), Arc::new(headers));
        let append = Append { fence, expected, headers, body, decoded, value, entries, answer };
        self.handle.send(Request::Append(append)).await.map_err(AppendError::Unanswered)?;
        answered.await.map_err(|_| AppendError::Unanswered("the journal was closed".to_owned()))?
    }

    /// Commits what waits, closes the store and lets go of the directory. Whoever still reads gets an error.
    ///
    /// # Errors
    /// If the thread failed.
    pub async fn close(&self) -> Result<(), BusError> {
        let _ = self.handle.send(Request::Close).await;
        let thread = locked(&self.handle.thread).take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await.map_err(store::io)?;
        joined.map_err(|_| BusError::Io("the committing thread failed".to_owned()))
    }
}

/// Whether a text names a bucket: one token.
fn is_bucket(name: &str) -> bool {
    Subject::new(name).is_ok() && !name.contains('.')
}

#[async_trait]
impl Bus for Journal {
    async fn append(&self, fence: &Fence, expected: Sequence, message: Outgoing) -> Result<Sequence, AppendError> {
        self.append_with(fence, expected, message, Vec::new()).await
    }

    async fn last(&self, stream: Stream, filter: &Filter) -> Result<Option<Message>, BusError> {
        let sequence = {
            let mut state = self.handle.core.state();
            state.check_open()?;
            state.stream(stream).subjects.stored(filter)
        };
        if sequence == 0 { Ok(None) } else { self.get(stream, sequence).await }
    }

    async fn get(&self, stream: Stream, sequence: Sequence) -> Result<Option<Message>, BusError> {
        {
            let mut state = self.handle.core.state();
            state.check_open()?;
            let stream = state.stream(stream);
            if let Some(message) = stream.recent(sequence) {
                return Ok(Some(message.clone()));
            }
            if sequence == 0 || sequence > stream.last {
                return Ok(None);
            }
        }
        let store = self.handle.core.store()?;
        tokio::task::spawn_blocking(move || store.get(stream, sequence)).await.map_err(store::io)?
    }

    async fn read(&self, stream: Stream, filter: &Filter, after: Sequence) -> Result<Box<dyn Reader>, BusError> {
        let core = Arc::clone(&self.handle.core);
        Ok(Box::new(JournalReader::new(core, stream, filter.clone(), after)?))
    }

    async fn trim(&self, stream: Stream, before: Sequence, fences: &[Filter]) -> Result<Sequence, BusError> {
        let (answer, answered) = oneshot::channel();
        let job = TrimJob { stream, before, fences: fences.to_vec(), answer };
        self.handle.send(Request::Trim(job)).await.map_err(BusError::Io)?;
        answered.await.map_err(|_| BusError::Io("the journal was closed".to_owned()))?
    }

    async fn info(&self, stream: Stream) -> Result<StreamInfo, BusError> {
        let core = &self.handle.core;
        let mut state = core.state();
        state.check_open()?;
        Ok(state.stream(stream).info(core.max_bytes, core.partitions))
    }

    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, BusError> {
        if !is_bucket(name) {
            return Err(BusError::Io(format!("'{name}' is no bucket: use letters, digits, '-' and '_'")));
        }
        Ok(Arc::new(JournalBucket::new(Arc::clone(&self.handle), name)))
    }
}

//! The committing thread: checks fences, gathers what waits into one batch, syncs once, then answers all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fjall::{OwnedWriteBatch, Slice};
use tokio::sync::{mpsc, oneshot};

use super::bucket::{StoredEntry, stored_key};
use super::store::{self, Key, Store};
use super::trim::TrimJob;
use super::{Core, LEASES};
use crate::{AppendError, BucketError, Decoded, Fence, Headers, Kind, Message, Sequence, now_us};

/// Requests and bytes committed together at most.
const GROUP_REQUESTS: usize = 256;
const GROUP_BYTES: usize = 8 << 20;

/// Bytes of a message at most, stored form.
pub(super) const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Bytes of a stream that only small marks may fill, at most; and what a small mark is.
const RESERVE_BYTES: u64 = 1 << 20;
const SMALL_MARK_BYTES: u64 = 4 << 10;

/// The key in `meta` of the newest revision given out.
pub(super) const REVISION: &str = "revision";

pub(super) type AppendAnswer = oneshot::Sender<Result<Sequence, AppendError>>;

/// What the thread is asked to do.
pub(super) enum Request {
    Append(Append),
    Put(Put),
    Trim(TrimJob),
    Close,
}

/// A message to append, and entries to write with it.
pub(super) struct Append {
    pub(super) fence: Fence,
    pub(super) expected: Sequence,
    pub(super) headers: Arc<Headers>,
    pub(super) body: Bytes,
    pub(super) decoded: Option<Decoded>,
    pub(super) value: Slice,
    pub(super) entries: Vec<(String, String, Bytes)>,
    pub(super) answer: AppendAnswer,
}

/// An entry to write (or to remove: no value), on condition of its revision.
pub(super) struct Put {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) value: Option<Bytes>,
    pub(super) expected: Option<u64>,
    pub(super) ttl: Option<Duration>,
    pub(super) answer: oneshot::Sender<Result<u64, BucketError>>,
}

/// The thread's own.
pub(super) struct Committer {
    pub(super) core: Arc<Core>,
    pub(super) store: Arc<Store>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) revision: u64,
    pub(super) trims: Vec<TrimJob>,
}

/// What is committed together.
struct Group {
    batch: OwnedWriteBatch,
    bytes: usize,
    sync: bool,
    messages: Vec<(Message, AppendAnswer)>,
    puts: Vec<(u64, oneshot::Sender<Result<u64, BucketError>>)>,
    /// Entries written in this group: the store does not show them yet.
    entries: HashMap<Vec<u8>, Option<StoredEntry>>,
}

impl Committer {
    /// Runs until the journal is closed or nobody can ask any more.
    pub(super) fn run(self) {
        let _close = CloseOnExit(Arc::clone(&self.core));
        self.serve();
    }

    fn serve(mut self) {
        while let Some(first) = self.next_request() {
            let mut group = self.group();
            let mut close = self.stage(&mut group, first);
            let mut requests = 1;
            while !close && requests < GROUP_REQUESTS && group.bytes < GROUP_BYTES {
                let Ok(next) = self.requests.try_recv() else { break };
                close = self.stage(&mut group, next);
                requests += 1;
            }
            if !self.commit(group) || close {
                return;
            }
            self.trim_step();
        }
    }

    /// Takes a request into the group; whether it was the last one.
    fn stage(&mut self, group: &mut Group, request: Request) -> bool {
        match request {
            Request::Append(append) => self.stage_append(group, append),
            Request::Put(put) => self.stage_put(group, put),
            Request::Trim(trim) => self.trims.push(trim),
            Request::Close => return true,
        }
        false
    }

    /// Waits for a request, unless a trim is under way: then an empty round goes on with it.
    fn next_request(&mut self) -> Option<Request> {
        loop {
            if self.trims.is_empty() {
                return self.requests.blocking_recv();
            }
            match self.requests.try_recv() {
                Ok(request) => return Some(request),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => self.trim_step(),
            }
        }
    }

    fn group(&self) -> Group {
        let batch = self.store.batch(false);
        let (messages, puts, entries) = (Vec::new(), Vec::new(), HashMap::new());
        Group { batch, bytes: 0, sync: false, messages, puts, entries }
    }

    fn stage_append(&mut self, group: &mut Group, append: Append) {
        let Append { fence, expected, headers, body, decoded, value, entries, answer } = append;
        let subject = fence.subject().clone();
        let bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let mut key = Key { sequence: 0, bytes, subject: subject.as_str() };
        let refusal = {
            let mut state = self.core.state();
            let max_bytes = self.core.max_bytes;
            let stream = state.stream(fence.stream());
            if stream.subjects.staged(fence.filter()) != expected {
                Some(AppendError::Fenced { fence: fence.filter().clone(), expected })
            } else if let Some(refusal) = room(key.weight(), stream.bytes, max_bytes, headers.kind, &fence) {
                Some(refusal)
            } else {
                stream.staged += 1;
                stream.bytes += key.weight();
                key.sequence = stream.staged;
                stream.subjects.stage(&subject, key.sequence);
                None
            }
        };
        if let Some(refusal) = refusal {
            // The writer may be gone; then nobody needs to know.
            let _ = answer.send(Err(refusal));
            return;
        }
        let sequence = key.sequence;
        group.bytes += value.len();
        group.sync |= self.core.sync;
        group.batch.insert(self.store.stream(fence.stream()), Key::encode(sequence, bytes, subject.as_str()), value);
        for (bucket, key, value) in entries {
            self.insert(group, stored_key(&bucket, &key), value, None);
        }
        let message = Message { stream: fence.stream(), subject, sequence, headers, body, decoded };
        group.messages.push((message, answer));
    }

    fn stage_put(&mut self, group: &mut Group, put: Put) {
        let Put { bucket, key, value, expected, ttl, answer } = put;
        let stored_key = stored_key(&bucket, &key);
        let current = match group.entries.get(&stored_key) {
            Some(entry) => Ok(entry.clone()),
            None => self.entry(&stored_key),
        };
        let revision = match current {
            Ok(Some(entry)) if !entry.is_over(now_us()) => entry.revision,
            Ok(_) => 0,
            Err(error) => {
                let _ = answer.send(Err(BucketError::Io(error.to_string())));
                return;
            }
        };
        if let Some(expected) = expected.filter(|&expected| expected != revision) {
            let _ = answer.send(Err(BucketError::Conflict { key, expected }));
            return;
        }
        // Leases end with the process, so they need not outlive it.
        group.sync |= self.core.sync && bucket != LEASES;
        if let Some(value) = value {
            self.insert(group, stored_key, value, ttl);
        } else {
            group.batch.remove(self.store.buckets(), stored_key.clone());
            group.entries.insert(stored_key, None);
        }
        group.puts.push((self.revision, answer));
    }

    fn insert(&mut self, group: &mut Group, stored_key: Vec<u8>, value: Bytes, ttl: Option<Duration>) {
        self.revision += 1;
        let expires_us =
            ttl.map_or(0, |ttl| now_us().saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)));
        let entry = StoredEntry { revision: self.revision, expires_us, value };
        group.bytes += entry.value.len();
        group.batch.insert(self.store.buckets(), stored_key.clone(), entry.encode());
        group.batch.insert(self.store.meta(), REVISION, self.revision.to_le_bytes());
        group.entries.insert(stored_key, Some(entry));
    }

    fn entry(&self, stored_key: &[u8]) -> Result<Option<StoredEntry>, crate::BusError> {
        self.store.buckets().get(stored_key).map_err(store::io)?.map(StoredEntry::decode).transpose()
    }

    /// Commits and answers. False if the store failed: nothing can be written any more.
    fn commit(&self, group: Group) -> bool {
        let Group { batch, sync, messages, puts, .. } = group;
        self.store.wait_for_disk();
        if let Err(error) = batch.durability(Some(store::durability(sync))).commit() {
            let reason = format!("the journal's disk failed, restart when it is well again: {error}");
            tracing::error!(%error, "journal cannot write");
            self.core.state().close(&reason);
            for (_, answer) in messages {
                let _ = answer.send(Err(AppendError::Unanswered(reason.clone())));
            }
            for (_, answer) in puts {
                let _ = answer.send(Err(BucketError::Io(reason.clone())));
            }
            return false;
        }
        let mut woken = Vec::new();
        let mut answers = Vec::with_capacity(messages.len());
        {
            let mut state = self.core.state();
            for (message, answer) in messages {
                answers.push((message.sequence, answer));
                state.store(message, |watch| woken.push(Arc::clone(watch)));
            }
        }
        for (sequence, answer) in answers {
            let _ = answer.send(Ok(sequence));
        }
        for (revision, answer) in puts {
            let _ = answer.send(Ok(revision));
        }
        woken.iter().for_each(|watch| watch.notify_waiters());
        true
    }
}

/// Why there is no room for a message, if there is none.
fn room(weight: u64, held: u64, max_bytes: u64, kind: Kind, fence: &Fence) -> Option<AppendError> {
    let reserve = RESERVE_BYTES.min(max_bytes / 16);
    let small = kind != Kind::Data && weight <= SMALL_MARK_BYTES;
    let limit = if small { max_bytes } else { max_bytes - reserve };
    if weight > limit {
        let reason = format!("{weight} bytes are more than {} ever holds ({limit})", fence.stream());
        return Some(AppendError::Refused(reason));
    }
    (held + weight > limit).then(|| AppendError::Full(fence.stream()))
}

/// Closes the journal however the thread ends.
struct CloseOnExit(Arc<Core>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
    }
}

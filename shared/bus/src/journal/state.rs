//! What the journal knows without reading the disk: how each stream stands, and its newest messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fjall::Slice;
use tokio::sync::Notify;

use super::store::Key;
use super::subjects::Subjects;
use crate::{BusError, Filter, Message, Sequence, Stream, StreamInfo};

/// Messages looked at, and handed out, under one hold of the lock.
const LOOK_MESSAGES: usize = 1_024;
const TAKE_MESSAGES: usize = 64;

/// How much more a decoded body takes than its stored form, about.
const DECODED_FACTOR: usize = 4;

/// Bytes a message takes in memory beside its body, about.
const MESSAGE_BYTES: usize = 1_024;

/// Everything that is in memory.
pub(super) struct State {
    pub(super) streams: [StreamState; Stream::ALL.len()],
    tail_bytes: usize,
    max_tail_bytes: usize,
    ordinal: u64,
    /// Why nothing can be read or written any more.
    pub(super) closed: Option<String>,
}

/// One stream.
pub(super) struct StreamState {
    pub(super) incarnation: u64,
    pub(super) subjects: Subjects,
    /// From here on nothing was trimmed.
    pub(super) first: Sequence,
    /// The newest message on disk.
    pub(super) last: Sequence,
    /// The newest number given out.
    pub(super) staged: Sequence,
    /// Bytes on disk and on their way there.
    pub(super) bytes: u64,
    /// Messages on disk.
    pub(super) messages: u64,
    /// Keys of messages below `first`, kept because they were the newest under a fence.
    pub(super) kept: BTreeMap<Sequence, Slice>,
    tail: VecDeque<Recent>,
}

/// A message in memory.
struct Recent {
    message: Message,
    weight: usize,
    ordinal: u64,
}

/// What a reader finds in memory.
pub(super) enum Look {
    /// Messages, in order, and how far the look went.
    Messages(Vec<Message>, Sequence),
    /// Nothing newer.
    End(Sequence),
    /// What comes next is on disk, up to here.
    Disk(Sequence),
}

impl State {
    pub(super) fn new(streams: [StreamState; Stream::ALL.len()], max_tail_bytes: usize) -> Self {
        Self { streams, tail_bytes: 0, max_tail_bytes, ordinal: 0, closed: None }
    }

    pub(super) fn stream(&mut self, stream: Stream) -> &mut StreamState {
        &mut self.streams[stream as usize]
    }

    /// A message that is on disk now.
    pub(super) fn store(&mut self, message: Message, wake: impl FnMut(&Arc<Notify>)) {
        let factor = if message.decoded.is_some() { DECODED_FACTOR } else { 1 };
        let weight = message.body.len() * factor + MESSAGE_BYTES;
        self.tail_bytes += weight;
        self.ordinal += 1;
        let ordinal = self.ordinal;
        let stream = self.stream(message.stream);
        stream.last = message.sequence;
        stream.messages += 1;
        stream.subjects.store(message.subject.as_str(), message.sequence, wake);
        stream.tail.push_back(Recent { message, weight, ordinal });
        self.forget();
    }

    /// Lets go of the oldest messages in memory, whatever their stream.
    fn forget(&mut self) {
        while self.tail_bytes > self.max_tail_bytes {
            let with_tail = self.streams.iter_mut().filter(|stream| !stream.tail.is_empty());
            let oldest = with_tail.min_by_key(|stream| stream.tail.front().map(|recent| recent.ordinal));
            let Some(recent) = oldest.and_then(|stream| stream.tail.pop_front()) else { break };
            self.tail_bytes -= recent.weight;
        }
    }

    /// A message that is about to be removed from disk.
    pub(super) fn trim(&mut self, stream: Stream, key: &Key<'_>) {
        let stream = self.stream(stream);
        stream.messages -= 1;
        stream.bytes -= key.weight();
        stream.subjects.trim(key.subject, key.sequence);
    }

    /// Nothing before `first` is complete any more.
    pub(super) fn set_first(&mut self, stream: Stream, first: Sequence) {
        let stream = &mut self.streams[stream as usize];
        stream.first = first;
        while stream.tail.front().is_some_and(|recent| recent.message.sequence < first) {
            self.tail_bytes -= stream.tail.pop_front().map_or(0, |recent| recent.weight);
        }
    }

    pub(super) fn close(&mut self, reason: &str) {
        self.closed.get_or_insert_with(|| reason.to_owned());
        self.streams.iter().for_each(|stream| stream.subjects.wake_all());
    }

    pub(super) fn check_open(&self) -> Result<(), BusError> {
        match &self.closed {
            Some(reason) => Err(BusError::Io(reason.clone())),
            None => Ok(()),
        }
    }
}

impl StreamState {
    pub(super) fn new(incarnation: u64, first: Sequence) -> Self {
        let (subjects, kept, tail) = (Subjects::default(), BTreeMap::new(), VecDeque::new());
        let last = first.saturating_sub(1);
        Self { incarnation, subjects, first, last, staged: last, bytes: 0, messages: 0, kept, tail }
    }

    /// A message found on disk at the start.
    pub(super) fn restore(&mut self, bytes: &Slice) -> Result<(), BusError> {
        let key = Key::decode(bytes)?;
        self.last = self.last.max(key.sequence);
        self.staged = self.last;
        self.bytes += key.weight();
        self.messages += 1;
        self.subjects.store(key.subject, key.sequence, |_| {});
        if key.sequence < self.first {
            self.kept.insert(key.sequence, bytes.clone());
        }
        Ok(())
    }

    pub(super) fn info(&self, max_bytes: u64, partitions: u16) -> StreamInfo {
        StreamInfo {
            incarnation: self.incarnation,
            first: self.first,
            last: self.last,
            messages: self.messages,
            bytes: self.bytes,
            max_bytes,
            partitions,
        }
    }

    /// The newest message, or any other, if it is in memory.
    pub(super) fn recent(&self, sequence: Sequence) -> Option<&Message> {
        let index = sequence.checked_sub(self.tail_first())?;
        self.tail.get(usize::try_from(index).ok()?).map(|recent| &recent.message)
    }

    fn tail_first(&self) -> Sequence {
        self.tail.front().map_or(self.last + 1, |recent| recent.message.sequence)
    }

    /// What comes after a sequence under a filter.
    pub(super) fn look(&self, stream: Stream, filter: &Filter, after: Sequence) -> Result<Look, BusError> {
        if self.subjects.trimmed(filter) > after {
            return Err(BusError::Gap { stream, expected: after + 1, found: self.first });
        }
        if self.subjects.stored(filter) <= after {
            return Ok(Look::End(after.max(self.last)));
        }
        let first = self.tail_first();
        if after + 1 < first {
            return Ok(Look::Disk(first - 1));
        }
        let skip = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let (mut found, mut upto) = (Vec::new(), after);
        for recent in self.tail.iter().skip(skip).take(LOOK_MESSAGES) {
            upto = recent.message.sequence;
            if filter.matches(&recent.message.subject) {
                found.push(recent.message.clone());
                if found.len() == TAKE_MESSAGES {
                    break;
                }
            }
        }
        Ok(Look::Messages(found, upto))
    }
}

//! A reader's place: memory for what is new, the disk for what is older.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Core;
use super::state::Look;
use super::store::{self, Chunk};
use crate::{BusError, Filter, Message, Reader, Sequence, Stream};

/// One reader of a stream.
pub(super) struct JournalReader {
    core: Arc<Core>,
    stream: Stream,
    filter: Filter,
    watch: Arc<Notify>,
    /// Everything up to here was looked at.
    position: Sequence,
    /// Found and not handed out yet.
    found: VecDeque<Message>,
    /// A read from disk under way; it outlives a dropped call.
    disk: Option<JoinHandle<Result<Chunk, BusError>>>,
}

impl JournalReader {
    /// A reader that starts after a sequence.
    pub(super) fn new(core: Arc<Core>, stream: Stream, filter: Filter, after: Sequence) -> Result<Self, BusError> {
        let watch = {
            let mut state = core.state();
            state.check_open()?;
            let state = state.stream(stream);
            if after > state.last {
                let reason = format!("{stream} ends at {}, a reader stood at {after}: the log went back", state.last);
                return Err(BusError::Mismatch(reason));
            }
            state.subjects.watch(&filter)
        };
        Ok(Self { core, stream, filter, watch, position: after, found: VecDeque::new(), disk: None })
    }

    async fn step(&mut self) -> Result<Option<Message>, BusError> {
        loop {
            if let Some(message) = self.found.pop_front() {
                return Ok(Some(message));
            }
            if let Some(read) = &mut self.disk {
                let chunk = read.await;
                self.disk = None;
                let chunk = chunk.map_err(store::io)??;
                self.position = chunk.upto;
                self.found.extend(chunk.messages);
            } else if self.look()? {
                return Ok(None);
            }
        }
    }

    /// Looks once; whether there is nothing newer.
    fn look(&mut self) -> Result<bool, BusError> {
        let mut state = self.core.state();
        state.check_open()?;
        match state.stream(self.stream).look(self.stream, &self.filter, self.position)? {
            Look::Messages(found, upto) => {
                self.position = upto;
                self.found.extend(found);
            }
            Look::End(upto) => {
                self.position = upto;
                return Ok(true);
            }
            Look::Disk(upto) => {
                // Under the lock, so that no trim comes between the look and the snapshot.
                let store = self.core.store()?;
                let snapshot = store.snapshot();
                let (stream, filter, from) = (self.stream, self.filter.clone(), self.position + 1);
                let read = move || {
                    let wanted = |subject: &str| filter.matches_text(subject);
                    store::read(&snapshot, store.stream(stream), stream, wanted, from..=upto)
                };
                self.disk = Some(tokio::task::spawn_blocking(read));
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Reader for JournalReader {
    async fn next(&mut self) -> Result<Message, BusError> {
        let watch = Arc::clone(&self.watch);
        loop {
            let notified = watch.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(message) = self.step().await? {
                return Ok(message);
            }
            notified.await;
        }
    }

    async fn try_next(&mut self) -> Result<Option<Message>, BusError> {
        self.step().await
    }
}

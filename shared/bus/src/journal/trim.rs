//! Trimming, in steps between the commits.

use std::collections::{BTreeMap, HashSet};

use fjall::Slice;
use tokio::sync::oneshot;

use super::commit::Committer;
use super::store::{Key, first_key, io, trimmed_key};
use crate::{BusError, Filter, Sequence, Stream};

/// Messages removed in one step at most: appends wait for it.
const STEP_MESSAGES: usize = 1_024;

/// A trim that was asked for.
pub(super) struct TrimJob {
    pub(super) stream: Stream,
    pub(super) before: Sequence,
    pub(super) fences: Vec<Filter>,
    pub(super) answer: oneshot::Sender<Result<Sequence, BusError>>,
}

impl Committer {
    /// Goes on with the oldest trim, if there is one.
    pub(super) fn trim_step(&mut self) {
        let Some(job) = self.trims.pop() else { return };
        match self.trim(&job) {
            Ok(None) => self.trims.push(job),
            Ok(Some(first)) => {
                let _ = job.answer.send(Ok(first));
            }
            Err(error) => {
                let _ = job.answer.send(Err(error));
            }
        }
    }

    /// Removes some messages; the stream's first sequence when done.
    fn trim(&mut self, job: &TrimJob) -> Result<Option<Sequence>, BusError> {
        let stream = job.stream;
        let mut batch = self.store.batch(false);
        // Held to the end: a reader sees either what was, or that it is gone.
        let mut state = self.core.state();
        state.check_open()?;
        let (first, last) = (state.stream(stream).first, state.stream(stream).last);
        let before = job.before.min(last + 1);
        let newest: HashSet<_> = job.fences.iter().map(|fence| state.stream(stream).subjects.stored(fence)).collect();
        let keys = self.store.keys(stream, first, before.max(first)).take(STEP_MESSAGES);
        let keys: Vec<Slice> = keys.collect::<Result<_, _>>()?;
        let done = keys.len() < STEP_MESSAGES;
        let mut reached = if done { before.max(first) } else { first };
        let mut trimmed: BTreeMap<String, Sequence> = BTreeMap::new();
        let kept: Vec<Slice> = state.stream(stream).kept.values().cloned().collect();
        for bytes in kept.iter().chain(&keys) {
            let key = Key::decode(bytes)?;
            reached = reached.max(key.sequence + 1);
            if newest.contains(&key.sequence) {
                state.stream(stream).kept.insert(key.sequence, bytes.clone());
                continue;
            }
            batch.remove(self.store.stream(stream), bytes.clone());
            state.stream(stream).kept.remove(&key.sequence);
            state.trim(stream, &key);
            trimmed.insert(key.subject.to_owned(), key.sequence);
        }
        for (subject, sequence) in &trimmed {
            batch.insert(self.store.meta(), trimmed_key(stream, subject), sequence.to_be_bytes());
        }
        batch.insert(self.store.meta(), first_key(stream), reached.to_be_bytes());
        state.set_first(stream, reached);
        batch.commit().map_err(io)?;
        Ok(done.then_some(reached))
    }
}

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
        let (first, last, newest, kept) = {
            let mut state = self.core.state();
            state.check_open()?;
            let stream = state.stream(stream);
            let newest: HashSet<_> = job.fences.iter().map(|fence| stream.subjects.stored(fence)).collect();
            let kept: Vec<Slice> = stream.kept.values().cloned().collect();
            (stream.first, stream.last, newest, kept)
        };
        // Nobody else gives out numbers or trims, so what was seen holds.
        let before = job.before.min(last + 1).max(first);
        let keys = self.store.keys(stream, first, before).take(STEP_MESSAGES);
        let keys: Vec<Slice> = keys.collect::<Result<_, _>>()?;
        let done = keys.len() < STEP_MESSAGES;
        let reached = match keys.last() {
            Some(key) if !done => Key::decode(key)?.sequence + 1,
            _ => before,
        };
        let (mut batch, mut gone, mut staying) = (self.store.batch(false), Vec::new(), Vec::new());
        let mut trimmed: BTreeMap<&str, Sequence> = BTreeMap::new();
        for bytes in kept.iter().chain(&keys) {
            let key = Key::decode(bytes)?;
            if newest.contains(&key.sequence) {
                staying.push((key.sequence, bytes.clone()));
            } else {
                batch.remove(self.store.stream(stream), bytes.clone());
                trimmed.insert(key.subject, key.sequence);
                gone.push(key);
            }
        }
        for (subject, sequence) in &trimmed {
            batch.insert(self.store.meta(), trimmed_key(stream, subject), sequence.to_be_bytes());
        }
        batch.insert(self.store.meta(), first_key(stream), reached.to_be_bytes());
        // Held over the commit: a reader sees either what was, or that it is gone.
        let mut state = self.core.state();
        gone.iter().for_each(|key| state.trim(stream, key));
        state.stream(stream).kept = staying.into_iter().collect();
        state.set_first(stream, reached);
        batch.commit().map_err(io)?;
        Ok(done.then_some(reached))
    }
}

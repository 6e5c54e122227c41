//! The worker of a lane: gathers what inputs hand in, and appends it to the spool, one message at a time.
//!
//! While a message goes to disk, the next one gathers: under load messages grow by themselves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_bus::{AppendError, Bus, HEADERS_VERSION, Headers, Kind, Outgoing, OutputLane, Sequence, Stream, Subject};
use atalaya_chassis::Shutdown;
use atalaya_model::{Books, LaneId, Origin};
use atalaya_proto::raw::MAX_RECORDS_PER_MESSAGE;
use atalaya_proto::raw_v1::Entry;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cut::CUT_BYTES;
use crate::inputs;
use crate::intake::Request;
use crate::spool::{LaneEnd, Spool, origin_of};
use crate::telemetry;
use crate::trim::Progress;

/// Pause before a full spool is tried again, milliseconds.
const FULL_PAUSE_MS: u64 = 20;

/// Tries of a full spool while the collector drains.
const MAX_LAST_TRIES: u32 = 50;

/// Tries without an answer, one after the other, before the lane gives up.
const MAX_UNANSWERED: u32 = 5;

/// Pause between such tries, milliseconds.
const UNANSWERED_PAUSE_MS: u64 = 200;

/// One lane of the spool.
pub(crate) struct Lane {
    id: LaneId,
    index: usize,
    output: OutputLane,
    spool: Spool,
    progress: Arc<Progress>,
    linger: Duration,
    shutdown: Shutdown,
    last: Sequence,
    next_offset: u64,
}

impl Lane {
    pub(crate) fn new(
        id: LaneId,
        index: usize,
        end: &LaneEnd,
        spool: Spool,
        progress: Arc<Progress>,
        linger: Duration,
        shutdown: Shutdown,
    ) -> Self {
        let epoch_ms = spool.epoch_ms();
        let newest = end.origin.as_ref().filter(|origin| origin.epoch_ms == epoch_ms);
        let next_offset = newest.map_or(0, |origin| origin.offset) + 1;
        Self {
            output: OutputLane::raw(&id),
            id,
            index,
            spool,
            progress,
            linger,
            shutdown,
            last: end.sequence,
            next_offset,
        }
    }

    /// Writes until no input can hand anything in any more, or, while the collector drains, until the spool is full for
    /// longer than it is waited for: what is handed in then is not answered.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> anyhow::Result<()> {
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return Ok(()),
                },
            };
            let (request, next) = self.gather(first, &mut requests).await;
            held = next;
            if !self.write(request).await.with_context(|| format!("lane {} of the spool", self.id))? {
                return Ok(());
            }
        }
    }

    /// What follows in the same message; and what came then and does not fit.
    async fn gather(&self, mut request: Request, requests: &mut mpsc::Receiver<Request>) -> (Request, Option<Request>) {
        let until = Instant::now() + self.linger;
        while request.entry == Entry::Records
            && request.cut.records() < MAX_RECORDS_PER_MESSAGE
            && request.cut.bytes() < CUT_BYTES
        {
            let Ok(Some(mut next)) = tokio::time::timeout_at(until, requests.recv()).await else { break };
            let alike =
                next.entry == Entry::Records && Arc::ptr_eq(&next.stamp, &request.stamp) && next.input == request.input;
            if !alike || !request.cut.absorb(&mut next.cut) {
                return (request, Some(next));
            }
            request.done.append(&mut next.done);
            request.room.append(&mut next.room);
        }
        (request, None)
    }

    /// Whether it is on disk.
    async fn write(&mut self, mut request: Request) -> anyhow::Result<bool> {
        let offset = self.next_offset;
        let origin = Origin { lane: self.id.clone(), epoch_ms: self.spool.epoch_ms(), offset };
        let entry = match request.entry {
            Entry::Records if request.cut.records() == 0 => Entry::Mark,
            entry => entry,
        };
        if entry == Entry::Open {
            request.input = offset;
            request.cut.note(inputs::opened(&self.id, offset, &request.stamp));
        }
        let notes = std::mem::take(&mut request.cut.notes).into_iter();
        // No value takes an entry away: an empty one says so, until the next start sweeps it out.
        let entries = notes.map(|note| (note.bucket.to_owned(), note.key, note.value.unwrap_or_default())).collect();
        let subject = Subject::new(&format!("raw.{}.{}", self.id, request.stamp.source))?;
        let message = self.message(&origin, entry, &mut request);
        let rows = message.headers.rows;
        let Some(sequence) = self.append(subject, message, entries).await? else { return Ok(false) };
        self.last = sequence;
        self.next_offset += 1;
        telemetry::spooled(&self.id, rows);
        for done in request.done {
            // Who hands in need not wait.
            let _ = done.send(offset);
        }
        Ok(true)
    }

    fn message(&self, origin: &Origin, entry: Entry, request: &mut Request) -> Outgoing {
        let stamp = &request.stamp;
        let mut header = stamp.header();
        header.collector_lane = self.id.to_string();
        header.epoch_ms = origin.epoch_ms;
        header.offset = origin.offset;
        header.entry = entry.into();
        header.input = request.input;
        if entry != Entry::Open {
            header.domain_inputs = 0;
        }
        let mut books = Books::default();
        let counts = request.cut.counts();
        if counts.received > 0 {
            books.add(&stamp.ledger_key(), counts);
        }
        let headers = Headers {
            version: HEADERS_VERSION,
            id: origin.message_id(),
            kind: match entry {
                Entry::Records => Kind::Data,
                Entry::Mark => Kind::Mark,
                _ => Kind::Input,
            },
            predecessor: self.last,
            chain: self.last,
            end: true,
            books,
            received_time_us: request.cut.received_time_us,
            source: stamp.source.to_string(),
            domain: stamp.domain.clone(),
            input: request.input,
            rows: u32::try_from(request.cut.records()).unwrap_or(u32::MAX),
            ..Headers::default()
        };
        Outgoing { headers, body: request.cut.encode(header), decoded: None }
    }

    /// Appends, whatever it takes: a full spool is waited for, and with it every source of this lane. None if the
    /// collector drains meanwhile.
    async fn append(
        &mut self,
        subject: Subject,
        message: Outgoing,
        entries: Vec<(String, String, Bytes)>,
    ) -> anyhow::Result<Option<Sequence>> {
        let fence = self.output.fence(subject).context("a subject outside its lane")?;
        let (mut unanswered, mut full, mut last_tries) = (0, false, 0);
        self.progress.begin(self.index);
        loop {
            let appended = self.spool.journal().append_with(&fence, self.last, message.clone(), entries.clone()).await;
            match appended {
                Ok(sequence) => {
                    self.progress.written(self.index, sequence);
                    return Ok(Some(sequence));
                }
                Err(AppendError::Full(_)) => {
                    if !std::mem::replace(&mut full, true) {
                        telemetry::spool_full(&self.id);
                    }
                    if last_tries >= MAX_LAST_TRIES {
                        return Ok(None);
                    }
                    last_tries += u32::from(self.shutdown.is_requested());
                    tokio::time::sleep(Duration::from_millis(FULL_PAUSE_MS)).await;
                }
                Err(AppendError::Unanswered(_)) if unanswered < MAX_UNANSWERED => {
                    unanswered += 1;
                    tokio::time::sleep(Duration::from_millis(UNANSWERED_PAUSE_MS)).await;
                    let newest = self.spool.journal().last(Stream::Raw, fence.filter()).await?;
                    if let Some(newest) = newest.filter(|newest| newest.sequence != self.last) {
                        anyhow::ensure!(
                            newest.headers.id == message.headers.id,
                            "{:?} is not ours",
                            origin_of(&newest)
                        );
                        self.progress.written(self.index, newest.sequence);
                        return Ok(Some(newest.sequence));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

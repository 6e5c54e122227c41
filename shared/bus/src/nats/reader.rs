//! A reader's place: a task that reads ahead and begins again where it stood, for as long as somebody reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::link::{Link, Session};
use super::trimmed::TrimLog;
use super::{incarnation, message, place_name, streams};
use crate::{BusError, Filter, Message, Reader, Sequence, Stream};

/// Messages decoded ahead of whoever reads.
const AHEAD_MESSAGES: usize = 4;

/// Messages and bytes asked for at once; the next ones are asked for when half of them came. One message of the largest
/// size the server takes fits in any case.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// How often the server says that it is there while there is nothing to read. Twice that without a word: begin again.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long the server waits for messages to answer a question with.
const EXPIRES: Duration = Duration::from_secs(20);

/// When the server forgets a place nobody asks for.
const INACTIVE: Duration = Duration::from_secs(60);

/// How often a reader with nothing to read looks whether what it waits for was trimmed.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Pause before a reader begins again, doubled up to the longest while it does not come to read.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Failures in a row after which it says so.
const QUIET_FAILURES: u32 = 4;

/// How long it counts that a reader was found at the end: what comes in between is handed out when it arrives.
const END_COUNTS: Duration = Duration::from_millis(100);

/// One reader of a stream.
pub(super) struct NatsReader {
    link: Arc<Link>,
    trimmed: Arc<TrimLog>,
    stream: Stream,
    filter: Filter,
    /// The last message handed out.
    position: Sequence,
    messages: mpsc::Receiver<Result<Message, BusError>>,
    /// Why there is nothing more to come.
    ended: Option<BusError>,
    /// When it was last found at the end.
    at_end: Option<Instant>,
    /// Nothing it needs was trimmed below this.
    cleared: Sequence,
    task: JoinHandle<()>,
}

/// What the task knows.
pub(super) struct Place {
    pub(super) link: Arc<Link>,
    pub(super) trimmed: Arc<TrimLog>,
    pub(super) stream: Stream,
    pub(super) filter: Filter,
    pub(super) incarnation: u64,
    /// The last message read, and its id if it was read here.
    pub(super) position: Sequence,
    pub(super) id: Option<String>,
}

/// Why it does not go on.
enum Stop {
    /// The connection, the server or the place is gone.
    Again(String),
    /// Nothing helps.
    Failed(BusError),
}

impl From<BusError> for Stop {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Io(reason) => Self::Again(reason),
            error => Self::Failed(error),
        }
    }
}

impl NatsReader {
    pub(super) fn new(place: Place) -> Self {
        let (sender, messages) = mpsc::channel(AHEAD_MESSAGES);
        let (link, trimmed) = (Arc::clone(&place.link), Arc::clone(&place.trimmed));
        let (stream, filter, position) = (place.stream, place.filter.clone(), place.position);
        let task = tokio::spawn(Following { place, sender, cleared: 0, progress: false }.run());
        Self { link, trimmed, stream, filter, position, messages, ended: None, at_end: None, cleared: 0, task }
    }

    fn take(&mut self, next: Option<Result<Message, BusError>>) -> Result<Message, BusError> {
        match next {
            Some(Ok(message)) => {
                self.position = message.sequence;
                Ok(message)
            }
            Some(Err(error)) => Err(self.ended.insert(error).again()),
            None => Err(BusError::Io("the reader's task has ended".to_owned())),
        }
    }
}

impl Drop for NatsReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Reader for NatsReader {
    async fn next(&mut self) -> Result<Message, BusError> {
        if let Some(ended) = &self.ended {
            return Err(ended.again());
        }
        let next = self.messages.recv().await;
        self.take(next)
    }

    async fn try_next(&mut self) -> Result<Option<Message>, BusError> {
        if let Some(ended) = &self.ended {
            return Err(ended.again());
        }
        if let Ok(next) = self.messages.try_recv() {
            return self.take(Some(next)).map(Some);
        }
        if self.at_end.is_some_and(|at_end| at_end.elapsed() < END_COUNTS) {
            return Ok(None);
        }
        let looked = Instant::now();
        if message::newest(&self.link, self.stream, self.filter.as_str()).await? > self.position {
            return self.next().await.map(Some);
        }
        // Nothing came, or what came was trimmed.
        let checked = self.trimmed.check(self.stream, &self.filter, self.position, &mut self.cleared).await;
        match checked {
            Ok(()) => {}
            Err(error @ BusError::Gap { .. }) => return Err(self.ended.insert(error).again()),
            Err(error) => return Err(error),
        }
        self.at_end = Some(looked);
        Ok(None)
    }
}

/// An error told again.
trait Again {
    fn again(&self) -> BusError;
}

impl Again for BusError {
    fn again(&self) -> BusError {
        match self {
            Self::Gap { stream, expected, found } => Self::Gap { stream: *stream, expected: *expected, found: *found },
            Self::Mismatch(reason) => Self::Mismatch(reason.clone()),
            Self::Damaged { stream, sequence, reason } => {
                Self::Damaged { stream: *stream, sequence: *sequence, reason: reason.clone() }
            }
            error => Self::Io(error.to_string()),
        }
    }
}

/// The task.
struct Following {
    place: Place,
    sender: mpsc::Sender<Result<Message, BusError>>,
    /// Nothing the reader needs was trimmed below this.
    cleared: Sequence,
    /// Whether it read something since it last began.
    progress: bool,
}

impl Following {
    async fn run(mut self) {
        let (mut failures, mut pause) = (0, MIN_PAUSE);
        loop {
            let reason = match self.follow(failures > 0).await {
                Ok(()) => return,
                Err(Stop::Failed(error)) => {
                    // Whoever reads may be gone.
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                Err(Stop::Again(reason)) => reason,
            };
            if std::mem::take(&mut self.progress) {
                (failures, pause) = (0, MIN_PAUSE);
            }
            failures += 1;
            if failures == QUIET_FAILURES {
                tracing::warn!(stream = %self.place.stream, filter = %self.place.filter, "reading is interrupted: {reason}");
            } else {
                tracing::debug!(stream = %self.place.stream, filter = %self.place.filter, "reading again: {reason}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Reads until something stops it, or nobody reads any more.
    async fn follow(&mut self, again: bool) -> Result<(), Stop> {
        let session = self.place.link.session().await.map_err(|fault| Stop::Again(fault.to_string()))?;
        let mut losses = session.losses();
        if again {
            self.place.verify().await?;
        }
        self.check_gap().await?;
        let mut messages = self.place.open(&session).await?;
        let mut delivered = 0;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.tick().await;
        loop {
            tokio::select! {
                () = self.sender.closed() => return Ok(()),
                _ = losses.changed() => return Err(Stop::Again("the connection is lost".to_owned())),
                next = messages.next() => match next {
                    Some(Ok(next)) => self.hand_on(&next, &mut delivered).await?,
                    Some(Err(error)) => return Err(Stop::Again(error.to_string())),
                    None => return Err(Stop::Again("the place is gone".to_owned())),
                },
                _ = look.tick() => {
                    if !Arc::ptr_eq(&session, &self.place.link.current()) {
                        return Err(Stop::Again("the client was replaced".to_owned()));
                    }
                    self.check_gap().await?;
                }
            }
        }
    }

    async fn hand_on(&mut self, next: &jetstream::Message, delivered: &mut u64) -> Result<(), Stop> {
        let info = next.info().map_err(|error| Stop::Again(error.to_string()))?;
        *delivered += 1;
        if info.consumer_sequence != *delivered {
            return Err(Stop::Again("messages were lost on the way".to_owned()));
        }
        let (sequence, stream) = (info.stream_sequence, self.place.stream);
        let body = next.payload.clone();
        let message = message::message(stream, &next.subject, sequence, next.headers.as_ref(), body)?;
        if sequence > self.place.position + 1 {
            self.check_gap().await?;
        }
        self.place.position = sequence;
        self.place.id = Some(message.headers.id.clone());
        self.progress = true;
        // Fails only if nobody reads any more, and then the next look ends this.
        let _ = self.sender.send(Ok(message)).await;
        Ok(())
    }

    /// Whether something under the filter was trimmed that was not read.
    async fn check_gap(&mut self) -> Result<(), Stop> {
        let Place { trimmed, stream, filter, position, .. } = &self.place;
        Ok(trimmed.check(*stream, filter, *position, &mut self.cleared).await?)
    }
}

impl Place {
    /// Checks that the stream is still the one that was read, and did not go back.
    async fn verify(&self) -> Result<(), Stop> {
        let (stream, position) = (self.stream, self.position);
        let went_back = |what: String| Stop::Failed(BusError::Mismatch(format!("{stream}: {what}")));
        let info = streams::info(&self.link, stream.name()).await.map_err(BusError::from)?;
        let Some(info) = info else { return Err(went_back("the stream is gone".to_owned())) };
        if incarnation(&info) != self.incarnation {
            return Err(went_back("it was created anew".to_owned()));
        }
        if info.state.last_sequence < position {
            let last = info.state.last_sequence;
            return Err(went_back(format!("it ends at {last}, a reader stood at {position}: the log went back")));
        }
        let Some(id) = &self.id else { return Ok(()) };
        match message::get(&self.link, stream, &json!({ "seq": position })).await? {
            Some(found) if found.headers.id != *id => {
                let reason =
                    format!("message {position} is '{}', a reader saw '{id}': the log went back", found.headers.id);
                Err(went_back(reason))
            }
            _ => Ok(()),
        }
    }

    /// A place on the server, in its memory, after the last message read.
    async fn open(&self, session: &Session) -> Result<pull::Stream, Stop> {
        let again = |error: &dyn std::fmt::Display| Stop::Again(error.to_string());
        let config = pull::Config {
            name: Some(place_name()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.position + 1 },
            ack_policy: AckPolicy::None,
            filter_subject: if self.filter.as_str() == ">" { String::new() } else { self.filter.as_str().to_owned() },
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let created = session.jetstream.create_consumer_on_stream(config, self.stream.name());
        let consumer: PullConsumer = created.await.map_err(|error| again(&error))?;
        let batch = consumer
            .stream()
            .max_messages_per_batch(BATCH_MESSAGES)
            .max_bytes_per_batch(BATCH_BYTES.max(session.client.max_payload()))
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES);
        batch.messages().await.map_err(|error| again(&error))
    }
}

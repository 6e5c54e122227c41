//! The one way a stage writes: behind its fence, one publish in flight, its place learned from its own output.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::Books;
use bytes::Bytes;

use crate::lane::{chain_filter, chain_of};
use crate::{
    AppendError, Bus, BusError, Decoded, Fence, Filter, HEADERS_VERSION, Headers, Kind, Message, Outgoing, OutputLane,
    Position, Sequence, Subject,
};

/// First pause before an append is tried again, milliseconds; it doubles up to [`MAX_PAUSE_MS`].
const MIN_PAUSE_MS: u64 = 2;

/// Longest pause between two tries, milliseconds.
const MAX_PAUSE_MS: u64 = 1_000;

/// Tries without an answer, one after the other, before the writer gives up. A full stream is waited for without end.
const MAX_UNANSWERED: u32 = 12;

/// One message of a position's output.
pub struct Part {
    /// Where it goes.
    pub subject: Subject,
    /// Set by the stage but for version, covers, predecessor, chain and end, which the writer sets.
    pub headers: Headers,
    /// The body as it is stored.
    pub body: Bytes,
    /// The body decoded, for readers in this process.
    pub decoded: Option<Decoded>,
}

/// A position whose output was begun and not ended.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// The position.
    pub position: Position,
    /// What is stored of it, oldest first.
    pub stored: Vec<Message>,
}

/// Why a writer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody else writes here: stop, and start again from the last output.
    #[error("fenced: another writer of {fence} wrote {found}, this one stood at {expected}")]
    Fenced {
        /// The fence.
        fence: Filter,
        /// The last message this writer knows of.
        expected: Sequence,
        /// The last message there.
        found: Sequence,
    },
    /// The bus does not answer, or what is there cannot be read.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Never possible, however often it is tried.
    #[error("refused: {0}")]
    Refused(String),
}

/// The only writer of an output lane.
///
/// After an error, or after a call of [`write`](Self::write) or [`flush`](Self::flush) that was dropped half-way, it
/// does not know what is stored: every further call is refused, and [`resume`](Self::resume) finds out.
pub struct FencedWriter {
    bus: Arc<dyn Bus>,
    lane: OutputLane,
    last: Sequence,
    position: Option<Position>,
    unfinished: Option<Unfinished>,
    passed: Option<Passed>,
    chains: HashMap<Box<str>, Sequence>,
    in_doubt: bool,
}

/// Positions without output that no message names yet.
struct Passed {
    covers: Position,
    books: Books,
}

impl fmt::Debug for FencedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writer of {} at {}", self.lane.filter(), self.last)
    }
}

impl FencedWriter {
    /// Learns from the lane's last output how far it got.
    ///
    /// # Errors
    /// If the bus does not answer, or a message of a half-written position is missing.
    pub async fn resume(bus: Arc<dyn Bus>, lane: OutputLane) -> Result<Self, WriteError> {
        let newest = bus.last(lane.stream(), lane.filter()).await?;
        let last = newest.as_ref().map_or(0, |message| message.sequence);
        let (position, unfinished, passed, chains) = (None, None, None, HashMap::new());
        let mut writer = Self { bus, lane, last, position, unfinished, passed, chains, in_doubt: false };
        match newest {
            Some(message) if message.headers.end => writer.position = message.headers.covers.clone(),
            Some(message) => writer.walk_back(message).await?,
            None => {}
        }
        Ok(writer)
    }

    /// The newest position that is covered whole, passed ones included. Its id is empty where the message that named it
    /// was trimmed.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        self.passed.as_ref().map(|passed| &passed.covers).or(self.position.as_ref())
    }

    /// A position whose output is not complete: the next write must be for it, without what is stored.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_ref()
    }

    /// The last message of this lane; 0 for none.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Writes a position's output. The last part says `end` and carries `books`, with those of the positions passed
    /// before. Without parts the position is passed, or, if it was half written, ended by a mark.
    ///
    /// # Errors
    /// [`WriteError::Fenced`] if somebody else writes here; see [`WriteError`]. The writer is of no use then.
    pub async fn write(&mut self, covers: Position, parts: Vec<Part>, books: Books) -> Result<(), WriteError> {
        self.check_order(&covers)?;
        if parts.is_empty() && self.unfinished.is_none() {
            self.pass(covers, books);
            return Ok(());
        }
        if parts.len() > 1 {
            // A crash between two parts must not lose what passed positions count.
            self.flush().await?;
        }
        let count = parts.len();
        for (index, mut part) in parts.into_iter().enumerate() {
            part.headers.end = index + 1 == count;
            if part.headers.end {
                self.add_books(&mut part.headers.books, &books);
            }
            self.store(&covers, part).await?;
        }
        if count == 0 {
            self.mark(&covers, &books).await?;
        }
        self.cover(covers);
        Ok(())
    }

    /// Covers a position that has no output. It becomes durable with the next write or [`flush`](Self::flush), which is
    /// to be called within a second; its books are counted there.
    pub fn pass(&mut self, covers: Position, books: Books) {
        match &mut self.passed {
            Some(passed) => {
                passed.covers = covers;
                passed.books.merge(&books);
            }
            None => self.passed = Some(Passed { covers, books }),
        }
    }

    /// Writes a mark for the positions passed since the last message, if there are any.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        let Some(passed) = &self.passed else { return Ok(()) };
        let covers = passed.covers.clone();
        self.mark(&covers, &Books::default()).await?;
        self.cover(covers);
        Ok(())
    }

    async fn mark(&mut self, covers: &Position, books: &Books) -> Result<(), WriteError> {
        let id = format!("{}.{}.mark", self.lane.mark(), covers.sequence);
        let mut headers = Headers { id, kind: Kind::Mark, end: true, ..Headers::default() };
        self.add_books(&mut headers.books, books);
        let part = Part { subject: self.lane.mark().clone(), headers, body: Bytes::new(), decoded: None };
        self.store(covers, part).await
    }

    fn add_books(&self, sum: &mut Books, books: &Books) {
        sum.merge(books);
        if let Some(passed) = &self.passed {
            sum.merge(&passed.books);
        }
    }

    fn cover(&mut self, covers: Position) {
        self.position = Some(covers);
        self.passed = None;
        self.unfinished = None;
    }

    fn check_order(&self, covers: &Position) -> Result<(), WriteError> {
        if let Some(unfinished) = &self.unfinished
            && unfinished.position != *covers
        {
            let reason = format!("{} is half written and must be completed first", unfinished.position.sequence);
            return Err(WriteError::Refused(format!("position {}: {reason}", covers.sequence)));
        }
        match self.position() {
            Some(known) if known.incarnation == covers.incarnation && known.sequence >= covers.sequence => {
                let reason = format!("everything up to {} is covered already", known.sequence);
                Err(WriteError::Refused(format!("position {}: {reason}", covers.sequence)))
            }
            _ => Ok(()),
        }
    }

    /// Appends one message and remembers it, whatever it takes.
    async fn store(&mut self, covers: &Position, part: Part) -> Result<(), WriteError> {
        if self.in_doubt {
            return Err(WriteError::Refused("an earlier call failed or was dropped: resume first".to_owned()));
        }
        let Part { subject, mut headers, body, decoded } = part;
        let stream = self.lane.stream();
        let chain = chain_of(stream, &subject).map(Box::<str>::from);
        let fence = self.lane.fence(subject);
        let (Some(fence), Some(chain)) = (fence, chain) else {
            return Err(WriteError::Refused(format!("message '{}' is not of {}", headers.id, self.lane.filter())));
        };
        self.in_doubt = true;
        headers.version = HEADERS_VERSION;
        headers.covers = Some(covers.clone());
        headers.predecessor = self.last;
        headers.chain = self.chain(&chain).await?;
        let sequence = self.append(&fence, &Outgoing { headers, body, decoded }).await?;
        self.last = sequence;
        self.chains.insert(chain, sequence);
        self.in_doubt = false;
        Ok(())
    }

    /// The lane's last message on a chain: asked for once, remembered from then on.
    async fn chain(&mut self, chain: &str) -> Result<Sequence, WriteError> {
        if let Some(&last) = self.chains.get(chain) {
            return Ok(last);
        }
        let stream = self.lane.stream();
        let newest = self.bus.last(stream, &chain_filter(stream, chain)).await?;
        Ok(newest.map_or(0, |message| message.sequence))
    }

    async fn append(&self, fence: &Fence, message: &Outgoing) -> Result<Sequence, WriteError> {
        let (mut pause_ms, mut unanswered, mut full) = (MIN_PAUSE_MS, 0, false);
        loop {
            match self.bus.append(fence, self.last, message.clone()).await {
                Ok(sequence) => return Ok(sequence),
                Err(AppendError::Full(stream)) => {
                    if !std::mem::replace(&mut full, true) {
                        tracing::warn!(%stream, fence = %fence.filter(), "stream is full, waiting for its readers");
                    }
                    unanswered = 0;
                }
                Err(AppendError::Refused(reason)) => return Err(WriteError::Refused(reason)),
                Err(AppendError::Fenced { .. } | AppendError::Unanswered(_)) => {
                    unanswered += 1;
                    match self.find_out(fence, message).await {
                        Ok(Some(sequence)) => return Ok(sequence),
                        Err(WriteError::Bus(error)) if unanswered >= MAX_UNANSWERED => return Err(error.into()),
                        Ok(None) if unanswered >= MAX_UNANSWERED => {
                            return Err(BusError::Io(format!("{MAX_UNANSWERED} tries without an answer")).into());
                        }
                        Ok(None) | Err(WriteError::Bus(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(MAX_PAUSE_MS);
        }
    }

    /// Whether a message that was refused or not answered is stored all the same; none if it is not.
    async fn find_out(&self, fence: &Fence, message: &Outgoing) -> Result<Option<Sequence>, WriteError> {
        let newest = self.bus.last(fence.stream(), fence.filter()).await?;
        let found = newest.as_ref().map_or(0, |newest| newest.sequence);
        if found == self.last {
            return Ok(None);
        }
        let mine = newest.is_some_and(|newest| {
            let (theirs, mine) = (&newest.headers, &message.headers);
            theirs.id == mine.id && theirs.covers == mine.covers && theirs.predecessor == mine.predecessor
        });
        let fenced = WriteError::Fenced { fence: fence.filter().clone(), expected: self.last, found };
        if mine { Ok(Some(found)) } else { Err(fenced) }
    }

    /// Collects what is stored of the position of `newest`, which has no end.
    async fn walk_back(&mut self, newest: Message) -> Result<(), WriteError> {
        let stream = self.lane.stream();
        let Some(position) = newest.headers.covers.clone() else {
            let reason = "no position in a message that has no end".to_owned();
            return Err(BusError::Damaged { stream, sequence: newest.sequence, reason }.into());
        };
        let mut stored = vec![newest];
        while let Some(sequence) = stored.last().map(|message| message.headers.predecessor).filter(|&s| s > 0) {
            match self.bus.get(stream, sequence).await? {
                Some(message) if message.headers.covers.as_ref() == Some(&position) => stored.push(message),
                Some(message) => {
                    self.position = message.headers.covers.clone();
                    break;
                }
                None if sequence < self.bus.info(stream).await?.first => {
                    // Trimmed, so it ended the position before; marks are written before a position of several parts,
                    // so nothing else was passed in between.
                    let sequence = position.sequence.saturating_sub(1);
                    self.position = Some(Position { incarnation: position.incarnation, sequence, id: String::new() });
                    break;
                }
                None => {
                    let reason = "a message of a half-written position is missing".to_owned();
                    return Err(BusError::Damaged { stream, sequence, reason }.into());
                }
            }
        }
        stored.reverse();
        self.unfinished = Some(Unfinished { position, stored });
        Ok(())
    }
}

//! Logs that went back or began anew: what stores outside the bus remember of them, and how a repair goes on behind it.
//!
//! A repair never takes a number twice. Where a stream went back, it fills up the numbers that others remember, with
//! marks that say nothing, and goes on behind them; so every position stays unique, and one of the lost range no longer
//! matches. It is kept in bucket `repairs`: whoever remembers a position that does not match stops with an alarm until
//! a repair was made after it was remembered, and goes on then.

mod halt;
mod holes;

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_model::{Books, LaneId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::halt::{HaltError, Halted};
pub use self::holes::{Hole, missed_by};
use crate::{Bus, BusError, FencedWriter, OutputLane, Position, Sequence, Stream, WriteError, now_us, verify_position};

/// The bucket of repairs, one entry each under its time.
const BUCKET: &str = "repairs";

/// Numbers filled up at most: about ten minutes of marks.
pub const MAX_FILL: u64 = 1 << 20;

/// Whose lane the marks are: no collector's, since none has registered it.
const FILLER: &str = "repair-0";

/// A partition of ALERT that no reader has.
const NO_PARTITION: u16 = u16::MAX;

/// A position in a store outside the bus, and when it was written there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The position.
    pub position: Position,
    /// Microseconds since 1970.
    pub at_us: i64,
}

impl Remembered {
    /// A position that is remembered now.
    #[must_use]
    pub fn now(position: Position) -> Self {
        Self { position, at_us: now_us() }
    }
}

/// What a repair found and left of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The stream's incarnation.
    pub incarnation: u64,
    /// The newest message that was there.
    pub last: Sequence,
    /// The newest number after it.
    pub filled: Sequence,
    /// What is missing in between.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

/// A repair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// When it was made, microseconds since 1970.
    pub at_us: i64,
    /// By name of the stream.
    pub streams: BTreeMap<String, Life>,
}

/// Every repair of a bus, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Repairs(Vec<Repair>);

impl Repairs {
    /// Reads them.
    ///
    /// # Errors
    /// If the bus does not answer, or an entry cannot be read.
    pub async fn read(bus: &dyn Bus) -> Result<Self, BusError> {
        let entries = bus.bucket(BUCKET).await?.list("").await.map_err(io)?;
        let repairs = entries.iter().map(|entry| serde_json::from_slice::<Repair>(&entry.value));
        let mut repairs = repairs.collect::<Result<Vec<_>, _>>().map_err(io)?;
        repairs.sort_by_key(|repair| repair.at_us);
        Ok(Self(repairs))
    }

    /// Whether one was made after a time.
    #[must_use]
    pub fn after(&self, at_us: i64) -> bool {
        self.last_us().is_some_and(|last_us| last_us > at_us)
    }

    /// When the newest was made, microseconds since 1970.
    #[must_use]
    pub fn last_us(&self) -> Option<i64> {
        self.0.last().map(|repair| repair.at_us)
    }

    /// Whether a repair knows of this life of a stream.
    #[must_use]
    pub fn knows(&self, stream: Stream, incarnation: u64) -> bool {
        self.lives(stream, incarnation).next().is_some()
    }

    /// The holes of a life of a stream that a repair has told of.
    #[must_use]
    pub fn holes(&self, stream: Stream, incarnation: u64) -> Vec<Hole> {
        self.lives(stream, incarnation).flat_map(|life| life.holes.iter().copied()).collect()
    }

    fn lives(&self, stream: Stream, incarnation: u64) -> impl Iterator<Item = &Life> {
        let lives = self.0.iter().filter_map(move |repair| repair.streams.get(stream.name()));
        lives.filter(move |life| life.incarnation == incarnation)
    }
}

/// What became of a remembered position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// The log is the one that was remembered.
    Matches,
    /// It is not, and was repaired since: what lay between is lost, or is written again.
    Repaired,
}

/// Checks a remembered position.
///
/// # Errors
/// [`BusError::Mismatch`] if the log is another one or went back, and was not repaired since.
pub async fn recall(bus: &dyn Bus, stream: Stream, remembered: &Remembered) -> Result<Recall, BusError> {
    match verify_position(bus, stream, &remembered.position).await {
        Ok(()) => Ok(Recall::Matches),
        Err(BusError::Mismatch(reason)) if !Repairs::read(bus).await?.after(remembered.at_us) => {
            Err(BusError::Mismatch(reason))
        }
        Err(BusError::Mismatch(_)) => Ok(Recall::Repaired),
        Err(error) => Err(error),
    }
}

/// Somebody outside the bus who remembers a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Who, for people to read.
    pub name: String,
    /// Of which stream.
    pub stream: Stream,
    /// What. The id is empty where only the number is remembered.
    pub position: Position,
}

/// How a stream stands against what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// The stream.
    pub stream: Stream,
    /// How it is found.
    pub life: Life,
    /// Who remembers another log.
    pub contradicting: Vec<Witness>,
}

impl StreamPlan {
    /// Whether it is not the log that is remembered, or not whole.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.contradicting.is_empty() || !self.life.holes.is_empty()
    }

    /// The first and last number that are lost of this incarnation; of an older one only the last is known, and the
    /// first is 1.
    #[must_use]
    pub fn lost(&self) -> Option<(u64, Sequence, Sequence)> {
        let newest = self.contradicting.iter().map(|witness| &witness.position);
        let newest = newest.max_by_key(|position| (position.incarnation, position.sequence))?;
        let first = if newest.incarnation == self.life.incarnation { self.life.last + 1 } else { 1 };
        Some((newest.incarnation, first, newest.sequence))
    }
}

/// Compares the four streams with what is remembered of them, and reads them for what is missing. `life.filled` says up
/// to where numbers are to be filled.
///
/// # Errors
/// If the bus does not answer.
pub async fn plan(bus: &dyn Bus, witnesses: &[Witness]) -> Result<Vec<StreamPlan>, BusError> {
    let repairs = Repairs::read(bus).await?;
    let mut plans = Vec::new();
    for stream in Stream::ALL {
        let info = bus.info(stream).await?;
        let mut holes = holes::holes(bus, stream, &info).await?;
        let known = repairs.holes(stream, info.incarnation);
        holes.retain(|hole| !known.contains(hole));
        let mut life = Life { incarnation: info.incarnation, last: info.last, filled: info.last, holes };
        let mut contradicting = Vec::new();
        for witness in witnesses.iter().filter(|witness| witness.stream == stream) {
            let position = &witness.position;
            let other_life = position.incarnation != info.incarnation && position.sequence > 0;
            if other_life && repairs.knows(stream, info.incarnation) {
                continue;
            }
            match verify_position(bus, stream, position).await {
                Ok(()) => continue,
                Err(BusError::Mismatch(_)) => contradicting.push(witness.clone()),
                Err(error) => return Err(error),
            }
            if !other_life {
                life.filled = life.filled.max(position.sequence);
            }
        }
        plans.push(StreamPlan { stream, life, contradicting });
    }
    Ok(plans)
}

/// Makes a repair: fills the numbers up, then keeps it. Everything else follows from that when the services start. After
/// an error, or a crash half-way, it is planned and made again.
///
/// # Errors
/// If the bus does not answer, or more than [`MAX_FILL`] numbers are to be filled.
pub async fn carry_out(bus: &Arc<dyn Bus>, plans: &[StreamPlan]) -> Result<Repair, WriteError> {
    for StreamPlan { stream, life, .. } in plans {
        if life.filled - life.last > MAX_FILL {
            let behind = life.filled - life.last;
            let reason = format!("{stream} is {behind} messages behind, more than {MAX_FILL}: begin with an empty one");
            return Err(WriteError::Refused(reason));
        }
    }
    let mut repair = Repair { at_us: now_us(), ..Repair::default() };
    for StreamPlan { stream, life, .. } in plans {
        let filled = fill(bus, *stream, life).await?;
        repair.streams.insert(stream.name().to_owned(), Life { filled, ..life.clone() });
    }
    let value = serde_json::to_vec(&repair).map_err(io)?;
    let bucket = bus.bucket(BUCKET).await?;
    bucket.put(&format!("{:020}", repair.at_us), Bytes::from(value), 0, None).await.map_err(io)?;
    Ok(repair)
}

/// Writes marks until the stream's newest number is the one wanted; answers with it.
async fn fill(bus: &Arc<dyn Bus>, stream: Stream, life: &Life) -> Result<Sequence, WriteError> {
    if life.filled <= life.last {
        return Ok(life.last);
    }
    let lane: LaneId = FILLER.parse().map_err(io)?;
    let output = match stream {
        Stream::Raw => OutputLane::raw(&lane),
        Stream::Evt => OutputLane::evt(&lane),
        Stream::Alert => OutputLane::alert(NO_PARTITION),
        Stream::Dlq => OutputLane::dlq("repair", lane.as_str()),
    };
    let mut writer = FencedWriter::resume(Arc::clone(bus), output).await?;
    // Positions of no input: the time, so that a later repair's come after.
    let incarnation = u64::try_from(now_us()).unwrap_or_default();
    let mut sequence = 0;
    loop {
        sequence += 1;
        writer.pass(Position { incarnation, sequence, id: FILLER.to_owned() }, Books::default());
        writer.flush().await?;
        if writer.last() >= life.filled {
            return Ok(writer.last());
        }
    }
}

fn io(error: impl std::fmt::Display) -> BusError {
    BusError::Io(error.to_string())
}

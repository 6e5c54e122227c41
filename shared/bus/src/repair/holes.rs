//! Messages that are gone from the middle of a stream: a damaged block of a server's store.

use serde::{Deserialize, Serialize};

use crate::{Bus, BusError, Filter, Floors, Sequence, Stream, StreamInfo};

/// Numbers without a message, where nothing was trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The first.
    pub from: Sequence,
    /// The last.
    pub to: Sequence,
}

impl Hole {
    /// Whether a number is one of these.
    #[must_use]
    pub fn contains(&self, sequence: Sequence) -> bool {
        (self.from..=self.to).contains(&sequence)
    }

    /// Messages that are gone.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.to - self.from + 1
    }
}

/// Reads a stream from its first complete message to its end, and says what is missing in between.
///
/// # Errors
/// If the bus does not answer, or a message cannot be read.
pub(super) async fn holes(bus: &dyn Bus, stream: Stream, info: &StreamInfo) -> Result<Vec<Hole>, BusError> {
    let everything = Filter::of_tokens(">");
    let newest = bus.last(stream, &everything).await?.map_or(0, |message| message.sequence);
    let mut holes = Vec::new();
    let mut at = info.first.saturating_sub(1);
    if newest > at {
        let mut reader = bus.read(stream, &everything, at).await?;
        while at < newest {
            let sequence = reader.next().await?.sequence;
            if sequence > at + 1 {
                holes.push(Hole { from: at + 1, to: sequence - 1 });
            }
            at = sequence;
        }
    }
    if info.last > newest && newest >= info.first {
        holes.push(Hole { from: newest + 1, to: info.last });
    }
    Ok(holes)
}

/// Readers whose floor does not lie behind a hole, as `<reader>.<scope>`: they miss what was in it.
///
/// # Errors
/// If the bus does not answer.
pub async fn missed_by(bus: &dyn Bus, stream: Stream, hole: &Hole) -> Result<Vec<String>, BusError> {
    let floors = Floors::open(bus).await?.all(stream).await.map_err(super::io)?;
    let behind = floors.into_iter().filter(|(.., floor)| floor.position.sequence < hole.to);
    Ok(behind.map(|(reader, scope, _)| format!("{reader}.{scope}")).collect())
}

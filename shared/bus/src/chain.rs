//! What a reader checks: that nothing is missing, and that the log is the one it read before.

use std::collections::HashMap;

use crate::lane::chain_of;
use crate::repair::{Hole, Repairs};
use crate::{Bus, BusError, Message, Position, Sequence, Stream};

/// Checks that each message's chain names the message seen before it for the same partition and lane.
///
/// Its memory grows with the partitions and lanes a reader meets, not with messages.
#[derive(Clone, Debug)]
pub struct ChainCheck {
    after: Sequence,
    seen: HashMap<Box<str>, Sequence>,
    /// Holes that a repair has told of: they are passed.
    holes: Vec<Hole>,
}

impl ChainCheck {
    /// For a reader that starts after a sequence.
    #[must_use]
    pub fn new(after: Sequence) -> Self {
        Self { after, seen: HashMap::new(), holes: Vec::new() }
    }

    /// For a reader that starts after a sequence, and passes the holes that a repair has told of.
    ///
    /// # Errors
    /// If the bus does not answer.
    pub async fn open(bus: &dyn Bus, stream: Stream, after: Sequence) -> Result<Self, BusError> {
        let incarnation = bus.info(stream).await?.incarnation;
        let holes = Repairs::read(bus).await?.holes(stream, incarnation);
        Ok(Self { holes, ..Self::new(after) })
    }

    /// Checks the next message.
    ///
    /// # Errors
    /// [`BusError::Damaged`] if a message before it is missing.
    pub fn check(&mut self, message: &Message) -> Result<(), BusError> {
        let Some(chain) = chain_of(message.stream, &message.subject) else { return Ok(()) };
        let named = message.headers.chain;
        match self.seen.get_mut(chain) {
            Some(seen) if *seen == named => *seen = message.sequence,
            None if named <= self.after => {
                self.seen.insert(chain.into(), message.sequence);
            }
            _ if self.holes.iter().any(|hole| hole.contains(named)) => {
                self.seen.insert(chain.into(), message.sequence);
            }
            found => {
                let seen = found.map_or_else(|| format!("{} or older", self.after), |seen| seen.to_string());
                let reason = format!("the message before it on {chain} should be {named}, found {seen}: a hole");
                return Err(BusError::Damaged { stream: message.stream, sequence: message.sequence, reason });
            }
        }
        Ok(())
    }
}

/// Checks that a position belongs to this stream: same incarnation, not beyond its end, and, where the message is still
/// there, the same message id.
///
/// # Errors
/// [`BusError::Mismatch`] if the log went back or is another one.
pub async fn verify_position(bus: &dyn Bus, stream: Stream, position: &Position) -> Result<(), BusError> {
    let info = bus.info(stream).await?;
    let mismatch = |what: String| Err(BusError::Mismatch(format!("{stream}: {what}; run 'atalaya bus repair'")));
    if position.sequence == 0 {
        return Ok(());
    }
    if position.incarnation != info.incarnation {
        return mismatch(format!("position of incarnation {}, found {}", position.incarnation, info.incarnation));
    }
    if position.sequence > info.last {
        return mismatch(format!("position {} is beyond the last message {}", position.sequence, info.last));
    }
    match bus.get(stream, position.sequence).await? {
        Some(message) if !position.id.is_empty() && message.headers.id != position.id => {
            mismatch(format!("message {} is '{}', not '{}'", position.sequence, message.headers.id, position.id))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{Headers, Subject};

    fn message(subject: &str, sequence: Sequence, chain: Sequence) -> Message {
        Message {
            stream: Stream::Evt,
            subject: Subject::new(subject).unwrap(),
            sequence,
            headers: Arc::new(Headers { chain, ..Headers::default() }),
            body: Bytes::new(),
            decoded: None,
        }
    }

    #[test]
    fn holes_are_found_per_partition_and_lane() {
        let mut check = ChainCheck::new(10);
        for (subject, sequence, chain) in
            [("evt.0.a.dns", 11, 7), ("evt.0.b.dns", 12, 0), ("evt.0.a.http", 13, 11), ("evt.1.a.dns", 14, 10)]
        {
            assert!(check.check(&message(subject, sequence, chain)).is_ok(), "{subject}");
        }
        assert!(check.check(&message("evt.0.a.dns", 16, 15)).is_err());
        assert!(check.check(&message("evt.2.a.dns", 16, 15)).is_err());
        assert!(check.check(&message("evt.0.a.dns", 17, 13)).is_ok());
    }

    #[test]
    fn holes_that_a_repair_has_told_of_are_passed() {
        let holes = vec![Hole { from: 12, to: 15 }];
        let mut check = ChainCheck { holes, ..ChainCheck::new(10) };
        for (subject, sequence, chain) in
            [("evt.0.a.dns", 11, 7), ("evt.0.a.dns", 16, 14), ("evt.0.b.dns", 17, 12), ("evt.0.a.dns", 18, 16)]
        {
            assert!(check.check(&message(subject, sequence, chain)).is_ok(), "{subject} {sequence}");
        }
        assert!(check.check(&message("evt.0.a.dns", 20, 19)).is_err());
    }
}

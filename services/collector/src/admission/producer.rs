//! What of a producer's batches was admitted.

use bytes::Bytes;

/// How far a producer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Every batch up to this sequence is admitted; none if that is not known here.
    pub last: Option<u64>,
    /// Of the batch after it, these many records are admitted: a batch may be larger than a message.
    pub part: u32,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// All of it was admitted before.
    Known,
    /// It is new, but for its first records.
    New {
        /// Records admitted before.
        skip: usize,
    },
    /// A batch between is missing.
    Gap {
        /// The sequence that would be next.
        expected: u64,
    },
}

impl Producer {
    /// A producer nobody has met before: it begins with 1.
    pub const NEW: Self = Self { last: Some(0), part: 0 };

    /// What to do with the batch of this sequence.
    #[must_use]
    pub fn check(&self, sequence: u64) -> Admission {
        match self.last {
            None => Admission::New { skip: 0 },
            Some(last) if sequence <= last => Admission::Known,
            Some(last) if sequence == last + 1 => Admission::New { skip: self.part as usize },
            Some(last) => Admission::Gap { expected: last + 1 },
        }
    }

    /// The batch of this sequence is admitted.
    pub fn admitted(&mut self, sequence: u64) {
        *self = Self { last: Some(sequence), part: 0 };
    }

    /// So many records of the batch of this sequence are admitted.
    pub fn admitted_part(&mut self, sequence: u64, records: u32) {
        *self = Self { last: Some(sequence.saturating_sub(1)), part: records };
    }

    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut value = self.last.unwrap_or_default().to_le_bytes().to_vec();
        value.extend_from_slice(&self.part.to_le_bytes());
        value.into()
    }

    /// Reads its stored form.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (last, part) = value.split_first_chunk()?;
        Some(Self { last: Some(u64::from_le_bytes(*last)), part: u32::from_le_bytes(part.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_count_up_by_one() {
        let mut producer = Producer::NEW;
        assert_eq!(producer.check(2), Admission::Gap { expected: 1 });
        assert_eq!(producer.check(1), Admission::New { skip: 0 });
        producer.admitted(1);
        assert_eq!(producer.check(1), Admission::Known);
        producer.admitted_part(2, 1_000);
        assert_eq!(Producer::decode(&producer.encode()), Some(producer));
        assert_eq!(producer.check(2), Admission::New { skip: 1_000 });
        assert_eq!(producer.check(1), Admission::Known);
        assert_eq!(Producer::default().check(57), Admission::New { skip: 0 });
    }
}

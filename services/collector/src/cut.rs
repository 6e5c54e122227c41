//! What a source hands to a lane: records of one input and one context, cut before they reach the disk.

use atalaya_model::{Counts, LedgerKey, SourceName};
use atalaya_proto::raw::{Block, MAX_BLOCK_BYTES, MAX_RECORDS_PER_MESSAGE};
use atalaya_proto::raw_v1::RawHeader;
use bytes::Bytes;

use crate::admission::Admitted;

/// A record at most; a longer one is dropped by policy and counted.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Bytes of records at which a cut is full; one record more may reach beyond.
pub const CUT_BYTES: usize = 1 << 20;

const _: () = assert!(CUT_BYTES + MAX_RECORD_BYTES < MAX_BLOCK_BYTES);

/// What is the same for everything of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The source.
    pub source: SourceName,
    /// Format of the records.
    pub kind: String,
    /// The source's tenant, or `shared`.
    pub tenant: String,
    /// `live`, or the backfill or replay.
    pub domain: String,
    /// The file's path or the peer.
    pub input_name: String,
    /// How much later than newer records an old one may come, microseconds.
    pub lateness_us: i64,
    /// How many inputs a backfill has; 0 for `live`.
    pub domain_inputs: u32,
}

impl Stamp {
    /// The row of the books it counts in.
    #[must_use]
    pub fn ledger_key(&self) -> LedgerKey {
        LedgerKey { source: self.source.to_string(), tenant: self.tenant.clone(), domain: self.domain.clone() }
    }

    /// A header that says all of this.
    #[must_use]
    pub fn header(&self) -> RawHeader {
        RawHeader {
            source: self.source.to_string(),
            kind: self.kind.clone(),
            tenant: self.tenant.clone(),
            domain: self.domain.clone(),
            input_name: self.input_name.clone(),
            lateness_us: self.lateness_us,
            domain_inputs: self.domain_inputs,
            ..RawHeader::default()
        }
    }

    /// The stamp in a header that [`Stamp::header`] made.
    #[must_use]
    pub fn of(header: &RawHeader) -> Option<Self> {
        Some(Self {
            source: header.source.parse().ok()?,
            kind: header.kind.clone(),
            tenant: header.tenant.clone(),
            domain: header.domain.clone(),
            input_name: header.input_name.clone(),
            lateness_us: header.lateness_us,
            domain_inputs: header.domain_inputs,
        })
    }
}

/// An entry of one of the spool's buckets, written in the same commit as a message. No value takes the entry away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The bucket.
    pub bucket: &'static str,
    /// The entry.
    pub key: String,
    /// What it says; none takes it away.
    pub value: Option<Bytes>,
}

/// Records of one input, up to a message's worth.
#[derive(Debug, Default)]
pub struct Cut {
    /// What the records need to be read.
    pub context: Bytes,
    /// When they were received, microseconds since 1970.
    pub received_time_us: i64,
    /// Records that were admitted before and are not here.
    pub known: u64,
    /// Records refused by policy.
    pub dropped: u64,
    /// How far the input is admitted with it.
    pub admitted: Vec<Admitted>,
    /// What else is to be remembered in the same commit.
    pub notes: Vec<Note>,
    first_line: u64,
    lines: Vec<u32>,
    block: Block,
}

impl Cut {
    /// An empty cut of records with this context, received at this time.
    #[must_use]
    pub fn new(context: Bytes, received_time_us: i64) -> Self {
        Self { context, received_time_us, ..Self::default() }
    }

    /// A cut that only counts records known before.
    #[must_use]
    pub fn of_known(known: u64, received_time_us: i64) -> Self {
        Self { known, received_time_us, ..Self::default() }
    }

    /// Records in it.
    #[must_use]
    pub fn records(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of its records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.block.bytes()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records() == 0 && self.known == 0 && self.dropped == 0
    }

    /// Whether another record, of this line, belongs into another cut.
    #[must_use]
    pub fn is_full_for(&self, line: u64) -> bool {
        self.records() >= MAX_RECORDS_PER_MESSAGE
            || self.bytes() >= CUT_BYTES
            || (self.records() > 0 && self.offset_of(line).is_none())
    }

    fn offset_of(&self, line: u64) -> Option<u32> {
        u32::try_from(line.checked_sub(self.first_line)?).ok()
    }

    /// Adds a record; the caller asks [`Cut::is_full_for`] first.
    pub fn push(&mut self, record: &[u8], line: u64) {
        if self.lines.is_empty() {
            self.first_line = line;
        }
        self.lines.push(self.offset_of(line).unwrap_or(u32::MAX));
        self.block.push(record);
    }

    /// Takes what is in another cut of the same input in behind this one, if the message stays within its limits;
    /// otherwise the other is left as it is.
    pub fn absorb(&mut self, other: &mut Self) -> bool {
        if self.records() > 0 && other.records() > 0 {
            let shift = self.offset_of(other.first_line);
            let last = other.lines.last().copied().unwrap_or_default();
            let fits = self.records() + other.records() <= MAX_RECORDS_PER_MESSAGE
                && self.bytes() + other.bytes() <= CUT_BYTES + MAX_RECORD_BYTES
                && self.context == other.context;
            let Some(shift) = shift.filter(|shift| fits && shift.checked_add(last).is_some()) else {
                return false;
            };
            self.lines.extend(other.lines.drain(..).map(|line| line + shift));
            self.block.append(&mut other.block);
        } else if other.records() > 0 {
            self.context = std::mem::take(&mut other.context);
            self.first_line = other.first_line;
            self.lines = std::mem::take(&mut other.lines);
            self.block = std::mem::take(&mut other.block);
        }
        self.received_time_us = self.received_time_us.max(other.received_time_us);
        self.known += std::mem::take(&mut other.known);
        self.dropped += std::mem::take(&mut other.dropped);
        other.admitted.drain(..).for_each(|admitted| self.admitted(admitted));
        other.notes.drain(..).for_each(|note| self.note(note));
        true
    }

    /// Remembers how far the input is admitted; from one anchor the newest counts.
    pub fn admitted(&mut self, admitted: Admitted) {
        match self.admitted.iter_mut().find(|old| old.anchor == admitted.anchor) {
            Some(old) => *old = admitted,
            None => self.admitted.push(admitted),
        }
    }

    /// Remembers something in the same commit; of two notes on one entry the later one counts.
    pub fn note(&mut self, note: Note) {
        match self.notes.iter_mut().find(|old| old.bucket == note.bucket && old.key == note.key) {
            Some(old) => *old = note,
            None => self.notes.push(note),
        }
    }

    /// What it adds to the books.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let received = self.records() as u64 + self.known + self.dropped;
        Counts { received, known: self.known, dropped: self.dropped, ..Counts::default() }
    }

    /// The body of its message; its records are gone afterwards.
    pub fn encode(&mut self, mut header: RawHeader) -> Bytes {
        header.first_line = self.first_line;
        header.context = self.context.to_vec();
        header.known = self.known;
        header.dropped = self.dropped;
        header.received_time_us = self.received_time_us;
        let in_sequence = self.lines.iter().enumerate().all(|(at, &line)| line as usize == at);
        header.line_offsets = if in_sequence { Vec::new() } else { std::mem::take(&mut self.lines) };
        self.lines.clear();
        self.block.encode(header)
    }
}

#[cfg(test)]
mod tests {
    use atalaya_proto::raw::RawBody;

    use super::*;

    fn cut(lines: &[u64], context: &'static str) -> Cut {
        let mut cut = Cut { context: Bytes::from_static(context.as_bytes()), ..Cut::default() };
        lines.iter().for_each(|&line| cut.push(format!("record {line}").as_bytes(), line));
        cut
    }

    fn note(key: &str, value: &'static [u8]) -> Note {
        Note { bucket: "b", key: key.to_owned(), value: Some(Bytes::from_static(value)) }
    }

    #[test]
    fn cuts_of_one_context_become_one_message() {
        let mut first = cut(&[9, 10], "dns");
        first.note(note("k", b"1"));
        let mut second = cut(&[12], "dns");
        second.note(note("k", b"2"));
        second.known = 5;
        assert!(first.absorb(&mut second));
        assert_eq!(first.counts().received, 8);
        assert_eq!(first.notes, [note("k", b"2")]);
        let body = RawBody::decode(&first.encode(RawHeader::default())).unwrap();
        assert_eq!((0..3).map(|at| body.line_of(at)).collect::<Vec<_>>(), [9, 10, 12]);
        assert_eq!(body.records().last(), Some(b"record 12".as_slice()));
    }

    #[test]
    fn contexts_and_limits_keep_cuts_apart() {
        let mut first = cut(&[1], "dns");
        let mut other = cut(&[2], "conn");
        assert!(!first.absorb(&mut other));
        assert_eq!(other.records(), 1);
        assert!(!first.absorb(&mut cut(&[1 << 40], "dns")));
        let lines: Vec<u64> = (2..=MAX_RECORDS_PER_MESSAGE as u64 + 1).collect();
        assert!(!first.absorb(&mut cut(&lines, "dns")));
        assert!(first.absorb(&mut Cut::of_known(3, 7)));
        assert_eq!((first.records(), first.known, first.received_time_us), (1, 3, 7));
    }

    #[test]
    fn a_count_alone_takes_the_records_that_follow() {
        let mut first = Cut::of_known(3, 7);
        assert!(first.absorb(&mut cut(&[5], "dns")));
        let body = RawBody::decode(&first.encode(RawHeader::default())).unwrap();
        assert_eq!((body.len(), body.header.known, body.line_of(0)), (1, 3, 5));
        assert_eq!(body.header.context, b"dns");
    }
}

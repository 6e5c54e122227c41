//! From bytes to cuts: pure, and bounded by the limits of a message.

use crate::admission::{Known, Trail};
use crate::cut::Cut;
use crate::sources::{Piece, Splitter};

/// Lines too long that are named one by one, between two calls of [`Cutter::too_long`].
const MAX_NAMED: usize = 16;

/// What came of some bytes.
#[derive(Debug)]
pub enum Taken {
    /// These many bytes were used, and a cut is complete.
    Cut(usize, Box<Cut>),
    /// These many bytes were used; more are needed.
    More(usize),
}

/// Gathers the records of one input into cuts, and says in each how far the input is admitted with it.
pub struct Cutter {
    splitter: Box<dyn Splitter>,
    trail: Trail,
    cut: Cut,
    too_long: Vec<u64>,
}

/// Where one call stands in its bytes.
#[derive(Default)]
struct At {
    /// Used by the splitter.
    used: usize,
    /// End of the last record.
    record: usize,
    /// Passed by the trail.
    passed: usize,
    /// What the last record should have ended with.
    missing_end: &'static [u8],
    /// Whether there are records that the cut does not say to be admitted.
    unsaid: bool,
}

impl Cutter {
    /// Goes on behind what is known.
    #[must_use]
    pub fn new(known: Known) -> Self {
        Self { splitter: known.splitter, trail: known.trail, cut: Cut::default(), too_long: Vec::new() }
    }

    /// Takes the bytes behind those used before; with `end`, there will be no others.
    pub fn take(&mut self, bytes: &[u8], end: bool) -> Taken {
        let mut at = At::default();
        loop {
            let piece = self.splitter.next(&bytes[at.used..], end);
            let full = match piece {
                Piece::More => break,
                Piece::Skip { bytes } => {
                    at.used += bytes;
                    continue;
                }
                Piece::TooLong { .. } => {
                    self.cut.dropped += 1;
                    if self.too_long.len() < MAX_NAMED {
                        self.too_long.push(self.splitter.line());
                    }
                    None
                }
                Piece::Record { record, .. } => self.record(record, bytes, &mut at),
            };
            if let Piece::Record { bytes: length, .. } | Piece::TooLong { bytes: length } = piece {
                let start = at.used;
                at.used += length;
                at.record = at.used;
                at.unsaid = true;
                if end && at.used == bytes.len() {
                    at.missing_end = self.splitter.missing_end(&bytes[start..]);
                }
                if !self.trail.has_root() {
                    self.pass_record(bytes, &mut at);
                    self.trail.anchor_here();
                }
            }
            if let Some(cut) = full {
                self.finish(bytes, &mut at);
                return Taken::Cut(at.used, Box::new(cut));
            }
        }
        self.finish(bytes, &mut at);
        Taken::More(at.used)
    }

    /// Takes a record in; gives the cut before it back if that is full.
    fn record(&mut self, record: &[u8], bytes: &[u8], at: &mut At) -> Option<Cut> {
        let line = self.splitter.line();
        let context = self.splitter.context();
        let apart = self.cut.records() > 0 && (self.cut.is_full_for(line) || self.cut.context != *context);
        let full = apart.then(|| {
            self.settle(bytes, at);
            std::mem::take(&mut self.cut)
        });
        if self.cut.records() == 0 {
            self.cut.context = self.splitter.context().clone();
        }
        self.cut.push(record, line);
        full
    }

    /// Lets the trail come to the end of the last record.
    fn pass_record(&mut self, bytes: &[u8], at: &mut At) {
        self.trail.pass(&bytes[at.passed..at.record]);
        self.trail.pass(std::mem::take(&mut at.missing_end));
        at.passed = at.record;
    }

    /// Says in the cut that everything up to the end of the last record is admitted with it.
    fn settle(&mut self, bytes: &[u8], at: &mut At) {
        if std::mem::take(&mut at.unsaid) {
            self.pass_record(bytes, at);
            if let Some(admitted) = self.trail.admit() {
                self.cut.admitted(admitted);
            }
        }
    }

    fn finish(&mut self, bytes: &[u8], at: &mut At) {
        self.settle(bytes, at);
        self.trail.pass(&bytes[at.passed..at.used]);
        at.passed = at.used;
    }

    /// What was gathered, full or not.
    pub fn flush(&mut self) -> Option<Cut> {
        (!self.cut.is_empty()).then(|| std::mem::take(&mut self.cut))
    }

    /// The first lines that were too long since the last call.
    pub fn too_long(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.too_long)
    }

    /// The line found last.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.splitter.line()
    }

    /// Bytes passed since the input's beginning.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.trail.offset()
    }
}

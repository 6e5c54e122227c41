//! The sources: one file for each kind.
//!
//! A kind of files is a [`Format`]: a [`Splitter`] that finds the records in bytes, and what is usual for it. Finding
//! files, following them, unpacking, admission once and back-pressure are [`files`]'s work and the same for all. A kind
//! that is not files (a listener, a feed that is pulled) is a function like [`push`]'s that takes an
//! [`Intake`](crate::intake::Intake), opens inputs there and hands cuts in.

use std::path::Path;

use bytes::Bytes;

pub mod files;
pub mod lines;
pub mod push;
pub mod replay;
pub mod zeek;

pub(crate) mod producers;
pub(crate) mod quotas;

/// What a splitter finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Too few bytes to tell, or none left.
    More,
    /// Bytes that are no record: a comment, a blank line, a part of what is too long.
    Skip {
        /// How many.
        bytes: usize,
    },
    /// A record.
    Record {
        /// How many bytes it takes, its end included.
        bytes: usize,
        /// The record itself.
        record: &'a [u8],
    },
    /// The end of a record longer than [`MAX_RECORD_BYTES`](crate::cut::MAX_RECORD_BYTES).
    TooLong {
        /// How many bytes, those skipped before not included.
        bytes: usize,
    },
}

/// Finds the records in the bytes of one input. Pure: a fuzz target calls it directly.
pub trait Splitter: Send {
    /// The next piece at the beginning of `bytes`; with `end`, no others follow behind them.
    fn next<'a>(&mut self, bytes: &'a [u8], end: bool) -> Piece<'a>;

    /// The number, from 1, of the line (or record) of the piece that was found last.
    fn line(&self) -> u64;

    /// What is needed to read the record that was found last.
    fn context(&self) -> &Bytes;

    /// What a last record should end with and does not.
    fn missing_end(&self, _bytes: &[u8]) -> &'static [u8] {
        b""
    }

    /// The same in the same state.
    fn boxed_clone(&self) -> Box<dyn Splitter>;
}

/// A kind of files.
pub struct Format {
    /// Its name in configuration and on the command line.
    pub kind: &'static str,
    /// How much later than newer records an old one may come, microseconds.
    pub lateness_us: i64,
    /// Endings of its files in a directory; `.gz` may follow.
    pub endings: &'static [&'static str],
    /// A splitter for a file.
    pub splitter: fn(&Path) -> Box<dyn Splitter>,
}

const MINUTE_US: i64 = 60_000_000;

/// The kinds of files.
pub static FORMATS: [Format; 3] = [
    Format {
        kind: "zeek",
        // In a real log a quarter of the DNS rows are out of order, by up to 671 s.
        lateness_us: 15 * MINUTE_US,
        endings: &[".log", ".json", ".jsonl", ".ndjson"],
        splitter: |path| Box::new(zeek::ZeekSplitter::new(path)),
    },
    Format {
        kind: "json_lines",
        lateness_us: MINUTE_US,
        endings: &[".json", ".jsonl", ".ndjson", ".log"],
        splitter: |_| Box::new(lines::LineSplitter::default()),
    },
    Format {
        kind: "ocsf",
        lateness_us: MINUTE_US,
        endings: &[".json", ".jsonl", ".ndjson"],
        splitter: |_| Box::new(lines::LineSplitter::default()),
    },
];

/// The kind of files with this name.
///
/// # Errors
/// If there is none; the error names those there are.
pub fn format(kind: &str) -> Result<&'static Format, String> {
    FORMATS.iter().find(|format| format.kind == kind).ok_or_else(|| {
        let kinds: Vec<_> = FORMATS.iter().map(|format| format.kind).collect();
        format!("'{kind}' is no source kind: use one of {}", kinds.join(", "))
    })
}

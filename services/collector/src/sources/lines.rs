//! Lines out of bytes, whatever they are and however they are cut. Pure.

use bytes::Bytes;
use memchr::memchr;

use super::{Piece, Splitter};
use crate::cut::MAX_RECORD_BYTES;

/// Cuts bytes at `\n`; a `\r` before it is no part of the line.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    found: u64,
    cutting: bool,
}

impl Lines {
    /// The next line, as a record; longer ones than [`MAX_RECORD_BYTES`] are passed over without being held.
    pub fn next<'a>(&mut self, bytes: &'a [u8], end: bool) -> Piece<'a> {
        let (text, taken) = match memchr(b'\n', bytes) {
            Some(at) => (&bytes[..at], at + 1),
            None if end && (self.cutting || !bytes.is_empty()) => (bytes, bytes.len()),
            None if self.cutting || bytes.len() > MAX_RECORD_BYTES + 1 => {
                self.cutting = true;
                return if bytes.is_empty() { Piece::More } else { Piece::Skip { bytes: bytes.len() } };
            }
            None => return Piece::More,
        };
        self.found += 1;
        let record = text.strip_suffix(b"\r").unwrap_or(text);
        if std::mem::take(&mut self.cutting) || record.len() > MAX_RECORD_BYTES {
            Piece::TooLong { bytes: taken }
        } else {
            Piece::Record { bytes: taken, record }
        }
    }

    /// The number of the line found last, from 1; of one that is being passed over, its own.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.found + u64::from(self.cutting)
    }

    /// A line end, if the last line has none.
    #[must_use]
    pub fn missing_end(bytes: &[u8]) -> &'static [u8] {
        if bytes.ends_with(b"\n") { b"" } else { b"\n" }
    }
}

/// Whether a line holds nothing but white space.
#[must_use]
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// A record a line, without context; blank lines are none.
#[derive(Clone, Debug, Default)]
pub struct LineSplitter {
    lines: Lines,
    context: Bytes,
}

impl Splitter for LineSplitter {
    fn next<'a>(&mut self, bytes: &'a [u8], end: bool) -> Piece<'a> {
        match self.lines.next(bytes, end) {
            Piece::Record { bytes, record } if is_blank(record) => Piece::Skip { bytes },
            piece => piece,
        }
    }

    fn line(&self) -> u64 {
        self.lines.line()
    }

    fn context(&self) -> &Bytes {
        &self.context
    }

    fn missing_end(&self, bytes: &[u8]) -> &'static [u8] {
        Lines::missing_end(bytes)
    }

    fn boxed_clone(&self) -> Box<dyn Splitter> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Line numbers and texts, with the bytes handed over in chunks of these sizes, over and over.
    fn split(bytes: &[u8], chunks: &[usize]) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut splitter = LineSplitter::default();
        let (mut found, mut start, mut stop) = (Vec::new(), 0, 0);
        let mut sizes = chunks.iter().cycle();
        loop {
            let piece = splitter.next(&bytes[start..stop], stop == bytes.len());
            match piece {
                Piece::More if stop == bytes.len() => return found,
                Piece::More => stop = bytes.len().min(stop + sizes.next().unwrap()),
                Piece::Skip { bytes } => start += bytes,
                Piece::Record { bytes, record } => {
                    found.push((splitter.line(), Some(record.to_vec())));
                    start += bytes;
                }
                Piece::TooLong { bytes } => {
                    found.push((splitter.line(), None));
                    start += bytes;
                }
            }
        }
    }

    #[test]
    fn line_ends_and_blank_lines_are_no_records() {
        let found = split(b"one\r\n\n  \ntwo\nthree", &[2]);
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(found, [(1, text("one")), (4, text("two")), (5, text("three"))]);
    }

    #[test]
    fn what_is_too_long_is_counted_once_and_never_held() {
        let long = "x".repeat(3 * MAX_RECORD_BYTES);
        let exact = "y".repeat(MAX_RECORD_BYTES);
        for end in ["", "\n", "\r\n", "\nz"] {
            let bytes = format!("a\n{exact}\r\n{long}{end}");
            let found = split(bytes.as_bytes(), &[100_000]);
            let long_ones: Vec<_> = found.iter().filter(|(_, text)| text.is_none()).map(|(line, _)| *line).collect();
            assert_eq!(long_ones, [3], "{end:?}");
            assert_eq!(found.len(), if end == "\nz" { 4 } else { 3 }, "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(bytes in prop::collection::vec(0u8..16, 0..200), chunks in prop::collection::vec(1usize..9, 1..5)) {
            prop_assert_eq!(split(&bytes, &chunks), split(&bytes, &[1000]));
        }
    }
}

//! Reads one file: first as far as it is known, then cut by cut. Blocking; runs on threads of its own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::content::{Content, Counted, is_packed};
use super::cutter::{Cutter, Taken};
use crate::admission::{Continuation, Digest, Follow, Follower, Scope};
use crate::cut::Cut;
use crate::sources::Format;

/// Why a file could not be read on. What was taken in before stays.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file itself.
    #[error("{path}, line {line} (byte {offset} of the unpacked content): {reason}")]
    File {
        /// Which.
        path: String,
        /// The last whole line.
        line: u64,
        /// Bytes read up to its end.
        offset: u64,
        /// Why.
        reason: String,
    },
    /// Nobody takes records any more: the drain was asked for, or the spool is closed.
    #[error("{0}: reading was stopped")]
    Stopped(String),
}

/// What a reader asks about a prefix: the continuations from there.
pub(super) type Ask<'a> = dyn FnMut(Digest) -> Result<Vec<Continuation>, String> + 'a;

/// Takes a cut; false if nobody does any more.
pub(super) type Give<'a> = dyn FnMut(Cut) -> bool + 'a;

/// A file being read.
pub(super) struct FileReader {
    path: PathBuf,
    file: File,
    content: Content<Counted>,
    cutter: Cutter,
    whole: bool,
}

impl FileReader {
    /// Opens a file behind what is known of it; answers with the number of records that are. With `whole`, the file is
    /// taken to be complete; a packed one always is.
    pub(super) fn open(
        path: &Path,
        format: &Format,
        scope: &Scope,
        whole: bool,
        ask: &mut Ask<'_>,
        read: &Arc<AtomicU64>,
    ) -> Result<(Self, u64), ReadError> {
        let fail = |reason: String| file_error(path, 0, 0, reason);
        let file = File::open(path).map_err(|error| fail(error.to_string()))?;
        let mut content = Content::of_file(&file, 0, Arc::default()).map_err(|error| fail(error.to_string()))?;
        let whole = whole || content.is_packed();
        let mut follower = Follower::new(scope, (format.splitter)(path));
        // A file that breaks off may still be known as far as it goes: reading on from there will meet the same error.
        follow(&mut follower, &mut content, whole, ask).map_err(fail)?;
        let known = follower.known();
        let records = known.records;
        let content = Content::of_file(&file, known.trail.offset(), Arc::clone(read));
        let content = content.map_err(|error| fail(error.to_string()))?;
        Ok((Self { path: path.to_owned(), file, content, cutter: Cutter::new(known), whole }, records))
    }

    /// Whether nothing can follow behind its end.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// From now on the file is taken to be complete: a last line needs no end.
    pub(super) fn complete(&mut self) {
        self.whole = true;
    }

    /// The file itself, under whatever name.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of the content that were read.
    pub(super) fn offset(&self) -> u64 {
        self.cutter.offset() + self.content.bytes().len() as u64
    }

    /// Reads what there is and gives it away in cuts; answers with the bytes of content that were used. Lines that were
    /// too long are named by `too_long`.
    pub(super) fn burst(&mut self, give: &mut Give<'_>, too_long: &mut dyn FnMut(u64)) -> Result<u64, ReadError> {
        let begun = self.cutter.offset();
        let Self { content, cutter, whole, .. } = self;
        let outcome = cut_up(content, cutter, *whole, give, too_long);
        self.content.rest();
        match outcome {
            Ok(()) => Ok(self.cutter.offset() - begun),
            Err(Ended::Stopped) => Err(ReadError::Stopped(self.path.display().to_string())),
            Err(Ended::Broken(reason)) => Err(file_error(&self.path, self.cutter.line(), self.cutter.offset(), reason)),
        }
    }
}

fn file_error(path: &Path, line: u64, offset: u64, reason: String) -> ReadError {
    ReadError::File { path: path.display().to_string(), line, offset, reason }
}

/// Why content was not read to its end.
enum Ended {
    Stopped,
    Broken(String),
}

/// Reads what there is of the content. If it breaks, whole lines before are given away all the same.
fn cut_up<R: Read>(
    content: &mut Content<R>,
    cutter: &mut Cutter,
    whole: bool,
    give: &mut Give<'_>,
    too_long: &mut dyn FnMut(u64),
) -> Result<(), Ended> {
    let (mut ended, mut broken) = (false, None);
    loop {
        let taken = cutter.take(content.bytes(), ended);
        cutter.too_long().into_iter().for_each(&mut *too_long);
        match taken {
            Taken::Cut(used, cut) => {
                content.consume(used);
                if !give(*cut) {
                    return Err(Ended::Stopped);
                }
            }
            Taken::More(used) => {
                content.consume(used);
                match content.fill() {
                    Ok(true) => {}
                    Ok(false) if whole && !ended => ended = true,
                    Ok(false) => break,
                    Err(error) => {
                        broken = Some(reason(&error));
                        break;
                    }
                }
            }
        }
    }
    if !cutter.flush().is_none_or(give) {
        return Err(Ended::Stopped);
    }
    broken.map_or(Ok(()), |reason| Err(Ended::Broken(reason)))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip data breaks off: the file is truncated".to_owned(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => format!("the gzip data is damaged: {error}"),
        _ => error.to_string(),
    }
}

/// The cuts of a whole file's bytes, packed or not, and why it breaks off if it does. Pure: what a fuzz target calls.
#[must_use]
pub fn cuts_of(format: &Format, path: &Path, bytes: &[u8]) -> (Vec<Cut>, Option<String>) {
    let known = Follower::new(&Scope::new(format.kind, ""), (format.splitter)(path)).known();
    let mut content = Content::new(bytes, is_packed(bytes));
    let mut cuts = Vec::new();
    let mut give = |cut| {
        cuts.push(cut);
        true
    };
    let outcome = cut_up(&mut content, &mut Cutter::new(known), true, &mut give, &mut |_| {});
    let broken = match outcome {
        Err(Ended::Broken(reason)) => Some(reason),
        Ok(()) | Err(Ended::Stopped) => None,
    };
    (cuts, broken)
}

/// Reads as far as the content is known. An error of the content ends it like the content's end.
fn follow<R: Read>(
    follower: &mut Follower,
    content: &mut Content<R>,
    whole: bool,
    ask: &mut Ask<'_>,
) -> Result<(), String> {
    let mut ended = false;
    loop {
        match follower.take(content.bytes(), ended) {
            Follow::Done => return Ok(()),
            Follow::Ask(used, anchor) => {
                content.consume(used);
                follower.learn(&ask(anchor)?);
            }
            Follow::More(used) => {
                content.consume(used);
                match content.fill() {
                    Ok(true) => {}
                    Ok(false) if whole && !ended => ended = true,
                    Ok(false) | Err(_) => return Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::sources;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn records(bytes: &[u8]) -> (usize, Option<String>) {
        let (cuts, broken) = cuts_of(sources::format("zeek").unwrap(), Path::new("dns.log"), bytes);
        (cuts.iter().map(Cut::records).sum(), broken)
    }

    #[test]
    fn members_of_gzip_are_one_file_and_damage_is_named() {
        let log = "record\n".repeat(10_000);
        let mut two = packed(log.as_bytes());
        two.extend(packed(log.as_bytes()));
        assert_eq!(records(&two), (20_000, None));
        let (found, broken) = records(&two[..two.len() - 9]);
        assert!((10_000..=20_000).contains(&found), "{found}");
        assert_eq!(broken.as_deref(), Some("the gzip data breaks off: the file is truncated"));
        let middle = two.len() / 4;
        two[middle] ^= 0xff;
        assert!(records(&two).1.is_some_and(|reason| reason.starts_with("the gzip data is damaged")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_packed_or_not(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assume!(!is_packed(&bytes));
            prop_assert_eq!(records(&bytes), records(&packed(&bytes)));
        }
    }
}

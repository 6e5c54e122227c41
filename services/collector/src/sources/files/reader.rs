//! Reads one file: first as far as it is known, then cut by cut. Blocking; runs on threads of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::content::Content;
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
    content: Content,
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
        let mut content = Content::new(&file, Arc::default()).map_err(|error| fail(error.to_string()))?;
        let whole = whole || content.is_packed();
        let mut follower = Follower::new(scope, (format.splitter)(path));
        // A file that breaks off may still be known as far as it goes: reading on from there will meet the same error.
        follow(&mut follower, &mut content, whole, ask).map_err(fail)?;
        let known = follower.known();
        let records = known.records;
        let mut content = Content::new(&file, Arc::clone(read)).map_err(|error| fail(error.to_string()))?;
        content.skip_to(known.trail.offset()).map_err(|error| fail(error.to_string()))?;
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
        let mut ended = false;
        loop {
            let taken = self.cutter.take(self.content.bytes(), ended);
            self.cutter.too_long().into_iter().for_each(&mut *too_long);
            match taken {
                Taken::Cut(used, cut) => {
                    self.content.consume(used);
                    self.give(*cut, give)?;
                }
                Taken::More(used) => {
                    self.content.consume(used);
                    match self.content.fill() {
                        Ok(true) => {}
                        Ok(false) if self.whole && !ended => ended = true,
                        Ok(false) => break,
                        Err(error) => {
                            self.flush(give)?;
                            return Err(self.error(&error));
                        }
                    }
                }
            }
        }
        self.flush(give)?;
        self.content.rest();
        Ok(self.cutter.offset() - begun)
    }

    fn flush(&mut self, give: &mut Give<'_>) -> Result<(), ReadError> {
        self.cutter.flush().map_or(Ok(()), |cut| self.give(cut, give))
    }

    fn give(&self, cut: Cut, give: &mut Give<'_>) -> Result<(), ReadError> {
        if give(cut) { Ok(()) } else { Err(ReadError::Stopped(self.path.display().to_string())) }
    }

    fn error(&self, error: &io::Error) -> ReadError {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the gzip data breaks off: the file is truncated".to_owned(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => format!("the gzip data is damaged: {error}"),
            _ => error.to_string(),
        };
        file_error(&self.path, self.cutter.line(), self.cutter.offset(), reason)
    }
}

fn file_error(path: &Path, line: u64, offset: u64, reason: String) -> ReadError {
    ReadError::File { path: path.display().to_string(), line, offset, reason }
}

/// Reads as far as the content is known. An error of the content ends it like the content's end.
fn follow(follower: &mut Follower, content: &mut Content, whole: bool, ask: &mut Ask<'_>) -> Result<(), String> {
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

//! A file's content, unpacked, through one bounded buffer.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// Bytes read at a time.
pub const READ_BYTES: usize = 256 << 10;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Counts the bytes read of the file itself, for progress.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

enum Unpacked {
    Plain(Counted),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
}

/// The unpacked bytes of a file that were read and not yet used.
pub(super) struct Content {
    unpacked: Unpacked,
    buffer: Vec<u8>,
    start: usize,
}

impl Content {
    /// From the file's beginning: gzip (of any number of members) if its first bytes say so.
    pub(super) fn new(file: &File, read: Arc<AtomicU64>) -> io::Result<Self> {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
        (&file).take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic)?;
        file.seek(SeekFrom::Start(0))?;
        let counted = Counted { file, read };
        let unpacked = if magic == GZIP_MAGIC {
            Unpacked::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, counted))))
        } else {
            Unpacked::Plain(counted)
        };
        Ok(Self { unpacked, buffer: Vec::new(), start: 0 })
    }

    /// Whether it is packed: then it is complete and does not grow.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self.unpacked, Unpacked::Gzip(_))
    }

    /// Goes to an offset of the unpacked bytes, or to their end if it lies beyond. Only at the beginning.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.unpacked {
            Unpacked::Plain(counted) => {
                counted.file.seek(SeekFrom::Start(offset))?;
                counted.read.fetch_add(offset, Ordering::Relaxed);
                Ok(())
            }
            Unpacked::Gzip(decoder) => io::copy(&mut decoder.take(offset), &mut io::sink()).map(|_| ()),
        }
    }

    /// What was read and not used.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// These many bytes were used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Reads more; false if there is no more for now.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + READ_BYTES, 0);
        let read = match &mut self.unpacked {
            Unpacked::Plain(counted) => counted.read(&mut self.buffer[held..]),
            Unpacked::Gzip(decoder) => decoder.read(&mut self.buffer[held..]),
        };
        self.buffer.truncate(held + read.as_ref().copied().unwrap_or_default());
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            read => read.map(|length| length > 0),
        }
    }

    /// Gives the buffer's memory back while nothing comes.
    pub(super) fn rest(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.shrink_to_fit();
    }
}

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
pub(super) struct Counted {
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

enum Unpacked<R> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
}

/// The unpacked bytes of a file that were read and not yet used.
pub(super) struct Content<R> {
    unpacked: Unpacked<R>,
    buffer: Vec<u8>,
    start: usize,
}

/// Whether these first bytes are those of gzip.
pub(super) fn is_packed(first: &[u8]) -> bool {
    first.starts_with(&GZIP_MAGIC)
}

impl Content<Counted> {
    /// A file from an offset of its unpacked bytes on, or from their end if it lies beyond. It is gzip (of any number of
    /// members) if its first bytes say so.
    pub(super) fn of_file(file: &File, offset: u64, read: Arc<AtomicU64>) -> io::Result<Self> {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut first = Vec::with_capacity(GZIP_MAGIC.len());
        (&file).take(GZIP_MAGIC.len() as u64).read_to_end(&mut first)?;
        let packed = is_packed(&first);
        file.seek(SeekFrom::Start(if packed { 0 } else { offset }))?;
        read.fetch_add(if packed { 0 } else { offset }, Ordering::Relaxed);
        let mut content = Self::new(Counted { file, read }, packed);
        if let Unpacked::Gzip(decoder) = &mut content.unpacked {
            io::copy(&mut decoder.take(offset), &mut io::sink())?;
        }
        Ok(content)
    }
}

impl<R: Read> Content<R> {
    /// What a reader gives from now on.
    pub(super) fn new(reader: R, packed: bool) -> Self {
        let unpacked = if packed {
            Unpacked::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, reader))))
        } else {
            Unpacked::Plain(reader)
        };
        Self { unpacked, buffer: Vec::new(), start: 0 }
    }

    /// Whether it is packed: then it is complete and does not grow.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self.unpacked, Unpacked::Gzip(_))
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
            Unpacked::Plain(reader) => reader.read(&mut self.buffer[held..]),
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

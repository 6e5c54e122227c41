//! The body of a RAW message: a length-delimited [`RawHeader`], then one lz4 block of length-delimited records.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{decode_varint, encode_varint};

use crate::raw_v1::RawHeader;

/// Records of a RAW message at most; the collector cuts before.
pub const MAX_RECORDS_PER_MESSAGE: usize = 1_000;

/// Bytes of a RAW message's records before compression at most; a body never decompresses to more.
pub const MAX_BLOCK_BYTES: usize = 4 << 20;

/// A RAW body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The header is no protobuf message.
    #[error("header of a RAW message: {0}")]
    Header(#[from] prost::DecodeError),
    /// The block is no lz4 block.
    #[error("block of a RAW message: {0}")]
    Block(#[from] lz4_flex::block::DecompressError),
    /// The block claims to hold more than [`MAX_BLOCK_BYTES`].
    #[error("block of a RAW message claims {0} bytes, more than {MAX_BLOCK_BYTES}")]
    TooLarge(usize),
    /// A record reaches beyond the block, or their number is not the header's.
    #[error("block of a RAW message is cut off at record {0}")]
    CutOff(usize),
}

/// Records being gathered for one message.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    records: u32,
}

impl Block {
    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) {
        encode_varint(record.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(record);
        self.records += 1;
    }

    /// Takes the records of another block in behind its own; the other is empty afterwards.
    pub fn append(&mut self, other: &mut Self) {
        self.bytes.append(&mut other.bytes);
        self.records += std::mem::take(&mut other.records);
    }

    /// Records so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes before compression so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The body of a message with this header, whose `records` is set here; the block is empty afterwards.
    pub fn encode(&mut self, mut header: RawHeader) -> Bytes {
        header.records = self.records;
        let mut body = header.encode_length_delimited_to_vec();
        if self.records > 0 {
            body.extend_from_slice(&lz4_flex::block::compress_prepend_size(&self.bytes));
        }
        self.bytes.clear();
        self.records = 0;
        body.into()
    }
}

/// A RAW message's body, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct RawBody {
    /// Who, what, when.
    pub header: RawHeader,
    block: Bytes,
    starts: Vec<(u32, u32)>,
}

impl RawBody {
    /// Reads a body.
    ///
    /// # Errors
    /// If it is damaged or beyond the limits.
    pub fn decode(body: &[u8]) -> Result<Self, RawError> {
        let mut rest = body;
        let header = RawHeader::decode_length_delimited(&mut rest)?;
        if rest.is_empty() {
            return if header.records == 0 {
                Ok(Self { header, block: Bytes::new(), starts: Vec::new() })
            } else {
                Err(RawError::CutOff(0))
            };
        }
        let (size, _) = lz4_flex::block::uncompressed_size(rest)?;
        if size > MAX_BLOCK_BYTES {
            return Err(RawError::TooLarge(size));
        }
        let block = Bytes::from(lz4_flex::block::decompress_size_prepended(rest)?);
        let starts = record_bounds(&block, header.records as usize)?;
        Ok(Self { header, block, starts })
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The records in order, as received.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.starts.iter().map(|&(start, end)| &self.block[start as usize..end as usize])
    }

    /// The line number (from 1) of a record.
    #[must_use]
    pub fn line_of(&self, record: usize) -> u64 {
        let offset = self.header.line_offsets.get(record).map_or(record as u64, |&offset| u64::from(offset));
        self.header.first_line + offset
    }
}

fn record_bounds(block: &[u8], records: usize) -> Result<Vec<(u32, u32)>, RawError> {
    let mut starts = Vec::with_capacity(records.min(MAX_RECORDS_PER_MESSAGE));
    let mut rest = block;
    while !rest.is_empty() {
        let cut_off = || RawError::CutOff(starts.len());
        let length = usize::try_from(decode_varint(&mut rest).map_err(|_| cut_off())?).map_err(|_| cut_off())?;
        if length > rest.len() {
            return Err(cut_off());
        }
        let start = block.len() - rest.len();
        starts.push((offset(start), offset(start + length)));
        rest = &rest[length..];
    }
    if starts.len() == records { Ok(starts) } else { Err(RawError::CutOff(starts.len())) }
}

/// Blocks are at most [`MAX_BLOCK_BYTES`], so every offset fits.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_read_back() {
        let mut block = Block::default();
        for record in [b"one".as_slice(), b"", b"three"] {
            block.push(record);
        }
        let body = block.encode(RawHeader { source: "zeek".into(), first_line: 7, ..Default::default() });
        let read = RawBody::decode(&body).unwrap();
        assert_eq!(read.records().collect::<Vec<_>>(), [b"one".as_slice(), b"", b"three"]);
        assert_eq!((read.header.source.as_str(), read.line_of(2)), ("zeek", 9));
        assert_eq!((block.records(), block.bytes()), (0, 0));
    }

    #[test]
    fn a_cut_body_is_an_error() {
        let mut block = Block::default();
        block.push(b"some record");
        let body = block.encode(RawHeader::default());
        for length in 0..body.len() {
            let header_only = RawBody::decode(&body[..length]);
            assert!(header_only.is_err(), "{length} bytes");
        }
    }
}

//! Record batches as one Arrow IPC stream, cut into pieces.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

/// Bytes of a piece at most.
pub const MAX_PIECE_BYTES: usize = 1 << 20;

/// Writes batches, hands out pieces.
pub struct Pieces {
    writer: StreamWriter<Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
}

impl Pieces {
    /// A stream of batches of this schema; the first piece holds the schema.
    ///
    /// # Errors
    /// If the schema cannot be written.
    pub fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let mut pieces = Self { writer: StreamWriter::try_new(Vec::new(), schema)?, ready: VecDeque::new() };
        pieces.cut();
        Ok(pieces)
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// If it is not of the schema.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.writer.write(batch)?;
        self.cut();
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// If it was ended before.
    pub fn finish(&mut self) -> Result<(), ArrowError> {
        self.writer.finish()?;
        self.cut();
        Ok(())
    }

    /// The next piece that is ready.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// Whether a piece is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn cut(&mut self) {
        let mut written = std::mem::take(self.writer.get_mut());
        while written.len() > MAX_PIECE_BYTES {
            let rest = written.split_off(MAX_PIECE_BYTES);
            self.ready.push_back(std::mem::replace(&mut written, rest));
        }
        if !written.is_empty() {
            self.ready.push_back(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    #[test]
    fn pieces_read_back_as_one_stream() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let numbers = Arc::new(Int64Array::from_iter_values(0..500_000));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![numbers]).unwrap();
        let mut pieces = Pieces::new(&schema).unwrap();
        assert!(pieces.is_ready(), "the schema comes first");
        for _ in 0..3 {
            pieces.add(&batch).unwrap();
        }
        pieces.finish().unwrap();
        let cut: Vec<_> = std::iter::from_fn(|| pieces.take()).collect();
        assert!(cut.len() >= 12 && cut.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
        let read = StreamReader::try_new(std::io::Cursor::new(cut.concat()), None).unwrap();
        let rows: usize = read.map(|read| read.unwrap().num_rows()).sum();
        assert_eq!(rows, 1_500_000);
    }
}

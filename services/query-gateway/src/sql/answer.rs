//! An answer: batches within the query's limits.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use atalaya_archive::{Covered, TableSnapshot};
use atalaya_model::Class;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::{QueryLimits, SqlError};

/// How far a table reaches: rows of later messages are not in it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePositions {
    /// The table.
    pub class: Class,
    /// Its version; none if it was never written to.
    pub version: Option<u64>,
    /// The last message of each partition that has rows in it.
    pub positions: Vec<Covered>,
}

impl TablePositions {
    pub(crate) fn of(class: Class, snapshot: Option<&TableSnapshot>) -> Self {
        let positions = snapshot.map(|snapshot| {
            snapshot.positions.iter().map(|(scope, sequence)| Covered { scope: *scope, sequence: *sequence }).collect()
        });
        Self { class, version: snapshot.map(|s| s.version), positions: positions.unwrap_or_default() }
    }
}

/// Whether an answer was cut; to be asked once its stream has ended.
#[derive(Clone, Debug, Default)]
pub struct Truncation(Arc<AtomicBool>);

impl Truncation {
    /// Whether rows were left out because of a limit.
    #[must_use]
    pub fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The answer to a query. Dropping the stream ends the query.
pub struct SqlAnswer {
    /// Its columns: plain texts and binaries, no views.
    pub schema: SchemaRef,
    /// Its batches; an error of the stream turns into a [`SqlError`] by `From`.
    pub stream: SendableRecordBatchStream,
    /// How far the tables it was made from reach.
    pub positions: Vec<TablePositions>,
    /// Whether it was cut.
    pub truncation: Truncation,
    /// The plan, for its metrics.
    pub(crate) plan: Arc<dyn ExecutionPlan>,
}

impl fmt::Debug for SqlAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answer with {} columns by {}", self.schema.fields().len(), self.plan.name())
    }
}

/// Columns without views, which not every client reads.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let plain = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            _ => return Arc::clone(field),
        };
        Arc::new(Field::new(field.name(), plain, field.is_nullable()))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A stream within limits: of time, rows and bytes.
pub(crate) struct Capped {
    schema: SchemaRef,
    /// None once it has ended: then nothing of the query works on.
    input: Option<SendableRecordBatchStream>,
    deadline: Pin<Box<Sleep>>,
    allowed: Duration,
    rows_left: u64,
    bytes_left: u64,
    truncation: Truncation,
    /// The query's turn among others, given back with the stream.
    _turn: OwnedSemaphorePermit,
}

impl Capped {
    pub(crate) fn new(
        input: SendableRecordBatchStream,
        limits: &QueryLimits,
        deadline: tokio::time::Instant,
        turn: OwnedSemaphorePermit,
        truncation: Truncation,
    ) -> Self {
        Self {
            schema: plain_schema(&input.schema()),
            input: Some(input),
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            allowed: limits.deadline,
            rows_left: limits.max_rows,
            bytes_left: limits.max_bytes,
            truncation,
            _turn: turn,
        }
    }

    /// As much of a batch as still fits; none if that is nothing.
    fn fit(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = batch.num_rows() as u64;
        let bytes = bytes_of(batch);
        let by_bytes = if bytes <= self.bytes_left { rows } else { rows * self.bytes_left / bytes.max(1) };
        let fitting = rows.min(self.rows_left).min(by_bytes);
        if fitting < rows {
            self.truncation.0.store(true, Ordering::Release);
            self.input = None;
        }
        self.rows_left -= fitting;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        if fitting == 0 {
            return Ok(None);
        }
        let kept = batch.slice(0, usize::try_from(fitting).unwrap_or(usize::MAX));
        self.plain(&kept).map(Some)
    }

    fn plain(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| -> Result<ArrayRef> {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                Ok(cast(column, field.data_type())?)
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.collect::<Result<_>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn bytes_of(batch: &RecordBatch) -> u64 {
    let of_column = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()) as u64
    };
    batch.columns().iter().map(of_column).sum()
}

impl Stream for Capped {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let this = self.as_mut().get_mut();
            let Some(input) = this.input.as_mut() else { return Poll::Ready(None) };
            if this.deadline.as_mut().poll(context).is_ready() {
                this.input = None;
                let late = SqlError::Deadline(this.allowed.as_millis());
                return Poll::Ready(Some(Err(DataFusionError::from(late))));
            }
            match input.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    this.input = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.input = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                Poll::Ready(Some(Ok(batch))) => match this.fit(&batch).transpose() {
                    Some(fitting) => return Poll::Ready(Some(fitting)),
                    None => return Poll::Ready(None),
                },
            }
        }
    }
}

impl RecordBatchStream for Capped {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

//! Service `Query`: SQL in, one Arrow IPC stream out. Dropping the answer ends the query.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use atalaya_archive::Feed;
use atalaya_bus::Stream as BusStream;
use atalaya_proto::query_v1 as wire;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Places};
use crate::config::Config;
use crate::ipc::Pieces;
use crate::ledger::{FloorView, Ledger};
use crate::lookup::{positions, unavailable};
use crate::sql::{QueryLimits, SqlEngine, SqlError, TablePositions, Truncation};
use crate::telemetry;

/// Column of an explanation.
const PLAN_COLUMN: &str = "plan";

/// The service.
pub(crate) struct Queries {
    engine: SqlEngine,
    ledger: Ledger,
    places: Places,
    config: Config,
}

#[tonic::async_trait]
impl wire::query_server::Query for Queries {
    type SqlStream = Pin<Box<dyn Stream<Item = Result<wire::SqlResponse, Status>> + Send>>;

    async fn sql(&self, request: Request<wire::SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let caller = Caller::of(&request)?;
        let place = self.places.take()?;
        let request = request.into_inner();
        let limits = self.limits(&request);
        let answer = if request.explain {
            let plan =
                self.engine.explain(&caller.tenant, &request.sql, limits).await.map_err(|error| status(&error))?;
            explanation(&plan, place)?
        } else {
            // The floors come before the snapshots: what is at or below them is in the tables.
            let floors = self.ledger.floors().await.map_err(|error| unavailable("floors", &error))?;
            let answer =
                self.engine.query(&caller.tenant, &request.sql, limits).await.map_err(|error| status(&error))?;
            let positions = covered(&floors, &answer.positions);
            Answer::new(&answer.schema, answer.stream, positions, answer.truncation, place)?
        };
        Ok(Response::new(Box::pin(answer.messages())))
    }
}

impl Queries {
    pub(crate) fn new(engine: SqlEngine, ledger: Ledger, config: Config) -> Self {
        Self { engine, ledger, places: Places::new("statements", config.max_queries), config }
    }

    fn limits(&self, request: &wire::SqlRequest) -> QueryLimits {
        let config = &self.config;
        let deadline_ms = if request.deadline_ms == 0 { config.sql_deadline_ms } else { request.deadline_ms };
        let rows = if request.max_rows == 0 { config.sql_rows } else { request.max_rows };
        QueryLimits {
            deadline: Duration::from_millis(deadline_ms.min(config.sql_max_deadline_ms).into()),
            max_rows: rows.min(config.sql_max_rows),
            max_bytes: config.sql_max_bytes,
        }
    }
}

/// For each partition the message up to which every table of the answer has what it will ever have: its own newest one,
/// or the archive's floor where that is further, since a rare class has old ones.
fn covered(floors: &FloorView, tables: &[TablePositions]) -> Vec<wire::PartitionPosition> {
    let mut covered = positions(floors, BusStream::Evt, "archive");
    let newest = |table: &TablePositions, position: &wire::PartitionPosition| {
        let of_partition = table.positions.iter().filter(|covered| {
            covered.scope.feed == Feed::Evt
                && u32::from(covered.scope.partition) == position.partition
                && covered.scope.incarnation == position.incarnation
        });
        of_partition.map(|covered| covered.sequence).max().unwrap_or(0).max(position.sequence)
    };
    for position in &mut covered {
        position.sequence = tables.iter().map(|table| newest(table, position)).min().unwrap_or(position.sequence);
    }
    covered
}

/// A plan's text, a line a row.
fn explanation(plan: &str, place: OwnedSemaphorePermit) -> Result<Answer, Status> {
    let schema = Arc::new(Schema::new(vec![Field::new(PLAN_COLUMN, DataType::Utf8, false)]));
    let lines = Arc::new(StringArray::from(plan.lines().collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![lines]).map_err(|error| not_written(&error))?;
    let stream = futures::stream::iter([Ok(batch)]);
    let stream = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(Arc::clone(&schema), stream);
    Answer::new(&schema, Box::pin(stream), Vec::new(), Truncation::default(), place)
}

/// An answer on its way to the caller, who sets the pace.
struct Answer {
    pieces: Pieces,
    batches: Option<SendableRecordBatchStream>,
    positions: Vec<wire::PartitionPosition>,
    truncation: Truncation,
    _place: OwnedSemaphorePermit,
}

impl Answer {
    fn new(
        schema: &SchemaRef,
        batches: SendableRecordBatchStream,
        positions: Vec<wire::PartitionPosition>,
        truncation: Truncation,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let pieces = Pieces::new(schema).map_err(|error| not_written(&error))?;
        Ok(Self { pieces, batches: Some(batches), positions, truncation, _place: place })
    }

    fn messages(self) -> impl Stream<Item = Result<wire::SqlResponse, Status>> + Send {
        futures::stream::unfold(Some(self), |answer| async move {
            let mut answer = answer?;
            match answer.next().await {
                Ok(message) => message.map(|message| (Ok(message), Some(answer))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<wire::SqlResponse>, Status> {
        while !self.pieces.is_ready() {
            let Some(batches) = &mut self.batches else { return Ok(None) };
            match batches.next().await {
                Some(Ok(batch)) => self.pieces.add(&batch).map_err(|error| not_written(&error))?,
                Some(Err(error)) => return Err(status(&SqlError::from(error))),
                None => {
                    self.batches = None;
                    self.pieces.finish().map_err(|error| not_written(&error))?;
                }
            }
        }
        let ipc = self.pieces.take().unwrap_or_default();
        let last = self.batches.is_none() && !self.pieces.is_ready();
        Ok(Some(wire::SqlResponse {
            ipc,
            truncated: last && self.truncation.happened(),
            positions: std::mem::take(&mut self.positions),
        }))
    }
}

fn not_written(error: &ArrowError) -> Status {
    telemetry::failed_behind("answer", error);
    Status::internal("the answer cannot be written: see the gateway's log")
}

fn status(error: &SqlError) -> Status {
    match error {
        SqlError::Refused(reason) => Status::invalid_argument(reason.clone()),
        SqlError::Deadline(_) => Status::deadline_exceeded(error.to_string()),
        SqlError::Busy(_) | SqlError::Resources(_) => Status::resource_exhausted(error.to_string()),
        SqlError::Archive(_) => unavailable("archive", error),
        SqlError::Internal(_) => {
            telemetry::failed_behind("query", error);
            Status::internal("the query failed: see the gateway's log")
        }
    }
}

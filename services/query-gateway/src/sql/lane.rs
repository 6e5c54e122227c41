//! Threads of their own for queries: what they compute holds up nothing else in the process.
//!
//! There are as many threads as all queries together can keep busy, whatever the machine has: some of what DataFusion
//! computes gives way only after seconds, and then it is the operating system that lets the others have their share.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::interrupt::Interrupt;
use super::{Limits, SqlError};

/// Threads for queries at most.
const MAX_THREADS: usize = 256;

/// Batches computed ahead of the reader.
const MAX_BATCHES_AHEAD: usize = 2;

/// A runtime for queries alone.
pub(crate) struct Lane {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

impl Lane {
    pub(crate) fn new(limits: &Limits) -> Result<Self, SqlError> {
        let threads = limits.partitions.max(1).saturating_mul(limits.concurrent.max(1)).min(MAX_THREADS);
        let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name("sql").enable_all().build();
        Ok(Self { runtime: Some(runtime.map_err(|error| SqlError::Internal(error.to_string()))?) })
    }

    /// Starts a plan.
    pub(crate) fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        interrupt: Arc<Interrupt>,
    ) -> Result<Running, SqlError> {
        let gone = || SqlError::Internal("the engine is shutting down".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        let schema = plan.schema();
        let (sender, batches) = mpsc::channel(MAX_BATCHES_AHEAD);
        let task = runtime.spawn(async move {
            let mut stream = match execute_stream(plan, context) {
                Ok(stream) => stream,
                Err(error) => {
                    let _ = sender.send(Err(error)).await; // nobody reads any more if this fails
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Ok(Running { schema, batches, task: Some(AbortOnDropHandle::new(task)), interrupt })
    }
}

/// A runtime must not be waited for by one of its users.
impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A plan at work. Dropping it ends the work.
pub(crate) struct Running {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch>>,
    /// None once it is known how it ended.
    task: Option<AbortOnDropHandle<()>>,
    interrupt: Arc<Interrupt>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt.end();
    }
}

impl Stream for Running {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.batches.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(batch)) => Poll::Ready(Some(batch)),
            Poll::Ready(None) => {
                // No more batches: because that was all, or because the task broke down?
                let Some(task) = self.task.as_mut() else { return Poll::Ready(None) };
                match Pin::new(task).poll(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(ended) => {
                        self.task = None;
                        let broken = ended.err().map(|error| Err(SqlError::Internal(error.to_string()).into()));
                        Poll::Ready(broken)
                    }
                }
            }
        }
    }
}

impl RecordBatchStream for Running {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

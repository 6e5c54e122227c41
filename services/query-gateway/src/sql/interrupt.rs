//! Ends a query in the middle of a long computation that never gives way.
//!
//! A join with a condition that nothing fulfils compares one batch with all rows of the other side before it produces
//! or awaits anything: seconds to minutes in which neither a deadline nor an abort is heard. So the condition itself
//! asks, each time it is evaluated, whether anybody still wants to know.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use super::SqlError;

/// Whether a query should go on.
#[derive(Debug)]
pub(crate) struct Interrupt {
    unwanted: AtomicBool,
    deadline: Instant,
    allowed: Duration,
}

impl Interrupt {
    pub(crate) fn new(deadline: Instant, allowed: Duration) -> Self {
        Self { unwanted: AtomicBool::new(false), deadline, allowed }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn end(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.unwanted.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
            return Err(SqlError::Deadline(self.allowed.as_millis()).into());
        }
        Ok(())
    }
}

/// An expression that ends with an error once its query should not go on.
#[derive(Debug)]
pub(crate) struct Interruptible {
    inner: Arc<dyn PhysicalExpr>,
    interrupt: Arc<Interrupt>,
}

impl Interruptible {
    pub(crate) fn new(inner: Arc<dyn PhysicalExpr>, interrupt: Arc<Interrupt>) -> Self {
        Self { inner, interrupt }
    }
}

impl PartialEq for Interruptible {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Interruptible {}

impl Hash for Interruptible {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Interruptible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Interruptible {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.interrupt.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self::new(inner, Arc::clone(&self.interrupt))))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

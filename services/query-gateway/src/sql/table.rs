//! One class's table as one tenant sees it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use atalaya_archive::{TableSnapshot, table_schema};
use atalaya_model::{Class, Tenant};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType, col};
use datafusion::physical_expr::expressions::{Column, binary, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;

use super::scan::{Scan, widen};

const TENANT: &str = "tenant";

/// One version of one class's table, and whose rows of it may be seen. There is no way to make one without a tenant.
pub(crate) struct TenantTable {
    class: Class,
    tenant: Tenant,
    schema: SchemaRef,
    snapshot: Option<Arc<TableSnapshot>>,
}

impl fmt::Debug for TenantTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.class.name(), self.tenant)
    }
}

impl TenantTable {
    /// A class that has no table yet is an empty one.
    pub(crate) fn new(class: Class, tenant: Tenant, snapshot: Option<Arc<TableSnapshot>>) -> Self {
        Self { class, tenant, schema: sql_schema(class), snapshot }
    }

    fn tenant_value(&self) -> ScalarValue {
        ScalarValue::Utf8View(Some(self.tenant.as_str().to_owned()))
    }
}

/// A table's columns in SQL: texts and ids as views, which filters and joins compare without copying.
fn sql_schema(class: Class) -> SchemaRef {
    let stored = table_schema(class);
    let fields = stored.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::new(field.name(), DataType::Utf8View, field.is_nullable())),
        DataType::Binary => Arc::new(Field::new(field.name(), DataType::BinaryView, field.is_nullable())),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for TenantTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files and row groups are left out by them; rows are filtered by the plan above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    /// The scan, and above it a filter on the tenant: whatever is asked for, only the tenant's rows come out.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let own = col(TENANT).eq(Expr::Literal(self.tenant_value(), None));
        let filters: Vec<_> = std::iter::once(own).chain(filters.iter().cloned()).collect();
        let (columns, shown) = widen(projection, self.schema.fields().len(), self.schema.index_of(TENANT)?);
        let scan = Scan {
            schema: &self.schema,
            snapshot: self.snapshot.as_deref(),
            tenant: self.tenant.as_str(),
            filters: &filters,
        };
        let input = scan.plan(state, columns)?;
        let schema = input.schema();
        let tenant = Arc::new(Column::new(TENANT, schema.index_of(TENANT)?));
        let own = binary(tenant, Operator::Eq, lit(self.tenant_value()), &schema)?;
        let filter = FilterExecBuilder::new(own, input).apply_projection(Some(shown))?.build()?;
        Ok(Arc::new(filter))
    }
}

//! The engine: a session of the tenant's own for each query, planned apart, run within limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_archive::Archive;
use atalaya_model::Tenant;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::RecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::answer::Capped;
use super::catalog::{CATALOG, SCHEMA, TenantCatalog, TenantTables};
use super::cidr::CidrContains;
use super::cooperate::CooperativeJoins;
use super::guard::{check_plan, check_statement, check_text};
use super::interrupt::Interrupt;
use super::lane::Lane;
use super::resources::{query_runtime, shared_runtime};
use super::{Limits, QueryLimits, SqlAnswer, SqlError, TablePositions, Truncation};

/// Stack of the thread that plans: planners recurse, and a query may nest.
const PLANNING_STACK_BYTES: usize = 64 << 20;

/// Answers SQL for every tenant. Cheap to clone.
#[derive(Clone)]
pub struct SqlEngine {
    inner: Arc<Inner>,
}

struct Inner {
    archive: Archive,
    limits: Limits,
    shared: RuntimeEnv,
    /// Functions and rules, set up once; a session adds its catalog and its memory.
    template: SessionState,
    turns: Arc<Semaphore>,
    lane: Lane,
}

struct Planned {
    state: SessionState,
    logical: LogicalPlan,
    plan: Arc<dyn ExecutionPlan>,
    positions: Vec<TablePositions>,
}

impl SqlEngine {
    /// An engine over an archive.
    ///
    /// # Errors
    /// If the directory to spill to cannot be used.
    pub fn new(archive: Archive, limits: Limits) -> Result<Self, SqlError> {
        let shared = shared_runtime(archive.store(), &limits)?;
        let template = template(&limits);
        let turns = Arc::new(Semaphore::new(limits.concurrent.max(1)));
        let lane = Lane::new(&limits)?;
        Ok(Self { inner: Arc::new(Inner { archive, limits, shared, template, turns, lane }) })
    }

    /// Answers a query with the tenant's rows as of now.
    ///
    /// # Errors
    /// If the text is refused or wrong, the archive does not answer, or the deadline comes first.
    pub async fn query(&self, tenant: &Tenant, sql: &str, limits: QueryLimits) -> Result<SqlAnswer, SqlError> {
        let deadline = Instant::now() + limits.deadline;
        let turn = self.turn(deadline).await?;
        let interrupt = Arc::new(Interrupt::new(deadline.into_std(), limits.deadline));
        let planned = self.plan(tenant, sql, deadline, limits.deadline, Arc::clone(&interrupt)).await?;
        let Planned { state, plan, positions, .. } = planned;
        let running = self.inner.lane.run(Arc::clone(&plan), state.task_ctx(), interrupt)?;
        let truncation = Truncation::default();
        let stream = Capped::new(Box::pin(running), &limits, deadline, turn, truncation.clone());
        Ok(SqlAnswer { schema: stream.schema(), stream: Box::pin(stream), positions, truncation, plan })
    }

    /// How a query would be answered, as text: the plan, with the files and bytes it would read.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn explain(&self, tenant: &Tenant, sql: &str, limits: QueryLimits) -> Result<String, SqlError> {
        let deadline = Instant::now() + limits.deadline;
        let _turn = self.turn(deadline).await?;
        let interrupt = Arc::new(Interrupt::new(deadline.into_std(), limits.deadline));
        let planned = self.plan(tenant, sql, deadline, limits.deadline, interrupt).await?;
        let Planned { logical, plan, .. } = planned;
        let physical = displayable(plan.as_ref());
        Ok(format!("{}\n\n{}", logical.display_indent(), physical.indent(true)))
    }

    async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, SqlError> {
        let turns = Arc::clone(&self.inner.turns);
        let waited = tokio::time::timeout_at(deadline, turns.acquire_owned()).await;
        waited
            .map_err(|_| SqlError::Busy(self.inner.limits.concurrent))?
            .map_err(|error| SqlError::Internal(error.to_string()))
    }

    /// Plans on a thread with a stack of its own; a caller that goes away leaves it to end by itself.
    async fn plan(
        &self,
        tenant: &Tenant,
        sql: &str,
        deadline: Instant,
        allowed: Duration,
        interrupt: Arc<Interrupt>,
    ) -> Result<Planned, SqlError> {
        check_text(sql)?;
        let (sender, receiver) = oneshot::channel();
        let (inner, tenant, sql) = (Arc::clone(&self.inner), tenant.clone(), sql.to_owned());
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            // Nobody waits any more if this fails.
            let _ = sender.send(runtime.block_on(inner.plan(tenant, &sql, interrupt)));
        };
        let thread = std::thread::Builder::new().name("sql-plan".to_owned()).stack_size(PLANNING_STACK_BYTES);
        thread.spawn(work).map_err(|error| SqlError::Internal(error.to_string()))?;
        let planned = tokio::time::timeout_at(deadline, receiver).await;
        planned
            .map_err(|_| SqlError::Deadline(allowed.as_millis()))?
            .map_err(|_| SqlError::Internal("the planner gave up".to_owned()))?
    }
}

impl Inner {
    async fn plan(&self, tenant: Tenant, sql: &str, interrupt: Arc<Interrupt>) -> Result<Planned, SqlError> {
        let tables = Arc::new(TenantTables::new(self.archive.clone(), tenant));
        let state = self.session(Arc::clone(&tables), interrupt)?;
        let dialect = state.config_options().sql_parser.dialect;
        let statement = state.sql_to_statement(sql, &dialect)?;
        check_statement(&statement)?;
        let plan = state.statement_to_plan(statement).await?;
        check_plan(&plan)?;
        let logical = state.optimize(&plan)?;
        let plan = state.query_planner().create_physical_plan(&logical, &state).await?;
        Ok(Planned { positions: tables.positions(), state, logical, plan })
    }

    fn session(&self, tables: Arc<TenantTables>, interrupt: Arc<Interrupt>) -> Result<SessionState, SqlError> {
        let runtime = query_runtime(&self.shared, &self.limits)?;
        let session = SessionStateBuilder::new_from_existing(self.template.clone())
            .with_catalog_list(Arc::new(TenantCatalog::new(tables)))
            .with_runtime_env(runtime)
            .with_physical_optimizer_rule(Arc::new(CooperativeJoins::new(interrupt)))
            .build();
        Ok(session)
    }
}

/// Functions and rules, and nothing that reads or writes files by name.
fn template(limits: &Limits) -> SessionState {
    let mut options = ConfigOptions::new();
    options.catalog.create_default_catalog_and_schema = false;
    options.catalog.default_catalog = CATALOG.to_owned();
    options.catalog.default_schema = SCHEMA.to_owned();
    options.catalog.information_schema = false; // the catalog has its own, smaller one
    options.execution.target_partitions = limits.partitions.max(1);
    let nowhere = Arc::new(datafusion::catalog::EmptyCatalogProviderList);
    let mut builder = SessionStateBuilder::new()
        .with_config(SessionConfig::from(options))
        .with_catalog_list(nowhere)
        .with_default_features()
        .with_file_formats(Vec::new())
        .with_table_factories(HashMap::new());
    let cidr_contains = Arc::new(ScalarUDF::from(CidrContains::default()));
    builder.scalar_functions().get_or_insert_with(Vec::new).push(cidr_contains);
    builder.build()
}

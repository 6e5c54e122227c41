//! Makes joins give way.
//!
//! A join with a large output produces batch after batch from what it holds in memory, without ever waiting for
//! anything: one of them stops every task of its thread, timers and cancellation included (DataFusion issue 19358).
//! Behind the stock cooperative node it gives way after a bounded number of batches; one whose condition lets nothing
//! through is ended by the condition ([`super::interrupt`]).

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};

use super::interrupt::{Interrupt, Interruptible};

/// Wraps every join in a [`CooperativeExec`], and its condition so that it ends with the query. The last of the
/// physical rules.
#[derive(Debug)]
pub(crate) struct CooperativeJoins {
    interrupt: Arc<Interrupt>,
}

fn is_join(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<CrossJoinExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<SymmetricHashJoinExec>()
}

impl CooperativeJoins {
    pub(crate) fn new(interrupt: Arc<Interrupt>) -> Self {
        Self { interrupt }
    }

    fn wrap(&self, join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(CooperativeExec::new(self.with_interruptible_condition(join)?)))
    }

    fn with_interruptible_condition(&self, join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(nested) = join.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = nested.filter()
        {
            let filter = self.interruptible(filter);
            return Ok(Arc::new(NestedLoopJoinExecBuilder::from(nested).with_filter(Some(filter)).build()?));
        }
        if let Some(hash) = join.downcast_ref::<HashJoinExec>()
            && let Some(filter) = hash.filter()
        {
            return hash.builder().with_filter(Some(self.interruptible(filter))).build_exec();
        }
        Ok(join)
    }

    fn interruptible(&self, filter: &JoinFilter) -> JoinFilter {
        let condition = Interruptible::new(Arc::clone(filter.expression()), Arc::clone(&self.interrupt));
        JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

impl PhysicalOptimizerRule for CooperativeJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if is_join(node.as_ref()) { self.wrap(node).map(Transformed::yes) } else { Ok(Transformed::no(node)) }
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "cooperative_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

//! From a table's file list to a plain Parquet scan.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use atalaya_archive::{DataFile, TableSnapshot, partition_fields};
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, utils::conjunction};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;

use super::resources::archive_url;
use super::statistics::{FileStatistics, of_file, of_scan, partition_values};

/// Files of a scan that carry statistics of their own; beyond that they would cost more memory than they save work.
const MAX_FILES_WITH_STATISTICS: usize = 1_000;

/// Groups of ordered files for each thread of a query: more would cost more than a sort.
const MAX_ORDERED_GROUPS_PER_PARTITION: usize = 2;

/// A scan of one version of a table.
pub(crate) struct Scan<'a> {
    /// The table's columns, partition columns last.
    pub(crate) schema: &'a SchemaRef,
    /// The version; none if the table was never written to.
    pub(crate) snapshot: Option<&'a TableSnapshot>,
    /// The only tenant whose rows may come out: rows of others may still come out of the scan and must be filtered.
    pub(crate) tenant: &'a str,
    /// What rows must fulfil, the tenant included.
    pub(crate) filters: &'a [Expr],
}

impl Scan<'_> {
    /// Columns by index in, a plan out. Files and parts of files that cannot hold a row are left out.
    pub(crate) fn plan(&self, state: &dyn Session, projection: Vec<usize>) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = self.predicate(state);
        let files = self.files(predicate.as_ref());
        let partition_columns = partition_fields().len();
        let stored = self.schema.fields().len() - partition_columns;
        let file_schema: SchemaRef = Arc::new(self.schema.project(&(0..stored).collect::<Vec<_>>())?);
        let partitions = self.schema.fields()[stored..].to_vec();
        let table_schema = TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(partitions).build();

        let url = archive_url()?;
        let store = state.runtime_env().object_store(&url)?;
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        // The planner pushes the filters above into the source, where they leave out row groups and pages.
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)));
        let orderings = self.orderings(&files)?;
        let groups = self.groups(&files, &file_schema, &orderings, state.config().target_partitions())?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(of_scan(&files, self.schema))
            .with_output_ordering(orderings)
            .with_projection_indices(Some(projection))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// The filters that can be evaluated here, as one; those that cannot are left to the plan above.
    fn predicate(&self, state: &dyn Session) -> Option<Arc<dyn PhysicalExpr>> {
        let schema = DFSchema::try_from(Arc::clone(self.schema)).ok()?;
        let usable = |filter: &&Expr| state.create_physical_expr((*filter).clone(), &schema).is_ok();
        let all = conjunction(self.filters.iter().filter(usable).cloned())?;
        state.create_physical_expr(all, &schema).ok()
    }

    /// The files that may hold a row, oldest first.
    fn files(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Arc<DataFile>> {
        let Some(snapshot) = self.snapshot else { return Vec::new() };
        let mut files = snapshot.files.as_ref().clone();
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(self.schema));
        let pruning = predicate.and_then(|predicate| builder.build(Arc::clone(predicate)));
        if let Some(pruning) = pruning {
            let statistics = FileStatistics { files: &snapshot.files, schema: self.schema };
            if let Ok(kept) = pruning.prune(&statistics) {
                let mut kept = kept.into_iter();
                files.retain(|_| kept.next().unwrap_or(true));
            }
        }
        files.sort_by_key(|file| file.time_range());
        files
    }

    /// The orders every one of the files is sorted by. DataFusion compares them with the files' statistics and uses
    /// only what holds across files too.
    fn orderings(&self, files: &[Arc<DataFile>]) -> Result<Vec<LexOrdering>> {
        let sorted_by = |columns: &[&str]| -> Result<Option<LexOrdering>> {
            let expressions =
                columns.iter().map(|name| Ok(PhysicalSortExpr::new_default(col(name, self.schema)?).nulls_last()));
            Ok(LexOrdering::new(expressions.collect::<Result<Vec<_>>>()?))
        };
        let is_own = |file: &Arc<DataFile>| {
            let tenants = file.range("tenant");
            let bound =
                |bound: &Option<atalaya_archive::Bound>| bound.as_ref().and_then(|b| b.as_text()) == Some(self.tenant);
            tenants.is_some_and(|range| bound(&range.min) && bound(&range.max) && range.nulls == Some(0))
        };
        let by_time = files.iter().all(is_own);
        let orders: [Option<&[&str]>; 2] = [by_time.then_some(&["time"]), Some(&["tenant", "time"])];
        let orders = orders.into_iter().flatten().map(sorted_by);
        Ok(orders.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// The files, divided among a query's threads: such that time runs on within each group if few groups are enough.
    fn groups(
        &self,
        files: &[Arc<DataFile>],
        file_schema: &SchemaRef,
        orderings: &[LexOrdering],
        partitions: usize,
    ) -> Result<Vec<FileGroup>> {
        let with_statistics = files.len() <= MAX_FILES_WITH_STATISTICS;
        let file = |file: &Arc<DataFile>| {
            let mut found =
                PartitionedFile::new(String::new(), file.bytes).with_partition_values(partition_values(file));
            found.object_meta.location = file.path.clone();
            if with_statistics { found.with_statistics(Arc::new(of_file(file, file_schema))) } else { found }
        };
        let all = FileGroup::new(files.iter().map(file).collect());
        if with_statistics && let [by_time, _] = orderings {
            let groups = FileScanConfig::split_groups_by_statistics_with_target_partitions(
                self.schema,
                std::slice::from_ref(&all),
                by_time,
                partitions,
            )?;
            if groups.len() <= partitions * MAX_ORDERED_GROUPS_PER_PARTITION {
                return Ok(groups);
            }
        }
        Ok(all.split_files(partitions))
    }
}

/// Columns asked for and those of `needed`, and where each of those asked for stands in the result.
pub(crate) fn widen(asked: Option<&Vec<usize>>, columns: usize, needed: usize) -> (Vec<usize>, Vec<usize>) {
    let asked: Vec<usize> = asked.map_or_else(|| (0..columns).collect(), Clone::clone);
    let mut seen = HashSet::new();
    let widened: Vec<usize> = asked.iter().copied().chain([needed]).filter(|&column| seen.insert(column)).collect();
    let at = |column: &usize| widened.iter().position(|known| known == column).unwrap_or_default();
    let places = asked.iter().map(at).collect();
    (widened, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_needed_column_is_read_once_and_not_shown() {
        assert_eq!(widen(Some(&vec![4, 2]), 9, 1), (vec![4, 2, 1], vec![0, 1]));
        assert_eq!(widen(Some(&vec![1, 4]), 9, 1), (vec![1, 4], vec![0, 1]));
        assert_eq!(widen(Some(&vec![]), 9, 1), (vec![1], vec![]));
        assert_eq!(widen(None, 3, 1), (vec![0, 1, 2], vec![0, 1, 2]));
    }
}

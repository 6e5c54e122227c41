//! What is read: files, row groups and columns that cannot matter are not.

use std::sync::Arc;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::TryStreamExt;

use super::world::{DAYS, FILES_PER_DAY, World};

fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<FileScanConfig> {
    let own =
        plan.downcast_ref::<DataSourceExec>().and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
    let below = plan.children().into_iter().flat_map(scans);
    own.into_iter().cloned().chain(below).collect()
}

/// Files that a query would open, columns it would read.
async fn planned(world: &World, name: &str, sql: &str) -> (usize, usize) {
    let answer = world.ask(name, sql).await.unwrap();
    let scans = scans(&answer.plan);
    let files = scans.iter().flat_map(|scan| &scan.file_groups).map(|group| group.len()).sum();
    let columns = scans.iter().map(|scan| scan.projected_schema().unwrap().fields().len()).sum();
    (files, columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_hold_a_row_are_not_opened() {
    let world = World::new().await;
    let all = usize::try_from(DAYS * FILES_PER_DAY).unwrap();
    let table = "select count(*) from dns_activity where";
    for (name, condition, files) in [
        ("acme", "true", all),
        ("globex", "true", all / 2),
        ("nobody", "true", 0),
        ("zzz", "true", 0),
        ("acme", "day = '2026-11-25'", all / 3),
        ("acme", "day > '2026-11-24'", 2 * all / 3),
        ("acme", "time >= '2026-11-26T18:00:00Z'", 1),
        ("acme", "time > '2027-01-01'", 0),
        ("acme", "evt_seq <= 2", 2),
        ("acme", "evt_seq = 5 or evt_seq = 7", 2),
        ("globex", "day = '2026-11-25' and time < '2026-11-25T18:00:00Z'", 1),
    ] {
        let (found, _) = planned(&world, name, &format!("{table} {condition}")).await;
        assert_eq!(found, files, "{name}: {condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_columns_asked_for_are_read() {
    let world = World::new().await;
    for (sql, columns) in [
        ("select count(*) from dns_activity", 1),
        ("select query from dns_activity", 2),
        ("select tenant, query from dns_activity where src_port = 53", 3),
    ] {
        assert_eq!(planned(&world, "acme", sql).await.1, columns, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bloom_filters_and_row_groups_save_reading() {
    let world = World::new().await;
    // Between the smallest and the largest name, but not there: only the Bloom filter knows.
    let sql = "select count(*) from dns_activity where query = 'host3.example.con'";
    let answer = world.ask("acme", sql).await.unwrap();
    let plan = Arc::clone(&answer.plan);
    let batches: Vec<_> = answer.stream.try_collect().await.unwrap();
    assert_eq!(super::world::texts(&batches), [["0"]]);
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(plan_metrics(&plan, "row_groups_pruned_bloom_filter") > 0, "{shown}");
}

/// Pruning metrics have a pruned and a matched part.
fn plan_metrics(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let own = plan.metrics().into_iter().flat_map(|metrics| {
        let of_name = metrics.iter().filter(|metric| metric.value().name() == name);
        of_name.map(|metric| metric.value().to_string()).collect::<Vec<_>>()
    });
    let pruned = own.filter(|text| !text.contains(" 0 pruned") && !text.is_empty()).count();
    pruned + plan.children().into_iter().map(|child| plan_metrics(child, name)).sum::<usize>()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_order_need_no_sort() {
    let world = World::new().await;
    let acme = super::world::tenant("acme");
    let explained = async |sql| world.engine.explain(&acme, sql, crate::sql::QueryLimits::default()).await.unwrap();
    let plan = explained("select time from dns_activity where time < '2026-11-24T12:00:00Z' order by time").await;
    assert!(plan.contains("output_orderings=[") && !plan.contains("SortExec"), "{plan}");
    let mixed = explained("select time from dns_activity order by time").await;
    assert!(mixed.contains("SortExec"), "files with rows of others are not in order of time: {mixed}");
}

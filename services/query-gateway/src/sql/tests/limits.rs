//! Deadlines, caps, cancellation, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt};

use super::world::{World, tenant};
use crate::sql::{Limits, QueryLimits, SqlError};

/// 10¹¹ pairs: would run for hours.
const ENDLESS: &str = "select count(*) from generate_series(1, 400000) a cross join generate_series(1, 400000) b \
                       where a.value + b.value < 0";

/// The same without a condition.
const CROSS: &str =
    "select sum(a.value % b.value) from generate_series(1, 400000) a cross join generate_series(1, 400000) b";

/// The same with a hash join of great fan-out.
const FAN_OUT: &str = "select sum(a.value * b.value) from (select value, value % 2 k from generate_series(1, 400000)) a \
                       join (select value, value % 2 k from generate_series(1, 400000)) b on a.k = b.k";

/// Great fan-out of which a condition lets nothing through: no batch ever comes out.
const BARREN: &str = "select count(*) from (select value, value % 2 k from generate_series(1, 400000)) a \
                      join (select value, value % 2 k from generate_series(1, 400000)) b \
                      on a.k = b.k and a.value + b.value < 0";

fn limits(deadline_ms: u64) -> QueryLimits {
    QueryLimits { deadline: Duration::from_millis(deadline_ms), ..QueryLimits::default() }
}

/// Milliseconds the slowest of many short sleeps took too long, kept up to date until dropped.
struct Ticker {
    worst_ms: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Ticker {
    fn start() -> Self {
        let worst_ms = Arc::new(AtomicU64::new(0));
        let worst = Arc::clone(&worst_ms);
        let task = tokio::spawn(async move {
            loop {
                let before = Instant::now();
                tokio::time::sleep(Duration::from_millis(10)).await;
                let late = before.elapsed().saturating_sub(Duration::from_millis(10));
                worst.fetch_max(u64::try_from(late.as_millis()).unwrap(), Ordering::Relaxed);
            }
        });
        Self { worst_ms, task }
    }

    fn stop(self) -> u64 {
        self.task.abort();
        self.worst_ms.load(Ordering::Relaxed)
    }
}

fn names(plan: &Arc<dyn ExecutionPlan>) -> Vec<&str> {
    std::iter::once(plan.name()).chain(plan.children().into_iter().flat_map(names)).collect()
}

/// Without the rule such a join stops a runtime of two threads for good, timers and all. Here neither the caller's
/// runtime stops nor that of the queries: another query is answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_join_ends_at_its_deadline_and_others_go_on() {
    let world = World::new().await;
    for (sql, join) in
        [(ENDLESS, "NestedLoopJoinExec"), (CROSS, "CrossJoinExec"), (FAN_OUT, "HashJoinExec"), (BARREN, "HashJoinExec")]
    {
        let ticker = Ticker::start();
        let started = Instant::now();
        let answer = world.engine.query(&tenant("acme"), sql, limits(1_500)).await.unwrap();
        let plan = names(&answer.plan).join(" ");
        assert!(plan.contains(&format!("CooperativeExec {join}")), "{plan}");
        let collected = tokio::spawn(answer.stream.try_collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.rows("acme", "select count(*) > 0 from dns_activity").await.unwrap(), [["true"]]);
        assert!(!collected.is_finished(), "{sql} was still at work");
        let error = collected.await.unwrap().unwrap_err();
        assert!(matches!(SqlError::from(error), SqlError::Deadline(1_500)), "{sql}");
        assert!(started.elapsed() < Duration::from_secs(4), "{sql}: {:?}", started.elapsed());
        let late_ms = ticker.stop();
        assert!(late_ms < 1_000, "{sql}: a timer was {late_ms} ms late");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_stops_the_work_and_frees_its_turn() {
    let world = World::with_limits(Limits { concurrent: 1, partitions: 2, ..Limits::default() }).await;
    let mut answer = world.engine.query(&tenant("acme"), ENDLESS, limits(60_000)).await.unwrap();
    let running = tokio::time::timeout(Duration::from_millis(500), answer.stream.next()).await;
    assert!(running.is_err(), "it is at work");
    let busy = world.engine.query(&tenant("acme"), "select 1", limits(200)).await;
    assert!(matches!(busy, Err(SqlError::Busy(1))), "{busy:?}");
    drop(answer);
    let started = Instant::now();
    assert_eq!(world.rows("acme", "select 1").await.unwrap(), [["1"]]);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_bytes_are_capped_and_it_is_said() {
    let world = World::new().await;
    let all = world.of("acme").len();
    for (max_rows, rows, cut) in
        [(10, 10, true), (all as u64, all, false), (all as u64 - 1, all - 1, true), (0, 0, true)]
    {
        let limits = QueryLimits { max_rows, ..QueryLimits::default() };
        let answer = world.engine.query(&tenant("acme"), "select * from dns_activity", limits).await.unwrap();
        let truncation = answer.truncation.clone();
        let batches: Vec<_> = answer.stream.try_collect().await.unwrap();
        assert_eq!(
            (batches.iter().map(|b| b.num_rows()).sum::<usize>(), truncation.happened()),
            (rows, cut),
            "{max_rows}"
        );
    }
    let limits = QueryLimits { max_bytes: 2_000, ..QueryLimits::default() };
    let answer = world.engine.query(&tenant("acme"), "select query from dns_activity", limits).await.unwrap();
    let truncation = answer.truncation.clone();
    let batches: Vec<_> = answer.stream.try_collect().await.unwrap();
    let rows = batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
    assert!(rows > 0 && rows < all && truncation.happened(), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_spills_or_ends_alone() {
    let limits = Limits { memory_bytes: 24 << 20, partitions: 2, ..Limits::default() };
    let world = World::with_limits(limits).await;
    let sorted = "select max(v) from (select value v, repeat('x', 40) || value t from generate_series(1, 600000) order by t desc, v) ";
    assert_eq!(world.rows("acme", sorted).await.unwrap(), [["600000"]], "sorts spill");
    let hashed = "select count(*) from (select value, repeat('x', 100) || value t from generate_series(1, 600000)) a \
                  join (select value, repeat('x', 100) || value t from generate_series(1, 600000)) b on a.t = b.t";
    let answer = world.rows("acme", hashed).await;
    assert!(matches!(answer, Err(SqlError::Resources(_))), "{answer:?}");
    assert_eq!(world.rows("acme", "select count(*) > 0 from dns_activity").await.unwrap(), [["true"]]);
}

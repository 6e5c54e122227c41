//! SQL: an Arrow stream of the tenant's own rows, within limits.

use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use atalaya_bus::Stream;
use atalaya_model::Books;
use atalaya_proto::query_v1::query_client::QueryClient;
use atalaya_proto::query_v1::{PartitionPosition, SqlRequest};
use atalaya_query_gateway::Config;
use tonic::Code;

use crate::world::{Door, World};

struct Answer {
    batches: Vec<RecordBatch>,
    truncated: bool,
    positions: Vec<PartitionPosition>,
}

impl Answer {
    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn number(&self) -> i64 {
        self.batches[0].column(0).as_primitive::<Int64Type>().value(0)
    }
}

async fn ask(door: Door, request: SqlRequest) -> Result<Answer, tonic::Status> {
    let mut stream = QueryClient::new(door).sql(request).await?.into_inner();
    let (mut ipc, mut truncated, mut positions) = (Vec::new(), false, Vec::new());
    while let Some(piece) = stream.message().await? {
        assert!(!truncated, "only the last message says so");
        ipc.extend(piece.ipc);
        truncated = piece.truncated;
        positions.extend(piece.positions);
    }
    let reader = StreamReader::try_new(ipc.as_slice(), None).unwrap();
    Ok(Answer { batches: reader.map(|batch| batch.unwrap()).collect(), truncated, positions })
}

fn sql(sql: &str) -> SqlRequest {
    SqlRequest { sql: sql.into(), ..SqlRequest::default() }
}

async fn archived() -> World {
    let world = World::new().await;
    let rows: Vec<_> = (0..500).flat_map(|row| [("acme", "10.0.0.1", row), ("globex", "10.9.9.9", row)]).collect();
    world.file_events(7, &rows[..600]).await;
    world.file_events(9, &rows[600..]).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_tenants_own() {
    let world = archived().await;
    world.floor(Stream::Evt, "archive", 12, Books::default()).await;
    let running = world.start().await;
    let count = sql("select count(*) from dns_activity");
    for door in [running.as_acme(), running.as_globex()] {
        assert_eq!(ask(door, count.clone()).await.unwrap().number(), 500);
    }
    let theirs = sql("select * from dns_activity where tenant = 'globex' or src_ip = '10.9.9.9'");
    assert_eq!(ask(running.as_acme(), theirs).await.unwrap().rows(), 0);
    let answer = ask(running.as_acme(), sql("select time, query from dns_activity order by time desc")).await.unwrap();
    assert_eq!((answer.rows(), answer.truncated), (500, false));
    assert_eq!((answer.positions[0].partition, answer.positions[0].sequence), (3, 12), "the floor is further");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_cut_and_say_so() {
    let world = archived().await;
    let running = world.start().await;
    let all = SqlRequest { max_rows: 30, ..sql("select * from dns_activity") };
    let answer = ask(running.as_acme(), all).await.unwrap();
    assert_eq!((answer.rows(), answer.truncated), (30, true));
    let plan = SqlRequest { explain: true, ..sql("select count(*) from dns_activity") };
    let plan = ask(running.as_acme(), plan).await.unwrap();
    assert!(plan.rows() > 1 && plan.batches[0].schema().field(0).name() == "plan");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_statements_are_refused() {
    let world = archived().await;
    let running = world.start().await;
    for wrong in ["", "select nothing from nowhere", "drop table dns_activity", "select 1; select 2"] {
        let status = ask(running.as_acme(), sql(wrong)).await.map(|answer| answer.rows()).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{wrong}: {status:?}");
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_query_and_frees_its_place() {
    let world = archived().await;
    let running = world.start_with(Config { max_queries: 1, ..Config::default() }).await;
    let endless = "select count(*) from dns_activity a, dns_activity b, dns_activity c, dns_activity d \
                   where a.time <> b.time and b.src_ip <> c.query and c.time <> d.time";
    let begun = Instant::now();
    let late = SqlRequest { deadline_ms: 500, ..sql(endless) };
    let status = ask(running.as_acme(), late).await.map(|answer| answer.rows()).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Dropped in the middle: its place is free again.
    let mut client = QueryClient::new(running.as_acme());
    let answer = client.sql(sql(endless)).await.unwrap().into_inner();
    let busy = ask(running.as_acme(), sql("select 1")).await.map(|answer| answer.rows()).unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted, "{busy:?}");
    drop(answer);
    crate::world::eventually("the place", || async {
        ask(running.as_acme(), sql("select count(*) from dns_activity")).await.is_ok()
    })
    .await;
    running.drain().await;
}

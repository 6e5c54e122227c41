//! An embedded hot store as the first version left it is read, row by row, and goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use atalaya_hot::embedded::{Embedded, Options};
use atalaya_hot::{AlertQuery, AlertRow, AlertStatus, Comment, FiledMessage, Hit, Hot, Lookup, LookupKind};
use atalaya_model::{Action, ActionKind, Alert, AlertId, AlertState, Class, EventId, Level};
use atalaya_schema::{EventBatch, col, row_json};
use tempfile::TempDir;

/// A store of version 1: rows of every class, alerts, and what was done to one. It may never change.
const STORE: &str = "embedded-v1.tar.gz";

/// The RAW message that every row came in.
const RAW_ID: &str = "c1-0.1795500000123.42";

const RECEIVED_US: i64 = 1_795_500_001_000_001;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name)
}

/// The rows that `shared/schema` keeps of version 1: two tenants in each class, every column filled. There an event has
/// one id in all classes, here each its own.
fn events(class: Class) -> EventBatch {
    let name = format!("../schema/tests/golden/evt-v1-{}.bin", class.name());
    let body = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name));
    let kept = EventBatch::decode(&body.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap();
    let ids = (0..kept.rows.num_rows()).map(|at| EventId::of("golden", &[class.name().as_bytes(), &at.to_le_bytes()]));
    let mut columns = kept.rows.columns().to_vec();
    columns[col::EVENT_ID] = Arc::new(BinaryArray::from_iter_values(ids.map(|id| *id.as_bytes())));
    EventBatch::new(class, RecordBatch::try_new(kept.rows.schema(), columns).unwrap()).unwrap()
}

fn messages() -> Vec<FiledMessage> {
    let of = |(class, sequence): (Class, u64)| {
        let batch = events(class);
        FiledMessage {
            partition: 14,
            sequence,
            id: format!("{RAW_ID}/14/{}/0", class.name()),
            raw_id: RAW_ID.into(),
            received_time_us: RECEIVED_US,
            body: batch.encode(),
            batch: Arc::new(batch),
        }
    };
    Class::ALL.into_iter().zip(1..).map(of).collect()
}

fn alert() -> Alert {
    Alert {
        id: AlertId::from_slice(&[0xa1; 16]).unwrap(),
        version: 3,
        state: AlertState::Updated,
        tenant: "acme".parse().unwrap(),
        domain: "live".into(),
        rule_id: "network-port-scan".into(),
        rule_rev: "0f1e2d3c".into(),
        rule_author: "Jane Doe".into(),
        title: "Port scan".into(),
        level: Level::High,
        group_key: "src_ip=10.0.0.1".into(),
        entities: vec![("src_ip".into(), "10.0.0.1".into())],
        time_us: 1_795_500_000_000_007,
        window_start_us: 1_795_499_990_000_001,
        window_end_us: 1_795_500_000_000_007,
        received_time_us: RECEIVED_US,
        event_count: 100,
        evidence: vec![EventId::of("golden", &[b"first"]), EventId::of("golden", &[b"last"])],
        attack_ids: vec!["T1046".into()],
        observed: 100.5,
        threshold: 100.0,
        message: "10.0.0.1 tried 100 ports — too many".into(),
        retroactive: true,
    }
}

fn actions() -> Vec<Action> {
    let kinds = [
        ActionKind::Acknowledge,
        ActionKind::Assign("ana".into()),
        ActionKind::Verdict("false_positive".into()),
        ActionKind::Comment("a scanner of ours".into()),
    ];
    let action = |(kind, at_us)| Action { alert: alert().id, tenant: alert().tenant, kind, by: "soc".into(), at_us };
    kinds.into_iter().zip(1_795_500_100_000_000..).map(action).collect()
}

/// The alert with what was done to it.
fn alert_row() -> AlertRow {
    let comment = Comment { by: "soc".into(), at_us: 1_795_500_100_000_003, text: "a scanner of ours".into() };
    AlertRow {
        alert: alert(),
        status: AlertStatus::Acknowledged,
        assignee: Some("ana".into()),
        verdict: Some("false_positive".into()),
        comments: vec![comment],
    }
}

async fn open(directory: &Path) -> Embedded {
    Embedded::open(directory.join("hot"), Options::default()).await.unwrap()
}

/// Packs the directory, or unpacks into it.
fn tar(mode: &str, directory: &Path) {
    let mut tar = Command::new("tar");
    tar.arg(mode).arg(path(STORE)).arg("-C").arg(directory).arg("hot");
    if mode == "-czf" {
        tar.args(["--owner=0", "--group=0", "--sparse"]);
    }
    assert!(tar.status().unwrap().success());
}

/// Writes the store if it is missing, with today's code.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by hand when a version gets files of its own"]
async fn write_what_is_missing() {
    if path(STORE).exists() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let hot = open(directory.path()).await;
    hot.file(&messages()).await.unwrap();
    hot.file_alerts(&[Alert { version: 1, state: AlertState::Opened, ..alert() }, alert()]).await.unwrap();
    for action in actions() {
        hot.act(&action).await.unwrap();
    }
    hot.sync().await.unwrap();
    drop(hot);
    // The second life cuts what the first one had in reserve off its log.
    drop(open(directory.path()).await);
    tar("-czf", directory.path());
}

async fn hits(hot: &dyn Hot, tenant: &str, kind: LookupKind, value: &str) -> Vec<Hit> {
    let (tenant, value) = (tenant.parse().unwrap(), value.to_owned());
    let page = hot.lookup(&Lookup { tenant, kind, value, from_us: None, to_us: None, limit: 100, token: None }).await;
    let page = page.unwrap();
    assert_eq!(page.next, None);
    page.rows
}

/// A row: its class, and its values by column.
type Row = (Class, BTreeMap<String, String>);

fn row(class: Class, rows: &RecordBatch, at: usize) -> Row {
    (class, row_json(rows, at).into_iter().map(|(column, value)| (column, value.to_string())).collect())
}

/// A tenant's rows of the messages by class.
fn expected(tenant: &str) -> Vec<Row> {
    let of = |message: FiledMessage| row(message.batch.class, &message.batch.slice(tenant).unwrap(), 0);
    messages().into_iter().map(of).collect()
}

/// The same of what was found.
fn found(hits: &[Hit]) -> Vec<Row> {
    let mut found: Vec<_> = hits.iter().map(|hit| row(hit.class, &hit.batch, hit.row)).collect();
    found.sort();
    found
}

async fn check(hot: &dyn Hot) {
    for (tenant, number) in [("globex", 0), ("acme", 1)] {
        let expected = expected(tenant);
        assert_eq!(expected.len(), Class::ALL.len());
        let of = async |kind, value: &str| found(&hits(hot, tenant, kind, value).await);
        assert_eq!(of(LookupKind::Tenant, "").await, expected, "{tenant}");
        assert_eq!(of(LookupKind::Raw, RAW_ID).await, expected, "{tenant}");
        let with = |classes: &[Class]| -> Vec<_> {
            expected.iter().filter(|(class, _)| classes.contains(class)).cloned().collect()
        };
        let addresses = with(&[Class::DnsActivity, Class::HttpActivity, Class::NetworkActivity, Class::Authentication]);
        let users = with(&[Class::Authentication, Class::ProcessActivity]);
        assert_eq!(of(LookupKind::SrcIp, &format!("10.6.0.{number}")).await, addresses, "{tenant}");
        assert_eq!(of(LookupKind::Cidr, "10.6.0.0/24").await, addresses, "{tenant}");
        assert_eq!(of(LookupKind::User, &format!("user {number}")).await, users, "{tenant}");
        for (class, values) in &expected {
            assert!(values.len() > 10, "{values:?}");
            let id = values["event_id"].trim_matches('"');
            assert_eq!(of(LookupKind::Event, id).await, [(*class, values.clone())], "{tenant} {}", class.name());
        }
    }
    assert_eq!(hot.alert(&alert().tenant, alert().id).await.unwrap(), Some(alert_row()));
    let (tenant, min_level, domain) = (alert().tenant, None, None);
    let query = AlertQuery { tenant, from_us: None, to_us: None, min_level, domain, limit: 10, token: None };
    assert_eq!(hot.alerts(&query).await.unwrap().rows, [alert_row()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_first_version_is_read_and_goes_on() {
    let directory = TempDir::new().unwrap();
    tar("-xzf", directory.path());
    let hot = open(directory.path()).await;
    check(&hot).await;
    // A restarted writer files again what its position does not cover: nothing changes.
    hot.file(&messages()).await.unwrap();
    hot.file_alerts(&[alert()]).await.unwrap();
    for action in actions() {
        hot.act(&action).await.unwrap();
    }
    hot.sync().await.unwrap();
    check(&hot).await;
    drop(hot);
    check(&open(directory.path()).await).await;
}

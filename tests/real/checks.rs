//! What a mesh that has settled must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use atalaya_bus::Stream;
use atalaya_model::{Alert, Class, EventId, Tenant};
use atalaya_proto::query_v1::StatusResponse;
use atalaya_proto::raw::RawBody;
use atalaya_tests::alerts::{all, decode, newest, same as same_alerts, undisturbed};
use atalaya_tests::events::{Expected, Id, ids, same};
use bytes::Bytes;
use serde_json::Value;

use crate::gateway::{books, total};
use crate::input::Input;
use crate::mesh::Mesh;
use crate::say;

/// How long the undisturbed correlator may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What both gateways are asked besides: tenant, kind and value.
const LOOKUPS: [(&str, &str, &str); 3] =
    [("globex", "ip", "10.47.1.100"), ("globex", "domain", "google.com"), ("acme", "dst_ip", "10.47.3.200")];

/// SQL that both gateways are asked besides.
const SQL: &str = "select query_domain, count(*) n from dns_activity group by 1 order by n desc, 1 limit 20";

/// Everything, one after the other; the first that is wrong is told.
pub(crate) async fn check(mesh: &Mesh, input: &Input) -> anyhow::Result<()> {
    let expected = raw(mesh, input).await.context("check of RAW")?;
    let alerts = alerts(mesh).await.context("check of the alerts")?;
    ledger(mesh, input, &expected, &alerts).await.context("check of the books")?;
    archive(mesh, &expected, &alerts).await.context("check of the archive")?;
    hot(mesh, &expected, &alerts).await.context("check of the hot store")?;
    gateways(mesh).await.context("check of the gateways")?;
    mesh.processes.check_logs().context("check of the logs")
}

/// RAW holds the input, each record once; what it must become.
async fn raw(mesh: &Mesh, input: &Input) -> anyhow::Result<Expected> {
    say("reading RAW");
    let messages = all(mesh.bus.as_ref(), Stream::Raw, "raw.>").await?;
    let mut records = Vec::new();
    for message in messages.iter().filter(|message| !message.body.is_empty()) {
        let body = RawBody::decode(&message.body)?;
        records.extend(body.records().map(Bytes::copy_from_slice));
    }
    input.same(records)?;
    let partitions = mesh.bus.info(Stream::Evt).await?.partitions;
    let bodies = messages.iter().map(|message| &message.body).filter(|body| !body.is_empty());
    let expected = Expected::of(bodies, &mesh.enrichment, partitions)?;
    let (count, parked) = (expected.count(), expected.parked.len());
    ensure!(count + parked == input.len(), "{} records give {count} events, {parked} are parked", input.len());
    Ok(expected)
}

/// ALERT holds what an undisturbed correlator makes of EVT.
async fn alerts(mesh: &Mesh) -> anyhow::Result<Vec<Alert>> {
    say("correlating EVT again, undisturbed");
    let partitions = mesh.bus.info(Stream::Evt).await?.partitions;
    let found = decode(&all(mesh.bus.as_ref(), Stream::Alert, "alert.>").await?)?;
    let evt = all(mesh.bus.as_ref(), Stream::Evt, "evt.>").await?;
    let (place, config) = (mesh.place.join("undisturbed"), atalaya_correlator::Config::default());
    let expected = undisturbed(evt, partitions, &place, config, PATIENCE).await?;
    ensure!(!expected.is_empty(), "the logs gave no alert: there is nothing to compare");
    same_alerts(&found, &expected)?;
    say(&format!("{} alerts, as they must be", expected.len()));
    Ok(expected)
}

/// Every row of the books is balanced, and their sums are those of the input.
async fn ledger(mesh: &Mesh, input: &Input, expected: &Expected, alerts: &[Alert]) -> anyhow::Result<()> {
    for gateway in &mesh.gateways {
        let status = gateway.status().await?;
        for (key, counts) in books(&status) {
            ensure!(counts.balanced(), "{}: {key:?} is not balanced: {counts:?}", gateway.name);
        }
        ensure!(status.balanced, "{} says that the books do not balance, and every row does", gateway.name);
        let sum = total(&status);
        let (events, parked) = (expected.count() as u64, expected.parked.len() as u64);
        let have =
            [sum.received - sum.known, sum.events, sum.archived, sum.hot + sum.expired, sum.parked + sum.dropped];
        let want = [input.len() as u64, events, events, events, parked];
        ensure!(
            have == want,
            "{}: received, events, archived, hot, parked: {have:?} instead of {want:?}",
            gateway.name
        );
        let opened = newest(alerts).len() as u64;
        ensure!(sum.alerts == opened, "{}: {} alerts in the books instead of {opened}", gateway.name, sum.alerts);
    }
    Ok(())
}

/// Every tenant's rows of every table, by both gateways' SQL.
async fn archive(mesh: &Mesh, expected: &Expected, alerts: &[Alert]) -> anyhow::Result<()> {
    say("reading the archive");
    let findings = findings(alerts)?;
    for tenant in tenants(expected, alerts) {
        for class in Class::ALL {
            let mut wanted = expected.ids(|of, own| of == tenant && own == class);
            if class == Class::DetectionFinding {
                wanted.extend(findings.get(tenant).into_iter().flatten().cloned());
            }
            for gateway in &mesh.gateways {
                let what = format!("{}: {} of {tenant}", gateway.name, class.name());
                same(&what, wanted.clone(), gateway.archived(tenant, class.name()).await?)?;
            }
        }
    }
    Ok(())
}

/// Every tenant's rows, page by page, and its alerts.
async fn hot(mesh: &Mesh, expected: &Expected, alerts: &[Alert]) -> anyhow::Result<()> {
    say("reading the hot store");
    let gateway = mesh.gateways.first().context("no gateway")?;
    let newest = newest(alerts);
    for tenant in tenants(expected, alerts) {
        let rows = gateway.lookup(tenant, "tenant", "").await?;
        let found = rows.iter().map(id_of).collect::<anyhow::Result<Vec<_>>>()?;
        same(&format!("hot store, {tenant}"), expected.ids(|of, _| of == tenant), found)?;
        let found: BTreeSet<(String, u64)> =
            gateway.alerts(tenant).await?.into_iter().map(|(id, alert)| (id, version(&alert))).collect();
        let own = newest.iter().filter(|((of, _), _)| of == &tenant);
        let wanted: BTreeSet<_> = own.map(|((_, id), alert)| (id.to_string(), u64::from(alert.version))).collect();
        ensure!(found == wanted, "hot store: alerts of {tenant} with versions: {found:?} instead of {wanted:?}");
    }
    Ok(())
}

/// The gateways answer the same.
async fn gateways(mesh: &Mesh) -> anyhow::Result<()> {
    say("comparing the gateways");
    let [one, other] = mesh.gateways.as_slice() else { anyhow::bail!("{} gateways", mesh.gateways.len()) };
    let (left, right) = (standing(&one.status().await?), standing(&other.status().await?));
    let (only_left, only_right): (Vec<_>, Vec<_>) =
        (left.difference(&right).collect(), right.difference(&left).collect());
    ensure!(left == right, "Status: {} only: {only_left:?}, {} only: {only_right:?}", one.name, other.name);
    for (tenant, kind, value) in LOOKUPS {
        let tenant = tenant.parse()?;
        let (left, right) = (one.lookup(&tenant, kind, value).await?, other.lookup(&tenant, kind, value).await?);
        ensure!(!left.is_empty(), "lookup {kind} {value} of {tenant} gives nothing: there is nothing to compare");
        ensure!(left == right, "lookup {kind} {value}: {} rows and {} rows, which differ", left.len(), right.len());
        let (left, right) = (one.alerts(&tenant).await?, other.alerts(&tenant).await?);
        ensure!(left == right, "alerts of {tenant}: {left:?} and {right:?}");
    }
    let tenant = "globex".parse()?;
    let (left, right) = (one.sql(&tenant, SQL).await?, other.sql(&tenant, SQL).await?);
    ensure!(left.iter().any(|batch| batch.num_rows() > 0), "{SQL}: no rows: there is nothing to compare");
    ensure!(left == right, "{SQL}: {left:?} and {right:?}");
    Ok(())
}

/// What does not depend on when a gateway was started or asked, in lines.
fn standing(status: &StatusResponse) -> BTreeSet<String> {
    let books = books(status).into_iter().map(|(key, counts)| format!("{key:?}: {counts:?}"));
    let reasons = status.parked_by_reason.iter().chain(&status.alerts_by_rule).map(|reason| format!("{reason:?}"));
    let readers = status.readers.iter().map(|reader| format!("{reader:?}"));
    books.chain(reasons).chain(readers).chain([format!("balanced: {}", status.balanced)]).collect()
}

/// Everybody with an event or an alert.
fn tenants<'e>(expected: &'e Expected, alerts: &'e [Alert]) -> BTreeSet<&'e Tenant> {
    expected.tenants().into_iter().chain(alerts.iter().map(|alert| &alert.tenant)).collect()
}

/// Ids of the rows that alerts have in the archive, by tenant.
fn findings(alerts: &[Alert]) -> anyhow::Result<BTreeMap<Tenant, Vec<Id>>> {
    let mut findings: BTreeMap<Tenant, Vec<Id>> = BTreeMap::new();
    for alert in alerts {
        let rows = atalaya_cold_archive::findings(std::slice::from_ref(alert))?;
        findings.entry(alert.tenant.clone()).or_default().extend(ids(&rows.rows));
    }
    Ok(findings)
}

/// The id of a row as JSON shows it: hexadecimal.
fn id_of(row: &Value) -> anyhow::Result<Id> {
    let text = row["event_id"].as_str().context("a row without event_id")?;
    Ok(text.parse::<EventId>()?.as_bytes().to_vec())
}

fn version(alert: &Value) -> u64 {
    alert["alert_version"].as_u64().unwrap_or_default()
}

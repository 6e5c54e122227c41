//! Alerts, and what people do to them.

use atalaya_bus::{Fence, Filter, Outgoing};
use atalaya_hot::{AlertQuery, AlertStatus};
use atalaya_model::{Action, ActionKind, Alert, AlertId, AlertState, Level, Tenant};
use atalaya_proto::alert_v1 as wire;
use prost::Message as _;

use super::*;

fn alert(tenant: &str, number: u64, version: u32) -> Alert {
    Alert {
        id: AlertId::of("test", &[tenant.as_bytes(), &number.to_le_bytes()]),
        version,
        state: AlertState::Opened,
        tenant: tenant.parse().unwrap(),
        domain: "live".to_owned(),
        rule_id: "r".to_owned(),
        rule_rev: String::new(),
        rule_author: String::new(),
        title: "title".to_owned(),
        level: Level::High,
        group_key: String::new(),
        entities: Vec::new(),
        time_us: 10 * i64::from(version) - number.cast_signed(),
        window_start_us: 0,
        window_end_us: 0,
        received_time_us: 0,
        event_count: 1,
        evidence: Vec::new(),
        attack_ids: Vec::new(),
        observed: 1.0,
        threshold: 1.0,
        message: String::new(),
        retroactive: false,
    }
}

async fn write_alerts(bus: &Arc<dyn Bus>, partition: u16, position: u64, alerts: &[Alert]) {
    let mut writer = FencedWriter::resume(Arc::clone(bus), OutputLane::alert(partition)).await.unwrap();
    let body = wire::Alerts { alerts: alerts.iter().map(wire::Alert::from).collect() }.encode_to_vec();
    let subject = Subject::new(&format!("alert.{partition}")).unwrap();
    let headers = Headers { id: format!("a{partition}/{position}"), ..Headers::default() };
    let part = Part { subject, headers, body: body.into(), decoded: None };
    let covers = Position { incarnation: 1, sequence: position, id: String::new() };
    writer.write(covers, vec![part], Books::default()).await.unwrap();
}

async fn write_action(bus: &Arc<dyn Bus>, subject: &str, action: &Action) {
    let (subject, filter) = (Subject::new(subject).unwrap(), Filter::new(subject).unwrap());
    let last = bus.last(Stream::Alert, &filter).await.unwrap().map_or(0, |message| message.sequence);
    let fence = Fence::new(Stream::Alert, subject, filter).unwrap();
    let body = wire::Action::from(action).encode_to_vec().into();
    let outgoing = Outgoing { headers: Headers::default(), body, decoded: None };
    bus.append(&fence, last, outgoing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_actions_are_filed() {
    let (bus_dir, hot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (bus, hot) = (journal(bus_dir.path()), hot(hot_dir.path()).await);
    let acme: Tenant = "acme".parse().unwrap();
    let closed = alert("acme", 1, 2);
    write_alerts(&bus, 0, 1, &[alert("acme", 1, 1), alert("acme", 2, 1)]).await;
    let action = |by: &str, at_us| Action {
        alert: closed.id,
        tenant: acme.clone(),
        kind: ActionKind::Close,
        by: by.to_owned(),
        at_us,
    };
    write_action(&bus, "action.acme", &action("ann", 5)).await;
    // Somebody writes under the wrong subject: it does not count, and holds nobody up.
    let foreign = Action { alert: alert("acme", 2, 1).id, ..action("eve", 6) };
    write_action(&bus, "action.globex", &foreign).await;
    let service = Running::start(&bus, &hot);
    write_alerts(&bus, 1, 1, &[alert("globex", 1, 1)]).await;
    write_alerts(&bus, 0, 2, std::slice::from_ref(&closed)).await;
    let last = bus.info(Stream::Alert).await.unwrap().last;
    wait_until("the floors", async || {
        let floors = floors(&bus, Stream::Alert).await;
        let at = |scope: &str| floors.iter().find(|(name, _)| name == scope).map(|(_, floor)| floor.position.sequence);
        at("0") == Some(last) && at("1") == Some(last - 1) && at("action") == Some(last - 2)
    })
    .await;
    service.drain().await;
    let query = AlertQuery {
        tenant: acme.clone(),
        from_us: None,
        to_us: None,
        min_level: None,
        domain: None,
        limit: 10,
        token: None,
    };
    let rows = hot.alerts(&query).await.unwrap().rows;
    let listed: Vec<_> = rows.iter().map(|row| (row.alert.id, row.alert.version, row.status)).collect();
    let expected = [(closed.id, 2, AlertStatus::Closed), (foreign.alert, 1, AlertStatus::New)];
    assert_eq!(listed, expected);
}

//! Alerts: listed, watched, acted on.

use std::time::Duration;

use atalaya_bus::{Filter, OutputLane, Stream};
use atalaya_model::{Action, ActionKind};
use atalaya_proto::alert_v1;
use atalaya_proto::query_v1::act_request::Action as Asked;
use atalaya_proto::query_v1::alerts_client::AlertsClient;
use atalaya_proto::query_v1::{ActRequest, ListAlertsRequest, WatchAlertsRequest};
use prost::Message;
use serde_json::Value;
use tonic::Code;

use crate::world::{Door, Stage, World, alert};

async fn act(door: Door, id: &str, action: Asked) -> Result<(), Code> {
    let request = ActRequest { alert_id: id.to_owned(), action: Some(action) };
    AlertsClient::new(door).act(request).await.map(|_| ()).map_err(|status| status.code())
}

async fn list(door: Door, request: ListAlertsRequest) -> Vec<Value> {
    let page = AlertsClient::new(door).list(request).await.unwrap().into_inner();
    page.alerts.iter().map(|alert| serde_json::from_str(&alert.json).unwrap()).collect()
}

/// Does what the hot-store service does with actions.
async fn file_actions(world: &World) -> Vec<Action> {
    let filter = Filter::new("action.*").unwrap();
    let mut reader = world.bus.read(Stream::Alert, &filter, 0).await.unwrap();
    let mut actions = Vec::new();
    while let Some(message) = reader.try_next().await.unwrap() {
        let action = alert_v1::Action::decode(message.body.clone()).unwrap();
        let action = Action::try_from(action).unwrap();
        assert_eq!(message.subject.as_str(), format!("action.{}", action.tenant));
        world.hot.act(&action).await.unwrap();
        actions.push(action);
    }
    actions
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_by_tenant_level_and_domain() {
    let world = World::new().await;
    let mut alerts: Vec<_> = (0..30).map(|number| alert(number, "acme", "live")).collect();
    alerts[7].domain = "replay-1".into();
    alerts[8].level = atalaya_model::Level::Critical;
    alerts.push(alert(99, "globex", "live"));
    world.hot.file_alerts(&alerts).await.unwrap();
    let running = world.start().await;
    let all = list(running.as_acme(), ListAlertsRequest::default()).await;
    assert_eq!(all.len(), 30);
    assert_eq!(all[0]["alert_id"], alerts[29].id.to_string());
    assert_eq!((&all[0]["status"], &all[0]["state"]), (&"new".into(), &"opened".into()));
    assert_eq!((&all[0]["level"], &all[0]["observed"]), (&"high".into(), &120.0.into()));
    let some = ListAlertsRequest { domain: "replay-1".into(), ..ListAlertsRequest::default() };
    assert_eq!(list(running.as_acme(), some).await.len(), 1);
    let grave = ListAlertsRequest { min_level: "critical".into(), ..ListAlertsRequest::default() };
    assert_eq!(list(running.as_acme(), grave).await.len(), 1);
    let wrong = ListAlertsRequest { min_level: "grave".into(), ..ListAlertsRequest::default() };
    let status = AlertsClient::new(running.as_acme()).list(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_watched_as_they_come() {
    let world = World::new().await;
    let mut correlator = Stage::new(&world, OutputLane::alert(3)).await;
    correlator.alerts(None, "live", &[alert(1, "acme", "live")]).await;
    let running = world.start().await;
    let mut watch = AlertsClient::new(running.as_acme());
    let mut watch = watch.watch(WatchAlertsRequest::default()).await.unwrap().into_inner();
    correlator.alerts(None, "live", &[alert(2, "globex", "live"), alert(3, "acme", "live")]).await;
    correlator.mark("alert.3", 4).await;
    let mut last = alert(4, "acme", "live");
    last.level = atalaya_model::Level::Low;
    correlator.alerts(Some(5), "live", &[last]).await;
    for number in [3, 4] {
        let seen = watch.message().await.unwrap().unwrap();
        let seen: Value = serde_json::from_str(&seen.json).unwrap();
        assert_eq!(seen["alert_id"], alert(number, "acme", "live").id.to_string());
        assert_eq!(seen["status"], "new");
    }
    let nothing = tokio::time::timeout(Duration::from_millis(200), watch.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    running.drain().await;
    assert!(watch.message().await.map_or(true, |end| end.is_none()), "a drain ends a watch");
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_kept_with_who_and_when() {
    let world = World::new().await;
    world.hot.file_alerts(&[alert(1, "acme", "live")]).await.unwrap();
    let id = alert(1, "acme", "live").id.to_string();
    let running = world.start().await;
    let all = [
        Asked::Acknowledge(true),
        Asked::Assign("ana".into()),
        Asked::Verdict("true_positive".into()),
        Asked::Comment("seen it".into()),
    ];
    let acting = all.map(|action| act(running.as_acme(), &id, action));
    for done in futures::future::join_all(acting).await {
        assert_eq!(done, Ok(()));
    }
    let actions = file_actions(&world).await;
    assert_eq!(actions.len(), 4);
    assert!(actions.iter().all(|action| action.by == "acme's" && action.at_us > 0));
    let seen = &list(running.as_acme(), ListAlertsRequest::default()).await[0];
    assert_eq!((&seen["status"], &seen["assignee"]), (&"acknowledged".into(), &"ana".into()));
    assert_eq!((&seen["verdict"], &seen["comments"][0]["text"]), (&"true_positive".into(), &"seen it".into()));
    assert_eq!(act(running.as_acme(), &id, Asked::Close(true)).await, Ok(()));
    assert_eq!(file_actions(&world).await.last().map(|action| action.kind.clone()), Some(ActionKind::Close));
    assert_eq!(list(running.as_acme(), ListAlertsRequest::default()).await[0]["status"], "closed");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_on_anothers_alert() {
    let world = World::new().await;
    world.hot.file_alerts(&[alert(1, "globex", "live")]).await.unwrap();
    let id = alert(1, "globex", "live").id.to_string();
    let running = world.start().await;
    assert_eq!(act(running.as_acme(), &id, Asked::Close(true)).await, Err(Code::NotFound));
    assert_eq!(act(running.as_globex(), &id, Asked::Verdict("maybe".into())).await, Err(Code::InvalidArgument));
    assert_eq!(act(running.as_globex(), &id, Asked::Comment(String::new())).await, Err(Code::InvalidArgument));
    assert_eq!(act(running.as_globex(), "xyz", Asked::Close(true)).await, Err(Code::InvalidArgument));
    assert!(file_actions(&world).await.is_empty());
    assert!(list(running.as_acme(), ListAlertsRequest::default()).await.is_empty());
    running.drain().await;
}

//! The notifier over a real journal or NATS, with real HTTP receivers on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod broker;
mod crashes;
mod mail;
mod mail_server;
mod receiver;
mod stage;

use std::time::Duration;

use atalaya_model::{AlertState, Counts, Level};
use stage::{Stage, alert, eventually, hook, route, screen};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_signed_and_keeps_its_key_through_retries() {
    let stage = Stage::new().await;
    let receiver = receiver::start(|_, nth| if nth < 2 { 503 } else { 200 }).await;
    let running = stage.start(vec![route("soc", hook(&receiver, &stage))]);
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
    let posts = receiver.wait_for(3).await;
    for post in &posts {
        assert!(post.signature_holds(stage::SECRET), "{post:?}");
        assert_eq!((&post.key, &post.body), (&posts[0].key, &posts[0].body));
    }
    let body: serde_json::Value = serde_json::from_str(&posts[0].body).unwrap();
    assert_eq!(body["id"], posts[0].key.as_str());
    assert_eq!(body["rule"]["title"], "Port scan");
    assert_eq!((&body["occasion"], &body["alerts_total"]), (&"opening".into(), &1.into()));
    stage.settled(Counts { notified: 1, ..Counts::default() }).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_survives_a_crash() {
    let stage = Stage::new().await;
    let receiver = receiver::start(|_, nth| if nth == 0 { receiver::HANG } else { 200 }).await;
    let routes = vec![route("soc", hook(&receiver, &stage))];
    let running = stage.start(routes.clone());
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
    receiver.wait_for(1).await;
    running.kill().await;
    stage.publish(2, &[alert(2, "10.0.0.1", AlertState::Opened)]).await;
    let running = stage.start(routes);
    let posts = receiver.wait_for(2).await;
    assert_eq!((&posts[0].key, &posts[0].body), (&posts[1].key, &posts[1].body));
    stage.settled(Counts { notified: 2, ..Counts::default() }).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_one_message_and_one_closing() {
    let stage = Stage::new().await;
    let receiver = receiver::start(|_, _| 200).await;
    let mut slow = route("soc", hook(&receiver, &stage));
    slow.group_wait = "300ms".into();
    let running = stage.start(vec![slow]);
    for position in 1..=20 {
        let flood: Vec<_> = (0..200).map(|at| alert(position * 1_000 + at, "10.0.0.1", AlertState::Opened)).collect();
        stage.publish(position, &flood).await;
    }
    stage.settled(Counts { notified: 4_000, ..Counts::default() }).await;
    for position in 1..=20 {
        let end: Vec<_> = (0..200).map(|at| alert(position * 1_000 + at, "10.0.0.1", AlertState::Closed)).collect();
        stage.publish(20 + position, &end).await;
    }
    let posts = receiver.wait_for(2).await;
    let occasions: Vec<_> = posts.iter().map(receiver::Post::occasion).collect();
    assert_eq!(occasions, ["opening", "closing"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.posts().len(), 2);
    stage.settled(Counts { notified: 4_000, ..Counts::default() }).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_delays_no_other() {
    let stage = Stage::new().await;
    let dead = receiver::start(|_, _| receiver::HANG).await;
    let alive = receiver::start(|_, _| 200).await;
    let running = stage.start(vec![route("dead", hook(&dead, &stage)), route("alive", hook(&alive, &stage))]);
    for position in 1..=3 {
        let entities: Vec<_> =
            (0..4).map(|at| alert(position * 100 + at, &format!("10.0.{position}.{at}"), AlertState::Opened)).collect();
        stage.publish(position, &entities).await;
    }
    let begun = std::time::Instant::now();
    alive.wait_for(12).await;
    assert!(begun.elapsed() < stage::ATTEMPT_TIMEOUT, "{:?}", begun.elapsed());
    stage.settled(Counts { undeliverable: 12, ..Counts::default() }).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_in_the_middle_lose_nothing_and_count_nothing_twice() {
    let stage = Stage::new().await.patient();
    let receiver = receiver::start(|_, nth| if nth % 7 == 3 { 500 } else { 200 }).await;
    let routes = vec![route("soc", hook(&receiver, &stage)), route("screen", screen())];
    let mut entities = Vec::new();
    for round in 0..8 {
        let running = stage.start(routes.clone());
        for position in round * 5 + 1..=round * 5 + 5 {
            let alerts: Vec<_> = (0..12)
                .map(|at| alert(position * 100 + at, &format!("10.{position}.0.{}", at / 2), AlertState::Opened))
                .collect();
            stage.publish(position, &alerts).await;
            entities.extend(alerts.iter().step_by(2).map(|alert| alert.group_key.clone()));
        }
        tokio::time::sleep(Duration::from_millis(round * 13)).await;
        running.kill().await;
    }
    let running = stage.start(routes);
    stage.settled(Counts { notified: 8 * 5 * 12, ..Counts::default() }).await;
    running.drain().await;
    let told: std::collections::BTreeSet<_> = receiver.posts().iter().map(|post| post.group_key()).collect();
    assert_eq!(told, entities.into_iter().collect());
    let screen = stage.screen();
    assert!(told.iter().all(|group| screen.contains(&format!("scan of {group}"))), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_to_the_end_is_undeliverable() {
    let stage = Stage::new().await;
    let refusing = receiver::start(|_, _| 500).await;
    let gone = receiver::start(|_, _| 410).await;
    let mut routes = vec![route("refusing", hook(&refusing, &stage)), route("gone", hook(&gone, &stage))];
    routes[1].rules = vec!["no such rule".into()];
    let running = stage.start(routes.clone());
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
    stage.settled(Counts { undeliverable: 1, ..Counts::default() }).await;
    assert_eq!((refusing.posts().len(), gone.posts().len()), (stage::MAX_ATTEMPTS as usize, 0));
    running.drain().await;
    routes[0].min_level = Level::Critical;
    routes[1].rules = vec!["Port scan".into()];
    let running = stage.start(routes);
    stage.publish(2, &[alert(2, "10.0.0.2", AlertState::Opened)]).await;
    stage.settled(Counts { undeliverable: 2, ..Counts::default() }).await;
    assert_eq!(gone.posts().len(), 1, "gone is gone");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_wish_to_wait_is_obeyed() {
    let stage = Stage::new().await;
    let receiver = receiver::start(|_, nth| if nth == 0 { receiver::WAIT_A_SECOND } else { 200 }).await;
    let running = stage.start(vec![route("soc", hook(&receiver, &stage))]);
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
    let posts = receiver.wait_for(2).await;
    assert!(posts[1].at - posts[0].at >= Duration::from_millis(950), "{:?}", posts[1].at - posts[0].at);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_routes_alerts_go_to_the_screen() {
    let stage = Stage::new().await;
    let running = stage.start(Vec::new());
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
    stage.settled(Counts { notified: 1, ..Counts::default() }).await;
    eventually("a line", || async { !stage.screen().is_empty() }).await;
    let line = stage.screen();
    assert!(line.starts_with("01:02:03  HIGH  Port scan — scan of src_ip=10.0.0.1  (observed 120, threshold 30; "));
    assert!(line.contains("event ") && line.trim_end().ends_with(')'), "{line}");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_are_obeyed() {
    let stage = Stage::new().await;
    stage.silence("acme.one", r#"{"entity": "10.0.0.2", "until_us": 9000000000000000}"#).await;
    stage.silence("globex.one", r#"{"until_us": 9000000000000000}"#).await;
    let running = stage.start(Vec::new());
    let entities = ["10.0.0.1", "10.0.0.2"];
    let alerts: Vec<_> = entities.iter().zip(1..).map(|(ip, at)| alert(at, ip, AlertState::Opened)).collect();
    stage.publish(1, &alerts).await;
    stage.settled(Counts { notified: 1, silenced: 1, ..Counts::default() }).await;
    assert!(!stage.screen().contains("10.0.0.2"));
    running.drain().await;
}

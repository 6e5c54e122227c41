//! NATS is killed under a notifier.

use std::collections::BTreeSet;
use std::sync::Arc;

use atalaya_bus::nats::{MaxBytes, Nats, Options};
use atalaya_model::{AlertState, Counts};
use atalaya_servers::{NatsOptions, NatsServer};

use crate::receiver;
use crate::stage::{Stage, alert, eventually, hook, route};

/// A killed server brings back what was removed, and not as it was last: it writes down which message it removed, but
/// not which ones an entry's newer versions had replaced before.
#[tokio::test(flavor = "multi_thread")]
async fn what_nats_brings_back_is_not_told_and_not_counted_again() {
    let place = tempfile::tempdir().unwrap();
    let mut server = NatsServer::start(&place.path().join("nats"), &NatsOptions::default()).unwrap();
    let options = Options { partitions: 1, max_bytes: MaxBytes::each(16 << 20), ..Options::default() };
    let bus = Nats::connect(&server.url(), &options).await.unwrap();
    let stage = Stage::over(place, Arc::new(bus)).await;
    let receiver = receiver::start(|_, _| 200).await;
    let routes = vec![route("soc", hook(&receiver, &stage))];
    let running = stage.start(routes.clone());
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
    stage.settled(notified(1)).await;
    stage.publish(2, &[alert(1, "10.0.0.1", AlertState::Closed)]).await;
    receiver.wait_for(2).await;
    eventually("the end of the episode", || async { stage.outbox().await.list("episode.").await.unwrap().is_empty() })
        .await;
    stage.publish(3, &[alert(2, "10.0.0.2", AlertState::Opened)]).await;
    stage.settled(notified(2)).await;
    server.restart().unwrap();
    running.kill().await;
    let running = stage.start(routes);
    stage.publish(4, &[alert(3, "10.0.0.3", AlertState::Opened)]).await;
    stage.settled(notified(3)).await;
    running.drain().await;
    assert_eq!(stage.floor().await.books.total(|_| true), notified(3));
    let posts = receiver.posts();
    let keys: BTreeSet<_> = posts.iter().map(|post| &post.key).collect();
    assert_eq!((posts.len(), keys.len()), (4, 4), "{posts:?}");
}

fn notified(notified: u64) -> Counts {
    Counts { notified, ..Counts::default() }
}

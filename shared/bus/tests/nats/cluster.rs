//! Three servers, each stream on all of them.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::nats::{Nats, Options};
use atalaya_bus::{Bus, Stream};
use atalaya_servers::{NatsOptions, NatsServer};
use tempfile::TempDir;

use crate::filter;
use crate::lanes::{check_lanes, read_lanes, write_lanes};

const LANES: usize = 3;
const POSITIONS: u64 = 250;

/// Times the leader is killed.
const KILLS: usize = 2;

/// The server that leads a stream, by its number from 0.
async fn leader(url: &str, stream: &str) -> usize {
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
    loop {
        let info = match jetstream.get_stream(stream).await {
            Ok(stream) => stream.cached_info().clone(),
            Err(_) => continue,
        };
        if let Some(leader) = info.cluster.and_then(|cluster| cluster.leader) {
            return leader.trim_start_matches('n').parse::<usize>().unwrap() - 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_its_leader_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let mut servers = NatsServer::cluster(directory.path(), &NatsOptions::default(), 3).unwrap();
    let url = servers.iter().map(|server| server.url().replace("nats://", "")).collect::<Vec<_>>().join(",");
    let url = format!("nats://{url}");
    let options = Options { replicas: 3, first_connect_seconds: 60, ..crate::options() };
    let bus: Arc<dyn Bus> = Arc::new(Nats::connect(&url, &options).await.unwrap());
    let mut reader = bus.read(Stream::Evt, &filter("evt.>"), 0).await.unwrap();
    let reading = tokio::spawn(async move { read_lanes(reader.as_mut(), LANES, POSITIONS).await.len() });
    let mut lanes = write_lanes(&bus, LANES, POSITIONS, 10_000, Duration::from_millis(20));
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let killed = leader(&servers[0].url(), "EVT").await;
        servers[killed].kill();
        let others = servers[(killed + 1) % 3].url();
        let next = leader(&others, "EVT").await;
        assert_ne!(next, killed);
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers = tokio::task::spawn_blocking(move || {
            servers[killed].restart().unwrap();
            servers
        })
        .await
        .unwrap();
    }
    while let Some(ended) = lanes.join_next().await {
        ended.unwrap();
    }
    let read = reading.await.unwrap();
    check_lanes(bus.as_ref(), LANES, POSITIONS).await;
    assert_eq!(bus.info(Stream::Evt).await.unwrap().messages, read as u64);
}

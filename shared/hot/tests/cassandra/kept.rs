//! Retention: counted from the received time; and what is said of an entity.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atalaya_hot::conformance::pages;
use atalaya_hot::kinds::{DAY_US, EntityKind};
use atalaya_hot::lookup::Entity;

use super::*;

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Messages received so long ago.
fn received_ago(seed: u64, ago_us: &[i64]) -> World {
    let mut world = World::random(seed, ago_us.len()).unwrap();
    for (message, ago_us) in world.messages.iter_mut().zip(ago_us) {
        message.received_time_us = now_us() - ago_us;
    }
    world
}

async fn rows_found(hot: &dyn Hot) -> u64 {
    let mut found = 0;
    for tenant in TENANTS {
        let pages = pages(hot, &lookup(tenant, LookupKind::Tenant, "", 1_000)).await.unwrap();
        found += pages.iter().map(|page| page.rows.len() as u64).sum::<u64>();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_on_arrival_is_counted_and_the_rest_goes_in_time() {
    let node = node().await;
    // Options say otherwise: the URL wins.
    let hot = open(&format!("{}?retention=2h", url(&node)), &options()).await;
    let world = received_ago(91, &[0, 3 * HOUR_US, HOUR_US, 2 * HOUR_US - 8 * SECOND_US, -HOUR_US]);
    let rows: Vec<_> = world.messages.iter().map(|message| message.batch.rows.num_rows() as u64).collect();
    let filed = hot.file(&world.messages).await.unwrap();
    let expected = [(rows[0], 0), (0, rows[1]), (rows[2], 0), (rows[3], 0), (rows[4], 0)];
    assert_eq!(filed.iter().map(|filed| (filed.rows, filed.expired)).collect::<Vec<_>>(), expected);
    let kept = rows[0] + rows[2] + rows[4];
    assert_eq!(rows_found(&hot).await, kept + rows[3]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    // A store of its own: nothing is in its cache.
    let hot = open(&format!("cassandra://{}/{}?retention=2h", node.address(), hot.keyspace()), &options()).await;
    assert_eq!(rows_found(&hot).await, kept, "what was received nearly two hours ago is over");
    assert!(hot.file(&world.messages[1..2]).await.unwrap()[0].expired > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_was_seen_last_on_the_day_of_its_newest_event() {
    let node = node().await;
    let hot = open(&url(&node), &options()).await;
    let world = World::random(92, 30).unwrap();
    let mut messages = world.messages.clone();
    messages.reverse();
    for messages in [&world.messages, &messages] {
        hot.file(messages).await.unwrap();
    }
    let mut seen = 0;
    for value in world.values(LookupKind::SrcIp) {
        let entity = Entity { tenant: TENANTS[0].parse().unwrap(), kind: EntityKind::SrcIp, value: value.clone() };
        let mut expected = std::collections::BTreeMap::new();
        for row in world.rows_of(&lookup(TENANTS[0], LookupKind::SrcIp, &value, 1)) {
            let last = expected.entry(row.class.name().to_owned()).or_insert(i64::MIN);
            *last = row.time_us.div_euclid(DAY_US).max(*last);
        }
        assert_eq!(hot.profile(&entity).await.unwrap(), expected, "{value}");
        seen += expected.len();
    }
    assert!(seen > 10, "{seen}");
}

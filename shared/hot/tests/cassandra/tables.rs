//! The schema: made once however many make it, refused where it is not ours.

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use super::*;

async fn session(node: &Node) -> Session {
    SessionBuilder::new().known_node(node.address().to_string()).build().await.unwrap()
}

fn keyspace(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

fn refusal(result: Result<Cassandra, HotError>) -> String {
    match result.map(|_| ()) {
        Err(HotError::Schema(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_start_at_once_make_one_schema() {
    let node = node().await;
    let url = url(&node);
    let options = options();
    let stores = futures::future::join_all((0..4).map(|_| Cassandra::open(&url, &options))).await;
    let stores: Vec<_> = stores.into_iter().map(Result::unwrap).collect();
    let world = World::random(81, 12).unwrap();
    for (at, messages) in world.messages.chunks(3).enumerate() {
        stores[at].file(messages).await.unwrap();
    }
    for hot in &stores {
        check_all(hot, &world).await;
    }
    let query = format!("SELECT name, version FROM {}.schema_version", keyspace(&url));
    let rows = session(&node).await.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    let rows: Vec<_> = rows.rows::<(String, Option<i32>)>().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, [("version".to_owned(), Some(1))], "one version, and nobody holds the lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let node = node().await;
    let url = url(&node);
    drop(open(&url, &options()).await);
    let newer = format!("UPDATE {}.schema_version SET version = 2 WHERE name = 'version'", keyspace(&url));
    session(&node).await.query_unpaged(newer, ()).await.unwrap();
    let reason = refusal(Cassandra::open(&url, &options()).await);
    assert!(reason.contains("version 2") && reason.contains("upgrade"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_refused() {
    let node = node().await;
    let url = url(&node);
    let session = session(&node).await;
    for statement in [
        "CREATE KEYSPACE KS WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE KS.alerts (id int PRIMARY KEY)",
    ] {
        session.query_unpaged(statement.replace("KS", keyspace(&url)), ()).await.unwrap();
    }
    let reason = refusal(Cassandra::open(&url, &options()).await);
    assert!(reason.contains("alerts") && reason.contains("not a hot store's"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_changed_are_refused() {
    let node = node().await;
    let url = url(&node);
    drop(open(&url, &options()).await);
    let drop_column = format!("ALTER TABLE {}.alerts DROP domain", keyspace(&url));
    session(&node).await.query_unpaged(drop_column, ()).await.unwrap();
    let reason = refusal(Cassandra::open(&url, &options()).await);
    assert!(reason.contains("domain"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_entities_are_spread_over_partitions() {
    let node = node().await;
    let url = url(&node);
    let small = Options { shard_bytes: 600, page_rows: 7, ..options() };
    let world = World::random(82, 60).unwrap();
    // A writer that remembers, then two that begin again: what they file again stands in other shards, too.
    for size in [3, 60, 1] {
        let hot = open(&url, &small).await;
        for messages in world.messages.chunks(size) {
            hot.file(messages).await.unwrap();
        }
        check_all(&hot, &world).await;
        for kind in [LookupKind::SrcIp, LookupKind::User] {
            for value in world.values(kind) {
                check(&hot, &world, &lookup(TENANTS[0], kind, &value, 9)).await.unwrap();
            }
        }
        for row in world.rows().iter().step_by(40) {
            check(&hot, &world, &lookup(&row.tenant, LookupKind::Event, &row.id.to_string(), 1)).await.unwrap();
        }
    }
    let query = format!("SELECT max(shard) FROM {}.entity_directory", keyspace(&url));
    let rows = session(&node).await.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    let (most,) = rows.single_row::<(i32,)>().unwrap();
    assert!(most >= 3, "{most}");
}

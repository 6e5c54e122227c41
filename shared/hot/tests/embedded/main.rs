//! The embedded store: the suite of the port, and what only a directory can go through.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod crash;
mod retention;

use std::path::Path;
use std::sync::Arc;

use atalaya_hot::conformance::world::{TENANTS, World};
use atalaya_hot::conformance::{check, lookup, suite};
use atalaya_hot::embedded::{Embedded, Options};
use atalaya_hot::{Hot, HotError, LookupKind, open};

async fn open_in(directory: &Path) -> Embedded {
    Embedded::open(directory, Options::default()).await.unwrap()
}

/// Everything a tenant has, and one lookup that goes through postings.
async fn check_all(hot: &dyn Hot, world: &World) {
    for tenant in TENANTS {
        for (kind, value) in
            [(LookupKind::Tenant, ""), (LookupKind::Cidr, "0.0.0.0/0"), (LookupKind::Raw, "c1-0.1700000000000.3")]
        {
            check(hot, world, &lookup(tenant, kind, value, 300)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    let directory = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let new_hot = async || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let hot: Arc<dyn Hot> = Arc::new(open_in(&directory.path().join(number.to_string())).await);
        Ok(hot)
    };
    suite(new_hot).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_filed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::random(31, 60).unwrap();
    for messages in world.messages.chunks(20) {
        let hot = open_in(directory.path()).await;
        hot.file(messages).await.unwrap();
        hot.sync().await.unwrap();
    }
    check_all(&open_in(directory.path()).await, &world).await;
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let held = open_in(directory.path()).await;
    let refused = Embedded::open(directory.path(), Options::default()).await.map(|_| ());
    assert!(matches!(refused, Err(HotError::InUse(_))), "{refused:?}");
    drop(held);
    open_in(directory.path()).await;
}

#[tokio::test]
async fn urls_name_the_adapter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    for bad in [
        "",
        "x",
        "file:",
        "s3://bucket",
        "cassandra://host",
        &format!("file:{path}?keep=1d"),
        &format!("file:{path}?retention=x"),
    ] {
        assert!(matches!(open(bad).await.map(|_| ()), Err(HotError::Url(_))), "{bad}");
    }
    open(&format!("file:{path}?retention=30d")).await.map(|_| ()).unwrap();
}

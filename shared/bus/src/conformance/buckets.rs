//! Buckets, and what is built on them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use atalaya_model::{Books, Counts, LedgerKey};
use bytes::Bytes;

use super::{PATIENCE, same};
use crate::{BucketError, Bus, Floor, Floors, Lease, Position, Stream};

/// Shortest time to live every adapter knows.
const TTL: Duration = Duration::from_secs(1);

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// An entry is written only over the revision that was expected; revisions never come again.
pub(super) async fn compare_and_set(bus: Arc<dyn Bus>) -> Result<()> {
    let (bucket, other) = (bus.bucket("cursors").await?, bus.bucket("control").await?);
    same(bucket.get("a").await?, None)?;
    let first = bucket.put("a", value("1"), 0, None).await?;
    let second = bucket.put("a", value("2"), first, None).await?;
    ensure!(first > 0 && second > first);
    for stale in [0, first, second + 1] {
        let refused = bucket.put("a", value("3"), stale, None).await;
        ensure!(matches!(refused, Err(BucketError::Conflict { .. })), "expected {stale}: {refused:?}");
    }
    let entry = bucket.get("a").await?.context("no entry")?;
    same((entry.value, entry.revision, entry.key.as_str()), (value("2"), second, "a"))?;
    same(other.get("a").await?, None)?;
    bucket.delete("a").await?;
    bucket.delete("a").await?;
    same(bucket.get("a").await?, None)?;
    let third = bucket.put("a", value(""), 0, None).await?;
    ensure!(third > second, "revision {third} after {second}");
    let contend = |text: &'static str| bucket.put("a", value(text), third, None);
    let (a, b, c) = tokio::join!(contend("a"), contend("b"), contend("c"));
    same([a, b, c].iter().filter(|put| put.is_ok()).count(), 1)
}

/// Entries come by prefix, in order.
pub(super) async fn lists_by_prefix(bus: Arc<dyn Bus>) -> Result<()> {
    let (bucket, other) = (bus.bucket("floors").await?, bus.bucket("floor").await?);
    for key in ["EVT.hot.1", "EVT.archive.0", "RAW.normalizer.c1-0", "EVT.hot.0"] {
        bucket.put(key, value(key), 0, None).await?;
    }
    other.put("EVT.hot.9", value("x"), 0, None).await?;
    let keys = |entries: Vec<crate::Entry>| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    same(keys(bucket.list("EVT.hot.").await?), ["EVT.hot.0", "EVT.hot.1"].map(String::from).to_vec())?;
    same(keys(bucket.list("").await?).len(), 4)?;
    same(keys(bucket.list("X").await?).len(), 0)?;
    same(keys(other.list("").await?), vec!["EVT.hot.9".to_owned()])
}

/// An entry with a time to live vanishes unless it is written again.
pub(super) async fn time_to_live(bus: Arc<dyn Bus>) -> Result<()> {
    let bucket = bus.bucket("leases").await?;
    let first = bucket.put("short", value("1"), 0, Some(TTL)).await?;
    bucket.put("long", value("1"), 0, None).await?;
    ensure!(bucket.get("short").await?.is_some());
    let renewed = bucket.put("short", value("2"), first, Some(TTL)).await?;
    let gone = async {
        while bucket.get("short").await?.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, gone).await.context("it does not vanish")??;
    same(bucket.list("").await?.len(), 1)?;
    let stale = bucket.put("short", value("3"), renewed, None).await;
    ensure!(matches!(stale, Err(BucketError::Conflict { .. })), "{stale:?}");
    ensure!(bucket.put("short", value("3"), 0, None).await? > renewed);
    Ok(())
}

/// Every adapter takes the same keys.
pub(super) async fn keys_are_checked(bus: Arc<dyn Bus>) -> Result<()> {
    let bucket = bus.bucket("cursors").await?;
    for good in ["a", "A-b_c/d=e.f", "0"] {
        bucket.put(good, value(good), 0, None).await.with_context(|| good.to_owned())?;
    }
    for bad in ["", "a b", ".a", "a.", "a..b", "a:b", "ä", &"x".repeat(1_000)] {
        let refused = bucket.put(bad, value("x"), 0, None).await;
        ensure!(matches!(refused, Err(BucketError::Key(_))), "'{bad}': {refused:?}");
    }
    ensure!(bus.bucket("a.b").await.is_err() && bus.bucket("").await.is_err());
    Ok(())
}

/// One holder at a time; a lease is lost by time, given back at once, and never taken back by an old holder.
pub(super) async fn leases(bus: Arc<dyn Bus>) -> Result<()> {
    let bucket = bus.bucket("leases").await?;
    let acquire = |holder: &'static str, ttl| Lease::acquire(Arc::clone(&bucket), "raw.c1-0", holder, ttl);
    let mut first = acquire("a", PATIENCE).await?.context("a free lease is refused")?;
    ensure!(acquire("b", TTL).await?.is_none() && acquire("a", TTL).await?.is_none(), "held twice");
    ensure!(first.renew().await?, "renewal of a held lease fails");
    first.release().await?;
    let mut second = acquire("b", TTL).await?.context("a lease given back is refused")?;
    ensure!(second.renew().await?);
    let third = async {
        loop {
            if let Some(lease) = acquire("c", PATIENCE).await? {
                return anyhow::Ok(lease);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut third = tokio::time::timeout(PATIENCE, third).await.context("a lease does not run out")??;
    ensure!(!second.renew().await?, "an old holder renews");
    second.release().await?;
    ensure!(third.renew().await?, "an old holder gave back what is another's");
    Ok(())
}

/// Floors keep position and books together; two holders cannot both move one.
pub(super) async fn floors(bus: Arc<dyn Bus>) -> Result<()> {
    let floors = Floors::open(bus.as_ref()).await?;
    let mut entry = floors.hold(Stream::Evt, "archive", "3").await?;
    same(entry.floor(), None)?;
    let mut books = Books::default();
    let key = LedgerKey { source: "zeek".into(), tenant: "default".into(), domain: "live".into() };
    books.add(&key, Counts { archived: 5, ..Counts::default() });
    let floor =
        |sequence| Floor { position: Position { incarnation: 1, sequence, id: "m".into() }, books: books.clone() };
    entry.set(floor(3)).await?;
    entry.set(floor(4)).await?;
    let mut second = floors.hold(Stream::Evt, "archive", "3").await?;
    same(second.floor(), Some(&floor(4)))?;
    second.set(floor(5)).await?;
    ensure!(matches!(entry.set(floor(6)).await, Err(BucketError::Conflict { .. })));
    floors.hold(Stream::Raw, "normalizer", "c1-0").await?.set(floor(9)).await?;
    same(floors.all(Stream::Evt).await?, vec![("archive".to_owned(), "3".to_owned(), floor(5))])
}

//! Retention: counted from the received time, dropped by generation.

use atalaya_hot::conformance::pages;

use super::*;

const DAY_US: i64 = 86_400_000_000;

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

/// Messages received so many days ago, a whole day of margin from every edge.
fn received_days_ago(days: &[i64]) -> World {
    let mut world = World::random(41, days.len()).unwrap();
    for (message, days) in world.messages.iter_mut().zip(days) {
        message.received_time_us = now_us() - days * DAY_US;
    }
    world
}

fn directories(path: &Path) -> usize {
    std::fs::read_dir(path.join("keyspaces")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_on_arrival_is_counted_and_not_filed() {
    let directory = tempfile::tempdir().unwrap();
    let hot = open(&format!("file:{}?retention=10d", directory.path().display())).await.unwrap();
    let world = received_days_ago(&[1, 12, 5]);
    let filed = hot.file(&world.messages).await.unwrap();
    let rows: Vec<_> = world.messages.iter().map(|message| message.batch.rows.num_rows() as u64).collect();
    assert_eq!(
        filed.iter().map(|filed| (filed.rows, filed.expired)).collect::<Vec<_>>(),
        [(rows[0], 0), (0, rows[1]), (rows[2], 0)]
    );
    let mut found = 0;
    for tenant in TENANTS {
        let pages = pages(hot.as_ref(), &lookup(tenant, LookupKind::Tenant, "", 1_000)).await.unwrap();
        found += pages.iter().map(|page| page.rows.len() as u64).sum::<u64>();
    }
    assert_eq!(found, rows[0] + rows[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_go_as_a_whole_and_their_files_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let world = received_days_ago(&[1, 9, 5, 6, 20]);
    let with = |days: i64| Options { retention_us: Some(days * DAY_US) };
    let mut before = 0;
    for (retention_days, kept) in [(30, vec![0, 1, 2, 3, 4]), (15, vec![0, 1, 2, 3]), (3, vec![0])] {
        let hot = Embedded::open(directory.path(), with(retention_days)).await.unwrap();
        if retention_days == 30 {
            hot.file(&world.messages).await.unwrap();
        }
        hot.sync().await.unwrap();
        let expected: usize = kept.iter().map(|at| world.messages[*at].batch.rows.num_rows()).sum();
        let mut found = 0;
        for tenant in TENANTS {
            let pages = pages(&hot, &lookup(tenant, LookupKind::Tenant, "", 1_000)).await.unwrap();
            found += pages.iter().map(|page| page.rows.len()).sum::<usize>();
        }
        assert_eq!(found, expected, "retention of {retention_days} days");
        drop(hot);
        let after = directories(directory.path());
        assert!(before == 0 || after < before, "{after} directories after {before}");
        before = after;
    }
}

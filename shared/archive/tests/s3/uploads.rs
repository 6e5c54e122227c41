//! Uploads in parts: complete, abandoned, and left behind by a dead process.

use std::time::{Duration, Instant};

use atalaya_archive::{Archive, Swept, open_store};
use atalaya_servers::S3;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::server::{fresh_url, options, shared};

/// The least a part may have, but for the last: 5 MiB.
const PART: usize = 5 << 20;

/// Uploads of the bucket below a prefix that are neither complete nor aborted.
fn unfinished(s3: &S3, prefix: &str) -> usize {
    let bucket = format!("/{}", S3::BUCKET);
    let answer = s3.request("GET", &bucket, &[("prefix", prefix), ("uploads", "")], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body.matches("<Upload>").count()
}

fn begin(s3: &S3, key: &str) {
    let answer = s3.request("POST", &format!("/{}/{key}", S3::BUCKET), &[("uploads", "")], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn prefix_of(url: &str) -> String {
    url.strip_prefix(&format!("s3://{}/", S3::BUCKET)).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_complete_or_are_aborted() {
    let (server, url) = (shared(), fresh_url());
    let store = open_store(&url, &options(&server.s3)).unwrap();
    let path = Path::from("large");
    let mut upload = store.put_multipart(&path).await.unwrap();
    upload.put_part(vec![1; PART].into()).await.unwrap();
    upload.put_part(vec![2; 7].into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.head(&path).await.unwrap().size, PART as u64 + 7);

    let mut abandoned = store.put_multipart(&Path::from("abandoned")).await.unwrap();
    abandoned.put_part(vec![1; PART].into()).await.unwrap();
    assert_eq!(unfinished(&server.s3, &prefix_of(&url)), 1);
    drop(abandoned);
    let began = Instant::now();
    while unfinished(&server.s3, &prefix_of(&url)) > 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "an upload that was dropped is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(store.get(&Path::from("abandoned")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_the_dead_are_swept_by_age_below_the_archive_only() {
    let (server, url) = (shared(), fresh_url());
    let archive = Archive::open_with(&url, &options(&server.s3)).unwrap();
    let prefix = prefix_of(&url);
    let (ours, beside) = (format!("{prefix}/dns_activity/_delta_log/a=b"), format!("{prefix}-other/x"));
    for key in [&ours, &ours, &beside] {
        begin(&server.s3, key);
    }
    assert_eq!(archive.sweep(Duration::from_secs(3_600)).await.unwrap(), Swept::default(), "they are too young");
    assert_eq!(archive.sweep(Duration::ZERO).await.unwrap(), Swept { uploads: 2, ..Swept::default() });
    assert_eq!((unfinished(&server.s3, &ours), unfinished(&server.s3, &beside)), (0, 1));
}

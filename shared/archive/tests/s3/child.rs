//! The other process of the tests: this binary, run again with one test and its task in the environment.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use atalaya_archive::{Archive, open_store};
use atalaya_servers::S3;
use serde::{Deserialize, Serialize};

use crate::common::dying::DyingStore;
use crate::common::{CLASS, covered, message};

const TASK: &str = "ATALAYA_TEST_TASK";

/// What the other process does: append messages of one partition, one by one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub url: String,
    pub endpoint: String,
    pub keys: PathBuf,
    pub partition: u16,
    pub first: u64,
    pub last: u64,
    pub rows: u32,
    /// The call to the store it dies at, and whether that call takes effect.
    pub death: Option<(u64, bool)>,
}

impl Task {
    pub fn new(s3: &S3, url: &str, first: u64, last: u64) -> Self {
        let (url, endpoint, keys) = (url.to_owned(), s3.endpoint(), s3.directory().to_owned());
        Self { url, endpoint, keys, partition: 0, first, last, rows: 5, death: None }
    }

    /// Starts the other process; it writes the rows that it committed to its standard error.
    pub fn start(&self) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child::other_process", "--ignored", "--nocapture"]);
        child.env(TASK, serde_json::to_string(self).unwrap()).stdout(Stdio::null()).stderr(Stdio::piped());
        child.spawn().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the tests beside it"]
async fn other_process() {
    let task = std::env::var(TASK).unwrap_or_else(|_| panic!("{TASK} says what is to be done"));
    let task: Task = serde_json::from_str(&task).unwrap();
    let options = atalaya_archive::S3Options {
        endpoint: Some(task.endpoint),
        access_key: Some(atalaya_model::SecretRef::File(task.keys.join("access-key"))),
        secret_key: Some(atalaya_model::SecretRef::File(task.keys.join("secret-key"))),
        ..Default::default()
    };
    let mut store = open_store(&task.url, &options).unwrap();
    if let Some((step, after)) = task.death {
        store = Arc::new(DyingStore::new(store, step, after));
    }
    let archive = Archive::over(store).unwrap();
    for sequence in task.first..=task.last {
        let messages = [message(task.partition, sequence, task.rows)];
        let committed = archive.append(CLASS, &messages, &[covered(task.partition, sequence)]).await.unwrap();
        let line = format!("committed {}\n", committed.rows);
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    }
}

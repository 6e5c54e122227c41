//! kill -9 in the middle of filing: what was synced is there, the rest is filed again, nothing is there twice.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const DIRECTORY: &str = "ATALAYA_TEST_HOT_DIRECTORY";
const SEED: u64 = 51;
const MESSAGES: usize = 400;
const CHUNK: usize = 4;

/// Not a test of its own: the process that is killed. It says what it has synced.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_killed_process_loses_nothing_it_synced as its child"]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let hot = open_in(Path::new(&directory)).await;
    let world = World::random(SEED, MESSAGES).unwrap();
    for (at, messages) in world.messages.chunks(CHUNK).enumerate() {
        hot.file(messages).await.unwrap();
        hot.sync().await.unwrap();
        println!("synced {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_it_synced() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::random(SEED, MESSAGES).unwrap();
    for killed_at in [3, 11, 40, 70] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let synced = lines.map_while(Result::ok).filter_map(|line| {
            // The first line comes after the test runner's own words.
            line.rsplit_once("synced ")?.1.parse::<usize>().ok()
        });
        let synced = synced.take_while(|at| *at < killed_at).last();
        child.kill().unwrap();
        child.wait().unwrap();
        let hot = open_in(directory.path()).await;
        for message in &world.messages[..(synced.unwrap() + 1) * CHUNK] {
            let row = &message.batch.runs[0];
            let whose = lookup(row.tenant.as_str(), LookupKind::Raw, &message.raw_id, 1_000);
            let found = hot.lookup(&whose).await.unwrap().rows.len();
            assert!(found >= row.rows as usize, "{} of {}", found, message.id);
        }
    }
    let hot = open_in(directory.path()).await;
    for messages in world.messages.chunks(50) {
        hot.file(messages).await.unwrap();
    }
    check_all(&hot, &world).await;
}

//! Feeding a mesh at a pace that lasts while it is troubled: a file that grows, and a sender.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use atalaya_servers::mesh::LOGS;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::input::Input;
use crate::mesh::Mesh;
use crate::pushed::Sender;
use crate::say;

/// Lines that the file grows by at a time, and the pause after: 450 a second.
const GROWS_BY: usize = 90;
const GROWS_EVERY: Duration = Duration::from_millis(200);

/// How long everything may take to be handed in once nothing goes wrong any more.
const HANDED_IN_WITHIN: Duration = Duration::from_secs(60);

/// What feeds.
pub(crate) struct Feeding {
    growing: JoinHandle<anyhow::Result<()>>,
    pushing: JoinHandle<anyhow::Result<()>>,
}

pub(crate) fn start(mesh: &Mesh, input: &Input) -> anyhow::Result<Feeding> {
    let log = mesh.processes.work().join(LOGS).join("dns.log");
    let growing = tokio::spawn(grow(log, input.growing.clone()));
    let sender = Sender {
        door: mesh.ingest.clone(),
        token: mesh.token.clone(),
        producer: "sensor-1".to_owned(),
        log: "ssl",
        batch: 250,
        pause: Duration::from_millis(500),
    };
    let records = input.pushed.clone();
    let pushing = tokio::spawn(async move { sender.send(&records).await });
    Ok(Feeding { growing, pushing })
}

impl Feeding {
    /// Returns when everything was handed in.
    pub(crate) async fn done(self) -> anyhow::Result<()> {
        let all = async {
            self.growing.await??;
            say("the file has grown");
            self.pushing.await??;
            say("everything pushed was answered");
            Ok(())
        };
        tokio::time::timeout(HANDED_IN_WITHIN, all)
            .await
            .with_context(|| format!("not everything is handed in after {HANDED_IN_WITHIN:?}"))?
    }
}

/// Writes records as a logger does: a write may end in the middle of a line.
async fn grow(path: PathBuf, records: Vec<Bytes>) -> anyhow::Result<()> {
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    for records in records.chunks(GROWS_BY) {
        let text: Vec<u8> = records.iter().flat_map(|record| [&record[..], b"\n"].concat()).collect();
        let (head, tail) = text.split_at(text.len() / 2);
        file.write_all(head)?;
        tokio::time::sleep(GROWS_EVERY / 2).await;
        file.write_all(tail)?;
        tokio::time::sleep(GROWS_EVERY / 2).await;
    }
    Ok(())
}

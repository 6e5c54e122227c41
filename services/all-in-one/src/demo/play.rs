//! Sends the day through the doors: logs into files that are tailed, logins through the ingest socket.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use atalaya_proto::ingest_v1::{Format, PushRequest, PushResponse};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::day::Happening;
use super::zeek::{self, Log};
use crate::Session;

/// How often what is due is written.
const TICK: Duration = Duration::from_millis(20);

/// Batches on their way to the ingest door.
const MAX_PUSHES_IN_FLIGHT: usize = 16;

/// The three logs that are files: name, kind of log, header.
const FILES: [(&str, Log, &str); 3] =
    [("dns.log", Log::Dns, zeek::DNS_HEADER), ("conn.log", Log::Conn, zeek::CONN_HEADER), ("http.json", Log::Http, "")];

/// Writes the logs' headers below a directory, and the sources that tail them below a configuration directory.
pub(crate) fn prepare(logs: &Path, config: &Path) -> anyhow::Result<()> {
    let sources = config.join("sources");
    std::fs::create_dir_all(&sources)?;
    std::fs::create_dir_all(logs)?;
    for (name, _, header) in FILES {
        let path = logs.join(name);
        std::fs::write(&path, header)?;
        let (stem, _) = name.split_once('.').unwrap_or((name, ""));
        let source = format!("name: {stem}\nkind: zeek\npath: {}\ntail: true\n", serde_json::to_string(&path)?);
        std::fs::write(sources.join(format!("{stem}.yaml")), source)?;
    }
    Ok(())
}

/// The doors, open.
struct Doors {
    files: Vec<(Log, File, String)>,
    logins: mpsc::Sender<PushRequest>,
    batch: Vec<bytes::Bytes>,
    sequence: u64,
}

impl Doors {
    fn take(&mut self, (log, line): (Log, String)) {
        match self.files.iter_mut().find(|(kind, ..)| *kind == log) {
            Some((_, _, pending)) => pending.push_str(&line),
            None => self.batch.push(line.trim_end().to_owned().into()),
        }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        for (_, file, pending) in &mut self.files {
            file.write_all(pending.as_bytes())?;
            pending.clear();
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.sequence += 1;
        let request = PushRequest {
            producer: "demo".to_owned(),
            sequence: self.sequence,
            source: "logins".to_owned(),
            format: Format::ZeekJson.into(),
            log_name: "ntlm".to_owned(),
            records: std::mem::take(&mut self.batch),
        };
        self.logins.send(request).await.context("the ingest door closed")
    }
}

/// Plays the day `speed` times as fast as the clock; answers when all of it was written and every push answered.
pub(crate) async fn play(
    session: &Session,
    logs: &Path,
    day: &[Happening],
    day_us: i64,
    speed: f64,
    progress: impl Fn(usize),
) -> anyhow::Result<()> {
    let open = |(name, log, _): (&str, Log, &str)| {
        let path = logs.join(name);
        let file = File::options().append(true).open(&path).with_context(|| path.display().to_string())?;
        Ok((log, file, String::new()))
    };
    let (logins, requests) = mpsc::channel(MAX_PUSHES_IN_FLIGHT);
    let files = FILES.into_iter().map(open).collect::<anyhow::Result<_>>()?;
    let mut doors = Doors { files, logins, batch: Vec::new(), sequence: 0 };
    let mut client = session.ingest()?;
    let answers = tokio::spawn(async move {
        let mut answers = client.push(ReceiverStream::new(requests)).await?.into_inner();
        let mut last = PushResponse::default();
        while let Some(answer) = answers.next().await {
            last = answer?;
        }
        Ok::<_, tonic::Status>(last)
    });
    let (began, mut ticks) = (Instant::now(), tokio::time::interval(TICK));
    let mut next = 0;
    while next < day.len() {
        ticks.tick().await;
        let due_us = began.elapsed().as_secs_f64() * speed * 1e6;
        while let Some(happening) = day.get(next).filter(|happening| (happening.at_us as f64) <= due_us) {
            doors.take(zeek::line(happening, next, day_us));
            next += 1;
        }
        doors.flush().await?;
        progress(next);
    }
    let sent = doors.sequence;
    drop(doors);
    let last = answers.await.context("the ingest door")?.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    anyhow::ensure!(last.sequence == sent, "the ingest door answered {} of {sent} batches", last.sequence);
    Ok(())
}

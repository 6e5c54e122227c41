//! Follows files while they grow, are rotated and are truncated.
//!
//! A file is its device and inode: under a new name it is still the same input, and what appears under the old name is
//! another. A packed file is complete, and is read once. A file that was rewritten shorter begins anew; one that was
//! rewritten to the same or a greater length between two looks cannot be told from one that grew.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::now_us;
use atalaya_chassis::Shutdown;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::find::{Found, find_in_background};
use super::reader::{FileReader, ReadError};
use super::{FileMark, Source};
use crate::cut::{Cut, Stamp};
use crate::intake::{Input, Intake};
use crate::telemetry;

/// Files of one source that are followed at the same time.
const MAX_FOLLOWED: usize = 4_096;

/// A file with fewer bytes is not looked into yet.
const MIN_BYTES: u64 = 2;

/// Pause between two searches for new files, milliseconds.
const FIND_PAUSE_MS: u64 = 500;

/// Pause between two looks at a file that grew lately, and at one that did not, milliseconds.
const GROWING_PAUSE_MS: u64 = 20;
const RESTING_PAUSE_MS: u64 = 200;

/// How long a file counts as growing after it grew, milliseconds.
const GROWING_MS: u64 = 5_000;

/// Least time between two heartbeats of an input, milliseconds.
const HEARTBEAT_MS: u64 = 1_000;

/// How long a file that lost its name may still be written to, milliseconds.
const ROTATED_MS: u64 = 2_000;

type FileId = (u64, u64);

/// Follows everything that the source's path means, until the drain is asked for.
pub(super) async fn run(source: Source, intake: Intake, shutdown: Shutdown) -> anyhow::Result<()> {
    let source = Arc::new(source);
    let (mut followed, mut done) = (HashSet::<FileId>::new(), HashMap::<FileId, FileMark>::new());
    let mut files = JoinSet::new();
    let mut complaint = String::new();
    while !shutdown.is_requested() {
        let found = match find_in_background(vec![source.file.path.clone()], source.format).await {
            Ok(found) => found,
            Err(error) => {
                // A log that is not there yet may come; said once.
                if error.to_string() != complaint {
                    complaint = error.to_string();
                    telemetry::file_failed(&source.file.name, &complaint);
                }
                Vec::new()
            }
        };
        for file in found {
            let mark = FileMark::of(&file.metadata);
            let id = mark.id();
            // Whether a file is packed shows in its first bytes.
            if file.metadata.len() < MIN_BYTES {
                continue;
            }
            if followed.len() >= MAX_FOLLOWED || followed.contains(&id) || done.get(&id) == Some(&mark) {
                continue;
            }
            let stored = mark.stored(&intake, &source.scope).await?;
            if stored == Some(mark) {
                done.insert(id, mark);
                continue;
            }
            let again = stored.is_some();
            let following = Following::new(&source, &intake, file, again, &shutdown);
            followed.insert(id);
            files.spawn(async move { (id, following.run().await) });
        }
        tokio::select! {
            () = shutdown.requested() => {}
            () = tokio::time::sleep(Duration::from_millis(FIND_PAUSE_MS)) => {}
            Some(Ok((id, mark))) = files.join_next() => {
                followed.remove(&id);
                done.extend(mark.map(|mark| (id, mark)));
            }
        }
    }
    while files.join_next().await.is_some() {}
    Ok(())
}

/// One file being followed.
struct Following {
    source: Arc<Source>,
    intake: Intake,
    path: PathBuf,
    mark: FileMark,
    /// Whether this source has read of this file before: what is known of it is then its own, and not counted again.
    again: bool,
    shutdown: Shutdown,
}

/// What moves to a reading thread and back.
struct Reading {
    reader: FileReader,
    input: Option<Input>,
}

/// How a file stands to its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Grown,
    Resting,
    Truncated,
    Nameless,
}

impl Following {
    fn new(source: &Arc<Source>, intake: &Intake, file: Found, again: bool, shutdown: &Shutdown) -> Self {
        let (source, intake, shutdown) = (Arc::clone(source), intake.clone(), shutdown.clone());
        Self { source, intake, path: file.path, mark: FileMark::of(&file.metadata), again, shutdown }
    }

    /// Follows it to its end, and says how it stood there; none if there is more to read of it.
    async fn run(self) -> Option<FileMark> {
        let mut place = match self.open().await {
            Ok(reading) => Some(reading),
            Err(error) => {
                telemetry::file_failed(&self.source.file.name, &error);
                return Some(self.mark);
            }
        };
        let (outcome, mark) = self.follow(&mut place).await;
        let mark = match &outcome {
            Ok(()) => mark,
            Err(ReadError::Stopped(_)) => None,
            Err(error) => {
                telemetry::file_failed(&self.source.file.name, error);
                mark
            }
        };
        let Some(input) = place.and_then(|reading| reading.input) else { return mark };
        let note = mark.filter(|_| outcome.is_ok()).map(|mark| mark.note(&self.source.scope));
        // If the spool has failed, the collector ends, and the next start closes the input.
        let _ = input.close(note.into_iter().collect()).await;
        mark
    }

    async fn open(&self) -> Result<Reading, ReadError> {
        let (source, intake, path) = (Arc::clone(&self.source), self.intake.clone(), self.path.clone());
        let runtime = Handle::current();
        let permit = self.intake.followed_reader().await;
        let job = move || {
            let _permit = permit;
            let mut ask = |anchor| runtime.block_on(intake.continuations(anchor)).map_err(|error| error.to_string());
            FileReader::open(&path, source.format, &source.scope, false, &mut ask, &Arc::default())
        };
        let stopped = || ReadError::Stopped(self.path.display().to_string());
        let (reader, known) = tokio::task::spawn_blocking(job).await.map_err(|_| stopped())??;
        let mut reading = Reading { reader, input: None };
        if known > 0 && !self.again {
            let input = self.intake.open(self.stamp()).await.map_err(|_| stopped())?;
            let mut cut = Cut::of_known(known, now_us());
            cut.note(self.mark.begun(&self.source.scope));
            let _receipt = input.take(cut).await.map_err(|_| stopped())?;
            reading.input = Some(input);
        }
        Ok(reading)
    }

    fn stamp(&self) -> Stamp {
        Stamp { input_name: self.path.display().to_string(), ..self.source.stamp.clone() }
    }

    /// Reads on and on; the mark is of the last look before everything was read.
    async fn follow(&self, place: &mut Option<Reading>) -> (Result<(), ReadError>, Option<FileMark>) {
        let (mut grown, mut beat) = (Instant::now(), Instant::now());
        let idle = Duration::from_millis(self.source.file.idle_ms);
        let mut first = true;
        loop {
            let Some(reading) = place.as_mut() else { return (Ok(()), None) };
            let Ok(metadata) = reading.reader.file().metadata() else { return (Ok(()), None) };
            let mark = FileMark::of(&metadata);
            let standing = self.standing(&reading.reader, &mark);
            if standing == Standing::Truncated {
                return (Ok(()), None);
            }
            if standing == Standing::Nameless && grown.elapsed() >= Duration::from_millis(ROTATED_MS) {
                reading.reader.complete();
            }
            let last = reading.reader.is_whole();
            if first || last || standing == Standing::Grown {
                match self.burst(place).await {
                    Ok(0) => {}
                    Ok(_) => (grown, beat) = (Instant::now(), Instant::now()),
                    Err(error) => return (Err(error), Some(mark)),
                }
            }
            first = false;
            if last || (standing == Standing::Resting && grown.elapsed() >= idle) {
                return (Ok(()), Some(mark));
            }
            if let Some(input) = place.as_ref().and_then(|reading| reading.input.as_ref())
                && beat.elapsed() >= Duration::from_millis(HEARTBEAT_MS)
            {
                beat = Instant::now();
                if input.heartbeat().await.is_err() {
                    return (Ok(()), None);
                }
            }
            let growing = grown.elapsed() < Duration::from_millis(GROWING_MS);
            let pause_ms = if growing { GROWING_PAUSE_MS } else { RESTING_PAUSE_MS };
            if self.shutdown.unless_requested(tokio::time::sleep(Duration::from_millis(pause_ms))).await.is_none() {
                return (Ok(()), (mark.bytes == Some(self.read_of(place))).then_some(mark));
            }
        }
    }

    fn read_of(&self, place: &Option<Reading>) -> u64 {
        place.as_ref().map_or(0, |reading| reading.reader.offset())
    }

    fn standing(&self, reader: &FileReader, mark: &FileMark) -> Standing {
        let named = std::fs::metadata(&self.path).ok().map(|metadata| FileMark::of(&metadata).id());
        match mark.bytes.cmp(&Some(reader.offset())) {
            Ordering::Less if !reader.is_whole() => Standing::Truncated,
            Ordering::Greater => Standing::Grown,
            _ if named == Some(mark.id()) => Standing::Resting,
            _ => Standing::Nameless,
        }
    }

    /// Reads what there is, on a thread of its own; the input is opened with its first record.
    async fn burst(&self, place: &mut Option<Reading>) -> Result<u64, ReadError> {
        let Some(mut reading) = place.take() else { return Ok(0) };
        let (intake, stamp, shutdown) = (self.intake.clone(), self.stamp(), self.shutdown.clone());
        let (runtime, path) = (Handle::current(), self.path.clone());
        let begun = self.mark.begun(&self.source.scope);
        let permit = self.intake.followed_reader().await;
        let job = move || {
            let _permit = permit;
            let source = stamp.source.clone();
            let Reading { reader, input } = &mut reading;
            let mut give = |mut cut: Cut| {
                cut.received_time_us = now_us();
                let given = runtime.block_on(async {
                    if input.is_none() {
                        *input = Some(shutdown.unless_requested(intake.open(stamp.clone())).await?.ok()?);
                        cut.note(begun.clone());
                    }
                    shutdown.unless_requested(input.as_ref()?.take(cut)).await?.ok()
                });
                given.is_some()
            };
            let used = reader.burst(&mut give, &mut |line| telemetry::record_too_long(&source, &path, line));
            (reading, used)
        };
        match tokio::task::spawn_blocking(job).await {
            Ok((reading, used)) => {
                *place = Some(reading);
                used
            }
            Err(_) => Err(ReadError::Stopped(self.path.display().to_string())),
        }
    }
}

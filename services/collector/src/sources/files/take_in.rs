//! Takes files in as one domain: a replay, or a source that is read once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atalaya_bus::now_us;
use atalaya_chassis::Shutdown;
use atalaya_model::Counts;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use super::FileMark;
use super::find::Found;
use super::reader::{FileReader, ReadError};
use crate::admission::Scope;
use crate::cut::{Cut, Stamp};
use crate::inputs::Closing;
use crate::intake::{Input, Intake};
use crate::sources::Format;
use crate::spool::SpoolError;
use crate::telemetry;

/// Opens under way at the same time.
const OPENING: usize = 64;

/// Files of one batch that are read at the same time.
const READING: usize = 4;

/// Errors that are told one by one; the rest is a number.
const MAX_ERRORS: usize = 100;

/// Files to take in.
pub struct Batch {
    /// Their format.
    pub format: &'static Format,
    /// What is said of each, but for its own name; the domain is theirs alone.
    pub stamp: Stamp,
    /// The files.
    pub files: Vec<Found>,
    /// Whether to remember how the files stood, so that they are not opened again unchanged.
    pub mark: bool,
}

/// How far a batch is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files there are.
    pub files: AtomicU64,
    /// Files done with.
    pub files_done: AtomicU64,
    /// Bytes of all files, packed as they are.
    pub bytes: AtomicU64,
    /// Bytes read.
    pub bytes_done: Arc<AtomicU64>,
    /// Records read.
    pub received: AtomicU64,
    /// Of them, records admitted before.
    pub known: AtomicU64,
    /// Of them, records dropped by policy.
    pub dropped: AtomicU64,
}

impl Progress {
    fn add(&self, counts: &Counts) {
        self.received.fetch_add(counts.received, Ordering::Relaxed);
        self.known.fetch_add(counts.known, Ordering::Relaxed);
        self.dropped.fetch_add(counts.dropped, Ordering::Relaxed);
    }
}

/// What the readers of one batch share.
struct Reading {
    format: &'static Format,
    scope: Scope,
    intake: Intake,
    progress: Arc<Progress>,
    stop: Shutdown,
    runtime: Handle,
}

/// Takes the files in; answers, when all is on disk, with what could not be read. What was taken in before stays. If it
/// is stopped, the rest is not read, and said so.
///
/// # Errors
/// If the spool failed.
pub async fn take_in(
    batch: Batch,
    intake: &Intake,
    progress: &Arc<Progress>,
    stop: &Shutdown,
) -> Result<Vec<String>, SpoolError> {
    let Batch { format, stamp, files, mark } = batch;
    progress.files.store(files.len() as u64, Ordering::Relaxed);
    progress.bytes.store(files.iter().map(|file| file.metadata.len()).sum(), Ordering::Relaxed);
    let reading = Arc::new(Reading {
        format,
        scope: Scope::new(stamp.source.as_str(), &stamp.tenant),
        intake: intake.clone(),
        progress: Arc::clone(progress),
        stop: stop.clone(),
        runtime: Handle::current(),
    });
    let scope = reading.scope;
    let inputs = open(files, &stamp, intake).await?;
    let mut reads =
        stream::iter(inputs).map(|(file, input)| read(Arc::clone(&reading), file, input)).buffer_unordered(READING);
    let (mut closing, mut errors, mut untold) = (Closing::default(), Vec::new(), 0);
    while let Some(read) = reads.next().await {
        let Read { file, input, outcome, claim } = read?;
        let notes = match outcome {
            Ok(()) if mark => vec![FileMark::of(&file.metadata).note(&scope)],
            Ok(()) => Vec::new(),
            Err(error) if errors.len() < MAX_ERRORS => {
                errors.push(error.to_string());
                Vec::new()
            }
            Err(_) => {
                untold += 1;
                Vec::new()
            }
        };
        closing.close(input, notes).await?;
        drop(claim);
        progress.files_done.fetch_add(1, Ordering::Relaxed);
    }
    if untold > 0 {
        errors.push(format!("and {untold} files more"));
    }
    Ok(errors)
}

/// Opens every input before the first record: nothing in the domain moves before all were seen.
async fn open(files: Vec<Found>, stamp: &Stamp, intake: &Intake) -> Result<Vec<(Found, Input)>, SpoolError> {
    let domain_inputs = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let opened = stream::iter(files).map(|file| async {
        let input_name = file.path.display().to_string();
        let input = intake.open(Stamp { input_name, domain_inputs, ..stamp.clone() }).await?;
        Ok((file, input))
    });
    opened.buffered(OPENING).try_collect().await
}

/// A file that was read.
struct Read {
    file: Found,
    input: Input,
    outcome: Result<(), ReadError>,
    /// Held until the input is closed.
    claim: Option<OwnedMutexGuard<()>>,
}

async fn read(reading: Arc<Reading>, file: Found, input: Input) -> Result<Read, SpoolError> {
    let permit = reading.intake.whole_reader().await;
    let job = move || {
        let mut claim = None;
        let outcome = reading.read(&file.path, &input, &mut claim);
        drop(permit);
        Read { file, input, outcome, claim }
    };
    tokio::task::spawn_blocking(job).await.map_err(|_| SpoolError::Closed)
}

impl Reading {
    fn read(&self, path: &Path, input: &Input, claim: &mut Option<OwnedMutexGuard<()>>) -> Result<(), ReadError> {
        if self.stop.is_requested() {
            return Err(ReadError::Stopped(path.display().to_string()));
        }
        let mut ask = |anchor| {
            if claim.is_none() {
                *claim = Some(self.runtime.block_on(self.intake.claim(anchor)));
            }
            self.runtime.block_on(self.intake.continuations(anchor)).map_err(|error| error.to_string())
        };
        let read = &self.progress.bytes_done;
        let (mut reader, known) = FileReader::open(path, self.format, &self.scope, true, &mut ask, read)?;
        let mut give = |mut cut: Cut| {
            cut.received_time_us = now_us();
            let counts = cut.counts();
            let taken = self.runtime.block_on(self.stop.unless_requested(input.take(cut)));
            let given = taken.is_some_and(|taken| taken.is_ok());
            if given {
                self.progress.add(&counts);
            }
            given
        };
        if known > 0 && !give(Cut::of_known(known, now_us())) {
            return Err(ReadError::Stopped(path.display().to_string()));
        }
        let source = &input.stamp().source;
        reader.burst(&mut give, &mut |line| telemetry::record_too_long(source, path, line))?;
        Ok(())
    }
}

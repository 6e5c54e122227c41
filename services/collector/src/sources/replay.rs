//! `Ingest.Replay`: takes local files in as one domain, for the operator.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atalaya_chassis::{Shutdown, Trigger};
use atalaya_model::{Principal, Role, SHARED};
use atalaya_proto::ingest_v1::{ReplayProgress, ReplayRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::files::{Batch, Progress, find, take_in};
use super::push::Door;
use crate::config::source_name;
use crate::cut::Stamp;
use crate::telemetry;

/// Time between two reports of progress, milliseconds.
const REPORT_MS: u64 = 200;

/// Reports that may wait for the client.
const WAITING_REPORTS: usize = 4;

type Reports = ReceiverStream<Result<ReplayProgress, Status>>;

/// Begins a replay.
pub(crate) async fn replay(door: Door, principal: &Principal, request: ReplayRequest) -> Result<Reports, Status> {
    if !principal.has(Role::Operator) {
        return Err(Status::permission_denied("a replay needs a token with role operator"));
    }
    let tenant = match request.tenant.as_str() {
        "" | SHARED => SHARED.to_owned(),
        named => {
            let tenant = principal.acting_for(Some(named));
            tenant.map_err(|error| Status::invalid_argument(error.to_string()))?.to_string()
        }
    };
    let format = super::format(&request.kind).map_err(Status::invalid_argument)?;
    if let Some(path) = request.paths.iter().find(|path| !Path::new(path.as_str()).is_absolute()) {
        return Err(Status::invalid_argument(format!("{path}: an absolute path is needed")));
    }
    let paths = request.paths;
    if paths.is_empty() {
        return Err(Status::invalid_argument("paths: at least one is needed"));
    }
    let found = tokio::task::spawn_blocking(move || find(&paths, format)).await;
    let files = found
        .map_err(|error| Status::internal(error.to_string()))?
        .map_err(|error| Status::not_found(error.to_string()))?;
    let stamp = Stamp {
        // One source for all replays of a kind: what was taken in before is known.
        source: source_name(format.kind).map_err(Status::internal)?,
        kind: format.kind.to_owned(),
        tenant,
        domain: door.intake.new_domain("replay"),
        input_name: String::new(),
        lateness_us: format.lateness_us,
        domain_inputs: 0,
    };
    let (reports, stream) = mpsc::channel(WAITING_REPORTS);
    tokio::spawn(run(door, Batch { format, stamp, files, mark: false }, reports));
    Ok(ReceiverStream::new(stream))
}

async fn run(door: Door, batch: Batch, reports: mpsc::Sender<Result<ReplayProgress, Status>>) {
    let (trigger, stop) = Shutdown::new();
    let progress = Arc::new(Progress::default());
    let domain = batch.stamp.domain.clone();
    telemetry::replay(&domain, batch.files.len() as u64, 0, "begins");
    let taking = take_in(batch, &door.intake, &progress, &stop);
    let reporting = report(&door.shutdown, &domain, &progress, &reports, trigger);
    tokio::pin!(taking);
    let outcome = tokio::select! {
        outcome = &mut taking => outcome,
        // The client is gone, or the drain begins: what is being read is finished, and every input closed.
        () = reporting => taking.await,
    };
    let last = match outcome {
        Ok(errors) => Ok(ReplayProgress { done: true, errors, ..snapshot(&domain, &progress) }),
        Err(error) => Err(Status::unavailable(error.to_string())),
    };
    telemetry::replay(
        &domain,
        progress.files_done.load(Ordering::Relaxed),
        progress.received.load(Ordering::Relaxed),
        "ends",
    );
    let _ = reports.send(last).await;
}

/// Reports until the client is gone or the drain is asked for; then asks the readers to stop.
async fn report(
    shutdown: &Shutdown,
    domain: &str,
    progress: &Progress,
    reports: &mpsc::Sender<Result<ReplayProgress, Status>>,
    trigger: Trigger,
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(REPORT_MS));
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            () = reports.closed() => break,
            _ = ticks.tick() => {
                // A client that does not read misses reports, and holds nothing back.
                let _ = reports.try_send(Ok(snapshot(domain, progress)));
            }
        }
    }
    trigger.request();
}

fn snapshot(domain: &str, progress: &Progress) -> ReplayProgress {
    ReplayProgress {
        domain: domain.to_owned(),
        files: progress.files.load(Ordering::Relaxed),
        files_done: progress.files_done.load(Ordering::Relaxed),
        bytes: progress.bytes.load(Ordering::Relaxed),
        bytes_done: progress.bytes_done.load(Ordering::Relaxed).min(progress.bytes.load(Ordering::Relaxed)),
        received: progress.received.load(Ordering::Relaxed),
        known: progress.known.load(Ordering::Relaxed),
        dropped: progress.dropped.load(Ordering::Relaxed),
        done: false,
        errors: Vec::new(),
    }
}

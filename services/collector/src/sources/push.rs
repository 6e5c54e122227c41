//! Kind `push`: records that senders hand in over gRPC, `Ingest.Push`.
//!
//! A batch is answered when it is on disk. The tenant is the token's. While the spool has no room, or the tenant is
//! beyond its quota, the stream is not read, and HTTP/2 holds the sender back.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::now_us;
use atalaya_chassis::Shutdown;
use atalaya_model::{LIVE_DOMAIN, Principal};
use atalaya_proto::ingest_v1::{Format, PushRequest, PushResponse};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::producers::{MAX_PRODUCER_BYTES, Producers, Session};
use super::quotas::{Turnstile, Turnstiles};
use crate::admission::{Admission, Producer};
use crate::config::source_name;
use crate::cut::{Cut, MAX_RECORD_BYTES, Stamp};
use crate::intake::{Input, Intake, Receipt};
use crate::telemetry;

/// Batches of one stream that may wait for the disk.
const WINDOW_BATCHES: usize = 256;

/// Records of a batch at most.
pub const MAX_BATCH_RECORDS: usize = 10_000;

/// A log's name at most.
const MAX_LOG_NAME_BYTES: usize = 128;

/// How long a stream is silent before it says that it is at the end of its data, milliseconds.
const HEARTBEAT_MS: u64 = 1_000;

/// How long a sender may leave its answers unread, milliseconds.
const ANSWER_MS: u64 = 30_000;

/// What a stream needs to be taken in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) intake: Intake,
    pub(crate) producers: Arc<Producers>,
    pub(crate) turnstiles: Arc<Turnstiles>,
    pub(crate) shutdown: Shutdown,
}

type Answers = ReceiverStream<Result<PushResponse, Status>>;

/// A batch that was handed in, to be answered.
enum Pending {
    Batch(PushResponse, Receipt),
    Failed(Status),
}

/// Takes a stream in.
pub(crate) fn push(door: Door, principal: Arc<Principal>, requests: Streaming<PushRequest>) -> Answers {
    let (answers, responses) = mpsc::channel(WINDOW_BATCHES);
    tokio::spawn(serve(door, principal, requests, answers));
    ReceiverStream::new(responses)
}

async fn serve(
    door: Door,
    principal: Arc<Principal>,
    mut requests: Streaming<PushRequest>,
    answers: mpsc::Sender<Result<PushResponse, Status>>,
) {
    let (pending, waiting) = mpsc::channel(WINDOW_BATCHES);
    let answering = tokio::spawn(answer(waiting, answers));
    let mut talk = None;
    let ended = read(&door, &principal, &mut requests, &mut talk, &pending).await;
    let reason = ended.as_ref().err().map_or("end of stream".to_owned(), |status| status.message().to_owned());
    if let Err(status) = ended {
        let _ = pending.send(Pending::Failed(status)).await;
    }
    drop(pending);
    // The word goes to a newer stream only when everything handed in is on disk.
    let _ = answering.await;
    if let Some(talk) = talk {
        telemetry::push_ended(principal.tenant.as_str(), &talk.producer, talk.records, &reason);
        let _ = talk.input.close(Vec::new()).await;
        drop(talk.session);
    }
}

/// Answers in order, each when its batch is on disk. A sender that is gone, or does not read, is not answered any more
/// and not read from, but what it handed in is waited for.
async fn answer(mut waiting: mpsc::Receiver<Pending>, answers: mpsc::Sender<Result<PushResponse, Status>>) {
    while let Some(pending) = waiting.recv().await {
        let answer = match pending {
            Pending::Failed(status) => Err(status),
            Pending::Batch(response, receipt) => {
                receipt.on_disk().await.map(|_| response).map_err(|error| Status::unavailable(error.to_string()))
            }
        };
        let last = answer.is_err();
        let sent = answers.send_timeout(answer, Duration::from_millis(ANSWER_MS)).await;
        if last || sent.is_err() {
            waiting.close();
            break;
        }
    }
    while let Some(pending) = waiting.recv().await {
        if let Pending::Batch(_, receipt) = pending {
            let _ = receipt.on_disk().await;
        }
    }
}

async fn read(
    door: &Door,
    principal: &Principal,
    requests: &mut Streaming<PushRequest>,
    talk: &mut Option<Talk>,
    pending: &mpsc::Sender<Pending>,
) -> Result<(), Status> {
    loop {
        let leave = talk.as_ref().map(|talk| talk.session.leave.clone());
        let request = tokio::select! {
            biased;
            status = cut_short(door, leave) => return Err(status),
            request = requests.message() => request?,
            () = tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)) => {
                if let Some(talk) = talk {
                    talk.input.heartbeat().await.map_err(|error| Status::unavailable(error.to_string()))?;
                }
                continue;
            }
        };
        let Some(request) = request else { return Ok(()) };
        let talk = match talk {
            Some(talk) => talk,
            None => talk.insert(Talk::begin(door, principal, &request).await?),
        };
        // Neither a drain nor a newer stream waits for room: what was not taken in was not answered.
        let leave = Some(talk.session.leave.clone());
        let batch = tokio::select! {
            biased;
            status = cut_short(door, leave) => return Err(status),
            batch = talk.take(request) => batch?,
        };
        if pending.send(batch).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until a stream has to end though its sender goes on; why.
async fn cut_short(door: &Door, leave: Option<CancellationToken>) -> Status {
    let left = async {
        match leave {
            Some(leave) => leave.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = door.shutdown.requested() => Status::unavailable("the collector drains: come again"),
        () = left => Status::aborted("the producer speaks on a newer stream"),
    }
}

/// One producer's stream.
struct Talk {
    session: Session,
    input: Input,
    /// None if the tenant has no quota.
    turnstile: Option<Arc<Turnstile>>,
    /// Whether no batch was held yet for the tenant's quota.
    unheld: bool,
    producer: String,
    format: Format,
    log_name: Bytes,
    /// Records seen on this stream: their numbers stand in for lines.
    records: u64,
}

impl Talk {
    async fn begin(door: &Door, principal: &Principal, request: &PushRequest) -> Result<Self, Status> {
        let producer = request.producer.clone();
        if producer.is_empty() || producer.len() > MAX_PRODUCER_BYTES {
            let reason = format!("producer: a name of 1 to {MAX_PRODUCER_BYTES} bytes is needed on the first message");
            return Err(Status::invalid_argument(reason));
        }
        let format = request.format();
        let (kind, name) = match format {
            Format::ZeekJson => ("zeek", "zeek_json"),
            Format::JsonLines => ("json_lines", "json_lines"),
            Format::Ocsf => ("ocsf", "ocsf"),
            Format::Unspecified => return Err(Status::invalid_argument("format is needed on the first message")),
        };
        let source = if request.source.is_empty() { name } else { &request.source };
        let stamp = Stamp {
            source: source_name(source).map_err(Status::invalid_argument)?,
            kind: kind.to_owned(),
            tenant: principal.tenant.to_string(),
            domain: LIVE_DOMAIN.to_owned(),
            input_name: producer.clone(),
            lateness_us: super::format(kind).map_err(Status::internal)?.lateness_us,
            domain_inputs: 0,
        };
        let session = door.producers.enter(&principal.tenant, &producer).await?;
        let input = door.intake.open(stamp).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let turnstile = door.turnstiles.of(&principal.tenant);
        Ok(Self { session, input, turnstile, unheld: true, producer, format, log_name: Bytes::new(), records: 0 })
    }

    fn check(&self, request: &PushRequest) -> Result<(), Status> {
        let changed = |what| Err(Status::invalid_argument(format!("{what} cannot change within a stream")));
        if !request.producer.is_empty() && request.producer != self.producer {
            return changed("producer");
        }
        if request.format() != Format::Unspecified && request.format() != self.format {
            return changed("format");
        }
        if request.sequence == 0 {
            return Err(Status::invalid_argument("sequence: batches are counted from 1"));
        }
        if request.records.len() > MAX_BATCH_RECORDS {
            let reason = format!("{} records in a batch, more than {MAX_BATCH_RECORDS}", request.records.len());
            return Err(Status::invalid_argument(reason));
        }
        if request.log_name.len() > MAX_LOG_NAME_BYTES || request.log_name.starts_with('#') {
            return Err(Status::invalid_argument(format!("log_name: at most {MAX_LOG_NAME_BYTES} bytes and no '#'")));
        }
        Ok(())
    }

    /// Hands a batch in, once the tenant's quota lets it pass.
    async fn take(&mut self, request: PushRequest) -> Result<Pending, Status> {
        self.check(&request)?;
        if let Some(turnstile) = &self.turnstile {
            let bytes: usize = request.records.iter().map(Bytes::len).sum();
            turnstile.pass(&self.producer, request.records.len() as u64, bytes as u64, &mut self.unheld).await?;
        }
        if !request.log_name.is_empty() && request.log_name.as_bytes() != self.log_name {
            self.log_name = Bytes::from(request.log_name.clone());
        }
        let mut answer = PushResponse { sequence: request.sequence, ..PushResponse::default() };
        let receipt = match self.session.producer().check(request.sequence) {
            Admission::Gap { expected } => {
                let reason = format!("sequence {}: {expected} was expected", request.sequence);
                return Err(Status::out_of_range(reason));
            }
            Admission::Known => {
                answer.known = request.records.len() as u64;
                self.records += answer.known;
                self.hand_in(Cut::of_known(answer.known, now_us())).await?
            }
            Admission::New { skip } => self.admit(&request, skip, &mut answer).await?,
        };
        Ok(Pending::Batch(answer, receipt))
    }

    async fn admit(
        &mut self,
        request: &PushRequest,
        skip: usize,
        answer: &mut PushResponse,
    ) -> Result<Receipt, Status> {
        let skip = skip.min(request.records.len());
        answer.known = skip as u64;
        self.records += answer.known;
        let mut cut = self.cut();
        cut.known = answer.known;
        for (at, record) in request.records.iter().enumerate().skip(skip) {
            self.records += 1;
            if cut.is_full_for(self.records) {
                let mut part = Producer::default();
                part.admitted_part(request.sequence, u32::try_from(at).unwrap_or(u32::MAX));
                let full = std::mem::replace(&mut cut, self.cut());
                let _receipt = self.hand_in_as(full, part).await?;
            }
            if record.len() > MAX_RECORD_BYTES {
                cut.dropped += 1;
                answer.dropped += 1;
                if answer.reason.is_empty() {
                    answer.reason =
                        format!("record {} of {} bytes is longer than {MAX_RECORD_BYTES}", at + 1, record.len());
                }
            } else {
                cut.push(record, self.records);
                answer.accepted += 1;
            }
        }
        let mut whole = Producer::default();
        whole.admitted(request.sequence);
        self.hand_in_as(cut, whole).await
    }

    fn cut(&self) -> Cut {
        Cut::new(self.log_name.clone(), now_us())
    }

    async fn hand_in_as(&mut self, mut cut: Cut, producer: Producer) -> Result<Receipt, Status> {
        cut.note(self.session.note(producer));
        let receipt = self.hand_in(cut).await?;
        self.session.advance(producer);
        Ok(receipt)
    }

    async fn hand_in(&self, cut: Cut) -> Result<Receipt, Status> {
        self.input.take(cut).await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

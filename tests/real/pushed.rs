//! A sender that pushes: batches in order, each again until it was answered.

use std::time::Duration;

use anyhow::{Context, bail};
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::ingest_v1::{Format, PushRequest};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Pause before the collector is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// How long one connection, or one answer, may take before it counts as none: a spool may be full for a while.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Batches of a log, and who sends them.
pub(crate) struct Sender {
    /// URL of the ingest door.
    pub(crate) door: String,
    pub(crate) token: String,
    pub(crate) producer: String,
    /// The log's name.
    pub(crate) log: &'static str,
    /// Records of a batch.
    pub(crate) batch: usize,
    /// Pause after each batch.
    pub(crate) pause: Duration,
}

impl Sender {
    /// Sends everything; returns when all of it was answered.
    pub(crate) async fn send(&self, records: &[Bytes]) -> anyhow::Result<()> {
        let batches: Vec<&[Bytes]> = records.chunks(self.batch).collect();
        let mut answered = 0;
        while answered < batches.len() {
            if let Err(error) = self.talk(&batches, &mut answered).await {
                let refused = error.downcast_ref::<tonic::Status>().is_some_and(|status| {
                    matches!(status.code(), tonic::Code::InvalidArgument | tonic::Code::Unauthenticated)
                });
                if refused {
                    return Err(error.context("push"));
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    }

    /// One stream, from the first batch that was not answered.
    async fn talk(&self, batches: &[&[Bytes]], answered: &mut usize) -> anyhow::Result<()> {
        let channel = timeout(ANSWER_WITHIN, Endpoint::from_shared(self.door.clone())?.connect()).await??;
        let (requests, receiver) = mpsc::channel(1);
        requests.send(self.request(batches, *answered)).await?;
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse()?);
        let mut client = IngestClient::new(channel);
        let mut answers = timeout(ANSWER_WITHIN, client.push(request)).await??.into_inner();
        loop {
            let answer = timeout(ANSWER_WITHIN, answers.message()).await??.context("the stream ended")?;
            if answer.sequence != *answered as u64 + 1 {
                bail!("an answer to batch {} instead of {}", answer.sequence, *answered + 1);
            }
            *answered += 1;
            if *answered == batches.len() {
                return Ok(());
            }
            tokio::time::sleep(self.pause).await;
            requests.send(self.request(batches, *answered)).await?;
        }
    }

    fn request(&self, batches: &[&[Bytes]], at: usize) -> PushRequest {
        PushRequest {
            producer: self.producer.clone(),
            sequence: at as u64 + 1,
            source: String::new(),
            format: Format::ZeekJson.into(),
            log_name: self.log.to_owned(),
            records: batches[at].to_vec(),
        }
    }
}

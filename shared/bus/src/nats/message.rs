//! Messages as NATS carries them: our headers in one header field, the body as it is.

use std::sync::Arc;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::link::{Fault, Link, decode};
use crate::{AppendError, BusError, Fence, Headers, Message, Outgoing, Sequence, Stream, Subject};

/// The field with [`Headers`].
const HEADERS: &str = "Atalaya-Headers";

/// The fence, in the server's words.
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_UNDER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Bytes a message takes in a stream beside subject, headers and body, about.
const STORED_BYTES: usize = 64;

/// The server's numbers.
pub(super) const WRONG_LAST: [u64; 2] = [10_071, 10_164];
const STORE_FAILED: u64 = 10_077;
/// Too many messages wait for the stream's leader, or its account or server has no room: this one was dropped.
const NO_ROOM: [u64; 5] = [10_167, 10_002, 10_023, 10_028, 10_047];
/// Body or headers are larger than the stream takes.
const TOO_LARGE: [u64; 2] = [10_054, 10_097];
const NO_MESSAGE: u64 = 10_037;

/// The acknowledgement of a stored message.
#[derive(Deserialize)]
pub(super) struct Stored {
    pub(super) seq: Sequence,
}

fn text(value: &str) -> Result<HeaderValue, AppendError> {
    value.parse().map_err(|error| AppendError::Refused(format!("a header: {error}")))
}

/// Appends, behind the fence.
pub(super) async fn append(
    link: &Link,
    max_bytes: u64,
    fence: &Fence,
    expected: Sequence,
    message: Outgoing,
) -> Result<Sequence, AppendError> {
    let stream = fence.stream();
    let encoded = message.headers.encode().map_err(|error| AppendError::Refused(error.to_string()))?;
    let bytes = encoded.len() + message.body.len() + fence.subject().as_str().len() + STORED_BYTES;
    if bytes as u64 > max_bytes {
        return Err(AppendError::Refused(format!("{bytes} bytes are more than {stream} ever holds ({max_bytes})")));
    }
    let encoded = String::from_utf8(encoded).map_err(|error| AppendError::Refused(error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(HEADERS, text(&encoded)?);
    headers.insert(EXPECTED, text(&expected.to_string())?);
    headers.insert(EXPECTED_UNDER, text(fence.filter().as_str())?);
    let answer = link.request(fence.subject().as_str().to_owned(), Some(headers), message.body).await;
    match answer.and_then(|answer| decode::<Stored>(&answer.payload)) {
        Ok(stored) => Ok(stored.seq),
        Err(fault) => Err(refusal(fault, fence, expected)),
    }
}

fn refusal(fault: Fault, fence: &Fence, expected: Sequence) -> AppendError {
    match fault {
        Fault::TooLarge(reason) => AppendError::Refused(reason),
        Fault::Unanswered(reason) => AppendError::Unanswered(reason),
        Fault::Refused { code, .. } if WRONG_LAST.contains(&code) => {
            AppendError::Fenced { fence: fence.filter().clone(), expected }
        }
        Fault::Refused { code, .. } if NO_ROOM.contains(&code) => AppendError::Full(fence.stream()),
        // "maximum bytes exceeded"; any other failure of the store is the server's own trouble.
        Fault::Refused { code: STORE_FAILED, text } if text.contains("maximum") => AppendError::Full(fence.stream()),
        Fault::Refused { code, text } if TOO_LARGE.contains(&code) => AppendError::Refused(text),
        fault @ Fault::Refused { .. } => AppendError::Unanswered(fault.to_string()),
    }
}

/// A message out of a subject, a header field and a body.
pub(super) fn message(
    stream: Stream,
    subject: &str,
    sequence: Sequence,
    headers: Option<&HeaderMap>,
    body: Bytes,
) -> Result<Message, BusError> {
    let damaged = |reason: String| BusError::Damaged { stream, sequence, reason };
    let subject = Subject::new(subject).map_err(|error| damaged(error.to_string()))?;
    let field = headers.and_then(|headers| headers.get(HEADERS));
    let field = field.ok_or_else(|| damaged(format!("no field {HEADERS}: not written by Atalaya")))?;
    let headers = Headers::decode(field.as_str().as_bytes()).map_err(|error| damaged(error.to_string()))?;
    Ok(Message { stream, subject, sequence, headers: Arc::new(headers), body, decoded: None })
}

/// What is stored, as the stream's leader has it: by number, or as the newest under a filter.
pub(super) async fn stored(
    link: &Link,
    stream: &str,
    which: &serde_json::Value,
) -> Result<Option<StreamMessage>, Fault> {
    #[derive(Deserialize)]
    struct Got {
        message: RawMessage,
    }
    match link.ask::<Got>(&format!("STREAM.MSG.GET.{stream}"), which).await {
        Ok(got) => {
            let message = StreamMessage::try_from(got.message);
            Ok(Some(message.map_err(|error| Fault::Unanswered(error.to_string()))?))
        }
        Err(fault) if fault.code() == NO_MESSAGE => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The newest sequence under a filter; 0 for none.
pub(super) async fn newest(link: &Link, stream: Stream, filter: &str) -> Result<Sequence, Fault> {
    let newest = stored(link, stream.name(), &json!({ "last_by_subj": filter })).await?;
    Ok(newest.map_or(0, |message| message.sequence))
}

/// One of our messages, by number or as the newest under a filter.
pub(super) async fn get(link: &Link, stream: Stream, which: &serde_json::Value) -> Result<Option<Message>, BusError> {
    let Some(found) = stored(link, stream.name(), which).await? else { return Ok(None) };
    message(stream, &found.subject, found.sequence, Some(&found.headers), found.payload).map(Some)
}

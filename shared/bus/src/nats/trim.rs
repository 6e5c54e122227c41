//! Trimming: a prefix goes at once, what lies between messages that stay goes one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::link::{Fault, Link};
use super::trimmed::{Subjects, TrimLog};
use super::{message, place_name, streams};
use crate::{BusError, Filter, Sequence, Stream};

/// Bytes and messages removed in one step at most: a larger purge stalls every publisher of a server.
const STEP_BYTES: usize = 16 << 20;
const STEP_MESSAGES: usize = 4_096;

/// Requests under way at once.
const REQUESTS: usize = 32;

/// Messages looked at per question, how long one may take, and when the server forgets the place.
const BATCH_MESSAGES: usize = 512;
const MAX_WAIT: Duration = Duration::from_secs(10);
const INACTIVE: Duration = Duration::from_secs(30);

/// The field with a body's size, where only headers come.
const SIZE: &str = "Nats-Msg-Size";

/// The server's number for a message that is not there any more.
const NO_SEQUENCE: u64 = 10_043;

/// A message that may go.
struct Candidate {
    sequence: Sequence,
    subject: String,
}

/// What one step looks at.
struct Step {
    candidates: Vec<Candidate>,
    /// Everything below was looked at.
    reached: Sequence,
}

/// Removes what lies below a sequence but the newest message under any of the fences; the new first sequence.
pub(super) async fn trim(
    link: &Link,
    log: &TrimLog,
    stream: Stream,
    before: Sequence,
    fences: &[Filter],
) -> Result<Sequence, BusError> {
    loop {
        let info = streams::info(link, stream.name()).await?;
        let Some(info) = info else { return Err(BusError::Mismatch(format!("{stream}: the stream is gone"))) };
        let first = info.state.first_sequence;
        let below = log.below(stream).await?.max(first);
        let before = before.clamp(below, (info.state.last_sequence + 1).max(below));
        if info.state.messages == 0 || before <= below {
            return Ok(below);
        }
        let newest = message::newest(link, stream, ">").await?;
        let step = look(link, stream, first, before, newest).await?;
        let kept = kept(link, stream, &step.candidates, fences).await?;
        let gone: Vec<_> = step.candidates.iter().filter(|message| !kept.contains(&message.sequence)).collect();
        let mut subjects = Subjects::default();
        gone.iter().for_each(|message| subjects.add(&message.subject, message.sequence));
        log.record(stream, first, step.reached, subjects).await?;
        remove(link, stream, &gone, &kept, step.reached).await?;
        if step.reached >= before {
            return Ok(before);
        }
    }
}

/// Which of the messages are the newest under one of the fences: of those fences the stream has no more messages than
/// were looked at.
async fn kept(
    link: &Link,
    stream: Stream,
    messages: &[Candidate],
    fences: &[Filter],
) -> Result<BTreeSet<Sequence>, BusError> {
    // Asked after the look: what came in between makes a fence have more.
    let counts = streams::counts(link, stream.name(), ">").await?;
    let mut seen: BTreeMap<&str, (u64, Sequence)> = BTreeMap::new();
    for message in messages {
        let (count, newest) = seen.entry(&message.subject).or_default();
        (*count, *newest) = (*count + 1, message.sequence.max(*newest));
    }
    let mut kept = BTreeSet::new();
    for fence in fences {
        let under = seen.iter().filter(|(subject, _)| fence.matches_text(subject));
        let (looked_at, newest) = under.fold((0, 0), |(sum, last), (_, &(count, seq))| (sum + count, seq.max(last)));
        let there =
            counts.iter().filter(|(subject, _)| fence.matches_text(subject)).map(|(_, count)| count).sum::<u64>();
        if looked_at > 0 && there <= looked_at {
            kept.insert(newest);
        }
    }
    Ok(kept)
}

/// Looks at the messages from one sequence to before another, as many as one step takes. `newest` is the newest message
/// of the stream: once it or one beyond the end was seen, none is missing, however far behind the server is.
async fn look(
    link: &Link,
    stream: Stream,
    from: Sequence,
    before: Sequence,
    newest: Sequence,
) -> Result<Step, BusError> {
    let session = link.session().await?;
    let config = pull::Config {
        name: Some(place_name()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
        ack_policy: AckPolicy::None,
        headers_only: true,
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let io = |error: &dyn std::fmt::Display| BusError::Io(format!("{stream} cannot be looked through: {error}"));
    let created = session.jetstream.create_consumer_on_stream(config, stream.name()).await;
    let consumer: PullConsumer = created.map_err(|error| io(&error))?;
    let messages = consumer.stream().max_messages_per_batch(BATCH_MESSAGES).expires(MAX_WAIT).messages();
    let mut messages = messages.await.map_err(|error| io(&error))?;
    let (mut step, mut bytes, mut delivered) = (Step { candidates: Vec::new(), reached: before }, 0, 0);
    loop {
        let next = tokio::time::timeout(MAX_WAIT, messages.next()).await.map_err(|_| io(&"no answer in time"))?;
        let next = next.ok_or_else(|| io(&"the place is gone"))?.map_err(|error| io(&error))?;
        let info = next.info().map_err(|error| io(&error))?;
        delivered += 1;
        if info.consumer_sequence != delivered {
            return Err(io(&"messages were lost on the way"));
        }
        let sequence = info.stream_sequence;
        if sequence >= before {
            break;
        }
        let size =
            next.headers.as_ref().and_then(|headers| headers.get(SIZE)).and_then(|size| size.as_str().parse().ok());
        bytes += size.unwrap_or(0) + next.length;
        step.candidates.push(Candidate { sequence, subject: next.subject.to_string() });
        if sequence + 1 >= before || sequence >= newest {
            break;
        }
        if bytes >= STEP_BYTES || step.candidates.len() >= STEP_MESSAGES {
            step.reached = sequence + 1;
            break;
        }
    }
    drop(messages);
    // The server forgets it by itself, too.
    let _ = session.jetstream.delete_consumer_from_stream(&consumer.cached_info().name, stream.name()).await;
    Ok(step)
}

async fn remove(
    link: &Link,
    stream: Stream,
    gone: &[&Candidate],
    kept: &BTreeSet<Sequence>,
    reached: Sequence,
) -> Result<(), BusError> {
    let prefix = kept.iter().copied().find(|&sequence| sequence < reached).unwrap_or(reached);
    if gone.iter().any(|message| message.sequence < prefix) {
        let question = json!({ "seq": prefix });
        let _: Value = link.ask(&format!("STREAM.PURGE.{stream}"), &question).await?;
    }
    let rest: Vec<_> = gone.iter().map(|message| message.sequence).filter(|&sequence| sequence > prefix).collect();
    let deletes = futures::stream::iter(rest).map(|sequence| delete(link, stream, sequence));
    deletes.buffer_unordered(REQUESTS).try_collect::<()>().await?;
    Ok(())
}

async fn delete(link: &Link, stream: Stream, sequence: Sequence) -> Result<(), Fault> {
    let question = json!({ "seq": sequence, "no_erase": true });
    match link.ask::<Value>(&format!("STREAM.MSG.DELETE.{stream}"), &question).await {
        Ok(_) => Ok(()),
        // Asked for twice, or somebody else trims, too.
        Err(fault) if fault.code() == NO_SEQUENCE => Ok(()),
        Err(fault) => Err(fault),
    }
}

//! The suite every adapter of the port has to pass. It knows the port and nothing of the adapter.

mod buckets;
mod streams;
mod trimming;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use crate::{Bus, Fence, Filter, Headers, Kind, Message, Outgoing, Reader, Sequence, Stream, Subject};

/// What a test wants of the bus it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes each stream may hold.
    pub max_bytes: u64,
    /// Partitions.
    pub partitions: u16,
}

/// Plenty.
const ROOMY: Limits = Limits { max_bytes: 64 << 20, partitions: 4 };

/// Soon full: about ten messages of [`LARGE_BYTES`].
const TIGHT: Limits = Limits { max_bytes: 512 << 10, partitions: 4 };

/// Bytes of a large body.
const LARGE_BYTES: usize = 40 << 10;

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long something that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(150);

/// Runs every test, each on a fresh bus.
///
/// # Errors
/// The first test that fails, by name.
pub async fn suite(new_bus: impl AsyncFn(Limits) -> Result<Arc<dyn Bus>>) -> Result<()> {
    macro_rules! run {
        ($($limits:expr => $($module:ident :: $test:ident),+;)+) => {
            $($(
                let name = concat!(stringify!($module), "::", stringify!($test));
                $module::$test(new_bus($limits).await?).await.context(name)?;
            )+)+
        };
    }
    run! {
        ROOMY => streams::order, streams::fence_refuses_a_stale_writer, streams::fences_cover_wildcards,
            streams::contenders_never_both_win, streams::readers_filter_and_wait, streams::next_is_cancel_safe,
            streams::what_is_stored_reads_back, streams::positions_are_verified;
        TIGHT => streams::full_refuses_and_recovers, writers::a_full_stream_is_waited_for;
        ROOMY => trimming::keeps_the_newest_under_each_fence, trimming::a_gap_is_an_error,
            trimming::an_idle_reader_sees_no_gap, trimming::numbers_go_on_after_everything_is_gone,
            trimming::trimmer_waits_for_floors, trimming::trimmer_spares_half_written_positions;
        TIGHT => trimming::yielding_readers_are_passed;
        ROOMY => writers::resume_from_the_last_output, writers::half_written_output_is_completed,
            writers::half_written_after_a_trim, writers::stale_writer_is_fenced, writers::passes_become_marks,
            writers::books_are_written_once, writers::chains_have_no_holes, writers::order_is_checked;
        ROOMY => buckets::compare_and_set, buckets::lists_by_prefix, buckets::time_to_live,
            buckets::keys_are_checked, buckets::leases, buckets::floors;
    }
    Ok(())
}

fn subject(text: &str) -> Result<Subject> {
    Ok(Subject::new(text)?)
}

fn filter(text: &str) -> Result<Filter> {
    Ok(Filter::new(text)?)
}

fn fence(stream: Stream, under: &str, all: &str) -> Result<Fence> {
    Fence::new(stream, subject(under)?, filter(all)?).context("the subject is not under its fence")
}

fn outgoing(id: &str, body: impl Into<Bytes>) -> Outgoing {
    let headers = Headers { version: 1, id: id.to_owned(), end: true, ..Headers::default() };
    Outgoing { headers, body: body.into(), decoded: None }
}

fn mark(id: &str) -> Outgoing {
    let mut mark = outgoing(id, "");
    mark.headers.kind = Kind::Mark;
    mark
}

/// Appends `count` messages after `expected`; the last sequence.
async fn fill(bus: &dyn Bus, fence: &Fence, mut expected: Sequence, ids: std::ops::Range<u32>) -> Result<Sequence> {
    for id in ids {
        expected = bus.append(fence, expected, outgoing(&id.to_string(), id.to_string())).await?;
    }
    Ok(expected)
}

async fn next(reader: &mut dyn Reader) -> Result<Message> {
    Ok(tokio::time::timeout(PATIENCE, reader.next()).await.context("no message came")??)
}

async fn ids(reader: &mut dyn Reader, count: usize) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        ids.push(next(reader).await?.headers.id.clone());
    }
    Ok(ids)
}

async fn nothing_comes(reader: &mut dyn Reader) -> Result<()> {
    match tokio::time::timeout(SILENCE, reader.next()).await {
        Err(_) => Ok(()),
        Ok(message) => bail!("unexpected: {message:?}"),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "so that both are written alike")]
fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<()> {
    ensure!(found == wanted, "found {found:?}, wanted {wanted:?}");
    Ok(())
}

//! Filing: bodies and directory first, then what leads to them, so that nothing leads nowhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;

use super::addresses::{octets, prefix_of, root_of};
use super::directory::{Placed, Seen};
use super::read::rows;
use super::retention::Retention;
use super::sheet::{Body, Classes, EVENT_IDS, Group, Indicator, Rows, Stream, StreamRow, segment_bucket};
use super::statements::{BATCH_BYTES, BATCH_ROWS, Upsert};
use super::{Store, now_us};
use crate::kinds::EntityKind;
use crate::{Filed, FiledMessage, HotError};

/// Writes of one call that are prepared at once; how many are under way the gate says.
const MAX_PREPARED: usize = 1_024;

/// The format of a stored body: EVT's own.
pub(super) const BODY_FORMAT: i32 = 1;

/// The facet of an entity's profile that says in which classes of events it was seen, and on which day last.
const CLASS_FACET: &str = "class";

/// Tenant, kind and prefix: a partition of addresses.
type Network = (String, i8, Vec<u8>);

type Write<'a> = BoxFuture<'a, Result<(), HotError>>;

impl Store {
    pub(super) async fn file(&self, messages: &[FiledMessage]) -> Result<Vec<Filed>, HotError> {
        self.link.count_nodes();
        let now_us = now_us();
        let (messages, retention) = (messages.to_vec(), self.retention);
        let planned = tokio::task::spawn_blocking(move || Rows::of(&messages, retention, now_us)).await;
        let rows = planned.map_err(|error| HotError::Io(error.to_string()))??;
        let place = |(stream, group)| (stream, group, self.directory.place(stream, group, now_us));
        let placed: Vec<_> = rows.streams.iter().map(place).collect();

        let networks = by_network(&placed);
        let mut first: Vec<Write<'_>> = rows.bodies.iter().map(|body| self.put_body(body).boxed()).collect();
        for (stream, _, placed) in &placed {
            if let Some(seen) = placed.tell {
                first.push(self.put_seen(stream, placed.shard, seen).boxed());
            }
            if placed.ask {
                first.push(self.resume(stream, placed).boxed());
            }
            if !placed.classes.is_empty() && stream.kind != EntityKind::Tenant as i8 {
                first.push(self.put_profile(stream, placed.classes).boxed());
            }
        }
        for (network, values) in &networks {
            first.extend(values.chunks(BATCH_ROWS).map(|values| self.put_prefixes(network, values).boxed()));
        }
        all(first).await?;
        placed.iter().for_each(|(_, _, placed)| self.directory.told(placed, now_us));

        let mut then: Vec<Write<'_>> =
            rows.indicators.iter().map(|indicator| self.put_indicator(indicator).boxed()).collect();
        for (stream, group, placed) in &placed {
            then.extend(chunks(&group.rows).map(|rows| self.put_rows(stream, placed.shard, rows).boxed()));
        }
        all(then).await?;
        Ok(rows.filed)
    }

    /// Rows of one partition, at once.
    pub(super) async fn put<R: SerializeRow + Sync>(&self, upsert: &Upsert, rows: &[R]) -> Result<(), HotError> {
        let session = &self.link.session;
        let write = || async {
            match upsert.batch(rows.len()) {
                Some(batch) => session.batch(batch, rows).await?,
                None => {
                    let Some(row) = rows.first() else { return Ok(()) };
                    session.execute_unpaged(upsert.single(), row).await?
                }
            };
            Ok(())
        };
        self.link.ask(&self.link.writes, write).await
    }

    async fn put_body(&self, body: &Body) -> Result<(), HotError> {
        let (hour, shard) = segment_bucket(&body.place);
        let partition = i32::from(body.place.partition);
        let segment = body.place.segment.as_bytes().as_slice();
        let key = (partition, hour, shard, segment);
        let row = (key.0, key.1, key.2, key.3, body.seq, body.class, BODY_FORMAT, &body.body, body.live_s);
        self.put(&self.puts.segment, &[row]).await
    }

    async fn put_indicator(&self, indicator: &Indicator) -> Result<(), HotError> {
        let Indicator { tenant, value, type_id, source, event_id, row } = indicator;
        self.put(&self.puts.indicator, &[(tenant, value, type_id, source, event_id.as_slice(), row)]).await
    }

    /// Reads how many shards earlier writers filled of a busy stream.
    async fn resume(&self, stream: &Stream, placed: &Placed) -> Result<(), HotError> {
        let Stream { tenant, kind, value, bucket } = stream;
        let mut last = 0;
        let take = |page: &QueryRowsResult| {
            for (_, shard) in rows::<(i64, i32)>(page, "the directory")? {
                last = shard.max(last);
            }
            Ok(ControlFlow::Continue(()))
        };
        self.read(&self.gets.directory, &(tenant, *kind, value, *bucket, *bucket), usize::MAX, take).await?;
        self.directory.resume(placed, last);
        Ok(())
    }

    async fn put_rows(&self, stream: &Stream, shard: i32, rows: &[StreamRow]) -> Result<(), HotError> {
        let (tenant, kind, bucket) = (stream.tenant.as_str(), stream.kind, stream.bucket);
        let value = stream.value.as_str();
        if kind == EVENT_IDS {
            let id_bucket: i32 = value.parse().unwrap_or_default();
            let row = |row| {
                let StreamRow { time_us, segment, value, live_s, .. }: &StreamRow = row;
                (tenant, id_bucket, bucket, shard, *time_us, segment.as_bytes().as_slice(), value, *live_s)
            };
            return self.put(&self.puts.ids, &rows.iter().map(row).collect::<Vec<_>>()).await;
        }
        let posting = |row| {
            let StreamRow { time_us, class, segment, value, live_s }: &StreamRow = row;
            (*time_us, *class, segment.as_bytes().as_slice(), value, *live_s)
        };
        let postings = rows.iter().map(posting);
        if kind == EntityKind::Tenant as i8 {
            let row = |(time_us, class, segment, posting, live_s)| {
                (tenant, bucket, shard, time_us, class, segment, posting, live_s)
            };
            self.put(&self.puts.by_hour, &postings.map(row).collect::<Vec<_>>()).await
        } else if kind == EntityKind::Raw as i8 {
            let row =
                |(time_us, class, segment, posting, live_s)| (tenant, value, time_us, class, segment, posting, live_s);
            self.put(&self.puts.by_raw, &postings.map(row).collect::<Vec<_>>()).await
        } else {
            let row = |(time_us, class, segment, posting, live_s)| {
                (tenant, kind, value, bucket, shard, time_us, class, segment, posting, live_s)
            };
            self.put(&self.puts.posting, &postings.map(row).collect::<Vec<_>>()).await
        }
    }

    /// What the directory says of a stream.
    async fn put_seen(&self, stream: &Stream, shard: i32, seen: Seen) -> Result<(), HotError> {
        let Stream { tenant, kind, value, bucket } = stream;
        let (postings, rows) = (seen.postings.cast_signed(), seen.rows.cast_signed());
        let hints = (seen.first_us, seen.last_us, postings, rows);
        let row = (tenant, *kind, value, *bucket, shard, hints.0, hints.1, hints.2, hints.3, self.directory_s());
        self.put(&self.puts.directory, &[row]).await
    }

    /// In which classes an entity was seen, and on which day last: the newest day wins, whatever comes in which order.
    async fn put_profile(&self, stream: &Stream, classes: Classes) -> Result<(), HotError> {
        let Stream { tenant, kind, value, bucket } = stream;
        let live_s = self.directory_s();
        let rows =
            classes.iter().map(|class| (tenant, *kind, value, CLASS_FACET, class.name(), *bucket, *bucket, live_s));
        self.put(&self.puts.profile, &rows.collect::<Vec<_>>()).await
    }

    async fn put_prefixes(&self, network: &Network, values: &[(Vec<u8>, i64)]) -> Result<(), HotError> {
        let (tenant, kind, prefix) = network;
        let live_s = self.directory_s();
        let rows = values.iter().map(|(value, last_us)| (tenant, *kind, prefix, value, *last_us, live_s));
        self.put(&self.puts.prefix, &rows.collect::<Vec<_>>()).await
    }

    fn directory_s(&self) -> i32 {
        self.retention.map_or(0, Retention::directory_s)
    }
}

/// The addresses of streams that the directory is told of, by network; and the networks that there are.
fn by_network(told: &[(&Stream, &Group, Placed)]) -> BTreeMap<Network, Vec<(Vec<u8>, i64)>> {
    let mut networks: BTreeMap<Network, BTreeMap<Vec<u8>, i64>> = BTreeMap::new();
    for (stream, group, placed) in told {
        let kinds = [EntityKind::SrcIp as i8, EntityKind::DstIp as i8];
        if placed.tell.is_none() || !kinds.contains(&stream.kind) {
            continue;
        }
        let Ok(address) = stream.value.parse::<IpAddr>() else { continue };
        for (within, value) in [(root_of(address), prefix_of(address)), (prefix_of(address), octets(address))] {
            let network = (stream.tenant.clone(), stream.kind, within);
            let last_us = networks.entry(network).or_default().entry(value).or_insert(i64::MIN);
            *last_us = group.last_us.max(*last_us);
        }
    }
    networks.into_iter().map(|(network, values)| (network, values.into_iter().collect())).collect()
}

/// Makes every write; the first error ends it.
pub(super) async fn all(writes: Vec<Write<'_>>) -> Result<(), HotError> {
    stream::iter(writes).buffer_unordered(MAX_PREPARED).try_collect().await
}

/// Rows in their order, so many at a time as a batch takes.
fn chunks(rows: &[StreamRow]) -> impl Iterator<Item = &[StreamRow]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&StreamRow| {
            bytes += row.value.len();
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH_ROWS).take_while(fits).count().max(1).min(rest.len());
        let (chunk, left) = rest.split_at(count);
        rest = left;
        (!chunk.is_empty()).then_some(chunk)
    })
}

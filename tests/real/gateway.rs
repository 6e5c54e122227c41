//! A query gateway, asked as its clients do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use atalaya_model::{Counts, LedgerKey, Tenant};
use atalaya_proto::query_v1::alerts_client::AlertsClient;
use atalaya_proto::query_v1::lookup_client::LookupClient;
use atalaya_proto::query_v1::query_client::QueryClient;
use atalaya_proto::query_v1::status_client::StatusClient;
use atalaya_proto::query_v1::{ListAlertsRequest, LookupRequest, SqlRequest, StatusRequest, StatusResponse};
use atalaya_tests::events::Id;
use serde_json::Value;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Answers at most, bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Rows of a page.
const PAGE_ROWS: u32 = 1_000;

/// Rows of an SQL answer: more than there are.
const SQL_ROWS: u64 = 1_000_000;

/// How long a statement may take, milliseconds.
const SQL_MS: u32 = 120_000;

/// How long any answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// One of them.
pub(crate) struct Gateway {
    pub(crate) name: String,
    channel: Channel,
    token: String,
}

impl Gateway {
    /// The one at an address; it is connected to when it is asked something.
    pub(crate) fn new(name: &str, address: &str, operator: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.timeout(ANSWER_WITHIN).connect_lazy();
        Ok(Self { name: name.to_owned(), channel, token: operator.to_owned() })
    }

    fn request<T>(&self, message: T, tenant: Option<&Tenant>) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse()?);
        if let Some(tenant) = tenant {
            request.metadata_mut().insert("atalaya-tenant", tenant.as_str().parse()?);
        }
        Ok(request)
    }

    /// How everything stands, every tenant's.
    pub(crate) async fn status(&self) -> anyhow::Result<StatusResponse> {
        let request = self.request(StatusRequest::default(), None)?;
        Ok(StatusClient::new(self.channel.clone()).get(request).await.context(self.name.clone())?.into_inner())
    }

    /// The batches that SQL answers with.
    pub(crate) async fn sql(&self, tenant: &Tenant, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
        let request = SqlRequest { sql: sql.to_owned(), deadline_ms: SQL_MS, max_rows: SQL_ROWS, explain: false };
        let request = self.request(request, Some(tenant))?;
        let mut client = QueryClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let mut pieces = client.sql(request).await.with_context(|| format!("{}: {sql}", self.name))?.into_inner();
        let mut ipc = Vec::new();
        while let Some(piece) = pieces.message().await.with_context(|| format!("{}: {sql}", self.name))? {
            ipc.extend_from_slice(&piece.ipc);
            ensure!(!piece.truncated, "{}: {sql}: the answer is cut off", self.name);
        }
        Ok(StreamReader::try_new(ipc.as_slice(), None)?.collect::<Result<_, _>>()?)
    }

    /// The ids of a tenant's rows of a table in the archive.
    pub(crate) async fn archived(&self, tenant: &Tenant, table: &str) -> anyhow::Result<Vec<Id>> {
        let mut found = Vec::new();
        for batch in self.sql(tenant, &format!("select event_id from {table}")).await? {
            let column = cast(batch.column(0), &DataType::Binary)?;
            ensure!(column.null_count() == 0, "{}: a row of {table} has no id", self.name);
            found.extend(column.as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec));
        }
        Ok(found)
    }

    /// Every row that a lookup in the hot store gives, page by page.
    pub(crate) async fn lookup(&self, tenant: &Tenant, kind: &str, value: &str) -> anyhow::Result<Vec<Value>> {
        let mut client = LookupClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let (kind, value) = (kind.to_owned(), value.to_owned());
        let mut asked = LookupRequest { kind, value, limit: PAGE_ROWS, ..LookupRequest::default() };
        let mut rows = Vec::new();
        loop {
            let answer = client.events(self.request(asked.clone(), Some(tenant))?).await;
            let answer = answer.with_context(|| format!("{}: lookup {}", self.name, asked.kind))?.into_inner();
            for row in &answer.rows {
                rows.push(serde_json::from_str(row)?);
            }
            if answer.next_page_token.is_empty() {
                return Ok(rows);
            }
            asked.page_token = answer.next_page_token;
        }
    }

    /// A tenant's alerts by id.
    pub(crate) async fn alerts(&self, tenant: &Tenant) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut client = AlertsClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let (mut asked, mut found) = (ListAlertsRequest { limit: PAGE_ROWS, ..Default::default() }, BTreeMap::new());
        loop {
            let answer = client.list(self.request(asked.clone(), Some(tenant))?).await;
            let answer = answer.with_context(|| format!("{}: alerts", self.name))?.into_inner();
            for alert in answer.alerts {
                let alert: Value = serde_json::from_str(&alert.json)?;
                let id = alert["alert_id"].as_str().context("an alert without id")?.to_owned();
                ensure!(found.insert(id.clone(), alert).is_none(), "{}: alert {id} is listed twice", self.name);
            }
            if answer.next_page_token.is_empty() {
                return Ok(found);
            }
            asked.page_token = answer.next_page_token;
        }
    }
}

/// The rows of the books in an answer.
pub(crate) fn books(status: &StatusResponse) -> Vec<(LedgerKey, Counts)> {
    let rows = status.ledger.iter().map(|row| {
        let [source, tenant, domain] = [&row.source, &row.tenant, &row.domain].map(Clone::clone);
        let counts = Counts {
            received: row.received,
            known: row.known,
            normalized: row.normalized,
            parked: row.parked,
            dropped: row.dropped,
            events: row.events,
            archived: row.archived,
            hot: row.hot,
            expired: row.expired,
            late: row.late,
            alerts: row.alerts,
            notified: row.notified,
            silenced: row.silenced,
            undeliverable: row.undeliverable,
        };
        (LedgerKey { source, tenant, domain }, counts)
    });
    rows.collect()
}

/// The sum of the rows of the books.
pub(crate) fn total(status: &StatusResponse) -> Counts {
    books(status).into_iter().fold(Counts::default(), |mut sum, (_, counts)| {
        sum += counts;
        sum
    })
}

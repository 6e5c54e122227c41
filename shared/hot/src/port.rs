//! The port: what every adapter offers, and what the hot-store service and the query gateway use.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use atalaya_model::{Action, Alert, AlertId, Class, Level, Tenant};
use atalaya_schema::EventBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Rows of a page at most; a larger limit is lowered to this.
pub const MAX_PAGE_ROWS: usize = 1_000;

/// An EVT message to file.
#[derive(Clone)]
pub struct FiledMessage {
    /// Its partition of EVT.
    pub partition: u16,
    /// Its sequence in EVT.
    pub sequence: u64,
    /// Its message id: the segment's identity.
    pub id: String,
    /// The RAW message its rows came in.
    pub raw_id: String,
    /// When its records were received, microseconds since 1970: retention counts from here.
    pub received_time_us: i64,
    /// The body as it came.
    pub body: Bytes,
    /// The body decoded.
    pub batch: Arc<EventBatch>,
}

/// What became of a message's rows: filed, or over on arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filed {
    /// Rows filed.
    pub rows: u64,
    /// Rows whose retention was over on arrival.
    pub expired: u64,
}

/// The predefined lookups of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupKind {
    /// An address on either side.
    Ip,
    /// The initiator's address.
    SrcIp,
    /// The responder's address.
    DstIp,
    /// Any address of a network, on either side.
    Cidr,
    /// A domain with its subdomains.
    Domain,
    /// A user by name.
    User,
    /// Every event of the tenant; the value is not looked at.
    Tenant,
    /// One event by id.
    Event,
    /// Every event of one RAW message.
    Raw,
    /// Indicators by value.
    Indicator,
}

impl LookupKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Ip,
        Self::SrcIp,
        Self::DstIp,
        Self::Cidr,
        Self::Domain,
        Self::User,
        Self::Tenant,
        Self::Event,
        Self::Raw,
        Self::Indicator,
    ];

    /// The word for it in the API and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::SrcIp => "src_ip",
            Self::DstIp => "dst_ip",
            Self::Cidr => "cidr",
            Self::Domain => "domain",
            Self::User => "user",
            Self::Tenant => "tenant",
            Self::Event => "event",
            Self::Raw => "raw",
            Self::Indicator => "indicator",
        }
    }
}

impl FromStr for LookupKind {
    type Err = HotError;

    fn from_str(name: &str) -> Result<Self, HotError> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            HotError::Request(format!("'{name}' is no lookup: use one of {known}"))
        })
    }
}

/// A predefined lookup: a page of a tenant's events, newest first.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Whose events; nobody else's are read.
    pub tenant: Tenant,
    /// By what.
    pub kind: LookupKind,
    /// Its value: an address, a name, an id.
    pub value: String,
    /// Event time at least, microseconds since 1970.
    pub from_us: Option<i64>,
    /// Event time below, microseconds since 1970.
    pub to_us: Option<i64>,
    /// Rows of the page, 1 to [`MAX_PAGE_ROWS`].
    pub limit: usize,
    /// [`Page::next`] of the page before.
    pub token: Option<Vec<u8>>,
}

/// One event of a page: a row of a batch that holds this tenant's rows only.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its class: the batch has `arrow_schema(class)`.
    pub class: Class,
    /// When it happened, microseconds since 1970.
    pub time_us: i64,
    /// The batch; hits share it.
    pub batch: Arc<RecordBatch>,
    /// The row in the batch.
    pub row: usize,
}

/// A page of a lookup.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Newest first; by event id where times are equal.
    pub rows: Vec<Hit>,
    /// Where the next page begins; none at the end. A page may be short, even empty, and yet not be the last.
    pub next: Option<Vec<u8>>,
}

/// Where an alert stands with people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// Nobody has looked at it.
    #[default]
    New,
    /// Somebody has seen it.
    Acknowledged,
    /// Done with.
    Closed,
}

/// What somebody said about an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Who.
    pub by: String,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// What.
    pub text: String,
}

/// An alert's newest version, and what people did to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRow {
    /// The newest version.
    pub alert: Alert,
    /// Where it stands with people.
    pub status: AlertStatus,
    /// Who has it.
    pub assignee: Option<String>,
    /// `true_positive`, `false_positive` or `benign`.
    pub verdict: Option<String>,
    /// Oldest first.
    pub comments: Vec<Comment>,
}

/// Which alerts to list.
#[derive(Clone, Debug)]
pub struct AlertQuery {
    /// Whose alerts; nobody else's are read.
    pub tenant: Tenant,
    /// Time of the alert at least, microseconds since 1970.
    pub from_us: Option<i64>,
    /// Time of the alert below, microseconds since 1970.
    pub to_us: Option<i64>,
    /// At least so grave.
    pub min_level: Option<Level>,
    /// Of this domain only.
    pub domain: Option<String>,
    /// Alerts of the page, 1 to [`MAX_PAGE_ROWS`].
    pub limit: usize,
    /// [`AlertPage::next`] of the page before.
    pub token: Option<Vec<u8>>,
}

/// A page of alerts.
#[derive(Clone, Debug, Default)]
pub struct AlertPage {
    /// Newest first; by alert id where times are equal.
    pub rows: Vec<AlertRow>,
    /// Where the next page begins; none at the end.
    pub next: Option<Vec<u8>>,
}

/// What can go wrong with the hot store.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// The URL names no adapter.
    #[error(
        "'{0}' names no hot store: use file:DIR or cassandra://HOST:PORT/KEYSPACE, either with ?retention=90d behind"
    )]
    Url(String),
    /// The tables are not ones this program can use.
    #[error("hot store: {0}")]
    Schema(String),
    /// Another process holds the store.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// A lookup that cannot be answered as asked.
    #[error("{0}")]
    Request(String),
    /// Something stored cannot be read.
    #[error("hot store: {what} is damaged: {reason}")]
    Damaged {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Disk or network: try again.
    #[error("hot store: {0}")]
    Io(String),
}

/// The hot store.
#[async_trait]
pub trait Hot: Send + Sync {
    /// Files the rows of messages, all or none of them. Filing a message again changes nothing. Answers message by
    /// message; what was filed is durable after [`Self::sync`].
    async fn file(&self, messages: &[FiledMessage]) -> Result<Vec<Filed>, HotError>;

    /// Keeps the newest version of each alert; an older or equal one changes nothing.
    async fn file_alerts(&self, alerts: &[Alert]) -> Result<(), HotError>;

    /// Keeps what somebody did to an alert, which may be filed before or after it; the same action counts once.
    async fn act(&self, action: &Action) -> Result<(), HotError>;

    /// A page of events.
    async fn lookup(&self, lookup: &Lookup) -> Result<Page, HotError>;

    /// A page of alerts, newest first.
    async fn alerts(&self, query: &AlertQuery) -> Result<AlertPage, HotError>;

    /// One alert.
    async fn alert(&self, tenant: &Tenant, id: AlertId) -> Result<Option<AlertRow>, HotError>;

    /// Returns when everything filed before is on disk; only then may the reader's position move.
    async fn sync(&self) -> Result<(), HotError>;
}

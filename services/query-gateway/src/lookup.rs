//! Service `Lookup`: predefined lookups of the hot store, a page at a time.

use std::str::FromStr;
use std::sync::Arc;

use atalaya_bus::Stream;
use atalaya_hot::{Hot, HotError, Lookup, LookupKind, MAX_PAGE_ROWS, Page};
use atalaya_proto::query_v1 as wire;
use atalaya_schema::row_json;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Places};
use crate::ledger::{FloorView, Ledger};
use crate::{shown, telemetry};

/// Rows of a page if the caller does not say.
const DEFAULT_PAGE_ROWS: usize = 100;

/// Bytes of a page's rows at most, unless one row alone is larger.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// The one lookup that is answered from the alerts.
const ALERT: &str = "alert";

/// The service.
pub(crate) struct Lookups {
    pub(crate) hot: Arc<dyn Hot>,
    pub(crate) ledger: Ledger,
    pub(crate) places: Places,
}

#[tonic::async_trait]
impl wire::lookup_server::Lookup for Lookups {
    async fn events(&self, request: Request<wire::LookupRequest>) -> Result<Response<wire::LookupResponse>, Status> {
        let caller = Caller::of(&request)?;
        let _place = self.places.take()?;
        let request = request.into_inner();
        let floors = self.ledger.floors().await.map_err(|error| unavailable("floors", &error))?;
        let mut response = if request.kind == ALERT {
            self.alert(&caller, &request).await?
        } else {
            self.page(&caller, request).await?
        };
        response.positions = positions(&floors, Stream::Evt, "hot");
        Ok(Response::new(response))
    }
}

impl Lookups {
    async fn alert(&self, caller: &Caller, request: &wire::LookupRequest) -> Result<wire::LookupResponse, Status> {
        let id = request.value.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let found = self.hot.alert(&caller.tenant, id).await.map_err(|error| hot_status(&error))?;
        let rows = found.iter().map(|row| shown::alert(row).to_string()).collect();
        Ok(wire::LookupResponse { rows, ..wire::LookupResponse::default() })
    }

    /// A page that fits into an answer: with fewer rows where they are large.
    async fn page(&self, caller: &Caller, request: wire::LookupRequest) -> Result<wire::LookupResponse, Status> {
        let mut lookup = lookup(caller, request)?;
        loop {
            let page = self.hot.lookup(&lookup).await.map_err(|error| hot_status(&error))?;
            if let Some(rows) = rows(&page, lookup.limit == 1) {
                let next_page_token = page.next.unwrap_or_default();
                return Ok(wire::LookupResponse { rows, next_page_token, positions: Vec::new() });
            }
            lookup.limit = (lookup.limit / 2).max(1);
        }
    }
}

fn lookup(caller: &Caller, request: wire::LookupRequest) -> Result<Lookup, Status> {
    let kind = LookupKind::from_str(&request.kind).map_err(|error| hot_status(&error))?;
    let limit = match request.limit {
        0 => DEFAULT_PAGE_ROWS,
        limit => usize::try_from(limit).unwrap_or(MAX_PAGE_ROWS).min(MAX_PAGE_ROWS),
    };
    Ok(Lookup {
        tenant: caller.tenant.clone(),
        kind,
        value: request.value,
        from_us: request.from_us,
        to_us: request.to_us,
        limit,
        token: (!request.page_token.is_empty()).then_some(request.page_token),
    })
}

/// The page's rows as JSON; none if they are too large, unless they must do.
fn rows(page: &Page, must_do: bool) -> Option<Vec<String>> {
    let (mut rows, mut bytes) = (Vec::with_capacity(page.rows.len()), 0);
    for hit in &page.rows {
        let mut row = row_json(&hit.batch, hit.row);
        row.insert("class".to_owned(), hit.class.name().into());
        let row = serde_json::Value::Object(row).to_string();
        bytes += row.len();
        if bytes > MAX_PAGE_BYTES && !must_do {
            return None;
        }
        rows.push(row);
    }
    Some(rows)
}

/// A reader's positions in a stream.
pub(crate) fn positions(floors: &FloorView, stream: Stream, reader: &str) -> Vec<wire::PartitionPosition> {
    let of_reader = floors.iter().filter(|(of, name, _, _)| *of == stream && *name == reader);
    let position = of_reader.filter_map(|(_, _, scope, floor)| {
        let partition = scope.parse().ok()?;
        let (incarnation, sequence) = (floor.position.incarnation, floor.position.sequence);
        Some(wire::PartitionPosition { partition, incarnation, sequence })
    });
    position.collect()
}

/// What a caller is told of an error of the hot store.
pub(crate) fn hot_status(error: &HotError) -> Status {
    match error {
        HotError::Request(reason) => Status::invalid_argument(reason.clone()),
        error => unavailable("hot store", error),
    }
}

/// What a caller is told of an error that is none of its business; the log has the rest.
pub(crate) fn unavailable(what: &'static str, error: &dyn std::error::Error) -> Status {
    telemetry::failed_behind(what, error);
    Status::unavailable(format!("the {what} cannot be reached or read: try again, and see the gateway's log"))
}

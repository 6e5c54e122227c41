//! Service `Alerts`: list them, watch them come, act on them.

use std::pin::Pin;
use std::sync::Arc;

use atalaya_bus::{Bus, Filter, Kind, Message, Reader, Stream as BusStream, now_us};
use atalaya_chassis::Shutdown;
use atalaya_hot::{AlertQuery, Hot, MAX_PAGE_ROWS};
use atalaya_model::{Action, ActionKind, Alert, Level, Tenant};
use atalaya_proto::alert_v1;
use atalaya_proto::query_v1 as wire;
use futures::{Stream, StreamExt};
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Places};
use crate::lookup::{hot_status, unavailable};
use crate::{act, shown, telemetry};

/// Alerts of a page if the caller does not say.
const DEFAULT_PAGE_ALERTS: usize = 100;

/// Bytes of an assignee, a verdict or a comment at most.
const MAX_TEXT_BYTES: usize = 4_096;

/// Verdicts there are.
const VERDICTS: [&str; 3] = ["true_positive", "false_positive", "benign"];

/// The service.
pub(crate) struct AlertDesk {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) hot: Arc<dyn Hot>,
    pub(crate) places: Places,
    pub(crate) watches: Places,
    pub(crate) shutdown: Shutdown,
}

#[tonic::async_trait]
impl wire::alerts_server::Alerts for AlertDesk {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::AlertView, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<wire::ListAlertsRequest>,
    ) -> Result<Response<wire::ListAlertsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let _place = self.places.take()?;
        let query = query(caller.tenant, request.into_inner())?;
        let page = self.hot.alerts(&query).await.map_err(|error| hot_status(&error))?;
        let alerts = page.rows.iter().map(|row| wire::AlertView { json: shown::alert(row).to_string() }).collect();
        let next_page_token = page.next.unwrap_or_default();
        Ok(Response::new(wire::ListAlertsResponse { alerts, next_page_token }))
    }

    async fn watch(&self, request: Request<wire::WatchAlertsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request)?;
        let place = self.watches.take()?;
        let request = request.into_inner();
        let wanted =
            Wanted { tenant: caller.tenant, min_level: level(&request.min_level)?, domain: domain(request.domain) };
        let bus = |error: atalaya_bus::BusError| unavailable("bus", &error);
        let everything = Filter::new("alert.*").map_err(|error| unavailable("bus", &error))?;
        let newest = self.bus.info(BusStream::Alert).await.map_err(bus)?.last;
        let reader = self.bus.read(BusStream::Alert, &everything, newest).await.map_err(bus)?;
        let shutdown = self.shutdown.clone();
        let until = async move { shutdown.requested().await };
        Ok(Response::new(Box::pin(watch(reader, wanted, place).take_until(Box::pin(until)))))
    }

    async fn act(&self, request: Request<wire::ActRequest>) -> Result<Response<wire::ActResponse>, Status> {
        let caller = Caller::of(&request)?;
        let _place = self.places.take()?;
        let request = request.into_inner();
        let id = request.alert_id.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let (kind, name) = action_kind(request.action)?;
        let found = self.hot.alert(&caller.tenant, id).await.map_err(|error| hot_status(&error))?;
        if found.is_none() {
            return Err(Status::not_found(format!("no alert {id}; one that has just come may take a second")));
        }
        let action = Action { alert: id, tenant: caller.tenant, kind, by: caller.name, at_us: now_us() };
        act::append(self.bus.as_ref(), &action).await?;
        telemetry::acted(action.tenant.as_str(), &action.by, &request.alert_id, name);
        Ok(Response::new(wire::ActResponse {}))
    }
}

/// What a watcher wants to see.
struct Wanted {
    tenant: Tenant,
    min_level: Option<Level>,
    domain: Option<String>,
}

impl Wanted {
    fn takes(&self, alert: &alert_v1::Alert) -> bool {
        let level = || Level::from_name(&alert.level);
        alert.tenant == self.tenant.as_str()
            && self.domain.as_ref().is_none_or(|domain| *domain == alert.domain)
            && self.min_level.is_none_or(|least| level().is_some_and(|level| level >= least))
    }
}

/// A watcher's alerts as they come; reading on is up to the watcher, nothing is kept for it.
fn watch(
    reader: Box<dyn Reader>,
    wanted: Wanted,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<wire::AlertView, Status>> + Send {
    let messages = futures::stream::unfold((reader, place), |(mut reader, place)| async move {
        let message = reader.next().await;
        Some((message, (reader, place)))
    });
    messages.flat_map(move |message| {
        let views = match message {
            Ok(message) => views(&message, &wanted).unwrap_or_else(|status| vec![Err(status)]),
            Err(error) => vec![Err(unavailable("bus", &error))],
        };
        futures::stream::iter(views)
    })
}

type View = Result<wire::AlertView, Status>;

fn views(message: &Message, wanted: &Wanted) -> Result<Vec<View>, Status> {
    if message.headers.kind != Kind::Data {
        return Ok(Vec::new());
    }
    let body = alert_v1::Alerts::decode(message.body.clone()).map_err(|error| unavailable("bus", &error))?;
    let views = body.alerts.into_iter().filter(|alert| wanted.takes(alert)).map(|alert| {
        let alert = Alert::try_from(alert).map_err(|error| unavailable("bus", &error))?;
        Ok(wire::AlertView { json: shown::fresh(alert).to_string() })
    });
    Ok(views.collect())
}

fn query(tenant: Tenant, request: wire::ListAlertsRequest) -> Result<AlertQuery, Status> {
    let limit = match request.limit {
        0 => DEFAULT_PAGE_ALERTS,
        limit => usize::try_from(limit).unwrap_or(MAX_PAGE_ROWS).min(MAX_PAGE_ROWS),
    };
    Ok(AlertQuery {
        tenant,
        from_us: request.from_us,
        to_us: request.to_us,
        min_level: level(&request.min_level)?,
        domain: domain(request.domain),
        limit,
        token: (!request.page_token.is_empty()).then_some(request.page_token),
    })
}

fn domain(domain: String) -> Option<String> {
    (!domain.is_empty()).then_some(domain)
}

fn level(name: &str) -> Result<Option<Level>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("'{name}' is no level: use informational, low, medium, high or critical");
    Level::from_name(name).map(Some).ok_or_else(|| Status::invalid_argument(wrong()))
}

fn action_kind(action: Option<wire::act_request::Action>) -> Result<(ActionKind, &'static str), Status> {
    use wire::act_request::Action as Asked;
    let action = action.ok_or_else(|| Status::invalid_argument("no action is given"))?;
    if let Asked::Assign(text) | Asked::Verdict(text) | Asked::Comment(text) = &action
        && !(1..=MAX_TEXT_BYTES).contains(&text.len())
    {
        return Err(Status::invalid_argument(format!("the text must have 1 to {MAX_TEXT_BYTES} bytes")));
    }
    Ok(match action {
        Asked::Acknowledge(_) => (ActionKind::Acknowledge, "acknowledge"),
        Asked::Assign(to) => (ActionKind::Assign(to), "assign"),
        Asked::Verdict(verdict) if VERDICTS.contains(&verdict.as_str()) => (ActionKind::Verdict(verdict), "verdict"),
        Asked::Verdict(verdict) => {
            let reason = format!("'{verdict}' is no verdict: use {}", VERDICTS.join(", "));
            return Err(Status::invalid_argument(reason));
        }
        Asked::Comment(text) => (ActionKind::Comment(text), "comment"),
        Asked::Close(_) => (ActionKind::Close, "close"),
    })
}

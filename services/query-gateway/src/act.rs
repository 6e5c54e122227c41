//! What people do to alerts, appended to `action.<tenant>` of ALERT.

use std::time::Duration;

use atalaya_bus::{AppendError, Bus, Fence, Filter, HEADERS_VERSION, Headers, Outgoing, Sequence, Stream, Subject};
use atalaya_model::{Action, EventId};
use atalaya_proto::alert_v1;
use prost::Message;
use tonic::Status;

use crate::lookup::unavailable;

/// Tries at most: others of the tenant may act at the same time.
const MAX_TRIES: u32 = 16;

const PAUSE: Duration = Duration::from_millis(5);

/// Appends an action. Should an answer be lost and somebody else act at once, it may stand there twice; whoever files
/// actions counts the same one once.
///
/// # Errors
/// If the bus does not take it.
pub(crate) async fn append(bus: &dyn Bus, action: &Action) -> Result<(), Status> {
    let place = format!("action.{}", action.tenant);
    let subject = Subject::new(&place).map_err(|error| unavailable("bus", &error))?;
    let filter = Filter::new(&place).map_err(|error| unavailable("bus", &error))?;
    let fence = Fence::new(Stream::Alert, subject, filter).ok_or_else(|| Status::internal("no fence"))?;
    let body = alert_v1::Action::from(action).encode_to_vec();
    let id = format!("{place}.{}", EventId::of("atalaya action 1", &[&body]));
    for attempt in 0..MAX_TRIES {
        let newest = bus.last(Stream::Alert, fence.filter()).await.map_err(|error| unavailable("bus", &error))?;
        if newest.as_ref().is_some_and(|newest| newest.headers.id == id) {
            return Ok(());
        }
        let last = newest.map_or(0, |newest| newest.sequence);
        match bus.append(&fence, last, message(&id, action, last, &body)).await {
            Ok(_) => return Ok(()),
            Err(AppendError::Fenced { .. } | AppendError::Unanswered(_)) => {}
            Err(AppendError::Full(_)) => return Err(Status::resource_exhausted("ALERT is full: try again later")),
            Err(error @ AppendError::Refused(_)) => return Err(unavailable("bus", &error)),
        }
        tokio::time::sleep(PAUSE * (attempt + 1)).await;
    }
    Err(Status::aborted("others act on this tenant's alerts at the same time: try again"))
}

fn message(id: &str, action: &Action, last: Sequence, body: &[u8]) -> Outgoing {
    let headers = Headers {
        version: HEADERS_VERSION,
        id: id.to_owned(),
        predecessor: last,
        chain: last,
        end: true,
        received_time_us: action.at_us,
        rows: 1,
        ..Headers::default()
    };
    Outgoing { headers, body: body.to_vec().into(), decoded: None }
}

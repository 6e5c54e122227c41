//! The gRPC door: the four services behind a token; reflection and health open.

use std::time::Duration;

use anyhow::Context;
use atalaya_chassis::Shutdown;
use atalaya_chassis::door::Pem;
use atalaya_proto::query_v1::alerts_server::AlertsServer;
use atalaya_proto::query_v1::lookup_server::LookupServer;
use atalaya_proto::query_v1::query_server::QueryServer;
use atalaya_proto::query_v1::status_server::StatusServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::access::Access;
use crate::alerts::AlertDesk;
use crate::lookup::Lookups;
use crate::query::Queries;
use crate::status::StatusDesk;

/// A request at most, bytes: the longest is a statement.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// An answer at most, bytes: pages and pieces are cut well below.
pub const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Calls of one connection at the same time.
const MAX_STREAMS: u32 = 128;

/// How often a silent client is asked whether it is there, and how long it may take to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a drain waits for answers under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What is served.
pub(crate) struct Desks {
    pub(crate) lookups: Lookups,
    pub(crate) queries: Queries,
    pub(crate) alerts: AlertDesk,
    pub(crate) status: StatusDesk,
}

macro_rules! behind_a_token {
    ($server:ident, $desk:expr, $access:expr) => {
        InterceptedService::new(
            $server::new($desk)
                .max_decoding_message_size(MAX_REQUEST_BYTES)
                .max_encoding_message_size(MAX_RESPONSE_BYTES),
            $access.clone(),
        )
    };
}

/// Serves until the drain is asked for, then until answers under way have ended, a little.
///
/// # Errors
/// If the certificate cannot be used, or the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Pem>,
    desks: Desks,
    access: Access,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<LookupServer<Lookups>>().await;
    reporter.set_serving::<QueryServer<Queries>>().await;
    reporter.set_serving::<AlertsServer<AlertDesk>>().await;
    reporter.set_serving::<StatusServer<StatusDesk>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(atalaya_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("reflection")?;
    let (asked, timed) = (shutdown.clone(), shutdown);
    let serving = builder(tls)?
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(health)
        .add_service(reflection)
        .add_service(behind_a_token!(LookupServer, desks.lookups, access))
        .add_service(behind_a_token!(QueryServer, desks.queries, access))
        .add_service(behind_a_token!(AlertsServer, desks.alerts, access))
        .add_service(behind_a_token!(StatusServer, desks.status, access))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { asked.requested().await });
    tokio::select! {
        served = serving => served.context("gRPC door"),
        () = async { timed.requested().await; tokio::time::sleep(DRAIN_TIMEOUT).await } => Ok(()),
    }
}

/// A server with TLS, or a plain one.
fn builder(tls: Option<Pem>) -> anyhow::Result<Server> {
    let Some(pem) = tls else { return Ok(Server::builder()) };
    let config = ServerTlsConfig::new().identity(Identity::from_pem(pem.certificate, pem.key));
    let config = match pem.client_ca {
        Some(authorities) => config.client_ca_root(Certificate::from_pem(authorities)),
        None => config,
    };
    Server::builder().tls_config(config).context("TLS")
}

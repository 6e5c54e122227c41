//! The ingest door: gRPC `Ingest`, with reflection and health beside it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_chassis::Shutdown;
use atalaya_chassis::door::Pem;
use atalaya_model::{Principal, Principals, Role};
use atalaya_proto::ingest_v1::ingest_server::{Ingest, IngestServer};
use atalaya_proto::ingest_v1::{PushRequest, PushResponse, ReplayProgress, ReplayRequest};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::sources::push::{self, Door};
use crate::sources::replay;

/// A message at most, bytes.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// Streams of one connection at the same time.
const MAX_STREAMS: u32 = 256;

/// Bytes that a sender may have under way, per stream and per connection. A connection has room for all its streams:
/// one that is held back, for a tenant beyond its quota, leaves the others theirs.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = MAX_STREAMS * STREAM_WINDOW_BYTES;

/// How often a silent sender is asked whether it is there, and how long it may take to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

struct Service {
    door: Door,
    principals: Arc<Principals>,
}

impl Service {
    fn principal(&self, metadata: &MetadataMap) -> Result<Arc<Principal>, Status> {
        let authorization = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let principal = self.principals.authenticate(authorization);
        principal.cloned().ok_or_else(|| Status::unauthenticated("a valid bearer token is needed"))
    }
}

#[tonic::async_trait]
impl Ingest for Service {
    type PushStream = ReceiverStream<Result<PushResponse, Status>>;
    type ReplayStream = ReceiverStream<Result<ReplayProgress, Status>>;

    async fn push(&self, request: Request<Streaming<PushRequest>>) -> Result<Response<Self::PushStream>, Status> {
        let principal = self.principal(request.metadata())?;
        if !principal.has(Role::Ingest) {
            return Err(Status::permission_denied("pushing needs a token with role ingest"));
        }
        Ok(Response::new(push::push(self.door.clone(), principal, request.into_inner())))
    }

    async fn replay(&self, request: Request<ReplayRequest>) -> Result<Response<Self::ReplayStream>, Status> {
        let principal = self.principal(request.metadata())?;
        let reports = replay::replay(self.door.clone(), &principal, request.into_inner()).await?;
        Ok(Response::new(reports))
    }
}

/// Serves until the drain is asked for, then until every stream has ended.
///
/// # Errors
/// If the certificate cannot be used, or the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Pem>,
    door: Door,
    principals: Arc<Principals>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<IngestServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(atalaya_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("reflection")?;
    let ingest = IngestServer::new(Service { door, principals }).max_decoding_message_size(MAX_REQUEST_BYTES);
    builder(tls)?
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(ingest)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { shutdown.requested().await })
        .await
        .context("ingest door")
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

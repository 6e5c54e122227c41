//! Connections to the nodes, and what is done about their errors.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::SecretRef;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;

use super::gate::Gate;
use super::options::{Options, Target, Tls};
use crate::HotError;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle connection is tried, and how long it may stay without an answer.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long nodes may take to agree on a schema: minutes pass where many tables are made at once.
const AGREE_WITHIN: Duration = Duration::from_secs(120);

/// Further nodes a slow read is asked of.
const SPECULATIVE_READS: usize = 1;

/// Tries of a request before its error is passed on, and the pause before the second; it doubles.
const MAX_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A session, and what bounds its use.
pub(super) struct Link {
    pub(super) session: Session,
    pub(super) reading: ExecutionProfileHandle,
    pub(super) writes: Gate,
    pub(super) reads: Gate,
    in_flight_per_node: usize,
}

impl Link {
    /// Connects.
    pub(super) async fn open(target: &Target, options: &Options) -> Result<Self, HotError> {
        let mut policy = DefaultPolicy::builder().token_aware(true);
        if let Some(datacenter) = &options.datacenter {
            policy = policy.prefer_datacenter(datacenter.clone());
        }
        let writing = ExecutionProfile::builder()
            .consistency(options.consistency.into())
            .request_timeout(Some(options.request_timeout()))
            .load_balancing_policy(policy.build())
            .build();
        let mut reading = writing.to_builder();
        if options.speculative_after_ms > 0 {
            let retry_interval = Duration::from_millis(options.speculative_after_ms);
            let policy = SimpleSpeculativeExecutionPolicy { max_retry_count: SPECULATIVE_READS, retry_interval };
            reading = reading.speculative_execution_policy(Some(Arc::new(policy)));
        }
        let pool = NonZeroUsize::new(options.connections_per_node).unwrap_or(NonZeroUsize::MIN);
        let mut builder = SessionBuilder::new()
            .known_nodes(&target.nodes)
            .pool_size(PoolSize::PerHost(pool))
            .compression(options.compression.then_some(Compression::Lz4))
            .default_execution_profile_handle(writing.into_handle())
            .connection_timeout(CONNECT_TIMEOUT)
            .keepalive_interval(KEEPALIVE)
            .keepalive_timeout(KEEPALIVE)
            .schema_agreement_timeout(AGREE_WITHIN)
            .keyspaces_to_fetch([&target.keyspace]);
        if let (Some(user), Some(password)) = (&options.user, &options.password) {
            builder = builder.user(secret(user).await?, secret(password).await?);
        }
        if let Some(tls) = &options.tls {
            builder = builder.tls_context(Some(Arc::new(tls_config(tls)?)));
        }
        let unreachable = |error| HotError::Io(format!("cassandra {}: {error}", target.nodes.join(",")));
        let session = builder.build().await.map_err(unreachable)?;
        let most = options.in_flight_per_node;
        let (writes, reads) = (Gate::new(most), Gate::new(most));
        Ok(Self { session, reading: reading.build().into_handle(), writes, reads, in_flight_per_node: most })
    }

    /// Counts the nodes that are there: each takes its share of the requests.
    pub(super) fn count_nodes(&self) {
        let state = self.session.get_cluster_state();
        let connected = state.get_nodes_info().iter().filter(|node| node.is_connected()).count();
        let most = connected.max(1).saturating_mul(self.in_flight_per_node);
        self.writes.set_most(most);
        self.reads.set_most(most);
    }

    /// Makes a request, and makes it again with growing pauses while the nodes are overloaded or away.
    pub(super) async fn ask<T, F>(&self, gate: &Gate, request: impl Fn() -> F) -> Result<T, HotError>
    where
        F: Future<Output = Result<T, ExecutionError>>,
    {
        let mut pause = FIRST_PAUSE;
        for tries in 1.. {
            let pass = gate.pass().await;
            let answer = request().await;
            drop(pass);
            match answer {
                Ok(answer) => {
                    gate.answered();
                    return Ok(answer);
                }
                Err(error) if is_passing(&error) => {
                    gate.overloaded();
                    tracing::debug!(%error, tries, in_flight = gate.limit(), "hot store: cassandra is asked again");
                    if tries >= MAX_TRIES {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(HotError::Io("no request was made".to_owned()))
    }
}

impl From<ExecutionError> for HotError {
    fn from(error: ExecutionError) -> Self {
        Self::Io(format!("cassandra: {error}"))
    }
}

/// Whether the same request may be answered a little later.
fn is_passing(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::RequestTimeout(_) | ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => true,
        ExecutionError::LastAttemptError(attempt) => match attempt {
            RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId => true,
            RequestAttemptError::DbError(error, _) => matches!(
                error,
                DbError::Unavailable { .. }
                    | DbError::Overloaded
                    | DbError::IsBootstrapping
                    | DbError::ReadTimeout { .. }
                    | DbError::WriteTimeout { .. }
                    | DbError::ReadFailure { .. }
                    | DbError::WriteFailure { .. }
                    | DbError::ServerError
            ),
            _ => false,
        },
        _ => false,
    }
}

/// The secret that a reference names.
async fn secret(reference: &SecretRef) -> Result<String, HotError> {
    let wrong = |reason: String| HotError::Request(format!("cassandra: {reference}: {reason}"));
    match reference {
        SecretRef::Env(name) => std::env::var(name).map_err(|error| wrong(error.to_string())),
        SecretRef::File(path) => {
            let text = tokio::fs::read_to_string(path).await.map_err(|error| wrong(error.to_string()))?;
            Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
        }
    }
}

fn tls_config(tls: &Tls) -> Result<rustls::ClientConfig, HotError> {
    let wrong = |what: &std::path::Path, reason: String| {
        HotError::Request(format!("cassandra: TLS: {}: {reason}", what.display()))
    };
    let chain = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>, HotError> {
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error.to_string()))?;
        certificates.collect::<Result<_, _>>().map_err(|error| wrong(path, error.to_string()))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in chain(&tls.ca)? {
        roots.add(certificate).map_err(|error| wrong(&tls.ca, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&tls.ca, error.to_string()))?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else { return Ok(builder.with_no_client_auth()) };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let config = builder.with_client_auth_cert(chain(certificate)?, private);
    config.map_err(|error| wrong(certificate, error.to_string()))
}

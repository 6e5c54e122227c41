//! A client of the doors of what is measured: of one instance, or of a mesh.

use anyhow::Context;
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::query_v1::alerts_client::AlertsClient;
use atalaya_proto::query_v1::lookup_client::LookupClient;
use atalaya_proto::query_v1::status_client::StatusClient;
use atalaya_proto::query_v1::{LookupRequest, StatusRequest, StatusResponse};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Answers at most: the books of 10,000 tenants.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Open ways to both doors, with the operator's token.
#[derive(Clone)]
pub struct Clients {
    ingest: Channel,
    gateway: Channel,
    authorization: MetadataValue<Ascii>,
}

impl Clients {
    /// Connects to `ADDRESS:PORT` of ingest and gateway; with TLS if the authority of their certificates is given, PEM.
    pub async fn connect(ingest: &str, gateway: &str, token: &str, authority: Option<&str>) -> anyhow::Result<Self> {
        let authorization = format!("Bearer {token}").parse().context("token")?;
        let (ingest, gateway) = (channel(ingest, authority).await?, channel(gateway, authority).await?);
        Ok(Self { ingest, gateway, authorization })
    }

    /// A request with the token in it.
    pub fn bearing<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }

    /// The ingest door.
    pub fn ingest(&self) -> IngestClient<Channel> {
        IngestClient::new(self.ingest.clone())
    }

    /// Alerts.
    pub fn alerts(&self) -> AlertsClient<Channel> {
        AlertsClient::new(self.gateway.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Whether the hot store has an event of a tenant.
    pub async fn has_events(&self, tenant: &str) -> anyhow::Result<bool> {
        let asked = LookupRequest { kind: "tenant".to_owned(), limit: 1, ..LookupRequest::default() };
        let mut request = self.bearing(asked);
        request.metadata_mut().insert("atalaya-tenant", tenant.parse().context("tenant")?);
        let mut client = LookupClient::new(self.gateway.clone());
        Ok(!client.events(request).await.context("lookup")?.into_inner().rows.is_empty())
    }

    /// How everything stands; the books of one domain, or of all if it has no name.
    pub async fn status(&self, domain: &str) -> anyhow::Result<StatusResponse> {
        let request = self.bearing(StatusRequest { domain: domain.to_owned() });
        let mut client = StatusClient::new(self.gateway.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(client.get(request).await.context("status")?.into_inner())
    }
}

async fn channel(address: &str, authority: Option<&str>) -> anyhow::Result<Channel> {
    let endpoint = match authority {
        None => Endpoint::from_shared(format!("http://{address}"))?,
        Some(authority) => {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
            Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?
        }
    };
    endpoint.connect().await.with_context(|| address.to_owned())
}

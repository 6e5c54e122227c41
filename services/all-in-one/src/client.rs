//! A client of an instance: the one that runs, the one a URL names, or one started for a single command.

use std::path::PathBuf;

use anyhow::{Context, bail};
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::query_v1::alerts_client::AlertsClient;
use atalaya_proto::query_v1::lookup_client::LookupClient;
use atalaya_proto::query_v1::query_client::QueryClient;
use atalaya_proto::query_v1::status_client::StatusClient;
use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::{Instance, Options, Roles, RunFile};

/// Answers at most, as the gateway's pages and pieces are cut.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Where the instance is that a command talks to.
#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// Data directory of the instance
    #[arg(long, value_name = "DIR", default_value = "./atalaya-data", env = "ATALAYA_DATA")]
    pub data: PathBuf,
    /// Gateway of another machine, with a token in ATALAYA_TOKEN
    #[arg(long, value_name = "URL", conflicts_with = "data", env = "ATALAYA_SERVER")]
    pub server: Option<String>,
    /// The tenant to ask for (operators only; everybody else has one)
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
}

/// Puts token and tenant into every call.
#[derive(Clone, Debug)]
pub struct Credentials {
    authorization: MetadataValue<Ascii>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("atalaya-tenant", tenant.clone());
        }
        Ok(request)
    }
}

type Service = InterceptedService<Channel, Credentials>;

/// An open way to an instance; one that was started for it ends with it.
pub struct Session {
    gateway: Channel,
    ingest: Option<Channel>,
    credentials: Credentials,
    instance: Option<Instance>,
}

impl Session {
    /// Finds the running instance, or opens the stores with these roles.
    ///
    /// # Errors
    /// If nothing answers, the stores are held by another process, or there is no data yet for a reader.
    pub async fn open(reach: &Reach, roles: Roles) -> anyhow::Result<Self> {
        if let Some(server) = &reach.server {
            let token = std::env::var("ATALAYA_TOKEN").context("--server needs a token in ATALAYA_TOKEN")?;
            let gateway = connect(server.clone()).await?;
            return Self::new(gateway, None, &token, reach.tenant.as_deref());
        }
        if let Some(run) = RunFile::read(&reach.data)? {
            return Self::of(&run, reach.tenant.as_deref()).await;
        }
        if roles == Roles::Readers && !reach.data.is_dir() {
            bail!("{}: no data there; 'atalaya run' or 'atalaya replay' makes it", reach.data.display());
        }
        let instance = Instance::start(Options::for_command(reach.data.clone(), roles)).await?;
        let mut session = Self::of(instance.run_file(), reach.tenant.as_deref()).await?;
        session.instance = Some(instance);
        Ok(session)
    }

    /// The way to a running instance.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn of(run: &RunFile, tenant: Option<&str>) -> anyhow::Result<Self> {
        let gateway = connect(format!("http://{}", run.gateway)).await?;
        let ingest = Endpoint::from_shared(format!("http://{}", run.ingest))?.connect_lazy();
        Self::new(gateway, Some(ingest), &run.token, tenant)
    }

    fn new(gateway: Channel, ingest: Option<Channel>, token: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        let authorization = format!("Bearer {token}").parse().context("the token has characters no token has")?;
        let tenant = tenant.map(str::parse).transpose().context("--tenant")?;
        Ok(Self { gateway, ingest, credentials: Credentials { authorization, tenant }, instance: None })
    }

    /// Lookups.
    #[must_use]
    pub fn lookup(&self) -> LookupClient<Service> {
        LookupClient::with_interceptor(self.gateway.clone(), self.credentials.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// SQL.
    #[must_use]
    pub fn query(&self) -> QueryClient<Service> {
        QueryClient::with_interceptor(self.gateway.clone(), self.credentials.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Alerts.
    #[must_use]
    pub fn alerts(&self) -> AlertsClient<Service> {
        AlertsClient::with_interceptor(self.gateway.clone(), self.credentials.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Status.
    #[must_use]
    pub fn status(&self) -> StatusClient<Service> {
        StatusClient::with_interceptor(self.gateway.clone(), self.credentials.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// The ingest door.
    ///
    /// # Errors
    /// If only a gateway was named.
    pub fn ingest(&self) -> anyhow::Result<IngestClient<Service>> {
        let channel = self.ingest.clone().context("this needs the instance's own machine: leave out --server")?;
        Ok(IngestClient::with_interceptor(channel, self.credentials.clone()))
    }

    /// Ends the instance that was started for this session, drained.
    ///
    /// # Errors
    /// If a service failed.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.instance {
            Some(instance) => instance.stop().await,
            None => Ok(()),
        }
    }
}

async fn connect(url: String) -> anyhow::Result<Channel> {
    Endpoint::from_shared(url.clone())
        .with_context(|| format!("'{url}' is no URL"))?
        .connect()
        .await
        .with_context(|| format!("{url}: nothing answers there"))
}

//! Where the servers are, who we are to them, and how the streams are to be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ServerAddr;
use atalaya_model::SecretRef;
use serde::Deserialize;

use crate::{BusError, Stream};

/// How the servers are reached and the streams are to be: section `nats` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Partitions of EVT and ALERT; fixed when the streams are created.
    pub partitions: u16,
    /// Copies of each stream and bucket: 1, or 3 in a cluster.
    pub replicas: usize,
    /// Bytes each stream may hold.
    pub max_bytes: MaxBytes,
    /// A file with a user's JWT and seed, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// A file with an NKey's seed.
    pub nkey_file: Option<PathBuf>,
    /// A user name, for servers that know passwords.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
    /// Certificates of the authorities to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, for servers that ask for one; with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The key of `certificate_file`, PEM.
    pub key_file: Option<PathBuf>,
    /// What our inboxes begin with: lets permissions tell services apart.
    pub inbox: String,
    /// What connections are named, for the servers' own lists.
    pub name: String,
    /// How long the first connection and the check of the streams may take, seconds. Later ones: for ever.
    pub first_connect_seconds: u32,
    /// How long an answer may take before it counts as none, seconds.
    pub answer_seconds: u32,
    /// An outage after which the client is replaced by a new one, seconds: it remembers what was never answered.
    pub long_outage_seconds: u32,
    /// Pause between two pings of a silent connection, seconds.
    pub ping_seconds: u32,
}

/// Bytes each stream may hold; beyond, appends are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxBytes {
    /// Records as received.
    pub raw: u64,
    /// Events.
    pub evt: u64,
    /// Alerts and actions.
    pub alert: u64,
    /// Parked records.
    pub dlq: u64,
}

impl MaxBytes {
    /// The same for each stream.
    #[must_use]
    pub fn each(bytes: u64) -> Self {
        Self { raw: bytes, evt: bytes, alert: bytes, dlq: bytes }
    }

    pub(super) fn of(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Raw => self.raw,
            Stream::Evt => self.evt,
            Stream::Alert => self.alert,
            Stream::Dlq => self.dlq,
        }
    }
}

impl Default for MaxBytes {
    fn default() -> Self {
        Self { raw: 8 << 30, evt: 8 << 30, alert: 1 << 30, dlq: 1 << 30 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 16,
            replicas: 1,
            max_bytes: MaxBytes::default(),
            credentials_file: None,
            nkey_file: None,
            user: None,
            password: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            inbox: "_INBOX".to_owned(),
            name: "atalaya".to_owned(),
            first_connect_seconds: 30,
            answer_seconds: 5,
            long_outage_seconds: 60,
            ping_seconds: 5,
        }
    }
}

/// A secret, read where it is. The error names the place, never what is in it.
fn read(secret: &SecretRef) -> Result<String, BusError> {
    match secret {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| BusError::Io(format!("{secret} is not set"))),
        SecretRef::File(path) => read_secret(path),
    }
}

/// The first line of a file. The error names the file, never what is in it.
fn read_secret(path: &Path) -> Result<String, BusError> {
    let text = std::fs::read_to_string(path).map_err(|error| BusError::Io(format!("{}: {error}", path.display())))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

impl Options {
    pub(super) fn first_connect(&self) -> Duration {
        Duration::from_secs(self.first_connect_seconds.into())
    }

    pub(super) fn answer(&self) -> Duration {
        Duration::from_secs(self.answer_seconds.max(1).into())
    }

    /// What the client is given, secrets read anew: they may have been renewed.
    pub(super) async fn client(&self) -> Result<async_nats::ConnectOptions, BusError> {
        let mut client = async_nats::ConnectOptions::new()
            .name(&self.name)
            .custom_inbox_prefix(&self.inbox)
            .ping_interval(Duration::from_secs(self.ping_seconds.max(1).into()))
            .connection_timeout(self.answer())
            .request_timeout(Some(self.answer()))
            .max_reconnects(None);
        if let Some(path) = &self.credentials_file {
            let unreadable = |error| BusError::Io(format!("{}: {error}", path.display()));
            client = client.credentials_file(path).await.map_err(unreadable)?;
        }
        if let Some(path) = &self.nkey_file {
            client = client.nkey(read_secret(path)?);
        }
        if let Some(user) = &self.user {
            let password = self.password.as_ref().map(read).transpose()?.unwrap_or_default();
            client = client.user_and_password(user.clone(), password);
        }
        if let Some(path) = &self.ca_file {
            client = client.add_root_certificates(path.clone()).require_tls(true);
        }
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                client = client.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
            }
            (None, None) => {}
            _ => return Err(BusError::Io("certificate_file and key_file go together".to_owned())),
        }
        Ok(client)
    }

    /// Takes servers and options out of `nats://HOST:PORT[,HOST:PORT][?NAME=VALUE[&…]]`, or the same with `tls://`.
    /// The names are those of the configuration, for what is no map.
    pub(super) fn with_url(mut self, url: &str) -> Result<(Vec<ServerAddr>, Self), BusError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let Some((scheme @ ("nats" | "tls"), hosts)) = place.split_once("://") else {
            return Err(BusError::Url(url.to_owned()));
        };
        if hosts.contains('@') {
            // Not shown: it may hold a password.
            return Err(BusError::Url(format!("{scheme}://…@… (user and password stand in the options)")));
        }
        let parse = |host: &str| format!("{scheme}://{host}").parse().map_err(|_| BusError::Url(url.to_owned()));
        let servers = hosts.split(',').map(parse).collect::<Result<Vec<ServerAddr>, _>>()?;
        if servers.iter().any(|server| server.host().is_empty()) {
            return Err(BusError::Url(url.to_owned()));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // The value is not shown: somebody may have put a password there.
            self.set(name, value).ok_or_else(|| BusError::Url(format!("{place}?{name}=…")))?;
        }
        Ok((servers, self))
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let path = || Some(PathBuf::from(value));
        match name {
            "partitions" => self.partitions = value.parse().ok()?,
            "replicas" => self.replicas = value.parse().ok()?,
            "credentials_file" => self.credentials_file = path(),
            "nkey_file" => self.nkey_file = path(),
            "user" => self.user = Some(value.to_owned()),
            "password" => self.password = Some(SecretRef::try_from(value.to_owned()).ok()?),
            "ca_file" => self.ca_file = path(),
            "certificate_file" => self.certificate_file = path(),
            "key_file" => self.key_file = path(),
            "inbox" => value.clone_into(&mut self.inbox),
            "name" => value.clone_into(&mut self.name),
            "first_connect_seconds" => self.first_connect_seconds = value.parse().ok()?,
            "answer_seconds" => self.answer_seconds = value.parse().ok()?,
            "long_outage_seconds" => self.long_outage_seconds = value.parse().ok()?,
            "ping_seconds" => self.ping_seconds = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_and_options() {
        let url = "tls://a:4222,b:4223?replicas=3&nkey_file=/run/seed&password=env:X";
        let (servers, options) = Options::default().with_url(url).unwrap();
        let places: Vec<_> =
            servers.iter().map(|server| (server.host(), server.port(), server.tls_required())).collect();
        assert_eq!(places, [("a", 4222, true), ("b", 4223, true)]);
        let wanted = Options {
            replicas: 3,
            nkey_file: Some("/run/seed".into()),
            password: Some(SecretRef::Env("X".to_owned())),
            ..Options::default()
        };
        assert_eq!(options, wanted);
    }

    #[test]
    fn a_wrong_url_is_refused_and_shows_no_password() {
        for wrong in ["nats:a", "http://a", "nats://", "nats://a?replicas=x", "nats://a?colour=red", "nats://a?x"] {
            assert!(Options::default().with_url(wrong).is_err(), "{wrong}");
        }
        for secret in ["nats://me:hunter2@a:4222", "nats://a?password=hunter2"] {
            let error = Options::default().with_url(secret).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn options_come_from_a_section() {
        let section = r#"{"replicas": 3, "max_bytes": {"raw": 5}, "password": "file:/run/password", "user": "me"}"#;
        let options: Options = serde_json::from_str(section).unwrap();
        assert_eq!((options.replicas, options.max_bytes.raw, options.max_bytes.evt), (3, 5, 8 << 30));
        assert_eq!(options.password, Some(SecretRef::File("/run/password".into())));
        for wrong in [r#"{"password": "hunter2"}"#, r#"{"colour": 1}"#] {
            let error = serde_json::from_str::<Options>(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

//! What a tenant's file says: what it owns, who may come in, where its alerts go.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Level, Quotas, TokenEntry, parse_span};

/// `tenants/NAME.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantFile {
    /// Networks owned, CIDR: events of shared sources with such an address are this tenant's.
    pub networks: Vec<String>,
    /// Domains owned, with all their subdomains.
    pub domains: Vec<String>,
    /// People to reach, for the alert's reader.
    pub contacts: Vec<String>,
    /// Where alerts go; to the standard output if there is none.
    pub routes: Vec<Route>,
    /// How much it may push; the collector's own `quotas` where nothing is given.
    pub quotas: Quotas,
    /// Who may come in.
    pub tokens: Vec<TokenEntry>,
}

/// One way out for alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The route's name.
    pub name: String,
    /// Only alerts at least as grave; all if not given.
    #[serde(default = "lowest_level")]
    pub min_level: Level,
    /// Only these rules, by id or title; all if empty.
    #[serde(default)]
    pub rules: Vec<String>,
    /// How long an opening alert waits for others of its group: a span such as `500ms` or `30s`.
    #[serde(default = "default_group_wait")]
    pub group_wait: String,
    /// How often a lasting incident is told again: a span such as `4h`.
    #[serde(default = "default_repeat_interval")]
    pub repeat_interval: String,
    /// Who gets it.
    pub receiver: Receiver,
}

fn lowest_level() -> Level {
    Level::Informational
}

fn default_group_wait() -> String {
    "0s".to_owned()
}

fn default_repeat_interval() -> String {
    "4h".to_owned()
}

/// The other end of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Receiver {
    /// A line on the process's standard output.
    Stdout {},
    /// An HTTP POST with a signed body and an idempotency key.
    Webhook {
        /// Where to.
        url: String,
        /// The key that signs, by reference.
        secret: SecretRef,
    },
    /// A mail.
    Smtp(Smtp),
}

/// A mail's way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The server.
    pub host: String,
    /// Its port; 587, 465 or 25 as `tls` is if not given.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Authorities of the server's certificate, PEM, by reference; the system's if not given.
    #[serde(default)]
    pub ca: Option<SecretRef>,
    /// Who sends, to the server; nobody signs in if not given.
    #[serde(default)]
    pub user: Option<String>,
    /// The password of `user`, by reference.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// The sender's address.
    pub from: String,
    /// The receivers' addresses.
    pub to: Vec<String>,
    /// How long an attempt may take, milliseconds.
    #[serde(default = "smtp_timeout_ms")]
    pub timeout_ms: u64,
}

fn smtp_timeout_ms() -> u64 {
    10_000
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// TLS after the greeting; never without.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None: on loopback only.
    None,
}

impl Smtp {
    /// The port it is reached at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Implicit => 465,
            SmtpTls::None => 25,
        })
    }
}

/// Where a secret is: `env:NAME` or `file:PATH`; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; a last line end is not part of the secret.
    File(PathBuf),
}

impl TryFrom<String> for SecretRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err("a secret is given by reference: env:NAME or file:PATH".to_owned()),
        }
    }
}

impl From<SecretRef> for String {
    fn from(secret: SecretRef) -> Self {
        secret.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// What is wrong in a tenant's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route '{route}': {reason}")]
pub struct TenantFileError {
    route: String,
    reason: String,
}

impl TenantFile {
    /// Checks what the shape alone cannot.
    ///
    /// # Errors
    /// If a span cannot be read, two routes share a name, or a webhook's URL is not http or https.
    pub fn validate(&self) -> Result<(), TenantFileError> {
        for (at, route) in self.routes.iter().enumerate() {
            let error = |reason: String| TenantFileError { route: route.name.clone(), reason };
            for span in [&route.group_wait, &route.repeat_interval] {
                parse_span(span).map_err(|reason| error(reason.to_string()))?;
            }
            if self.routes[..at].iter().any(|other| other.name == route.name) {
                return Err(error("another route has the same name".to_owned()));
            }
            if let Receiver::Webhook { url, .. } = &route.receiver
                && !(url.starts_with("https://") || url.starts_with("http://"))
            {
                return Err(error(format!("'{url}' is no http or https URL")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
networks: [10.0.0.0/8]
quotas: {records: {per_s: 1000}}
routes:
  - name: soc
    min_level: high
    receiver:
      webhook: {url: 'https://soc.example/hook', secret: env:SOC_HOOK_KEY}
  - name: screen
    receiver: {stdout: {}}
  - name: mail
    receiver:
      smtp: {host: mail.example, user: soc, password: env:MAIL_KEY, from: soc@example.org, to: [duty@example.org]}
";

    #[test]
    fn a_file_is_read_and_checked() {
        let file: TenantFile = serde_saphyr::from_str(FILE).unwrap();
        assert_eq!(file.validate(), Ok(()));
        assert_eq!(file.quotas.records.map(|rate| rate.burst().get()), Some(1_000));
        assert_eq!(file.routes[0].min_level, Level::High);
        assert_eq!(file.routes[1].receiver, Receiver::Stdout {});
        let Receiver::Smtp(smtp) = &file.routes[2].receiver else { panic!("{:?}", file.routes[2]) };
        assert_eq!((smtp.tls, smtp.port(), smtp.timeout_ms), (SmtpTls::Starttls, 587, 10_000));
        for (from, to) in [("screen", "soc"), ("https://soc", "ftp://soc")] {
            let broken: TenantFile = serde_saphyr::from_str(&FILE.replace(from, to)).unwrap();
            assert!(broken.validate().is_err(), "{to}");
        }
        for (from, to) in
            [("env:SOC_HOOK_KEY", "hunter2"), ("networks", "network"), ("env:MAIL_KEY", "hunter2"), ("user:", "usr:")]
        {
            assert!(serde_saphyr::from_str::<TenantFile>(&FILE.replace(from, to)).is_err(), "{to}");
        }
    }
}

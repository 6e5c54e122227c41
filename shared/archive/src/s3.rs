//! S3: where it is, who asks, and requests that end in bounded time.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atalaya_model::SecretRef;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::{BackoffConfig, Certificate, ClientOptions, CredentialProvider, RetryConfig};
use serde::Deserialize;
use url::{Host, Url};

use crate::ArchiveError;
use crate::uploads::Uploads;

/// The region of stores that have none.
const DEFAULT_REGION: &str = "us-east-1";

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Tries of a request after the first. A longer outage is for the caller, who tries again for as long as it takes.
const MAX_RETRIES: usize = 3;

/// After this time nothing is tried again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// First and longest pause between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long credentials are used until their references are read again.
const CREDENTIALS_AGE: Duration = Duration::from_secs(60);

/// The range of `s3.timeout_ms`, milliseconds.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1_000..=120_000;

/// Section `s3`: how every `s3://BUCKET/PREFIX` of the configuration is reached.
///
/// Without keys it is what the machine has: `AWS_…` variables, a web identity token, or the instance's own role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Options {
    /// URL of the service; that of AWS in `region` if it is not given. `http:` is for loopback only.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if it is not given.
    pub region: Option<String>,
    /// The access key, by reference.
    pub access_key: Option<SecretRef>,
    /// The secret key, by reference.
    pub secret_key: Option<SecretRef>,
    /// The session token of keys that need one, by reference.
    pub session_token: Option<SecretRef>,
    /// Whether the bucket stands in the path; in the host's name otherwise.
    pub path_style: bool,
    /// Certificates (PEM) of authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, milliseconds: the largest file must fit through in that time.
    pub timeout_ms: u64,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            path_style: true,
            ca_file: None,
            timeout_ms: 60_000,
        }
    }
}

impl S3Options {
    /// Checks what the shape alone cannot.
    ///
    /// # Errors
    /// If the endpoint is no URL or has no TLS beyond loopback, a key stands alone, or a value is out of its range.
    pub fn validate(&self) -> Result<(), ArchiveError> {
        if let Some(endpoint) = self.endpoint.as_deref() {
            endpoint_url(endpoint)?;
        }
        if self.access_key.is_some() != self.secret_key.is_some() {
            return Err(wrong("access_key and secret_key: give both or neither"));
        }
        if self.session_token.is_some() && self.access_key.is_none() {
            return Err(wrong("session_token: it is of use with access_key and secret_key only"));
        }
        if !TIMEOUT_MS.contains(&self.timeout_ms) {
            let (least, most, given) = (TIMEOUT_MS.start(), TIMEOUT_MS.end(), self.timeout_ms);
            return Err(wrong(format!("timeout_ms: {given} is not between {least} and {most}")));
        }
        Ok(())
    }

    /// The URL of the service, then that of a bucket; both without a slash at their end.
    fn urls(&self, bucket: &str, region: &str) -> Result<(String, String), ArchiveError> {
        let endpoint = match self.endpoint.as_deref() {
            Some(endpoint) => endpoint_url(endpoint)?,
            None => endpoint_url(&format!("https://s3.{region}.amazonaws.com"))?,
        };
        let endpoint = endpoint.as_str().trim_end_matches('/').to_owned();
        let of_bucket = match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => format!("{scheme}://{bucket}.{host}"),
            _ => format!("{endpoint}/{bucket}"),
        };
        Ok((endpoint, of_bucket))
    }

    fn client(&self) -> Result<ClientOptions, ArchiveError> {
        let mut client = ClientOptions::new()
            .with_timeout(Duration::from_millis(self.timeout_ms))
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http:")));
        if let Some(path) = &self.ca_file {
            let pem = std::fs::read(path).map_err(|error| wrong(format!("ca_file: {}: {error}", path.display())))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .map_err(|error| wrong(format!("ca_file: {}: {error}", path.display())))?;
            for authority in authorities {
                client = client.with_root_certificate(authority);
            }
        }
        Ok(client)
    }

    /// Whose requests they are: the keys given, or what the machine has.
    fn builder(&self) -> Result<AmazonS3Builder, ArchiveError> {
        let (Some(access_key), Some(secret_key)) = (&self.access_key, &self.secret_key) else {
            return Ok(AmazonS3Builder::from_env());
        };
        let keys = Keys {
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            session_token: self.session_token.clone(),
            read: Mutex::new(None),
        };
        keys.read()?;
        Ok(AmazonS3Builder::new().with_credentials(Arc::new(keys)))
    }

    /// The store of a bucket, and its unfinished uploads below a prefix.
    pub(crate) fn connect(&self, bucket: &str, prefix: &str) -> Result<(AmazonS3, Uploads), ArchiveError> {
        self.validate()?;
        let (builder, client) = (self.builder()?, self.client()?);
        let of_machine = || builder.get_config_value(&AmazonS3ConfigKey::Region);
        let region = self.region.clone().or_else(of_machine).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let (endpoint, of_bucket) = self.urls(bucket, &region)?;
        let (init_backoff, max_backoff) = BACKOFF;
        let store = builder
            .with_bucket_name(bucket)
            .with_region(&region)
            // Above every variable; with the bucket in the name, it is the bucket's own.
            .with_config(AmazonS3ConfigKey::S3Endpoint, if self.path_style { &endpoint } else { &of_bucket })
            .with_virtual_hosted_style_request(!self.path_style)
            .with_client_options(client.clone())
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(RetryConfig {
                backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
                max_retries: MAX_RETRIES,
                retry_timeout: RETRY_TIMEOUT,
            })
            .build()?;
        let http = ReqwestConnector::default().connect(&client)?;
        let uploads = Uploads::new(store.clone(), http, of_bucket, region, prefix.to_owned());
        Ok((store, uploads))
    }
}

fn wrong(reason: impl Into<String>) -> ArchiveError {
    ArchiveError::Options(reason.into())
}

/// The endpoint, if it may be used.
fn endpoint_url(text: &str) -> Result<Url, ArchiveError> {
    let url = Url::parse(text).map_err(|error| wrong(format!("endpoint: '{text}': {error}")))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => return Err(wrong(format!("endpoint: '{text}' names no host"))),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err(wrong(format!("endpoint: '{text}' is beyond loopback without TLS: use https"))),
        other => Err(wrong(format!("endpoint: '{text}' is {other}: use https"))),
    }
}

/// Keys by reference, read again from time to time: a mounted secret may change.
struct Keys {
    access_key: SecretRef,
    secret_key: SecretRef,
    session_token: Option<SecretRef>,
    read: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, {})", self.access_key, self.secret_key)
    }
}

impl Keys {
    fn read(&self) -> Result<Arc<AwsCredential>, ArchiveError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = read.as_ref()
            && at.elapsed() < CREDENTIALS_AGE
        {
            return Ok(Arc::clone(known));
        }
        let token = self.session_token.as_ref().map(|token| secret("session_token", token)).transpose()?;
        let credential = Arc::new(AwsCredential {
            key_id: secret("access_key", &self.access_key)?,
            secret_key: secret("secret_key", &self.secret_key)?,
            token,
        });
        *read = Some((Instant::now(), Arc::clone(&credential)));
        Ok(credential)
    }
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.read().map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })
    }
}

/// What a reference points to. The error names the reference, never the secret.
fn secret(option: &str, reference: &SecretRef) -> Result<String, ArchiveError> {
    let text = match reference {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| "it is not set".to_owned()),
        SecretRef::File(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
    };
    let text = text.map_err(|reason| wrong(format!("{option}: {reference}: {reason}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    let fits_a_header = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits_a_header { Ok(text.to_owned()) } else { Err(wrong(format!("{option}: {reference} holds no key"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_endpoint(endpoint: &str) -> S3Options {
        S3Options { endpoint: Some(endpoint.to_owned()), ..S3Options::default() }
    }

    #[test]
    fn without_tls_only_loopback_is_reached() {
        for endpoint in ["http://127.0.0.1:8333", "http://[::1]:8333", "http://localhost", "https://s3.example.com"] {
            with_endpoint(endpoint).validate().unwrap();
        }
        for endpoint in ["http://192.0.2.1:8333", "http://s3.example.com", "ftp://127.0.0.1", "127.0.0.1:8333", ""] {
            let refused = with_endpoint(endpoint).validate().unwrap_err();
            assert!(refused.is_permanent() && refused.to_string().starts_with("s3.endpoint: "), "{refused}");
        }
    }

    #[test]
    fn buckets_stand_in_the_path_or_in_the_name() {
        let mut options = with_endpoint("https://s3.example.com/");
        let of_bucket = |options: &S3Options| options.urls("b", "eu-central-1").unwrap().1;
        assert_eq!(of_bucket(&options), "https://s3.example.com/b");
        options.path_style = false;
        assert_eq!(of_bucket(&options), "https://b.s3.example.com");
        options.endpoint = None;
        assert_eq!(of_bucket(&options), "https://b.s3.eu-central-1.amazonaws.com");
    }

    #[test]
    fn keys_are_read_where_they_are_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let mut options = with_endpoint("http://127.0.0.1:1");
        options.access_key = Some(SecretRef::File(path.clone()));
        assert!(options.validate().is_err(), "one key alone");
        options.secret_key = options.access_key.clone();
        let error = options.connect("b", "").unwrap_err().to_string();
        assert!(error.contains("s3.access_key: file:") && error.contains("No such file"), "{error}");
        std::fs::write(&path, "hunter2\n").unwrap();
        let (store, _) = options.connect("b", "").unwrap();
        assert!(!format!("{options:?}{store:?}").contains("hunter2"));
        std::fs::write(&path, "two\nlines").unwrap();
        assert!(options.connect("b", "").unwrap_err().to_string().contains("holds no key"));
    }

    #[test]
    fn the_time_of_a_request_has_a_limit() {
        for (timeout_ms, good) in [(999, false), (1_000, true), (120_000, true), (120_001, false)] {
            assert_eq!(S3Options { timeout_ms, ..S3Options::default() }.validate().is_ok(), good, "{timeout_ms}");
        }
    }
}

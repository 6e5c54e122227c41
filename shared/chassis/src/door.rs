//! Doors: which address may be listened on, and with what.
//!
//! On loopback a door may be plain. Beyond it needs TLS and something that tells who comes in: tokens that its service
//! checks, or certificates of a client authority. What is missing is an error at start, with the cure.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use serde::Deserialize;

use crate::secret::Reference;

/// Setting `tls` of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and what signed it, PEM, its own first.
    pub certificate: Reference,
    /// Its private key, PEM.
    pub key: Reference,
    /// Authorities of client certificates, PEM; with them nobody comes in without a certificate that one of them signed.
    #[serde(default)]
    pub client_ca: Option<Reference>,
}

/// What a TLS server is made of, read and checked; PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The certificate and what signed it.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Authorities of client certificates.
    pub client_ca: Option<Vec<u8>>,
}

/// Tells no key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("client_ca", &self.client_ca.is_some()).finish_non_exhaustive()
    }
}

/// How the door of `setting` (such as `collector`) opens at `address`: with TLS, or plain (none) on loopback.
/// `has_tokens` says whether its service has tokens to check.
///
/// # Errors
/// If the address cannot be resolved, lies beyond loopback without TLS or without a credential, or a file of `tls`
/// cannot be read or does not fit the others.
pub fn open(setting: &str, address: &str, tls: Option<&Tls>, has_tokens: bool) -> anyhow::Result<Option<Pem>> {
    let beyond = beyond_loopback(setting, address)?;
    let Some(tls) = tls else {
        return match beyond {
            None => Ok(None),
            Some(reached) => Err(anyhow!(
                "{setting}.listen: {address} is reached from beyond loopback ({}) and has no TLS: set {setting}.tls to \
                 {{certificate: file:PATH, key: file:PATH}}, or listen on 127.0.0.1",
                reached.ip()
            )),
        };
    };
    let pem = tls.read().with_context(|| format!("{setting}.tls"))?;
    ensure!(
        beyond.is_none() || has_tokens || pem.client_ca.is_some(),
        "{setting}.listen: {address} is reached from beyond loopback and asks for no credential: give a tenant a token \
         (`atalaya token new`), or set {setting}.tls.client_ca to the authority of your clients' certificates"
    );
    Ok(Some(pem))
}

/// An address that a listener has and others can reach; none if all are loopback.
pub(crate) fn beyond_loopback(setting: &str, address: &str) -> anyhow::Result<Option<SocketAddr>> {
    let mut resolved =
        address.to_socket_addrs().with_context(|| format!("{setting}.listen: '{address}' is no ADDRESS:PORT"))?;
    Ok(resolved.find(|address| !address.ip().to_canonical().is_loopback()))
}

impl Tls {
    /// Reads the files and checks that they make a server.
    ///
    /// # Errors
    /// If one cannot be read, holds no certificate or key, or the key is another certificate's.
    pub fn read(&self) -> anyhow::Result<Pem> {
        let pem = Pem {
            certificate: self.certificate.read().context("certificate")?,
            key: self.key.read().context("key")?,
            client_ca: self.client_ca.as_ref().map(Reference::read).transpose().context("client_ca")?,
        };
        let with_names = || {
            let ca = self.client_ca.as_ref().map(|ca| format!(", client_ca {ca}")).unwrap_or_default();
            format!("certificate {}, key {}{ca}", self.certificate, self.key)
        };
        pem.server_config(&[]).with_context(with_names)?;
        Ok(pem)
    }
}

impl Pem {
    /// A TLS server's configuration with ring, which offers these protocols (ALPN).
    ///
    /// # Errors
    /// If the parts do not fit; never for what [`Tls::read`] returned.
    pub fn server_config(&self, protocols: &[&[u8]]) -> anyhow::Result<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates("certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| anyhow!("key: no PEM key: {error}"))?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
            .map_err(|error| anyhow!("key and certificate: {error}"))?;
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("client_ca", authorities)? {
                    roots.add(authority).map_err(|error| anyhow!("client_ca: {error}"))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.context("client_ca")?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).context("certificate")?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

fn certificates(what: &str, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{what}: damaged PEM: {error}"))?;
    ensure!(!found.is_empty(), "{what}: no PEM certificate in it");
    Ok(found)
}

#[cfg(test)]
mod tests;

//! TLS and credentials.

use std::path::Path;

use atalaya_bus::nats::{Nats, Options};
use atalaya_bus::{Bus, BusError, Stream};
use atalaya_model::SecretRef;
use atalaya_servers::{NatsOptions, NatsServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{fence, fill, options};

/// A pair of the NATS documentation.
const NKEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
const NKEY_SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

async fn refused(server: &NatsServer, options: &Options) -> String {
    match Nats::connect(&server.url(), options).await {
        Err(error @ BusError::Io(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("let in"),
    }
}

async fn works(server: &NatsServer, options: &Options) {
    let bus = Nats::connect(&server.url(), options).await.unwrap();
    fill(&bus, &fence(Stream::Raw, "raw.a.x", "raw.a.>"), 0, 3, 100).await;
    assert_eq!(bus.info(Stream::Raw).await.unwrap().messages, 3);
}

fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_is_told_at_once() {
    let directory = TempDir::new().unwrap();
    let user = Some(("me".to_owned(), "hunter2".to_owned()));
    let server = NatsServer::start(directory.path(), &NatsOptions { user, ..NatsOptions::default() }).unwrap();
    let password = |text: &str| Some(SecretRef::File(write(directory.path(), text, &format!("{text}\n"))));
    let me = |text| Options { user: Some("me".to_owned()), password: password(text), ..options() };
    works(&server, &me("hunter2")).await;
    let start = std::time::Instant::now();
    let error = refused(&server, &me("hunter3")).await;
    assert!(error.contains("refuses us") && !error.contains("hunter3"), "{error}");
    refused(&server, &options()).await;
    assert!(start.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn an_nkey_opens() {
    let directory = TempDir::new().unwrap();
    let nkey = Some(NKEY.to_owned());
    let server = NatsServer::start(directory.path(), &NatsOptions { nkey, ..NatsOptions::default() }).unwrap();
    let nkey_file = Some(write(directory.path(), "seed", &format!("{NKEY_SEED}\n")));
    works(&server, &Options { nkey_file, ..options() }).await;
    let error = refused(&server, &Options { nkey_file: Some("/nowhere/seed".into()), ..options() }).await;
    assert!(error.contains("/nowhere/seed"), "{error}");
}

#[tokio::test]
async fn tls_needs_the_right_authority_and_our_certificate() {
    let directory = TempDir::new().unwrap();
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ca, other) = (authority(), authority());
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let path = |ending: &str, text: String| write(directory.path(), &format!("{name}.{ending}"), &text);
        (path("pem", certificate.pem()), path("key", key.serialize_pem()))
    };
    let ca_file = write(directory.path(), "ca.pem", &ca.pem());
    let (certificate, key) = signed("server");
    let tls = Some((certificate, key, Some(ca_file.clone())));
    let server = NatsServer::start(directory.path(), &NatsOptions { tls, ..NatsOptions::default() }).unwrap();
    assert!(server.url().starts_with("tls://"));
    let (certificate_file, key_file) = signed("client");
    let client = Options {
        ca_file: Some(ca_file),
        certificate_file: Some(certificate_file),
        key_file: Some(key_file),
        first_connect_seconds: 1,
        ..options()
    };
    works(&server, &client).await;
    refused(&server, &Options { certificate_file: None, key_file: None, ..client.clone() }).await;
    let other = Some(write(directory.path(), "other.pem", &other.pem()));
    refused(&server, &Options { ca_file: other, ..client.clone() }).await;
    let half = refused(&server, &Options { key_file: None, ..client }).await;
    assert!(half.contains("go together"), "{half}");
}

//! The ingest door with TLS: who gets in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::path::Path;

use atalaya_chassis::door::Tls;
use atalaya_chassis::secret::Reference;
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::ingest_v1::{Format, PushRequest};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use support::{Rig, Running, SENSOR, bearing};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Status};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// A certificate for `name` and its key.
fn signed(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap().pem(), key.serialize_pem())
}

fn mutual(place: &Path, authority: &Authority) -> Tls {
    let (certificate, key) = signed(authority, "localhost");
    let file = |name: &str, text: &str| {
        let path = place.join(name);
        std::fs::write(&path, text).unwrap();
        Reference::File(path)
    };
    Tls {
        certificate: file("tls.crt", &certificate),
        key: file("tls.key", &key),
        client_ca: Some(file("ca.crt", &authority.pem)),
    }
}

/// The first answer to a push of one record.
async fn push(running: &Running, scheme: &str, tls: Option<ClientTlsConfig>, secret: &str) -> Result<u64, Status> {
    let address = format!("{scheme}://localhost:{}", running.address.port());
    let endpoint = Channel::from_shared(address).unwrap();
    let endpoint = match tls {
        Some(tls) => endpoint.tls_config(tls).unwrap(),
        None => endpoint,
    };
    let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = PushRequest {
        producer: "sensor-1".into(),
        sequence: 1,
        format: Format::JsonLines.into(),
        records: vec![Bytes::from_static(b"{}")],
        ..PushRequest::default()
    };
    let requests = bearing(tokio_stream::once(request), secret);
    let mut answers = IngestClient::new(channel).push(requests).await?.into_inner();
    Ok(answers.message().await?.expect("an answer").accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_token_are_both_needed() {
    atalaya_chassis::install_tls_provider();
    let (ours, theirs) = (authority(), authority());
    let mut rig = Rig::new();
    rig.tls = Some(mutual(rig.directory.path(), &ours));
    let running = rig.start().await;
    let client = |own: Option<&Authority>| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ours.pem)).domain_name("localhost");
        match own.map(|authority| signed(authority, "sensor")) {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    };
    assert!(push(&running, "http", None, SENSOR).await.is_err(), "plain text");
    assert!(push(&running, "https", Some(client(None)), SENSOR).await.is_err(), "no certificate");
    assert!(push(&running, "https", Some(client(Some(&theirs))), SENSOR).await.is_err(), "of another authority");
    let nobody = push(&running, "https", Some(client(Some(&ours))), "guessed").await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    assert_eq!(push(&running, "https", Some(client(Some(&ours))), SENSOR).await.unwrap(), 1);
    running.stop().await;
}

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConnection};

use super::*;

type Part = fn(&mut Tls) -> &mut Reference;

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

fn file(place: &Path, name: &str, text: &str) -> Reference {
    let path = place.join(name);
    std::fs::write(&path, text).unwrap();
    Reference::File(path)
}

fn settings(place: &Path, authority: &Authority, with_clients: bool) -> Tls {
    let (certificate, key) = signed(authority, "localhost");
    Tls {
        certificate: file(place, "tls.crt", &certificate),
        key: file(place, "tls.key", &key),
        client_ca: with_clients.then(|| file(place, "ca.crt", &authority.pem)),
    }
}

#[test]
fn beyond_loopback_tls_and_a_credential_are_needed() {
    let place = tempfile::tempdir().unwrap();
    let authority = authority();
    let plain = settings(place.path(), &authority, false);
    let mutual = settings(place.path(), &authority, true);
    for address in ["127.0.0.1:7410", "[::1]:0", "localhost:0", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(open("collector", address, None, true).unwrap(), None, "{address}");
        assert!(open("collector", address, Some(&plain), false).unwrap().is_some(), "{address}");
    }
    for address in ["0.0.0.0:7410", "[::]:0", "192.0.2.1:7410", "[2001:db8::1]:1"] {
        let error = open("collector", address, None, true).unwrap_err().to_string();
        assert!(error.contains("collector.listen: ") && error.contains("set collector.tls to"), "{error}");
        let error = open("collector", address, Some(&plain), false).unwrap_err().to_string();
        assert!(error.contains("no credential") && error.contains("collector.tls.client_ca"), "{error}");
        assert!(open("collector", address, Some(&plain), true).unwrap().is_some());
        assert!(open("collector", address, Some(&mutual), false).unwrap().is_some());
    }
    let error = open("collector", "here", None, true).unwrap_err().to_string();
    assert!(error.contains("collector.listen: 'here' is no ADDRESS:PORT"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let authority = authority();
    let good = settings(place.path(), &authority, true);
    assert!(good.read().is_ok());
    let (_, other_key) = signed(&authority, "localhost");
    let wrong: [(Part, &str, &str); 4] = [
        (|tls| &mut tls.key, &other_key, "key and certificate: "),
        (|tls| &mut tls.key, "-----BEGIN NOTHING-----\n", "key: no PEM key"),
        (|tls| &mut tls.certificate, "no certificate", "certificate: no PEM certificate in it"),
        (|tls| tls.client_ca.as_mut().unwrap(), "nobody", "client_ca: no PEM certificate in it"),
    ];
    for (part, text, reason) in wrong {
        let mut tls = good.clone();
        *part(&mut tls) = file(place.path(), "wrong.pem", text);
        let error = format!("{:#}", open("gateway", "0.0.0.0:1", Some(&tls), true).unwrap_err());
        assert!(error.contains(reason) && error.contains("gateway.tls") && error.contains("wrong.pem"), "{error}");
        assert!(!error.contains("PRIVATE KEY"), "{error}");
    }
    let mut tls = good;
    tls.key = Reference::File(place.path().join("none"));
    assert!(format!("{:#}", tls.read().unwrap_err()).contains("key: file:"));
}

/// Whether a client gets through the handshake, with or without a certificate of its own.
fn handshake(pem: &Pem, authority: &Authority, own: Option<(String, String)>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots);
    let client = match own {
        None => client.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            client.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(pem.server_config(&[b"h2"]).unwrap())).unwrap();
    for _ in 0..8 {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut flight.as_slice()).unwrap();
        if server.process_new_packets().is_err() {
            return false;
        }
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        client.read_tls(&mut flight.as_slice()).unwrap();
        if client.process_new_packets().is_err() {
            return false;
        }
    }
    !client.is_handshaking() && !server.is_handshaking()
}

#[test]
fn clients_are_known_by_their_authority() {
    let place = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority(), authority());
    let open_to_all = settings(place.path(), &ours, false).read().unwrap();
    assert!(handshake(&open_to_all, &ours, None));
    assert!(!handshake(&open_to_all, &theirs, None), "a server of another authority");
    let mutual = settings(place.path(), &ours, true).read().unwrap();
    assert!(handshake(&mutual, &ours, Some(signed(&ours, "sensor"))));
    assert!(!handshake(&mutual, &ours, None), "a client without a certificate");
    assert!(!handshake(&mutual, &ours, Some(signed(&theirs, "sensor"))), "a client of another authority");
}

#[test]
fn the_setting_takes_references_only() {
    let parse = |text: &str| serde_saphyr::from_str::<Tls>(text);
    let tls = parse("{certificate: file:a.crt, key: env:KEY}").unwrap();
    assert_eq!((tls.key, tls.client_ca), (Reference::Env("KEY".into()), None));
    assert!(parse("{certificate: file:a.crt, key: '-----BEGIN PRIVATE KEY-----'}").is_err());
    assert!(parse("{certificate: file:a.crt, key: env:KEY, ca: file:b}").is_err());
}

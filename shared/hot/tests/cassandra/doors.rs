//! Password and TLS.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_hot::cassandra::Tls;
use atalaya_model::SecretRef;

use super::*;

/// The superuser is made a moment after the port opens.
const USER_WITHIN: Duration = Duration::from_secs(30);

/// A keystore with a certificate for 127.0.0.1, and the certificate.
fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (keystore, certificate) = (directory.join("node.p12"), directory.join("node.pem"));
    let keytool = |arguments: &[&str]| {
        let mut command = Command::new("keytool");
        command.args(arguments).args(["-alias", "node", "-storepass", "secret", "-keystore"]).arg(&keystore);
        let output = command.output().expect("keytool comes with Java");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    keytool(&["-genkeypair", "-keyalg", "EC", "-dname", "CN=node", "-ext", "san=ip:127.0.0.1", "-validity", "2"]);
    keytool(&["-exportcert", "-rfc", "-file", certificate.to_str().unwrap()]);
    (keystore, certificate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_tls_are_asked_for_and_given() {
    let mut node = node().await;
    let directory = tempfile::tempdir().unwrap();
    let (keystore, ca) = certificate(directory.path());
    restart(&mut node, |options| {
        options.authentication = true;
        options.keystore = Some((keystore, "secret".to_owned()));
    });
    let secret = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(SecretRef::File(path))
    };
    let tls = Some(Tls { ca, certificate: None, key: None });
    let right =
        Options { user: secret("user", "cassandra\n"), password: secret("password", "cassandra\n"), ..options() };
    let right = Options { tls, ..right };
    let url = url(&node);
    let started = Instant::now();
    let hot = loop {
        match Cassandra::open(&url, &right).await {
            Ok(hot) => break hot,
            Err(error) => assert!(started.elapsed() < USER_WITHIN, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let world = World::random(95, 10).unwrap();
    hot.file(&world.messages).await.unwrap();
    check_all(&hot, &world).await;

    let (_, other) = certificate(&tempfile::tempdir_in(directory.path()).unwrap().keep());
    for (wrong, what) in [
        (Options { password: secret("wrong", "guess"), ..right.clone() }, "a wrong password"),
        (Options { user: None, password: None, ..right.clone() }, "no password"),
        (Options { tls: None, ..right.clone() }, "plain text"),
        (Options { tls: Some(Tls { ca: other, certificate: None, key: None }), ..right.clone() }, "another authority"),
    ] {
        let refused = Cassandra::open(&url, &wrong).await.map(|_| ());
        assert!(matches!(refused, Err(HotError::Io(_))), "{what}: {refused:?}");
    }
    // Not for a node to say: no use to ask again.
    let secretless = Options { password: Some(SecretRef::Env("ATALAYA_NO_SUCH_SECRET".to_owned())), ..right };
    let refused = Cassandra::open(&url, &secretless).await.map(|_| ());
    assert!(matches!(refused, Err(HotError::Request(_))), "{refused:?}");
}

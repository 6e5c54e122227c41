//! A real mail server in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use atalaya_model::{Receiver, SecretRef, Smtp, SmtpTls};
use serde::Deserialize;

const PACKAGE: &str = "aiosmtpd==1.4.6";
pub(crate) const USER: &str = "soc";
pub(crate) const PASSWORD: &str = "hunter2";

/// What the server says of a mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Taken {
    pub(crate) answer: u16,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) encrypted: bool,
    pub(crate) user: Option<String>,
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) raw: String,
}

pub(crate) struct MailServer {
    process: Child,
    tls: SmtpTls,
    port: u16,
    place: PathBuf,
}

impl MailServer {
    /// Starts it below `place`; `answers` are its replies to mails, in order, joined by `|`. With TLS it asks for user
    /// and password.
    pub(crate) fn start(place: &Path, tls: SmtpTls, answers: &str) -> Self {
        let place = tempfile::Builder::new().prefix("mail").tempdir_in(place).unwrap().keep();
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(place.join("tls.crt"), key.cert.pem()).unwrap();
        std::fs::write(place.join("tls.key"), key.signing_key.serialize_pem()).unwrap();
        std::fs::write(place.join("password"), format!("{PASSWORD}\n")).unwrap();
        let (mode, password) = match tls {
            SmtpTls::None => ("none", ""),
            SmtpTls::Starttls => ("starttls", PASSWORD),
            SmtpTls::Implicit => ("implicit", PASSWORD),
        };
        let mut process = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notify/mail_server.py"))
            .arg(place.join("taken"))
            .arg(mode)
            .args(["tls.crt", "tls.key"].map(|name| place.join(name)))
            .args([password, answers])
            .env("PYTHONPATH", atalaya_servers::python(&[PACKAGE]).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(place.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, tls, port: port.trim().parse().unwrap(), place }
    }

    /// The receiver that leads to it.
    pub(crate) fn receiver(&self) -> Smtp {
        let reference = |name: &str| SecretRef::File(self.place.join(name));
        let protected = self.tls != SmtpTls::None;
        Smtp {
            host: "localhost".into(),
            port: Some(self.port),
            tls: self.tls,
            ca: protected.then(|| reference("tls.crt")),
            user: protected.then(|| USER.into()),
            password: protected.then(|| reference("password")),
            from: "Atalaya <soc@example.org>".into(),
            to: vec!["duty@example.org".into(), "Second <second@example.org>".into()],
            timeout_ms: 5_000,
        }
    }

    /// Mails it was given, with its answers.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        let lines = std::fs::read_to_string(self.place.join("taken")).unwrap_or_default();
        // A line that is being written is not there yet.
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Taken> {
        super::eventually(&format!("{count} mails"), || async { self.taken().len() >= count }).await;
        self.taken()
    }

    /// Changes what the notifier takes for the password.
    pub(crate) fn set_password(&self, password: &str) {
        std::fs::write(self.place.join("password"), password).unwrap();
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn by_mail(receiver: Smtp) -> Receiver {
    Receiver::Smtp(receiver)
}

//! A mail over SMTP: one connection for each, so that an attempt given up on leaves nothing behind.
//!
//! The server's word decides: a reply of 5xx to the mail itself is for ever, everything else (4xx, a sign-in that is
//! refused, no connection, no answer) is for now. The Message-ID is the notification's id in every attempt.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use atalaya_model::{NotificationId, Smtp, SmtpTls};
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::{read, resolve};
use crate::config::MAX_ATTEMPT_TIMEOUT_MS;
use crate::grouping::Outcome;
use crate::message::Mail;

/// Addresses of one mail at most.
const MAX_TO: usize = 50;

/// Bytes of the authorities of a server's certificate at most.
const MAX_CA_BYTES: u64 = 1 << 20;

/// How long the goodbye after a mail may take; the mail is delivered whatever becomes of it.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Says that nobody wrote the mail, so that no absence note answers it: RFC 3834.
const AUTO_SUBMITTED: &str = "Auto-Submitted";

/// Why an attempt ended without success.
enum Failure {
    ForNow(anyhow::Error),
    ForEver(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::ForNow(error)
    }
}

/// Checks what the shape alone cannot.
///
/// # Errors
/// If an address cannot be read, a limit is out of its range, or a password would go beyond loopback in plain text.
pub(crate) fn check(receiver: &Smtp) -> anyhow::Result<()> {
    ensure!(!receiver.host.is_empty(), "host: a server is needed");
    ensure!(receiver.port() != 0, "port: 0 is none");
    ensure!((1..=MAX_TO).contains(&receiver.to.len()), "to: {} addresses, 1 to {MAX_TO} needed", receiver.to.len());
    ensure!(
        (1..=MAX_ATTEMPT_TIMEOUT_MS).contains(&receiver.timeout_ms),
        "timeout_ms: {} is not 1 to {MAX_ATTEMPT_TIMEOUT_MS}",
        receiver.timeout_ms
    );
    ensure!(receiver.user.is_some() == receiver.password.is_some(), "user and password go together");
    ensure!(
        receiver.tls != SmtpTls::None || is_loopback(&receiver.host),
        "tls: none is for loopback only, and {} may be reached beyond: use starttls or implicit",
        receiver.host
    );
    ensure!(receiver.tls != SmtpTls::None || receiver.ca.is_none(), "ca: without TLS there is no certificate");
    let address = |field: &str, text: &str| {
        text.parse::<Mailbox>().map(drop).with_context(|| format!("{field}: '{text}' is no address"))
    };
    address("from", &receiver.from)?;
    receiver.to.iter().try_for_each(|to| address("to", to))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One attempt.
pub(super) async fn send(receiver: &Smtp, id: NotificationId, payload: &str) -> Outcome {
    let limit = Duration::from_millis(receiver.timeout_ms);
    let named = |error: &anyhow::Error| format!("smtp {}:{}: {error:#}", receiver.host, receiver.port());
    match tokio::time::timeout(limit, deliver(receiver, id, payload, limit)).await {
        Ok(Ok(mut connection)) => {
            let _ = tokio::time::timeout(QUIT_TIMEOUT, connection.abort()).await;
            Outcome::Delivered
        }
        Ok(Err(Failure::ForNow(error))) => Outcome::Failed { reason: named(&error), retry_after_us: None },
        Ok(Err(Failure::ForEver(error))) => Outcome::Refused { reason: named(&error) },
        Err(_) => {
            Outcome::Failed { reason: named(&anyhow::anyhow!("no answer within {limit:?}")), retry_after_us: None }
        }
    }
}

async fn deliver(
    receiver: &Smtp,
    id: NotificationId,
    payload: &str,
    limit: Duration,
) -> Result<AsyncSmtpConnection, Failure> {
    let message = compose(receiver, id, payload).context("mail").map_err(Failure::ForEver)?;
    let hello = ClientId::default();
    let tls = match receiver.tls {
        SmtpTls::None => None,
        SmtpTls::Starttls | SmtpTls::Implicit => Some(tls(receiver).await?),
    };
    let (at_once, later) = if receiver.tls == SmtpTls::Implicit { (tls, None) } else { (None, tls) };
    let server = (receiver.host.as_str(), receiver.port());
    let connected = AsyncSmtpConnection::connect_tokio1(server, Some(limit), &hello, at_once, None).await;
    let mut connection = connected.context("connection")?;
    if let Some(tls) = later {
        connection.starttls(tls, &hello).await.context("STARTTLS")?;
    }
    if let (Some(user), Some(password)) = (&receiver.user, &receiver.password) {
        let password = String::from_utf8(resolve(password).await?).ok().context("password: no UTF-8")?;
        let credentials = Credentials::new(user.clone(), password);
        connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.context("sign-in")?;
    }
    match connection.send(message.envelope(), &message.formatted()).await {
        Ok(_) => Ok(connection),
        Err(error) if error.is_permanent() => Err(Failure::ForEver(anyhow::Error::new(error))),
        Err(error) => Err(Failure::ForNow(anyhow::Error::new(error))),
    }
}

/// The mail as it is sent: the same bytes in every attempt, but for what encodes it.
fn compose(receiver: &Smtp, id: NotificationId, payload: &str) -> anyhow::Result<Message> {
    let mail: Mail = serde_json::from_str(payload)?;
    let from: Mailbox = receiver.from.parse().with_context(|| receiver.from.clone())?;
    let written = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(mail.created_us).unwrap_or(0));
    let message_id = format!("<{id}@{}>", from.email.domain());
    let mut builder = Message::builder().from(from).subject(mail.subject).date(written).message_id(Some(message_id));
    for to in &receiver.to {
        builder = builder.to(to.parse().with_context(|| to.clone())?);
    }
    let nobody = HeaderValue::new(HeaderName::new_from_ascii_str(AUTO_SUBMITTED), "auto-generated".to_owned());
    Ok(builder.raw_header(nobody).header(ContentType::TEXT_PLAIN).body(mail.text)?)
}

/// Whom to believe. Read for every attempt, so that certificates can be changed; on a thread that may wait for a disk.
async fn tls(receiver: &Smtp) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(receiver.host.clone());
    if let Some(ca) = &receiver.ca {
        let authority = Certificate::from_pem(&read(ca, MAX_CA_BYTES).await?).with_context(|| format!("ca: {ca}"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    let built = tokio::task::spawn_blocking(move || builder.build_rustls()).await.context("TLS")?;
    built.context("TLS")
}

#[cfg(test)]
mod tests;

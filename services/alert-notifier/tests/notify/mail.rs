//! Mails, to a real server over a real socket.

use std::time::Instant;

use atalaya_model::{AlertState, Counts, Smtp, SmtpTls};

use super::mail_server::{MailServer, PASSWORD, USER, by_mail};
use super::stage::{self, Stage, alert, route};

async fn one_alert(stage: &Stage) {
    stage.publish(1, &[alert(1, "10.0.0.1", AlertState::Opened)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_protected_signed_in_and_says_what_happened() {
    let stage = Stage::new().await;
    for (position, tls) in [SmtpTls::None, SmtpTls::Starttls, SmtpTls::Implicit].into_iter().enumerate() {
        let server = MailServer::start(stage.place(), tls, "250 2.0.0 OK");
        let running = stage.start(vec![route("soc", by_mail(server.receiver()))]);
        let ip = format!("10.0.0.{position}");
        stage.publish(position as u64 + 1, &[alert(position as u64 + 1, &ip, AlertState::Opened)]).await;
        let mail = server.wait_for(1).await.remove(0);
        assert_eq!(
            (mail.from.as_str(), mail.to.len(), mail.to[1].as_str()),
            ("soc@example.org", 2, "second@example.org")
        );
        let protected = tls != SmtpTls::None;
        assert_eq!((mail.encrypted, mail.user.as_deref()), (protected, protected.then_some(USER)), "{tls:?}");
        assert!(mail.id.starts_with('<') && mail.id.ends_with("@example.org>"), "{}", mail.id);
        assert_eq!(mail.subject, format!("[HIGH] Port scan — scan of src_ip={ip}"));
        for line in
            ["Rule        Port scan\n", "Status      open\n", "Tenant      acme\n", "observed 120, threshold 30"]
        {
            assert!(mail.text.contains(line), "{line}:\n{}", mail.text);
        }
        assert!(mail.text.contains(&format!("1970-01-01T01:02:03Z  scan of src_ip={ip}  (")), "{}", mail.text);
        stage.settled(Counts { notified: position as u64 + 1, ..Counts::default() }).await;
        running.drain().await;
        assert_eq!(server.taken().len(), 1, "{tls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_now_is_sent_again_as_it_was() {
    let stage = Stage::new().await;
    let server = MailServer::start(stage.place(), SmtpTls::Starttls, "451 4.3.0 later|452 4.2.2 full|250 2.0.0 OK");
    let running = stage.start(vec![route("soc", by_mail(server.receiver()))]);
    one_alert(&stage).await;
    let mails = server.wait_for(3).await;
    assert_eq!(mails.iter().map(|mail| mail.answer).collect::<Vec<_>>(), [451, 452, 250]);
    assert!(mails.iter().all(|mail| (&mail.id, &mail.raw) == (&mails[0].id, &mails[0].raw)), "{mails:#?}");
    stage.settled(Counts { notified: 1, ..Counts::default() }).await;
    running.drain().await;
    assert_eq!(server.taken().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_ever_is_not_sent_again() {
    let stage = Stage::new().await;
    let server = MailServer::start(stage.place(), SmtpTls::None, "554 5.7.1 not wanted");
    let nobody = Smtp { to: vec!["nobody@example.org".into()], ..server.receiver() };
    let routes = vec![route("unwanted", by_mail(server.receiver())), route("nobody", by_mail(nobody))];
    let running = stage.start(routes);
    one_alert(&stage).await;
    stage.settled(Counts { undeliverable: 1, ..Counts::default() }).await;
    running.drain().await;
    assert_eq!(server.taken().iter().map(|mail| mail.answer).collect::<Vec<_>>(), [554], "one attempt each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_refused_waits_for_the_password() {
    let stage = Stage::new().await;
    let server = MailServer::start(stage.place(), SmtpTls::Implicit, "250 2.0.0 OK");
    server.set_password("wrong");
    let running = stage.start(vec![route("soc", by_mail(server.receiver()))]);
    one_alert(&stage).await;
    stage.settled(Counts { undeliverable: 1, ..Counts::default() }).await;
    assert_eq!(server.taken().len(), 0);
    server.set_password(PASSWORD);
    stage.publish(2, &[alert(2, "10.0.0.2", AlertState::Opened)]).await;
    stage.settled(Counts { notified: 1, undeliverable: 1, ..Counts::default() }).await;
    running.drain().await;
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let stage = Stage::new().await;
    let (server, other) = (
        MailServer::start(stage.place(), SmtpTls::Starttls, "250 2.0.0 OK"),
        MailServer::start(stage.place(), SmtpTls::Starttls, "250 2.0.0 OK"),
    );
    let plain = MailServer::start(stage.place(), SmtpTls::None, "250 2.0.0 OK");
    let misled = Smtp { ca: other.receiver().ca, ..server.receiver() };
    let stripped = Smtp { port: plain.receiver().port, ..server.receiver() };
    let running = stage.start(vec![route("misled", by_mail(misled)), route("stripped", by_mail(stripped))]);
    one_alert(&stage).await;
    stage.settled(Counts { undeliverable: 1, ..Counts::default() }).await;
    running.drain().await;
    assert_eq!((server.taken().len(), plain.taken().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mail_server_delays_no_other() {
    let stage = Stage::new().await;
    // Takes connections and never says a word.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let alive = MailServer::start(stage.place(), SmtpTls::None, "250 2.0.0 OK");
    let silent = Smtp {
        port: Some(dead.local_addr().unwrap().port()),
        host: "127.0.0.1".into(),
        timeout_ms: stage::ATTEMPT_TIMEOUT.as_millis() as u64,
        ..alive.receiver()
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let absent = Smtp { port: Some(free), ..silent.clone() };
    let routes = [("dead", silent), ("absent", absent), ("alive", alive.receiver())];
    let running = stage.start(routes.into_iter().map(|(name, smtp)| route(name, by_mail(smtp))).collect());
    for position in 1..=3 {
        let entities: Vec<_> =
            (0..4).map(|at| alert(position * 100 + at, &format!("10.0.{position}.{at}"), AlertState::Opened)).collect();
        stage.publish(position, &entities).await;
    }
    let begun = Instant::now();
    alive.wait_for(12).await;
    assert!(begun.elapsed() < stage::ATTEMPT_TIMEOUT * 4, "{:?}", begun.elapsed());
    stage.settled(Counts { undeliverable: 12, ..Counts::default() }).await;
    running.drain().await;
    assert_eq!(alive.taken().len(), 12);
}

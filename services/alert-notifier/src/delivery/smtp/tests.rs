use atalaya_model::SecretRef;

use super::*;

type Change = fn(&mut Smtp);

fn receiver() -> Smtp {
    Smtp {
        host: "mail.example".into(),
        port: None,
        tls: SmtpTls::Starttls,
        ca: None,
        user: Some("soc".into()),
        password: Some(SecretRef::Env("MAIL_KEY".into())),
        from: "Atalaya <soc@example.org>".into(),
        to: vec!["duty@example.org".into(), "Second <second@example.org>".into()],
        timeout_ms: 1_000,
    }
}

#[test]
fn receivers_are_checked() {
    assert!(check(&receiver()).is_ok());
    let local = Smtp { host: "127.0.0.1".into(), tls: SmtpTls::None, user: None, password: None, ..receiver() };
    assert!(check(&local).is_ok());
    let wrong: [(Change, &str); 10] = [
        (|smtp| smtp.host.clear(), "host"),
        (|smtp| smtp.port = Some(0), "port"),
        (|smtp| smtp.to.clear(), "to: 0 addresses"),
        (|smtp| smtp.to = vec!["a@example.org".into(); 51], "to: 51 addresses"),
        (|smtp| smtp.to[1] = "nobody".into(), "to: 'nobody' is no address"),
        (|smtp| smtp.from = "a@b@c".into(), "from: 'a@b@c' is no address"),
        (|smtp| smtp.timeout_ms = 0, "timeout_ms"),
        (|smtp| smtp.password = None, "go together"),
        (|smtp| smtp.tls = SmtpTls::None, "loopback only"),
        (
            |smtp| {
                (smtp.host, smtp.tls) = ("::1".into(), SmtpTls::None);
                smtp.ca = Some(SecretRef::Env("CA".into()));
            },
            "no certificate",
        ),
    ];
    for (change, reason) in wrong {
        let mut smtp = receiver();
        change(&mut smtp);
        let error = format!("{:#}", check(&smtp).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_mail_is_the_same_in_every_attempt() {
    let id = NotificationId::of("test", &[]);
    let text = "scan of src_ip=10.0.0.1\nüber\n";
    let payload =
        serde_json::json!({"subject": "[HIGH] Port scan — scan", "text": text, "created_us": 784_111_777_000_000_i64});
    let message = compose(&receiver(), id, &payload.to_string()).unwrap();
    let formatted = String::from_utf8(message.formatted()).unwrap();
    assert_eq!(formatted.into_bytes(), compose(&receiver(), id, &payload.to_string()).unwrap().formatted());
    let formatted = String::from_utf8(message.formatted()).unwrap();
    for header in [
        format!("Message-ID: <{id}@example.org>\r\n"),
        "Date: Sun, 06 Nov 1994 08:49:37 +0000\r\n".into(),
        "Auto-Submitted: auto-generated\r\n".into(),
        "From: Atalaya <soc@example.org>\r\n".into(),
    ] {
        assert!(formatted.contains(&header), "{header}:\n{formatted}");
    }
    assert!(formatted.is_ascii(), "{formatted}");
    assert_eq!(message.envelope().to().len(), 2);
    assert!(compose(&receiver(), id, "a line of another receiver").is_err());
}

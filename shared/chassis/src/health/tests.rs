use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Status and body of a page.
async fn page(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn pages_say_what_is_wrong_and_that_it_is_over() {
    let listener = bind(&Config { listen: "127.0.0.1:0".into(), ..Config::default() }).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let health = shutdown.health().clone();
    let server = tokio::spawn(serve(listener, health.clone(), None, shutdown));
    assert_eq!(page(address, "/ready").await, (503, "not ready\nprocess: starting or draining\n".into()));
    health.set_ready(true);
    assert_eq!(page(address, "/ready").await, (200, "ready\n".into()));
    let (bus, hot) = (health.check("bus"), health.check("hot store"));
    bus.pass();
    assert_eq!(page(address, "/ready").await, (503, "not ready\nhot store: not checked yet\n".into()));
    hot.fail(&"refused");
    assert_eq!(page(address, "/ready").await, (503, "not ready\nhot store: refused\n".into()));
    drop(hot);
    assert_eq!(page(address, "/ready").await, (200, "ready\n".into()));
    health.set_ready(false);
    assert_eq!(page(address, "/ready").await.0, 503);
    assert_eq!(page(address, "/live").await, (200, "alive\n".into()));
    trigger.request();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_loop_that_stands_still_is_told_until_it_turns_or_ends() {
    const LIMIT: Duration = Duration::from_millis(200);
    let health = Health::default();
    let slow = health.heartbeat("lane c1-0", LIMIT);
    let lively = health.heartbeat("lane c1-0", LIMIT);
    let patient = health.heartbeat("archive", Duration::from_secs(3_600));
    assert_eq!(health.stalled(), Vec::<String>::new());
    tokio::time::sleep(LIMIT + Duration::from_millis(50)).await;
    lively.beat();
    let stalled = health.stalled();
    assert_eq!(stalled.len(), 1, "{stalled:?}");
    assert!(
        stalled[0].starts_with("lane c1-0: no turn for ") && stalled[0].ends_with(" ms, 200 at most"),
        "{stalled:?}"
    );
    slow.beat();
    assert_eq!(health.stalled(), Vec::<String>::new());
    drop((slow, lively));
    tokio::time::sleep(LIMIT + Duration::from_millis(50)).await;
    assert_eq!(health.stalled(), Vec::<String>::new());
    drop(patient);
}

#[tokio::test]
async fn a_probe_follows_what_it_asks() {
    const EVERY: Duration = Duration::from_millis(5);
    let (trigger, shutdown) = Shutdown::new();
    let health = shutdown.health().clone();
    health.set_ready(true);
    let state = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&state);
    let ask = move || {
        let state = asked.load(Ordering::Relaxed);
        async move {
            match state {
                0 => Ok(()),
                1 => Err("connection refused"),
                _ => std::future::pending().await,
            }
        }
    };
    let probe = tokio::spawn(health.clone().probe("bus", EVERY, Duration::from_millis(50), ask, shutdown));
    let wanted = [vec![], vec!["bus: connection refused"], vec!["bus: no answer within 50ms"], vec![]];
    for (at, lines) in [0, 1, 2, 0].into_iter().zip(wanted) {
        state.store(at, Ordering::Relaxed);
        let begun = Instant::now();
        while health.not_ready() != lines {
            assert!(begun.elapsed() < Duration::from_secs(20), "{at}: {:?}", health.not_ready());
            tokio::time::sleep(EVERY).await;
        }
    }
    trigger.request();
    probe.await.unwrap();
    assert_eq!(health.not_ready(), Vec::<String>::new());
}

#[tokio::test]
async fn plain_text_beyond_loopback_is_asked_for() {
    let config = |listen: &str, allow_plain| Config { listen: listen.into(), allow_plain };
    assert!(config("127.0.0.1:0", false).validate().is_ok());
    assert!(config("0.0.0.0:0", true).validate().is_ok());
    assert!(bind(&config("0.0.0.0:0", true)).await.is_ok());
    let error = bind(&config("0.0.0.0:0", false)).await.unwrap_err().to_string();
    assert!(error.contains("set health.allow_plain to true"), "{error}");
    assert!(config("here", true).validate().is_err());
}

//! Lookups: paged, newest first, a tenant's own.

use atalaya_bus::Stream;
use atalaya_model::Books;
use atalaya_proto::query_v1::lookup_client::LookupClient;
use atalaya_proto::query_v1::{LookupRequest, LookupResponse, PartitionPosition};
use serde_json::Value;
use tonic::Code;

use crate::world::{Door, NOON_US, Token, World, alert};

async fn events(door: Door, request: LookupRequest) -> Result<LookupResponse, tonic::Status> {
    LookupClient::new(door).events(request).await.map(tonic::Response::into_inner)
}

fn request(kind: &str, value: &str) -> LookupRequest {
    LookupRequest { kind: kind.into(), value: value.into(), ..LookupRequest::default() }
}

fn field(response: &LookupResponse, name: &str) -> Vec<String> {
    let rows = response.rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap());
    rows.map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
}

async fn filed() -> World {
    let world = World::new().await;
    for message in 0_i64..5 {
        let rows: Vec<_> = (0..10)
            .flat_map(|row| {
                let second = row * 5 + message;
                [("acme", "10.0.0.1", second), ("globex", "10.0.0.1", second), ("globex", "10.9.9.9", second)]
            })
            .collect();
        world.file_events(10 + message.cast_unsigned(), &rows).await;
    }
    world.floor(Stream::Evt, "hot", 14, Books::default()).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_newest_first_and_whole() {
    let world = filed().await;
    let running = world.start().await;
    let (mut times, mut token, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = LookupRequest { limit: 7, page_token: token, ..request("ip", "10.0.0.1") };
        let page = events(running.as_acme(), page).await.unwrap();
        assert!(page.rows.len() <= 7);
        assert_eq!(page.positions[0].sequence, 14);
        assert!(field(&page, "tenant").iter().all(|tenant| tenant == "acme"));
        assert!(field(&page, "class").iter().all(|class| class == "dns_activity"));
        times.extend(field(&page, "time"));
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
    }
    let mut sorted = times.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!((times.len(), pages >= 8), (50, true));
    assert_eq!(times, sorted);
    let from_us = Some(NOON_US + 48 * 1_000_000);
    let some = events(running.as_acme(), LookupRequest { from_us, ..request("src_ip", "10.0.0.1") }).await.unwrap();
    assert_eq!(some.rows.len(), 2);
    let incarnation = world.bus.info(Stream::Evt).await.unwrap().incarnation;
    let position = PartitionPosition { partition: 3, incarnation: some.positions[0].incarnation, sequence: 14 };
    assert_eq!((some.positions, incarnation), (vec![position], position.incarnation));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_anothers_rows() {
    let world = filed().await;
    world.hot.file_alerts(&[alert(1, "globex", "live")]).await.unwrap();
    let running = world.start().await;
    let theirs = events(running.as_globex(), request("ip", "10.9.9.9")).await.unwrap();
    assert_eq!(theirs.rows.len(), 50);
    let event = &field(&theirs, "event_id")[0];
    let raw = "c1-0.1.12".to_owned();
    let alert = alert(1, "globex", "live").id.to_string();
    for (kind, value) in [("ip", "10.9.9.9"), ("cidr", "10.9.0.0/16"), ("event", event), ("alert", &alert)] {
        let found = events(running.as_globex(), request(kind, value)).await.unwrap();
        assert!(!found.rows.is_empty(), "{kind}");
        let found = events(running.as_acme(), request(kind, value)).await.unwrap();
        assert_eq!(found.rows, Vec::<String>::new(), "{kind}");
    }
    for (kind, value) in [("raw", raw.as_str()), ("tenant", "globex"), ("domain", "example.com")] {
        let found = events(running.as_acme(), request(kind, value)).await.unwrap();
        assert!(field(&found, "tenant").iter().all(|tenant| tenant == "acme"), "{kind}");
    }
    let token = LookupRequest { limit: 10, ..request("ip", "10.9.9.9") };
    let token = events(running.as_globex(), token).await.unwrap().next_page_token;
    let stolen = LookupRequest { page_token: token, ..request("ip", "10.9.9.9") };
    let stolen = events(running.as_acme(), stolen).await.map(|page| page.rows.len()).unwrap_or(0);
    assert_eq!(stolen, 0);
    let acting = running.with(Token::of("operator-secret").acting_for("globex"));
    assert_eq!(events(acting, request("ip", "10.9.9.9")).await.unwrap().rows.len(), 50);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_say_what_is_wrong() {
    let world = World::new().await;
    let running = world.start().await;
    for (kind, value) in [("colour", "red"), ("ip", "not an address"), ("event", "xyz"), ("alert", "xyz")] {
        let status = events(running.as_acme(), request(kind, value)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(if kind == "colour" { "colour" } else { value }), "{status:?}");
    }
    running.drain().await;
}

//! Tokens: every data method needs one, reflection and health do not.

use atalaya_proto::query_v1::StatusRequest;
use atalaya_proto::query_v1::status_client::StatusClient;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::world::{Door, Running, Token, World};

/// `/package.Service/Method` of every method of the gateway.
fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(atalaya_proto::DESCRIPTORS).unwrap().file;
    let ours = files.into_iter().filter(|file| file.package() == "atalaya.query.v1");
    let services = ours.flat_map(|file| file.service);
    services
        .flat_map(|service| {
            let name = service.name().to_owned();
            service.method.into_iter().map(move |method| format!("/atalaya.query.v1.{name}/{}", method.name()))
        })
        .collect()
}

async fn call(door: Door, method: &str) -> Code {
    let mut client = Grpc::new(door);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    match client.server_streaming(Request::new(()), method.parse().unwrap(), codec).await {
        Ok(mut response) => response.get_mut().message().await.map_or_else(|status| status.code(), |_| Code::Ok),
        Err(status) => status.code(),
    }
}

async fn check(running: &Running, token: &Token, expected: Code) {
    let methods = methods();
    assert!(methods.len() >= 6, "{methods:?}");
    for method in methods {
        assert_eq!(call(running.with(token.clone()), &method).await, expected, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_data_method_needs_a_token() {
    let world = World::new().await;
    let running = world.start().await;
    check(&running, &Token::none(), Code::Unauthenticated).await;
    check(&running, &Token::of("wrong"), Code::Unauthenticated).await;
    check(&running, &Token::of("pusher-secret"), Code::PermissionDenied).await;
    check(&running, &Token::of("acme-secret").acting_for("globex"), Code::PermissionDenied).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_open() {
    let world = World::new().await;
    let running = world.start().await;
    let mut health = HealthClient::new(running.channel.clone());
    let request = HealthCheckRequest { service: "atalaya.query.v1.Query".into() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
    let mut reflection = ServerReflectionClient::new(running.channel.clone());
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let answers = reflection.server_reflection_info(futures::stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else { panic!("{answer:?}") };
    assert!(services.service.iter().any(|service| service.name == "atalaya.query.v1.Status"), "{services:?}");
    drop(reflection);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_acts_for_a_tenant_that_it_names() {
    let world = World::new().await;
    let running = world.start().await;
    let mut client = StatusClient::new(running.as_operator());
    assert_eq!(client.get(StatusRequest::default()).await.unwrap().into_inner().streams.len(), 4);
    let mut client = StatusClient::new(running.with(Token::of("operator-secret").acting_for("acme")));
    assert!(client.get(StatusRequest::default()).await.unwrap().into_inner().streams.is_empty());
    let mut client = StatusClient::new(running.with(Token::of("operator-secret").acting_for("No One")));
    assert_eq!(client.get(StatusRequest::default()).await.unwrap_err().code(), Code::PermissionDenied);
    running.drain().await;
}

//! Which JWT-SVIDs are asked for and which are given out again.

use std::time::Duration;

use proto::spire::api::types::entry::AdditionalAttributes;
use proto::spire::api::types::permission_denied_details::Reason;
use proto::workload::JwtsvidRequest;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tonic::Code;

use crate::fake_server::{FakeServer, TTL};
use crate::harness::{Home, own_entry, wait_until, with_header};

#[tokio::test(flavor = "multi_thread")]
async fn token_is_given_out_again_for_the_same_audience_in_any_order() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let first = agent.fetch_jwt(&["a", "b"]).await.unwrap();
    assert_eq!(agent.fetch_jwt(&["b", "a"]).await.unwrap(), first);
    assert_eq!(server.asked().jwts, 1);
    assert_ne!(agent.fetch_jwt(&["a"]).await.unwrap(), first);
    assert_eq!(server.asked().jwts, 2);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_with_a_jti_is_never_given_out_again() {
    let server = FakeServer::start();
    server.with(|registry| {
        let mut entry = own_entry("e1", "/web");
        entry.additional_attributes = Some(AdditionalAttributes {
            jwt_svid_include_jti: true,
            ..AdditionalAttributes::default()
        });
        registry.entries = vec![entry];
    });
    let agent = Home::new().start(&server).await;
    let first = agent.fetch_jwt(&["a"]).await.unwrap();
    assert_ne!(agent.fetch_jwt(&["a"]).await.unwrap(), first);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_in_the_second_half_of_its_life_is_renewed() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = vec![own_entry("e1", "/web")];
        registry.jwt_ttl = Duration::from_secs(1);
    });
    let agent = Home::new().start(&server).await;
    let first = agent.fetch_jwt(&["a"]).await.unwrap();
    assert_ne!(agent.fetch_jwt(&["a"]).await.unwrap(), first);
    agent.stop().await;
}

/// A server whose tokens are in the second half of their life at once.
fn server_of_old_tokens() -> FakeServer {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = vec![own_entry("e1", "/web")];
        registry.jwt_age = 2 * TTL;
    });
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_holds_is_given_out_at_once_while_no_server_can_be_reached() {
    let mut server = server_of_old_tokens();
    let agent = Home::new().start(&server).await;
    let first = agent.fetch_jwt(&["a"]).await.unwrap();
    let other = agent.fetch_jwt(&["b"]).await.unwrap();
    server.stop();
    for _ in 0..3 {
        assert_eq!(
            prompt(agent.fetch_jwt(&["a"])).await.unwrap().unwrap(),
            first
        );
        assert_eq!(
            prompt(agent.fetch_jwt(&["b"])).await.unwrap().unwrap(),
            other
        );
    }
    let jwts = server.asked().jwts;
    server.resume();
    // Without anybody who asks.
    wait_until(async || server.asked().jwts > jwts).await;
    wait_until(async || agent.fetch_jwt(&["b"]).await.unwrap() != other).await;
    assert_ne!(agent.fetch_jwt(&["a"]).await.unwrap(), first);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_holds_is_given_out_at_once_while_no_server_can_help() {
    let server = server_of_old_tokens();
    let agent = Home::new().start(&server).await;
    let first = agent.fetch_jwt(&["a"]).await.unwrap();
    server.set_unavailable(true);
    assert_eq!(
        prompt(agent.fetch_jwt(&["a"])).await.unwrap().unwrap(),
        first
    );
    server.set_unavailable(false);
    wait_until(async || agent.fetch_jwt(&["a"]).await.unwrap() != first).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_that_is_refused_is_asked_for_again_before_the_token_is_given_out() {
    let server = server_of_old_tokens();
    let agent = Home::new().start(&server).await;
    let first = agent.fetch_jwt(&["a"]).await.unwrap();
    server.with(|registry| registry.refusal = Some(Reason::Unknown));
    prompt(agent.fetch_jwt(&["a"])).await.unwrap_err();
    assert_eq!(agent.fetch_jwt(&["a"]).await.unwrap(), first);
    // Nor has it become a habit.
    prompt(agent.fetch_jwt(&["a"])).await.unwrap_err();
    agent.stop().await;
}

/// Less than a renewal may take.
async fn prompt<T>(answer: impl Future<Output = T>) -> Result<T, Elapsed> {
    timeout(Duration::from_secs(3), answer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_checked_before_the_caller() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let mut client = agent.client().await;
    let mut fetch = async |audience: &[&str], spiffe_id: &str| {
        let request = with_header(JwtsvidRequest {
            audience: audience.iter().map(ToString::to_string).collect(),
            spiffe_id: spiffe_id.to_owned(),
        });
        let status = client.fetch_jwtsvid(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let invalid = |text: &str| (Code::InvalidArgument, text.to_owned());
    assert_eq!(fetch(&[], "").await, invalid("audience must be specified"));
    assert_eq!(
        fetch(&[""], "").await,
        invalid("audience must be specified")
    );
    assert_eq!(
        fetch(&["a"], "nope").await,
        invalid("invalid requested SPIFFE ID: scheme is missing or invalid")
    );
    assert_eq!(
        fetch(&["a"], "spiffe://example.org/none").await,
        (Code::PermissionDenied, "no identity issued".to_owned())
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_request_is_refused_and_the_agent_goes_on() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let status = agent
        .fetch_jwt(&[&"x".repeat(300 << 10)])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.message(), "grpc: received message larger than max");
    assert_eq!(server.asked().jwts, 0);
    agent.fetch_jwt(&["a"]).await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_token_is_given_out_but_not_kept() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let audience = "x".repeat(20 << 10);
    agent.fetch_jwt(&[&audience]).await.unwrap();
    agent.fetch_jwt(&[&audience]).await.unwrap();
    assert_eq!(server.asked().jwts, 2);
    agent.stop().await;
}

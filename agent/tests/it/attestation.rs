//! How an agent comes up.

use std::time::Duration;

use crate::fake_server::FakeServer;
use crate::harness::{Home, ids, own_entry};

#[tokio::test(flavor = "multi_thread")]
async fn token_is_spent_once_and_the_svid_survives_a_restart() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries.push(own_entry("e1", "/web")));
    let home = Home::new();
    let agent = home.start(&server).await;
    assert_eq!(
        ids(&agent.wait_for_x509().await),
        ["spiffe://example.org/web"]
    );
    agent.stop().await;
    let stored = home.stored();
    assert_eq!(stored["svid"].as_array().unwrap().len(), 2);
    assert_eq!(stored["bundle"].as_array().unwrap().len(), 1);
    assert_eq!(stored["reattestable"], false);

    // The same command line again, with the token that is spent now.
    let agent = home.start(&server).await;
    assert_eq!(
        ids(&agent.wait_for_x509().await),
        ["spiffe://example.org/web"]
    );
    assert_eq!(server.asked().attestations, 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_svid_at_its_end_is_not_used() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.agent_ttl = Duration::from_secs(1);
        registry.tokens.insert("second".to_owned());
    });
    let home = Home::new();
    home.start(&server).await.stop().await;
    server.with(|registry| registry.agent_ttl = crate::fake_server::TTL);
    // An SVID with a second of life left counts as ended.
    let home = home.with_token("second");
    home.start(&server).await.stop().await;
    assert_eq!(server.asked().attestations, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_of_the_attestation_ends_the_agent_at_once() {
    let server = FakeServer::start();
    server.with(|registry| registry.attest_refused = true);
    let error = Home::new().spawn(&server).end().await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("failed to attest: agent is banned"), "{text}");
    assert_eq!(server.asked().attestations, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_waits_for_its_server_stops_when_told() {
    let mut server = FakeServer::start();
    server.stop();
    let agent = Home::new().spawn(&server);
    agent.stop().await;
}

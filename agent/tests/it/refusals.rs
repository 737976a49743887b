//! What an agent does when a server refuses it.

use identity::testing::TestAuthority;
use proto::spire::api::types::permission_denied_details::Reason;
use serde_json::json;

use crate::fake_server::FakeServer;
use crate::harness::{Home, own_entry, wait_until};

/// The agent ends, and its SVID is gone, so that the next start attests.
async fn check_running_agent_ends(reason: Reason, text: &str) {
    let server = FakeServer::start();
    let home = Home::new();
    let agent = home.start(&server).await;
    server.with(|registry| registry.refusal = Some(reason));
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(error.contains(text), "{error}");
    assert_eq!(home.stored()["svid"], json!([]));
    assert_eq!(home.stored()["bundle"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_agent_ends_without_its_svid() {
    check_running_agent_ends(Reason::AgentBanned, "agent is banned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evicted_agent_that_cannot_attest_again_ends_without_its_svid() {
    check_running_agent_ends(Reason::AgentNotAttested, "not re-attestable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_refused_at_its_start_ends_and_attests_at_the_next() {
    let server = FakeServer::start();
    let home = Home::new();
    home.start(&server).await.stop().await;
    server.with(|registry| registry.refusal = Some(Reason::AgentNotAttested));
    home.spawn(&server).end().await.unwrap_err();
    assert_eq!(home.stored()["svid"], json!([]));

    server.with(|registry| {
        registry.refusal = None;
        registry.tokens.insert("token".to_owned());
    });
    home.start(&server).await.stop().await;
    assert_eq!(server.asked().attestations, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_without_a_demand_is_waited_out() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let home = Home::new();
    let agent = home.start(&server).await;
    let before = agent.wait_for_x509().await;
    server.with(|registry| registry.refusal = Some(Reason::Unknown));
    assert_eq!(agent.fetch_x509().await.unwrap(), before);
    server.with(|registry| registry.refusal = None);
    let syncs = server.asked().syncs;
    wait_until(async || server.asked().syncs > syncs).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_of_an_unknown_authority_ends_the_agent() {
    let mut server = FakeServer::start();
    let home = Home::new();
    let agent = home.start(&server).await;
    server.stop();
    server.with(|registry| registry.authority = TestAuthority::new("example.org"));
    server.resume();
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(error.contains("signed by unknown authority"), "{error}");
    // The server may be the wrong one, so nothing is thrown away.
    assert_eq!(home.stored()["svid"].as_array().unwrap().len(), 2);
}

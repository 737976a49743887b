//! What an agent does while no server can be reached, and when its own SVID ends meanwhile.

use std::time::Duration;

use identity::x509::CertificateInfo;
use proto::spire::api::types::permission_denied_details::Reason;

use crate::fake_server::FakeServer;
use crate::harness::{Home, ids, own_entry, wait_until};

/// Waits until the agent's stored SVID has ended. It may be stored only now: a renewal that a server answered
/// before it stopped is the agent's to finish.
async fn wait_for_the_end(home: &Home) {
    wait_until(async || {
        let stored = home.stored();
        let not_after = not_after(stored["svid"][0].as_str().unwrap());
        identity::clock::Clock::now(&identity::clock::SystemClock) > not_after
    })
    .await;
}

fn not_after(stored: &str) -> identity::clock::UnixTime {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    let pem = BASE64_STANDARD.decode(stored).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    CertificateInfo::parse(&der).unwrap().not_after
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_whose_svid_ended_attests_again_where_it_can() {
    let mut server = FakeServer::start();
    server.with(|registry| {
        registry.pushes = true;
        registry.reattestable = true;
        registry.agent_ttl = Duration::from_secs(3);
        registry.entries = vec![own_entry("e1", "/web")];
    });
    let home = Home::new();
    let agent = home.start(&server).await;
    agent.fetch_x509().await.unwrap();
    server.stop();
    wait_for_the_end(&home).await;
    // Workloads keep what they have.
    let answer = agent.fetch_x509().await.unwrap();
    assert_eq!(ids(&answer), ["spiffe://example.org/web"]);
    let attestations = server.asked().attestations;
    server.with(|registry| {
        registry.agent_ttl = crate::fake_server::TTL;
        registry.entries.push(own_entry("e2", "/api"));
    });
    server.resume();
    wait_until(async || agent.fetch_x509().await.unwrap().svids.len() == 2).await;
    assert!(server.asked().attestations > attestations);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_cannot_attest_again_serves_to_the_end_and_says_what_to_do() {
    let mut server = FakeServer::start();
    server.with(|registry| {
        registry.agent_ttl = Duration::from_secs(3);
        registry.svid_ttl = Duration::from_secs(8);
        registry.entries = vec![own_entry("e1", "/web")];
    });
    let home = Home::new();
    let agent = home.start(&server).await;
    agent.fetch_x509().await.unwrap();
    server.stop();
    wait_for_the_end(&home).await;
    let answer = agent.fetch_x509().await.unwrap();
    assert_eq!(ids(&answer), ["spiffe://example.org/web"]);
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(error.contains("conclave-server token generate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_is_refused_for_its_end_serves_to_the_end_too() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.agent_ttl = Duration::from_secs(3);
        registry.svid_ttl = Duration::from_secs(8);
        registry.entries = vec![own_entry("e1", "/web")];
    });
    let home = Home::new();
    let agent = home.start(&server).await;
    agent.fetch_x509().await.unwrap();
    server.with(|registry| registry.refusal = Some(Reason::AgentExpired));
    wait_for_the_end(&home).await;
    let answer = agent.fetch_x509().await.unwrap();
    assert_eq!(ids(&answer), ["spiffe://example.org/web"]);
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(error.contains("conclave-server token generate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attestation_without_an_answer_is_tried_again_and_its_refusal_explained() {
    let server = FakeServer::start();
    server.with(|registry| registry.loses_attestations = true);
    let error = Home::new().spawn(&server).end().await.unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("join token was used by an attempt that got no answer"),
        "{text}"
    );
    assert_eq!(server.asked().attestations, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attestation_goes_on_with_another_server() {
    let server = FakeServer::start();
    let others = [server.replica(), server.replica()];
    others[0].freeze();
    server.set_unavailable(true);
    let home = Home::new().beside(&[&others[0], &others[1]]);
    let agent = home.start(&server).await;
    assert_eq!(server.asked().attestations, 1);
    agent.stop().await;
}

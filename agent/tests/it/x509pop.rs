//! An agent that proves the key of a certificate, and does so again when it has to.

use std::time::Duration;

use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use proto::spire::api::types::permission_denied_details::Reason;
use tokio::time::Instant;

use crate::fake_server::FakeServer;
use crate::harness::{Home, ids, own_entry, wait_until};

/// The folder of a certificate and its key, and a home that names them.
fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    renew(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let plugins = format!(
        r#"NodeAttestor "x509pop" {{ plugin_data {{
            private_key_path = "{}" certificate_path = "{}"
        }} }}
        KeyManager "memory" {{}} WorkloadAttestor "unix" {{}}"#,
        path("node.key"),
        path("node.pem"),
    );
    (folder, Home::new().with_token("").with_plugins(&plugins))
}

fn renew(folder: &std::path::Path) {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = encode_private_key(&key);
    std::fs::write(folder.join("node.key"), key.expose()).unwrap();
    let certificate = encode_certificates([certificate.der()]);
    std::fs::write(folder.join("node.pem"), certificate).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn evicted_agent_attests_again_in_the_same_process() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries.push(own_entry("e1", "/web")));
    let (folder, home) = home();
    let agent = home.start(&server).await;
    assert_eq!(server.asked().attestations, 1);
    assert_eq!(home.stored()["reattestable"], true);
    // What it is attested with was renewed meanwhile.
    renew(folder.path());
    let evicted = Instant::now();
    server.with(|registry| registry.refusal = Some(Reason::AgentNotAttested));
    wait_until(async || server.asked().attestations == 2).await;
    assert!(evicted.elapsed() < Duration::from_secs(2));
    server.with(|registry| registry.entries.push(own_entry("e2", "/api")));
    wait_until(async || {
        agent
            .fetch_x509()
            .await
            .is_ok_and(|answer| ids(&answer).len() == 2)
    })
    .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_that_is_refused_while_the_agent_attests_again_demands_nothing() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.pushes = true;
        registry.agent_ttl = Duration::from_secs(11);
        registry.entries.push(own_entry("e1", "/web"));
    });
    let (_folder, home) = home();
    // After a failure nothing would be learnt for very long.
    let agent = home
        .with_experimental("sync_interval = \"1h\"")
        .start(&server)
        .await;
    server.with(|registry| {
        registry.holds_attestations = true;
        registry.agent_ttl = Duration::from_secs(3600);
    });
    // The stream of changes ends, since the server has signed another SVID, of which the agent knows nothing yet.
    wait_until(async || server.asked().outdated > 0).await;
    server.with(|registry| {
        registry.holds_attestations = false;
        registry.entries.push(own_entry("e2", "/api"));
    });
    wait_until(async || {
        let answer = agent.fetch_x509().await;
        answer.is_ok_and(|answer| ids(&answer).len() == 2)
    })
    .await;
    assert_eq!(server.asked().attestations, 2);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_unusable_for_a_moment_are_waited_for() {
    let server = FakeServer::start();
    let (folder, home) = home();
    let agent = home.start(&server).await;
    std::fs::remove_file(folder.path().join("node.key")).unwrap();
    let syncs = server.asked().syncs;
    server.with(|registry| registry.refusal = Some(Reason::AgentNotAttested));
    renew(folder.path());
    wait_until(async || server.asked().attestations == 2).await;
    wait_until(async || server.asked().syncs > syncs + 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_was_banned_meanwhile_ends() {
    let server = FakeServer::start();
    let (_folder, home) = home();
    let agent = home.start(&server).await;
    server.with(|registry| {
        registry.attest_refused = true;
        registry.refusal = Some(Reason::AgentNotAttested);
    });
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(error.contains("needs to re-attest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_without_usable_files_does_not_start() {
    let server = FakeServer::start();
    let (folder, home) = home();
    std::fs::remove_file(folder.path().join("node.pem")).unwrap();
    let error = format!("{:#}", home.spawn(&server).end().await.unwrap_err());
    assert!(
        error.contains("NodeAttestor \"x509pop\": unable to load keypair: open ")
            && error.contains("node.pem: no such file or directory"),
        "{error}"
    );
    assert_eq!(server.asked().attestations, 0);
}

//! SVIDs are replaced in time.

use std::time::Duration;

use crate::fake_server::{FakeServer, TTL};
use crate::harness::{Home, next, own_entry, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn workload_svid_rotates_on_the_open_stream() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = vec![own_entry("e1", "/web")];
        registry.svid_ttl = Duration::from_secs(11);
    });
    let agent = Home::new().start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    let first = next(&mut stream).await.unwrap();
    let second = next(&mut stream).await.unwrap();
    assert_eq!(second.svids[0].spiffe_id, first.svids[0].spiffe_id);
    assert_ne!(second.svids[0].x509_svid, first.svids[0].x509_svid);
    assert_ne!(second.svids[0].x509_svid_key, first.svids[0].x509_svid_key);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_svid_is_renewed_stored_and_used() {
    let server = FakeServer::start();
    server.with(|registry| registry.agent_ttl = Duration::from_secs(11));
    let home = Home::new();
    let agent = home.start(&server).await;
    let first = home.stored()["svid"].clone();
    wait_until(async || home.stored()["svid"] != first).await;
    assert_eq!(server.asked().attestations, 1);
    let (renewals, syncs) = (server.asked().renewals, server.asked().syncs);
    assert!(renewals >= 1, "{renewals}");
    wait_until(async || server.asked().syncs > syncs + 1).await;
    agent.stop().await;
    // The key of the renewed SVID is there too.
    home.start(&server).await.stop().await;
    assert_eq!(server.asked().attestations, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_svid_is_renewed_although_the_disk_is_full_and_stored_later() {
    let server = FakeServer::start();
    server.with(|registry| registry.agent_ttl = Duration::from_secs(13));
    let home = Home::new();
    let agent = home.start(&server).await;
    home.block_disk().await;
    let (stored, renewals) = (home.stored(), server.asked().renewals);
    wait_until(async || server.asked().renewals > renewals).await;
    // Nothing is due any more after the next one.
    let renewals = server.with(|registry| {
        registry.agent_ttl = TTL;
        registry.asked.renewals
    });
    wait_until(async || server.asked().renewals > renewals).await;
    assert_eq!(home.stored(), stored);
    home.free_disk();
    wait_until(async || home.stored()["svid"] != stored["svid"]).await;
    agent.stop().await;
    home.start(&server).await.stop().await;
    assert_eq!(server.asked().attestations, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_signing_is_tried_again_in_smaller_batches() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = (0..8)
            .map(|n| own_entry(&format!("e{n}"), &format!("/w{n}")))
            .collect();
        registry.fails_to_sign = true;
    });
    let agent = Home::new().start(&server).await;
    wait_until(async || server.asked().batches.len() >= 2).await;
    server.with(|registry| registry.fails_to_sign = false);
    assert_eq!(agent.fetch_x509().await.unwrap().svids.len(), 8);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_that_a_renewal_overtakes_does_not_end_the_agent() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = vec![own_entry("e1", "/web")];
        registry.agent_ttl = Duration::from_secs(11);
    });
    let home = Home::new();
    let agent = home.start(&server).await;
    let syncs = server.with(|registry| {
        registry.holds_syncs = true;
        registry.asked.syncs
    });
    wait_until(async || server.asked().syncs > syncs).await;
    // Another call uses a newer SVID, and the server no longer takes the one that the sync has.
    let replaced = server.with(|registry| registry.replaced.len());
    let mut audience = 0;
    wait_until(async || {
        audience += 1;
        agent.fetch_jwt(&[&audience.to_string()]).await.unwrap();
        server.with(|registry| registry.replaced.len()) > replaced
    })
    .await;
    let syncs = server.asked().syncs;
    server.with(|registry| registry.holds_syncs = false);
    wait_until(async || server.asked().syncs > syncs + 1).await;
    assert_ne!(home.stored()["svid"], serde_json::json!([]));
    agent.stop().await;
}

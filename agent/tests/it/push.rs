//! How changes are learnt from a server that tells them.

use std::time::Duration;

use identity::testing::TestAuthority;
use proto::convert;
use proto::spire::api::types::permission_denied_details::Reason;
use tokio::time::Instant;

use crate::fake_server::FakeServer;
use crate::harness::{Home, entry, ids, next, own_entry, wait_until};

/// Servers that share what they know, and an agent's home that asks for nothing by itself.
fn pushing() -> (FakeServer, Home) {
    let server = FakeServer::start();
    server.with(|registry| registry.pushes = true);
    let home = Home::new().with_experimental("sync_interval = \"1h\"");
    (server, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_entry_reaches_an_open_stream_at_once() {
    let (server, home) = pushing();
    server.with(|registry| registry.entries.push(own_entry("e000", "/first")));
    let agent = home.start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    next(&mut stream).await.unwrap();
    let mut delays = Vec::new();
    for n in 1..=50 {
        let created = Instant::now();
        let path = format!("/w{n}");
        server.with(|registry| registry.entries.push(own_entry(&format!("e{n:03}"), &path)));
        while next(&mut stream).await.unwrap().svids.len() <= n {}
        delays.push(created.elapsed());
    }
    delays.sort_unstable();
    assert!(delays[25] < Duration::from_millis(200), "{delays:?}");
    assert_eq!(server.asked().watches, [0]);
    assert_eq!(server.asked().syncs, 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_and_bundle_come_change_and_go() {
    let (server, home) = pushing();
    let partner = TestAuthority::new("partner.example").bundle();
    let agent = home.start(&server).await;
    server.with(|registry| {
        let mut entry = own_entry("e1", "/web");
        entry.federates_with = vec!["partner.example".to_owned()];
        registry.entries = vec![entry];
        registry.federated = vec![convert::bundle::to_wire(&partner, None)];
    });
    let mut stream = {
        agent.wait_for_x509().await;
        agent.watch_x509().await.unwrap()
    };
    let first = next(&mut stream).await.unwrap();
    assert!(
        first
            .federated_bundles
            .contains_key("spiffe://partner.example")
    );
    server.with(|registry| {
        registry.entries[0].revision_number += 1;
        registry.entries[0].hint = "web".to_owned();
    });
    while next(&mut stream).await.unwrap().svids[0].hint != "web" {}
    server.with(|registry| registry.federated.clear());
    while !next(&mut stream)
        .await
        .unwrap()
        .federated_bundles
        .is_empty()
    {}
    server.with(|registry| registry.entries.clear());
    // The last identity is gone.
    while next(&mut stream).await.is_ok() {}
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_signing_is_asked_for_again_and_holds_nothing_up() {
    let (server, home) = pushing();
    server.with(|registry| {
        registry.unknown = Some("late");
        registry.entries = vec![entry("late", "/late", "uid:4242424")];
    });
    let agent = home.start(&server).await;
    wait_until(async || server.asked().batches.len() >= 2).await;
    server.with(|registry| registry.entries.push(own_entry("e1", "/web")));
    agent.wait_for_x509().await;
    let mut stream = agent.watch_x509().await.unwrap();
    let served = next(&mut stream).await.unwrap();
    assert_eq!(ids(&served), ["spiffe://example.org/web"]);
    // One of the same workload: it is told once the server signs.
    let batches = server.with(|registry| {
        registry.unknown = Some("later");
        registry.entries.push(own_entry("later", "/later"));
        registry.asked.batches.len()
    });
    wait_until(async || server.asked().batches.len() > batches).await;
    server.with(|registry| registry.unknown = None);
    while !ids(&next(&mut stream).await.unwrap()).contains(&"spiffe://example.org/later") {}
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_goes_on_where_the_first_one_ended() {
    let (mut first, home) = pushing();
    let mut second = first.replica();
    first.with(|registry| registry.entries = vec![own_entry("a", "/a"), own_entry("b", "/b")]);
    let home = home.beside(&[&second]);
    let agent = home.start(&first).await;
    let mut stream = agent.watch_x509().await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().svids.len(), 2);
    for path in ["/c", "/d", "/e", "/f"] {
        wait_until(async || first.connections() > 0 && second.connections() > 0).await;
        let watches = first.asked().watches.len();
        // One of the two is followed; the stop of the other is not noticed.
        first.stop();
        first.with(|registry| {
            registry.entries.remove(0);
            registry.entries.push(own_entry(&path[1..], path));
        });
        let has_it = |answer: &proto::workload::X509svidResponse| {
            let id = format!("spiffe://example.org{path}");
            ids(answer).contains(&id.as_str()) && answer.svids.len() == 2
        };
        while !has_it(&next(&mut stream).await.unwrap()) {}
        assert!(first.asked().watches.len() <= watches + 1);
        first.resume();
        std::mem::swap(&mut first, &mut second);
    }
    let (everything, rest) = {
        let watches = first.asked().watches;
        (watches[0], watches[1..].to_vec())
    };
    assert_eq!(everything, 0);
    assert!(
        !rest.is_empty() && rest.iter().all(|revision| *revision > 0),
        "{rest:?}"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_agent_follows_with_its_new_svid() {
    let (server, home) = pushing();
    server.with(|registry| {
        registry.entries = vec![own_entry("e1", "/web")];
        registry.agent_ttl = Duration::from_secs(11);
    });
    let agent = home.start(&server).await;
    wait_until(async || server.asked().renewals >= 1 && server.asked().watches.len() >= 2).await;
    server.with(|registry| registry.entries.push(own_entry("e2", "/api")));
    wait_until(async || agent.fetch_x509().await.unwrap().svids.len() == 2).await;
    // It went on where it was, and nothing was asked with the SVID from before.
    assert!(server.asked().watches[1] > 0);
    assert!(server.with(|registry| !registry.replaced.is_empty()));
    assert_eq!(server.asked().outdated, 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_a_sign_of_life_is_left() {
    let (server, home) = pushing();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = home.start(&server).await;
    agent.fetch_x509().await.unwrap();
    server.with(|registry| registry.is_silent = true);
    wait_until(async || server.asked().watches.len() >= 2).await;
    server.with(|registry| {
        registry.is_silent = false;
        registry.entries.push(own_entry("e2", "/api"));
    });
    // The stream that replaced it is followed.
    wait_until(async || agent.fetch_x509().await.unwrap().svids.len() == 2).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_banned_while_it_follows_ends_without_its_svid() {
    let (server, home) = pushing();
    let agent = home.start(&server).await;
    server.with(|registry| registry.refusal = Some(Reason::AgentBanned));
    let error = format!("{:#}", agent.end().await.unwrap_err());
    assert!(error.contains("agent is banned"), "{error}");
    assert_eq!(home.stored()["svid"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_stops_pushing_is_polled_and_the_other_way_round() {
    let server = FakeServer::start();
    let home = Home::new();
    let mut server = server;
    let agent = home.start(&server).await;
    assert!(server.asked().syncs > 0);
    for pushes in [true, false, true] {
        server.stop();
        let path = format!("/pushes-{pushes}");
        server.with(|registry| {
            registry.pushes = pushes;
            registry.entries = vec![own_entry("e1", &path)];
        });
        let before = server.asked();
        server.resume();
        wait_until(async || {
            let answer = agent.fetch_x509().await;
            answer.is_ok_and(|answer| ids(&answer) == [format!("spiffe://example.org{path}")])
        })
        .await;
        wait_until(async || match pushes {
            true => server.asked().watches.len() > before.watches.len(),
            false => server.asked().syncs > before.syncs,
        })
        .await;
    }
    agent.stop().await;
}

//! How entries are learnt.

use crate::fake_server::FakeServer;
use crate::harness::{Home, entry, ids, next, own_entry, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn long_list_is_learnt_by_revisions_and_then_by_difference() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = (0..1201)
            .map(|n| entry(&format!("e{n:04}"), &format!("/w{n}"), "uid:4242424"))
            .collect();
        registry.entries.push(own_entry("own", "/web"));
    });
    let home = Home::new().with("x509_svid_cache_max_size = 5");
    let agent = home.start(&server).await;
    assert_eq!(
        ids(&agent.fetch_x509().await.unwrap()),
        ["spiffe://example.org/web"]
    );
    assert_eq!(server.asked().id_requests, [500, 500, 202]);

    let mut stream = agent.watch_x509().await.unwrap();
    next(&mut stream).await.unwrap();
    server.with(|registry| registry.entries.last_mut().unwrap().revision_number = 1);
    next(&mut stream).await.unwrap();
    assert_eq!(server.asked().id_requests, [500, 500, 202, 1]);
    // Only what fits into the cache is signed ahead of its use.
    let signed: usize = server.asked().batches.iter().sum();
    assert!(signed <= 5 + 2, "{signed}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_entry_of_a_long_list_goes() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.page_size = 2;
        registry.entries = vec![
            own_entry("e1", "/one"),
            own_entry("e2", "/two"),
            own_entry("e3", "/three"),
        ];
    });
    let agent = Home::new().start(&server).await;
    assert_eq!(agent.fetch_x509().await.unwrap().svids.len(), 3);
    server.with(|registry| {
        registry.entries.remove(1);
    });
    wait_until(async || {
        let answer = agent.fetch_x509().await.unwrap();
        ids(&answer) == ["spiffe://example.org/one", "spiffe://example.org/three"]
    })
    .await;
    agent.stop().await;
}

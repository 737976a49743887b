//! What follows from a taint: everything that a tainted authority signed is replaced at once, whether
//! the server pushes its changes or has to be asked.

use identity::x509::{CertificateInfo, split_certificates};
use proto::workload::{JwtsvidResponse, X509svidResponse};

use crate::fake_server::FakeServer;
use crate::harness::{Home, next, own_entry, wait_until};

fn authority_key_id(message: &X509svidResponse) -> Vec<u8> {
    let chain = split_certificates(&message.svids[0].x509_svid).unwrap();
    let top = CertificateInfo::parse(chain.last().unwrap()).unwrap();
    top.authority_key_id.unwrap()
}

/// The key id of the root that signs.
fn signing_root(server: &FakeServer) -> Vec<u8> {
    let bundle = server.with(|registry| registry.authority.bundle());
    let root = bundle.x509_authorities.last().unwrap();
    root.subject_key_id().unwrap()
}

fn token(response: &JwtsvidResponse) -> String {
    response.svids[0].svid.clone()
}

async fn everything_is_replaced(home: Home, server: FakeServer) {
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = home.start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    let before = next(&mut stream).await.unwrap();
    assert_eq!(authority_key_id(&before), signing_root(&server));
    let old_token = token(&agent.fetch_jwt(&["a"]).await.unwrap());
    assert_eq!(token(&agent.fetch_jwt(&["a"]).await.unwrap()), old_token);
    let stored = home.stored()["svid"].clone();

    server.with(|registry| registry.authority.rotate_and_taint());
    // The open stream brings the new bundle, and the new SVID with it or after it.
    loop {
        let message = next(&mut stream).await.unwrap();
        if authority_key_id(&message) == signing_root(&server) {
            assert_ne!(
                message.svids[0].x509_svid_key,
                before.svids[0].x509_svid_key
            );
            break;
        }
    }
    wait_until(async || home.stored()["svid"] != stored).await;
    assert_ne!(token(&agent.fetch_jwt(&["a"]).await.unwrap()), old_token);
    // Once, and not again and again.
    let (renewals, batches) = (server.asked().renewals, server.asked().batches.len());
    assert_eq!((renewals, batches), (1, 2));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taint_that_is_pushed_replaces_everything() {
    let server = FakeServer::start();
    server.with(|registry| registry.pushes = true);
    let home = Home::new().with_experimental("sync_interval = \"1h\"");
    everything_is_replaced(home, server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taint_that_is_polled_replaces_everything() {
    everything_is_replaced(Home::new(), FakeServer::start()).await;
}

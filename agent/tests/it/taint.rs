//! What follows from a taint: everything that a tainted authority signed is replaced at once, whether
//! the server pushes its changes or has to be asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::jwt_svid::JwtSvid;
use identity::pem::decode_certificates;
use identity::x509::{CertificateInfo, split_certificates};
use proto::workload::{JwtsvidResponse, X509svidResponse};

use crate::fake_server::FakeServer;
use crate::harness::{Home, next, own_entry, wait_until};

/// The key id of the root that the SVID stands below.
fn root_above(message: &X509svidResponse) -> Vec<u8> {
    let chain = split_certificates(&message.svids[0].x509_svid).unwrap();
    root_above_certificate(chain.last().unwrap())
}

fn root_above_certificate(top: &[u8]) -> Vec<u8> {
    let top = CertificateInfo::parse(top).unwrap();
    top.authority_key_id.unwrap()
}

/// The same of the SVID that the agent shows to servers.
fn root_above_agent(home: &Home) -> Vec<u8> {
    let stored = home.stored();
    let chain = stored["svid"].as_array().unwrap();
    let top = STANDARD.decode(chain.last().unwrap().as_str().unwrap());
    root_above_certificate(&decode_certificates(&top.unwrap()).unwrap()[0])
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
    assert_eq!(root_above(&before), signing_root(&server));
    assert_eq!(root_above_agent(&home), signing_root(&server));
    let old_token = token(&agent.fetch_jwt(&["a"]).await.unwrap());
    assert_eq!(token(&agent.fetch_jwt(&["a"]).await.unwrap()), old_token);

    server.with(|registry| registry.authority.rotate_and_taint());
    // The open stream brings the new bundle, and the new SVID with it or after it.
    loop {
        let message = next(&mut stream).await.unwrap();
        let believed = split_certificates(&message.svids[0].bundle).unwrap();
        assert_eq!(believed.len(), 2, "both while others change over");
        if root_above(&message) == signing_root(&server) {
            assert_ne!(
                message.svids[0].x509_svid_key,
                before.svids[0].x509_svid_key
            );
            break;
        }
    }
    wait_until(async || root_above_agent(&home) == signing_root(&server)).await;
    let new_token = token(&agent.fetch_jwt(&["a"]).await.unwrap());
    let signed_by = JwtSvid::parse_unverified(&new_token).unwrap();
    let signing = server.with(|registry| registry.authority.jwt_key().1.to_owned());
    assert_eq!(signed_by.key_id(), signing);
    assert_ne!(new_token, old_token);
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

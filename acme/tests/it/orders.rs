//! What an ACME server that does its part gives.

use std::sync::Arc;
use std::time::Duration;

use daemon::https::client_config_believing;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::place::{DOMAIN, Place, trouble};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_obtained_once_and_renewed_after_two_thirds_of_its_life() {
    let place = Place::new().await;
    let mut tender = place.tender();
    let rest = tender.tend().await;
    assert_eq!(trouble(&tender), "");
    assert_eq!(rest, Duration::from_secs(3600), "clocks are looked at anew");
    let first = place.held().unwrap();
    assert_eq!(first.chain().len(), 2);
    assert_eq!(first.chain()[1], place.server.root());
    assert!(place.memory.proof.lock().unwrap().is_none(), "still shown");
    assert_eq!((place.server.looks(), place.server.issued()), (1, 1));

    place.clock.advance(DAY * 57);
    let rest = tender.tend().await;
    assert!(rest <= Duration::from_secs(3600), "{rest:?}");
    assert_eq!(place.server.issued(), 1, "renewed too early");
    // The ACME server's clock went on meanwhile.
    place.clock.advance(DAY * 3 + Duration::from_secs(60));
    tender.tend().await;
    assert_eq!((place.server.looks(), place.server.issued()), (2, 2));
    let second = place.held().unwrap();
    assert_ne!(second.chain()[0], first.chain()[0]);
    assert!(second.key().public_key_der() != first.key().public_key_der());
    assert_eq!(place.server.accounts(), 1, "an account is for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_later_goes_on_with_what_is_kept() {
    let place = Place::new().await;
    place.tender().tend().await;
    place.tender().tend().await;
    assert_eq!(place.server.issued(), 1);
    // Only the key is known, as of an account that SPIRE's programs made.
    *place.memory.certificate.lock().unwrap() = None;
    place.memory.account.lock().unwrap().as_mut().unwrap().url = None;
    place.tender().tend().await;
    assert_eq!((place.server.issued(), place.server.accounts()), (2, 1));
    // The ACME server has lost its memory.
    for forgotten in 2..4 {
        place.server.forget();
        *place.memory.certificate.lock().unwrap() = None;
        place.tender().tend().await;
        assert!(place.held().is_some());
        assert_eq!(place.server.accounts(), forgotten);
        place.memory.account.lock().unwrap().as_mut().unwrap().url = None;
    }
    // Another ACME server is another account.
    let account = place.memory.account.lock().unwrap().clone().unwrap();
    *place.memory.certificate.lock().unwrap() = None;
    place
        .memory
        .account
        .lock()
        .unwrap()
        .as_mut()
        .unwrap()
        .directory_url = "https://a/".into();
    place.tender().tend().await;
    let later = place.memory.account.lock().unwrap().clone().unwrap();
    assert!(later.key.public_key_der() != account.key.public_key_der());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_shown_a_proof() {
    let place = Place::new().await;
    *place.memory.proof.lock().unwrap() = Some(acme::proof::ProofDigest::from_bytes([7; 32]));
    let ask = async |name: &'static str, protocols: &[&str]| {
        let mut roots = RootCertStore::empty();
        roots.add(place.server.root()).unwrap();
        let mut config = Arc::unwrap_or_clone(client_config_believing(roots));
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(place.address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let refused = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        refused.unwrap_err().to_string()
    };
    // Shown, and not believed by one who is no ACME server.
    let shown = ask(DOMAIN, &["acme-tls/1"]).await;
    assert!(shown.contains("invalid peer certificate"), "{shown}");
    for (name, protocols) in [
        ("other.test", &["acme-tls/1"][..]),
        (DOMAIN, &["acme-tls/1", "http/1.1"]),
        (DOMAIN, &["http/1.1"]),
        (DOMAIN, &[]),
    ] {
        let refused = ask(name, protocols).await;
        assert!(refused.contains("received fatal alert"), "{refused}");
    }
}

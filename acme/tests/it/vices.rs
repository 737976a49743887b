//! What an ACME server must not be believed, and what it cannot do to the one who asks.

use std::time::Duration;

use acme::settings::{Patience, Settings};
use acme::testing::Vice;
use tokio::time::Instant;

use crate::place::{Place, trouble};

/// Nothing is obtained from a server with this vice, which is told so, and all is well once it is gone.
async fn without(vice: Vice, place: &Place, settings: Settings, told: &str) {
    place.server.fall_into(Some(vice));
    let mut tender = place.tender_of(settings);
    let rest = tender.tend().await;
    assert!(place.held().is_none(), "{vice:?} was believed");
    assert!(
        trouble(&tender).contains(told),
        "{vice:?}: {}",
        trouble(&tender)
    );
    assert!(
        (54..=66).contains(&rest.as_secs()),
        "{vice:?} is asked again after {rest:?}"
    );
    assert!(
        place.memory.proof.lock().unwrap().is_none(),
        "the proof outlives {vice:?}"
    );
    // Whoever asks too soon is not heard.
    place.server.fall_into(None);
    assert!(tender.tend().await <= rest);
    assert!(place.held().is_none());
    tender.forget_failures();
    tender.tend().await;
    assert_eq!(trouble(&tender), "", "after {vice:?}");
    assert!(place.held().is_some(), "nothing after {vice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acme_server_is_believed_in_nothing_that_does_not_fit() {
    for (vice, told) in [
        (
            Vice::Garbage,
            "no https:// URL of newNonce in the directory",
        ),
        (
            Vice::Directory,
            "no https:// URL of newNonce in the directory",
        ),
        (Vice::NoNonce, "nonce not given here"),
        (Vice::RateLimit, "too many questions"),
        (Vice::OtherChallenges, "no tls-alpn-01 challenge"),
        (Vice::OtherDomain, "is not a pending one for the domain"),
        (Vice::OtherKey, "the certificate is for another key"),
        (Vice::OtherName, "the certificate is for other names"),
        (Vice::Over, "its certificate is over"),
        (Vice::NoChain, "issued no chain of certificates"),
        (
            Vice::Blind,
            "did not find the proof: it must reach the domain on port 443, and so come to this listener: \
             API error: whoever is asked shows no proof",
        ),
    ] {
        let place = Place::new().await;
        without(vice, &place, place.settings(true), told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_serve_the_domain_is_told_what_was_found() {
    let place = Place::new().await;
    let elsewhere = Place::new().await;
    place.server.look_at(elsewhere.address);
    let mut tender = place.tender();
    tender.tend().await;
    let told = trouble(&tender);
    assert!(told.contains("did not find the proof: "), "{told}");
    assert!(told.contains("nobody shows the proof"), "{told}");
    assert!(place.held().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_that_were_not_accepted_are_not_agreed_to() {
    let place = Place::new().await;
    let told = "terms of service have not been accepted: read them, and set tos_accepted to true";
    without(Vice::Terms, &place, place.settings(false), told).await;
    let place = Place::new().await;
    place.server.fall_into(Some(Vice::Terms));
    place.tender().tend().await;
    assert!(place.held().is_some(), "accepted, and still refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acme_server_that_says_nothing_or_without_end_is_left() {
    for (vice, told) in [
        (Vice::Silence, "no complete answer within 2s"),
        (Vice::Endless, "the document is longer than 262144 bytes"),
    ] {
        let place = Place::new().await;
        let patience = Patience {
            answer: Duration::from_secs(2),
            ..Patience::default()
        };
        let started = Instant::now();
        let settings = place.settings(true).with_patience(patience);
        without(vice, &place, settings, told).await;
        assert!(started.elapsed() < Duration::from_secs(15), "{vice:?}");
    }
    // Whoever keeps answering, but without getting anywhere.
    let place = Place::new().await;
    let patience = Patience {
        order: Duration::from_millis(1),
        ..Patience::default()
    };
    let mut tender = place.tender_of(place.settings(true).with_patience(patience));
    tender.tend().await;
    assert!(place.held().is_none());
    assert_eq!(trouble(&tender), "no certificate within 1ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_beyond_the_end_of_time_is_not_waited() {
    let place = Place::new().await;
    place.server.fall_into(Some(Vice::Wait));
    let mut tender = place.tender();
    tender.tend().await;
    assert_eq!(trouble(&tender), "");
    assert!(place.held().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acme_server_that_nobody_vouches_for_is_told_nothing() {
    let place = Place::new().await;
    let settings = Settings::new(&place.server.directory_url(), "a@web.test", true);
    let elsewhere = Place::new().await;
    let settings = settings.unwrap().believing(vec![elsewhere.server.root()]);
    let mut tender = place.tender_of(settings);
    tender.tend().await;
    assert!(
        trouble(&tender).contains("TLS handshake failed"),
        "{}",
        trouble(&tender)
    );
    assert_eq!(place.server.accounts(), 0);
    assert!(place.held().is_none());
}

//! Endpoints that lie, hang, flood, or are somebody else: refused by name, nothing changed, and the
//! server lives.

use identity::testing::TestAuthority;
use tonic::Code;

use super::endpoint::{FakeEndpoint, Say};
use super::{arrives, federate, held_bundle, hold_bundle, refresh, relationship};
use crate::world::World;

const PARTNER: &str = "partner.test";
const SERVER: &str = "spiffe://partner.test/spire/server";

/// What a refresh is refused with, without what stands before it in every case.
async fn refusal(world: &World, trust_domain: &str, endpoint: &FakeEndpoint) -> String {
    let refused = refresh(world, trust_domain).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    let text = refused.message().replace(&endpoint.url(), "URL");
    let prefix = "failed to refresh bundle: failed to fetch federated bundle from endpoint: ";
    match text.strip_prefix(prefix) {
        Some(text) => text.to_owned(),
        None => panic!("{text}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_bundle_are_refused_by_name_and_change_nothing() {
    let world = World::start().await;
    let partner = TestAuthority::new(PARTNER);
    let svid = partner.x509_svid("/spire/server");
    let bundle = partner.bundle();
    let good = Say::ok(&bundle.to_spiffe_jwks());
    let endpoint = FakeEndpoint::start(Some(svid), good.clone()).await;
    hold_bundle(&world, &bundle).await;
    federate(&world, relationship(PARTNER, &endpoint.url(), SERVER)).await;
    refresh(&world, PARTNER).await.unwrap();

    let get = "failed to fetch bundle: Get \"URL\"";
    let too_long = format!("{get}: the document is longer than 4194304 bytes");
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec();
    for (say, expected) in [
        (
            Say::ok("{}"),
            "failed to decode bundle: no authorities found",
        ),
        (
            Say::ok("{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"AA==\"]}]}"),
            "failed to decode bundle: error adding authority 0 of JWKS",
        ),
        (
            Say::ok("<html>"),
            "failed to decode bundle: unable to parse JWKS",
        ),
        (
            Say::status("500 Oops", "no\u{7}\nluck"),
            "unexpected status 500 fetching bundle: no  luck",
        ),
        (Say::Bytes(announced), &too_long),
        (Say::Endless(100 << 20), &too_long),
        (
            Say::Bytes(Vec::new()),
            &format!("{get}: no complete answer"),
        ),
        (
            Say::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()),
            &format!("{get}: no complete answer"),
        ),
        (
            Say::Bytes(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n".to_vec()),
            &format!("{get}: unusable URL: the scheme is not https"),
        ),
    ] {
        endpoint.say(say.clone());
        let refused = refusal(&world, PARTNER, &endpoint).await;
        assert!(refused.starts_with(expected), "{refused}, not {expected}");
        assert_eq!(held_bundle(&world, PARTNER).await.as_ref(), Some(&bundle));
    }
    endpoint.say(good);
    refresh(&world, PARTNER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_somebody_else_are_refused_by_name_and_change_nothing() {
    let world = World::start().await;
    let (partner, impostor) = (TestAuthority::new(PARTNER), TestAuthority::new(PARTNER));
    let bundle = partner.bundle();
    hold_bundle(&world, &bundle).await;
    let lie = Say::ok(&impostor.bundle().to_spiffe_jwks());
    let get = "failed to fetch bundle: Get \"URL\": ";

    // Of the trust domain, but another workload of it.
    let workload = Some(partner.x509_svid("/workload"));
    let endpoint = FakeEndpoint::start(workload, lie.clone()).await;
    federate(&world, relationship(PARTNER, &endpoint.url(), SERVER)).await;
    let refused = refusal(&world, PARTNER, &endpoint).await;
    let expected = format!("unexpected ID spiffe://partner.test/workload, expected {SERVER}");
    assert_eq!(refused, format!("{get}{expected}"));

    // The right name from another root.
    let other = "other.test";
    let forged = Some(impostor.x509_svid("/spire/server"));
    let endpoint = FakeEndpoint::start(forged, lie.clone()).await;
    federate(&world, relationship(other, &endpoint.url(), SERVER)).await;
    let refused = refusal(&world, other, &endpoint).await;
    assert!(refused.contains("UnknownIssuer"), "{refused}");

    // An SVID is no certificate of the web.
    let web = "web.test";
    let endpoint = FakeEndpoint::start(Some(partner.x509_svid("/s")), lie.clone()).await;
    federate(&world, relationship(web, &endpoint.url(), "")).await;
    let refused = refusal(&world, web, &endpoint).await;
    assert!(refused.starts_with(get), "{refused}");

    // Not even TLS.
    let plain = "plain.test";
    let endpoint = FakeEndpoint::start(None, lie).await;
    federate(&world, relationship(plain, &endpoint.url(), SERVER)).await;
    let refused = refusal(&world, plain, &endpoint).await;
    assert!(refused.starts_with(get), "{refused}");

    // Nothing is held of the trust domain that the endpoint belongs to.
    let unknown = "unknown.test";
    let url = endpoint.url();
    federate(&world, relationship(unknown, &url, "spiffe://third.test/s")).await;
    let refused = refresh(&world, unknown).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "failed to refresh bundle: can't perform SPIFFE Authentication: local copy of bundle not \
         found"
    );

    assert_eq!(held_bundle(&world, PARTNER).await, Some(bundle));
    for trust_domain in [other, web, plain, unknown] {
        assert_eq!(held_bundle(&world, trust_domain).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_holds_nobody_else_up() {
    let world = World::start().await;
    let partner = TestAuthority::new(PARTNER);
    hold_bundle(&world, &partner.bundle()).await;
    let svid = partner.x509_svid("/spire/server");
    let hanging = FakeEndpoint::start(Some(svid.clone()), Say::Nothing).await;
    federate(&world, relationship(PARTNER, &hanging.url(), SERVER)).await;
    let refused = refusal(&world, PARTNER, &hanging);

    // The others are served meanwhile.
    let other = TestAuthority::new("other.test");
    let good = Say::ok(&other.bundle().to_spiffe_jwks());
    let endpoint = FakeEndpoint::start(Some(svid), good).await;
    let served = async {
        federate(&world, relationship("other.test", &endpoint.url(), SERVER)).await;
        arrives(&world, "other.test", |bundle| *bundle == other.bundle()).await
    };
    let (refused, _) = tokio::join!(refused, served);
    assert_eq!(
        refused,
        "failed to fetch bundle: Get \"URL\": no complete answer within 30s"
    );
    assert_eq!(held_bundle(&world, PARTNER).await, Some(partner.bundle()));
}

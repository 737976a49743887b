//! What workloads get, and when they are turned away.

use identity::testing::TestAuthority;
use proto::convert;
use proto::spire::api::types::Spiffeid;
use proto::workload::{
    JwtBundlesRequest, ValidateJwtsvidRequest, WitsvidRequest, X509BundlesRequest, X509svidRequest,
};
use tonic::{Code, Request};

use crate::fake_server::FakeServer;
use crate::harness::{Home, entry, ids, next, own_entry, wait_until, with_header};

#[tokio::test(flavor = "multi_thread")]
async fn call_without_the_header_is_refused() {
    let server = FakeServer::start();
    let agent = Home::new().start(&server).await;
    let mut client = agent.client().await;
    let plain = client
        .fetch_x509svid(Request::new(X509svidRequest {}))
        .await;
    let status = plain.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "security header missing from request");
    for values in [&["false"][..], &["true", "true"], &["TRUE"]] {
        let mut request = Request::new(X509svidRequest {});
        for value in values {
            let value = value.parse().unwrap();
            request.metadata_mut().append("workload.spiffe.io", value);
        }
        let status = client.fetch_x509svid(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{values:?}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_without_an_entry_is_denied_everything() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries.push(entry("e1", "/other", "uid:4242424")));
    let agent = Home::new().start(&server).await;
    let check = |status: tonic::Status| {
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), "no identity issued");
    };
    check(agent.fetch_x509().await.unwrap_err());
    check(agent.fetch_jwt(&["a"]).await.unwrap_err());
    let mut client = agent.client().await;
    let stream = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await;
    check(next(&mut stream.unwrap().into_inner()).await.unwrap_err());
    let stream = client
        .fetch_jwt_bundles(with_header(JwtBundlesRequest {}))
        .await;
    check(next(&mut stream.unwrap().into_inner()).await.unwrap_err());
    let wit = client
        .fetch_witsvid(with_header(WitsvidRequest::default()))
        .await;
    assert_eq!(wit.unwrap_err().code(), Code::Unimplemented);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_verifier_gets_the_own_bundle_if_allowed() {
    let server = FakeServer::start();
    let home = Home::new().with("allow_unauthenticated_verifiers = true");
    let agent = home.start(&server).await;
    let mut client = agent.client().await;
    let stream = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await;
    let bundles = next(&mut stream.unwrap().into_inner())
        .await
        .unwrap()
        .bundles;
    let own = server.with(|registry| registry.authority.bundle());
    let der = own.x509_authorities[0].certificate.to_vec();
    assert_eq!(bundles, [("spiffe://example.org".to_owned(), der)].into());
    assert_eq!(
        agent.fetch_x509().await.unwrap_err().code(),
        Code::PermissionDenied
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_are_in_order_of_entry_ids_with_bundles_and_hints() {
    let server = FakeServer::start();
    let partner = TestAuthority::new("partner.example").bundle();
    server.with(|registry| {
        let mut second = own_entry("b", "/second");
        second.created_at -= 100;
        let mut first = own_entry("a", "/first");
        first.hint = "internal".to_owned();
        first.federates_with = vec!["partner.example".to_owned(), "absent.example".to_owned()];
        let mut younger = own_entry("c", "/same-hint");
        younger.hint = "internal".to_owned();
        younger.created_at += 1;
        registry.entries = vec![younger, second, first];
        registry.federated = vec![convert::bundle::to_wire(&partner, None)];
    });
    let agent = Home::new().start(&server).await;
    let answer = agent.fetch_x509().await.unwrap();
    assert_eq!(
        ids(&answer),
        ["spiffe://example.org/first", "spiffe://example.org/second"]
    );
    assert_eq!(answer.svids[0].hint, "internal");
    let own = server.with(|registry| registry.authority.bundle());
    assert_eq!(
        answer.svids[1].bundle,
        own.x509_authorities[0].certificate.to_vec()
    );
    let partner_der = partner.x509_authorities[0].certificate.to_vec();
    let expected = [("spiffe://partner.example".to_owned(), partner_der)];
    assert_eq!(answer.federated_bundles, expected.into());

    let mut client = agent.client().await;
    let stream = client
        .fetch_jwt_bundles(with_header(JwtBundlesRequest {}))
        .await;
    let bundles = next(&mut stream.unwrap().into_inner())
        .await
        .unwrap()
        .bundles;
    assert_eq!(bundles["spiffe://example.org"], own.jwt_jwks());
    assert_eq!(bundles["spiffe://partner.example"], partner.jwt_jwks());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_stream_follows_the_entries_and_ends_with_the_last() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    assert_eq!(
        ids(&next(&mut stream).await.unwrap()),
        ["spiffe://example.org/web"]
    );

    server.with(|registry| registry.entries.push(own_entry("e2", "/api")));
    let both = next(&mut stream).await.unwrap();
    assert_eq!(
        ids(&both),
        ["spiffe://example.org/web", "spiffe://example.org/api"]
    );

    server.with(|registry| {
        registry.entries.remove(0);
    });
    assert_eq!(
        ids(&next(&mut stream).await.unwrap()),
        ["spiffe://example.org/api"]
    );

    server.with(|registry| registry.entries.clear());
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "no identity issued");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_with_another_identity_never_gives_the_old_one() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/old")]);
    let agent = Home::new().start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    let before = next(&mut stream).await.unwrap();
    assert_eq!(ids(&before), ["spiffe://example.org/old"]);
    server.with(|registry| {
        let entry = &mut registry.entries[0];
        entry.revision_number += 1;
        entry.spiffe_id = Some(Spiffeid {
            trust_domain: "example.org".to_owned(),
            path: "/new".to_owned(),
        });
    });
    let after = next(&mut stream).await.unwrap();
    assert_eq!(ids(&after), ["spiffe://example.org/new"]);
    assert_ne!(after.svids[0].x509_svid, before.svids[0].x509_svid);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn update_of_an_entry_gives_a_new_svid() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    let before = next(&mut stream).await.unwrap();
    server.with(|registry| registry.entries[0].revision_number += 1);
    let after = next(&mut stream).await.unwrap();
    assert_ne!(after.svids[0].x509_svid, before.svids[0].x509_svid);
    assert_ne!(after.svids[0].x509_svid_key, before.svids[0].x509_svid_key);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_is_served_to_a_waiting_workload_before_the_next_sync_is_due() {
    let server = FakeServer::start();
    let home = Home::new().with_experimental("sync_interval = \"1h\"");
    let agent = home.start(&server).await;
    assert_eq!(
        agent.fetch_x509().await.unwrap_err().code(),
        Code::PermissionDenied
    );
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    assert_eq!(
        ids(&agent.wait_for_x509().await),
        ["spiffe://example.org/web"]
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_stream_ends_unavailable_when_the_agent_stops() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let mut stream = agent.watch_x509().await.unwrap();
    next(&mut stream).await.unwrap();
    agent.request_stop();
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    agent.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_of_the_server_is_not_seen_by_workloads() {
    let mut server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let before = agent.fetch_x509().await.unwrap();
    let token = agent.fetch_jwt(&["a"]).await.unwrap();
    server.stop();
    assert_eq!(agent.fetch_x509().await.unwrap(), before);
    assert_eq!(agent.fetch_jwt(&["a"]).await.unwrap(), token);

    server.with(|registry| registry.entries.push(own_entry("e2", "/api")));
    server.resume();
    wait_until(async || agent.fetch_x509().await.unwrap().svids.len() == 2).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_this_trust_domain_is_validated() {
    let server = FakeServer::start();
    server.with(|registry| registry.entries = vec![own_entry("e1", "/web")]);
    let agent = Home::new().start(&server).await;
    let token = agent.fetch_jwt(&["a", "b"]).await.unwrap().svids[0]
        .svid
        .clone();
    let mut client = agent.client().await;
    let mut validate = async |audience: &str, svid: &str| {
        let request = with_header(ValidateJwtsvidRequest {
            audience: audience.to_owned(),
            svid: svid.to_owned(),
        });
        client.validate_jwtsvid(request).await
    };
    let valid = validate("a", &token).await.unwrap().into_inner();
    assert_eq!(valid.spiffe_id, "spiffe://example.org/web");
    assert!(valid.claims.unwrap().fields.contains_key("iat"));
    for (audience, svid, text) in [
        (
            "other",
            token.as_str(),
            "expected audience in [\"other\"] (audience=[\"a\" \"b\"])",
        ),
        ("", token.as_str(), "audience must be specified"),
        ("a", "", "svid must be specified"),
    ] {
        let status = validate(audience, svid).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), text);
    }
    agent.stop().await;
}

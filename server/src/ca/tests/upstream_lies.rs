//! Upstreams that lie, hang or die: nothing of them is stored, and what signs signs on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use daemon::supervisor::chain;
use futures_util::future::BoxFuture;
use identity::{
    bundle::{Bundle, JwtAuthority, MAX_AUTHORITIES, X509Authority},
    secret::{KeyType, PrivateKey},
    testing::{TestAuthority, TestPki},
};
use raft_store::AuthorityKind;

use super::upstream::World;
use crate::{
    ca::signer,
    testing::{DAY, NOW, policy, trust_domain},
    upstream::{MintRequest, Minted, Upstream, UpstreamAuthority, UpstreamError},
};

/// What becomes of an answer before it leaves.
type Lie = fn(&mut Minted);

/// What makes a certificate another one than it should be.
type Change = fn(&mut rcgen::CertificateParams);

/// The certificate of some other authority of this domain.
fn another() -> rustls_pki_types::CertificateDer<'static> {
    TestAuthority::at("example.org", NOW)
        .x509_svid("/w")
        .chain()[1]
        .clone()
}

fn of_no_authority() -> rustls_pki_types::CertificateDer<'static> {
    TestAuthority::at("example.org", NOW)
        .x509_svid("/w")
        .chain()[0]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_was_asked_for_is_refused_by_name() {
    let lies: [(Lie, &str); 8] = [
        (|minted| minted.chain.clear(), "X.509 CA chain is missing"),
        (
            |minted| minted.chain[0] = another(),
            "invalid X509 CA: it certifies another key",
        ),
        (
            |minted| minted.chain[0] = of_no_authority(),
            "invalid X509 CA: it certifies another key",
        ),
        (
            |minted| minted.roots.clear(),
            "upstream X.509 roots are missing",
        ),
        (
            |minted| minted.roots = vec![minted.roots[0].clone(); MAX_AUTHORITIES + 1],
            "more than 1024 upstream X.509 roots",
        ),
        (
            |minted| {
                let stranger = TestPki::root("stranger", NOW).certificate().clone();
                minted.roots = vec![X509Authority::new(stranger).unwrap()];
            },
            "X509 CA produced an invalid X509-SVID chain",
        ),
        (
            |minted| minted.chain.extend(vec![another(); 12]),
            "X.509 CA chain has more than 12 certificates",
        ),
        (
            |minted| minted.chain[0] = vec![0x30, 0].into(),
            "malformed certificate",
        ),
    ];
    for (lie, expected) in lies {
        let world = World::create().await;
        *world.upstream.lie.lock() = Some(lie);
        let error = world.above.tend().await.unwrap_err();
        let told = chain(&error);
        assert!(
            told.starts_with("X509 CA minted by upstream authority is invalid: ")
                && told.contains(expected),
            "{told}"
        );
        assert_eq!(world.records(AuthorityKind::X509Intermediate), []);
        *world.upstream.lie.lock() = None;
        world.above.tend().await.unwrap();
        assert_eq!(world.records(AuthorityKind::X509Intermediate).len(), 1);
    }
}

/// What a certificate for the right key may still be wrong about.
#[test]
fn certificate_for_the_right_key_must_be_that_of_an_authority_of_this_domain() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let pki = TestPki::root("upstream", NOW);
    let roots = vec![X509Authority::new(pki.certificate().clone()).unwrap()];
    let signed = |change: fn(&mut rcgen::CertificateParams)| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let date = |time: identity::clock::UnixTime| {
            time::OffsetDateTime::from_unix_timestamp(time.as_secs()).unwrap()
        };
        params.not_before = date(NOW.saturating_sub(DAY));
        params.not_after = date(NOW.saturating_add(DAY));
        change(&mut params);
        let mut above = rcgen::CertificateParams::default();
        above.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (rcgen::DnType::OrganizationName, "SPIRE"),
            (rcgen::DnType::CommonName, "upstream"),
        ] {
            above.distinguished_name.push(kind, value);
        }
        let issuer = rcgen::Issuer::from_params(&above, pki.key());
        Minted {
            chain: vec![params.signed_by(&key, &issuer).unwrap().der().clone()],
            roots: roots.clone(),
        }
    };
    let cases: [(Change, Option<&str>); 8] = [
        (|_| {}, None),
        (|params| name(params, "spiffe://example.org"), None),
        (
            |params| name(params, "spiffe://other.org"),
            Some("its URI SAN is not that of the trust domain"),
        ),
        (
            |params| name(params, "spiffe://example.org/w"),
            Some("its URI SAN is not that of the trust domain"),
        ),
        (
            |params| params.is_ca = rcgen::IsCa::ExplicitNoCa,
            Some("cA constraint is not set"),
        ),
        (
            |params| params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign],
            Some("keyCertSign key usage must be set"),
        ),
        (
            |params| {
                let more = rcgen::KeyUsagePurpose::KeyEncipherment;
                params.key_usages.push(more);
            },
            Some("only keyCertSign, cRLSign, or digitalSignature key usage can be set"),
        ),
        (
            |params| params.not_after = params.not_before,
            Some("it is not valid now"),
        ),
    ];
    for (change, expected) in cases {
        let checked = crate::ca::minted::check(signed(change), &key, &trust_domain(), NOW);
        let told = checked.err().map(|error| error.to_string());
        let expected = expected.map(|rule| format!("invalid X509 CA: {rule}"));
        assert_eq!(told, expected);
    }
}

/// Verifiers of handshakes look at the name and the key of a root, others at all of it.
#[test]
fn root_that_is_no_authority_is_none() {
    let [key, above] = [(), ()].map(|()| PrivateKey::generate(KeyType::EcP256).unwrap());
    let date = |time: identity::clock::UnixTime| {
        time::OffsetDateTime::from_unix_timestamp(time.as_secs()).unwrap()
    };
    let params = |is_ca| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = is_ca;
        params.not_before = date(NOW.saturating_sub(DAY));
        params.not_after = date(NOW.saturating_add(DAY));
        params
    };
    for (of_root, is_believed) in [
        (
            rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
            true,
        ),
        (rcgen::IsCa::ExplicitNoCa, false),
    ] {
        let root = params(of_root);
        let certificate = root.self_signed(&above).unwrap().der().clone();
        let mut own = params(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        own.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        own.distinguished_name = rcgen::DistinguishedName::new();
        let issuer = rcgen::Issuer::from_params(&root, &above);
        let minted = Minted {
            chain: vec![own.signed_by(&key, &issuer).unwrap().der().clone()],
            roots: vec![X509Authority::new(certificate).unwrap()],
        };
        match crate::ca::minted::check(minted, &key, &trust_domain(), NOW) {
            Ok(_) => assert!(is_believed),
            Err(error) => {
                assert!(!is_believed, "{}", chain(&error));
                assert!(error.to_string().contains("below no upstream"), "{error}");
            }
        }
    }
}

fn name(params: &mut rcgen::CertificateParams, uri: &str) {
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_dies_costs_nothing_but_the_next_intermediate() {
    let world = World::create().await;
    world.upstream.is_away.store(true, Ordering::Relaxed);
    world.above.tend().await.unwrap_err();
    assert_eq!(world.bundle(), None);
    assert!(world.above.trouble().now().is_some());
    world.upstream.is_away.store(false, Ordering::Relaxed);
    world.above.tend().await.unwrap();
    assert_eq!(world.above.trouble().now(), None);
    assert_eq!(world.upstream.mints(), 1);
}

/// Never answers.
#[derive(Debug)]
struct Hanging;

impl UpstreamAuthority for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn mint<'a>(
        &'a self,
        _request: &'a MintRequest,
    ) -> BoxFuture<'a, Result<Minted, UpstreamError>> {
        Box::pin(std::future::pending())
    }

    fn publish_jwt_key<'a>(
        &'a self,
        _key: &'a JwtAuthority,
    ) -> BoxFuture<'a, Result<Vec<JwtAuthority>, UpstreamError>> {
        Box::pin(std::future::pending())
    }

    fn bundle(&self) -> BoxFuture<'_, Result<Bundle, UpstreamError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn every_question_has_a_deadline() {
    let upstream = Upstream::new(Box::new(Hanging));
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let request = MintRequest {
        csr: signer::sign_request(&key, &policy().ca_subject, &trust_domain()).unwrap(),
        preferred_ttl: DAY,
    };
    let jwt = JwtAuthority {
        key_id: "k".into(),
        public_key: key.public_key_der().to_vec(),
        expires_at: None,
        tainted: false,
    };
    let late = |error: UpstreamError| match error {
        UpstreamError::Late(after) => after,
        other => panic!("{other:?}"),
    };
    let secs = Duration::from_secs;
    assert_eq!(late(upstream.mint(&request).await.unwrap_err()), secs(30));
    assert_eq!(
        late(upstream.publish_jwt_key(&jwt).await.unwrap_err()),
        secs(5)
    );
    assert_eq!(late(upstream.bundle().await.unwrap_err()), secs(10));
}

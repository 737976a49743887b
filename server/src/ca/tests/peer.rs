//! The authority of the cluster's members: made only in a cluster, rotated by itself, in no bundle.

use std::sync::Arc;
use std::time::Duration;

use identity::{
    bundle::{Bundle, X509Authority},
    clock::Clock as _,
    secret::{KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    tls::{TlsMaterial, verify_svid_chain},
    trust_domain::TrustDomain,
};
use raft_store::{AuthorityKind, AuthorityState};
use rustls_pki_types::CertificateDer;

use crate::{
    ca::{AuthorityTask, Ca, IssuedX509},
    testing::{TestStore, policy, trust_domain},
};

fn peers() -> TrustDomain {
    TrustDomain::parse("peers.0123").unwrap()
}

fn open(world: &TestStore) -> (Ca, AuthorityTask) {
    let policy = policy().with_peers(peers());
    Ca::open(world.store.clone(), world.clock(), policy)
}

fn states(world: &TestStore) -> Vec<AuthorityState> {
    world.store.read(|state| {
        let all = state.authorities(AuthorityKind::Peer);
        all.map(|authority| authority.state).collect()
    })
}

fn certificates(world: &TestStore) -> Vec<CertificateDer<'static>> {
    world.store.read(|state| {
        let all = state.authorities(AuthorityKind::Peer);
        all.filter_map(|authority| authority.certificate.clone())
            .collect()
    })
}

fn issue(ca: &Ca) -> IssuedX509 {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let member = SpiffeId::from_parts(&peers(), "/member/1").unwrap();
    ca.sign_peer_certificate(&member, key.public_key_der())
        .unwrap()
}

fn verifies(world: &TestStore, issued: &IssuedX509) -> bool {
    let authorities = certificates(world).into_iter();
    let bundle = Bundle {
        x509_authorities: authorities
            .map(|certificate| X509Authority::new(certificate).unwrap())
            .collect(),
        ..Bundle::empty(peers())
    };
    let material = TlsMaterial::new(None, [Arc::new(bundle)]).unwrap();
    verify_svid_chain(&issued.chain, &material, world.clock.now()).is_ok()
}

#[tokio::test]
async fn member_certificates_come_from_an_authority_in_no_bundle() {
    let world = TestStore::create().await;
    let (ca, task) = open(&world);
    task.settle().await.unwrap();
    let issued = issue(&ca);
    assert!(verifies(&world, &issued));
    assert_eq!(issued.chain[1], ca.active_peer_authority().unwrap());
    assert_eq!(states(&world), [AuthorityState::Active]);
    let bundle = world
        .store
        .read(|state| state.bundle(&trust_domain()).cloned())
        .unwrap();
    let published: Vec<_> = bundle.x509_authorities.iter().collect();
    assert_eq!(published.len(), 1);
    assert_ne!(published[0].certificate, issued.chain[1]);
}

#[tokio::test]
async fn server_without_peers_makes_no_authority_for_them() {
    let world = TestStore::create().await;
    let (ca, task) = Ca::open(world.store.clone(), world.clock(), policy());
    task.settle().await.unwrap();
    assert!(ca.can_sign());
    assert_eq!(states(&world), []);
    assert!(ca.active_peer_authority().is_none());
}

#[tokio::test]
async fn authority_of_members_is_replaced_before_its_end_and_goes_after_it() {
    let world = TestStore::create().await;
    let (ca, task) = open(&world);
    task.settle().await.unwrap();
    let first = ca.active_peer_authority().unwrap();
    let mut last = issue(&ca);
    let mut seen = Vec::new();
    // Eleven years in months, the life of a member's certificate.
    for _ in 0..11 * 12 {
        world.clock.advance(Duration::from_secs(29 * 24 * 3600));
        task.settle().await.unwrap();
        assert!(verifies(&world, &last), "a certificate lost its authority");
        last = issue(&ca);
        assert!(verifies(&world, &last));
        assert!(certificates(&world).len() <= 3);
        let active = ca.active_peer_authority().unwrap();
        if seen.last() != Some(&active) {
            seen.push(active);
        }
    }
    assert_eq!(seen.len(), 3, "one authority for nearly five years");
    assert!(!certificates(&world).contains(&first));
}

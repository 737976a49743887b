//! The life of authorities over a real store, with time moved by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use identity::{
    bundle::Bundle,
    clock::{Clock, UnixTime},
    jwt_svid::{JwtSvid, verify_jwt_svid},
    secret::{KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    tls::{TlsMaterial, verify_svid_chain},
};
use raft_store::{AuthorityKind, AuthorityState, Store};

use crate::{
    ca::{
        AuthorityTask, Ca, IssuedX509, JwtSvidParams, Policy, SignError, SvidSubject,
        X509SvidParams,
    },
    testing::{DAY, HOUR, TestStore, policy, trust_domain},
};

fn open(world: &TestStore, policy: Policy) -> (Ca, AuthorityTask) {
    Ca::open(world.store.clone(), world.clock(), policy)
}

fn authorities(store: &Store) -> Vec<(AuthorityKind, String, AuthorityState)> {
    store.read(|state| {
        let of_kind = |kind| {
            state
                .authorities(kind)
                .map(move |one| (kind, one.id.to_string(), one.state))
        };
        AuthorityKind::SPIFFE
            .into_iter()
            .flat_map(of_kind)
            .collect()
    })
}

fn bundle(store: &Store) -> Arc<Bundle> {
    store
        .read(|state| state.bundle(&trust_domain()).cloned())
        .unwrap()
}

fn sign_x509(ca: &Ca, ttl: Duration) -> Result<IssuedX509, SignError> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    ca.sign_x509_svid(&X509SvidParams {
        spiffe_id: &SpiffeId::parse("spiffe://example.org/web").unwrap(),
        public_key_der: key.public_key_der(),
        dns_names: &[],
        ttl: Some(ttl),
        subject: SvidSubject::Workload,
    })
}

fn sign_jwt(ca: &Ca, ttl: Duration) -> Result<JwtSvid, SignError> {
    ca.sign_jwt_svid(JwtSvidParams {
        spiffe_id: &SpiffeId::parse("spiffe://example.org/web").unwrap(),
        audience: vec!["me".to_owned()],
        ttl: Some(ttl),
        include_jti: false,
    })
}

/// All SVIDs that were issued and are still valid.
#[derive(Default)]
struct Issued {
    x509: Vec<IssuedX509>,
    jwt: Vec<JwtSvid>,
}

impl Issued {
    fn issue(&mut self, ca: &Ca, ttl: Duration) {
        self.x509.push(sign_x509(ca, ttl).unwrap());
        self.jwt.push(sign_jwt(ca, ttl).unwrap());
    }

    /// Everything that is valid by its own dates verifies against the bundle as it is now.
    fn verify(&mut self, bundle: &Arc<Bundle>, now: UnixTime) {
        self.x509.retain(|svid| now <= svid.not_after);
        self.jwt.retain(|svid| now <= svid.expires_at());
        let material = TlsMaterial::new(None, [Arc::clone(bundle)]).unwrap();
        for svid in &self.x509 {
            let verified = verify_svid_chain(&svid.chain, &material, now);
            assert!(verified.is_ok(), "at {now}, {svid:?}: {:?}", verified.err());
        }
        for svid in &self.jwt {
            let verified = verify_jwt_svid(svid.token(), "me", |_| Some(&**bundle), now);
            assert!(
                verified.is_ok(),
                "at {now}, key {}: {:?}",
                svid.key_id(),
                verified.err()
            );
        }
    }
}

/// Lets `steps` times `step` pass; returns how many different intermediates, roots and JWT keys
/// were active.
async fn live(
    world: &TestStore,
    policy: Policy,
    step: Duration,
    steps: u32,
    ttl: Duration,
) -> [usize; 3] {
    let (ca, task) = open(world, policy);
    let mut issued = Issued::default();
    let mut seen = [const { BTreeSet::new() }; 3];
    for _ in 0..steps {
        task.settle().await.unwrap();
        issued.issue(&ca, ttl);
        let bundle = bundle(&world.store);
        issued.verify(&bundle, world.clock.now());
        assert!(bundle.x509_authorities.len() <= 3 && bundle.jwt_authorities.len() <= 3);
        let all = authorities(&world.store);
        for (seen, kind) in seen.iter_mut().zip(AuthorityKind::SPIFFE) {
            let of_kind: Vec<_> = all.iter().filter(|(other, ..)| *other == kind).collect();
            assert!(of_kind.len() <= 3, "{of_kind:?}");
            let active = of_kind
                .iter()
                .filter(|(.., state)| *state == AuthorityState::Active);
            seen.extend(active.map(|(_, id, _)| id.clone()));
        }
        world.clock.advance(step);
    }
    seen.map(|ids| ids.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_makes_one_authority_of_each_kind() {
    let world = TestStore::create().await;
    let (ca, task) = open(&world, policy());
    assert!(!ca.can_sign());
    task.settle().await.unwrap();
    assert!(ca.can_sign());
    let all = authorities(&world.store);
    let kinds: Vec<_> = all.iter().map(|(kind, _, state)| (*kind, *state)).collect();
    assert_eq!(
        kinds,
        AuthorityKind::SPIFFE.map(|kind| (kind, AuthorityState::Active))
    );
    let bundle = bundle(&world.store);
    assert_eq!(
        (bundle.x509_authorities.len(), bundle.jwt_authorities.len()),
        (1, 1)
    );
    let mut issued = Issued::default();
    issued.issue(&ca, HOUR);
    issued.verify(&bundle, world.clock.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_keys_are_not_made_when_jwt_svids_are_switched_off() {
    let world = TestStore::create().await;
    let (ca, task) = open(
        &world,
        Policy {
            jwt_enabled: false,
            ..policy()
        },
    );
    task.settle().await.unwrap();
    assert!(ca.can_sign() && !ca.issues_jwt_svids());
    assert!(
        authorities(&world.store)
            .iter()
            .all(|(kind, ..)| *kind != AuthorityKind::Jwt)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_any_two_steps_is_resumed_without_a_further_key() {
    let mut world = TestStore::create().await;
    let mut steps = 0;
    // Every step is done by a process that dies after it.
    'next: loop {
        let (ca, task) = open(&world, policy());
        for kind in AuthorityKind::SPIFFE {
            let had_issuer = ca.can_sign();
            if task.take_step(kind).await.unwrap() {
                assert!(!had_issuer, "a step was left over although all can sign");
                steps += 1;
                drop((ca, task));
                world = world.restart().await;
                continue 'next;
            }
        }
        break;
    }
    // Prepared, published, activated; three kinds.
    assert_eq!(steps, 9);
    let all = authorities(&world.store);
    assert_eq!(all.len(), 3, "{all:?}");
    let (ca, _task) = open(&world, policy());
    assert!(ca.can_sign());
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_makes_no_key() {
    let world = TestStore::create().await;
    let (ca, task) = open(&world, policy());
    task.settle().await.unwrap();
    let before = authorities(&world.store);
    let mut issued = Issued::default();
    issued.issue(&ca, HOUR);
    drop((ca, task));
    let world = world.restart().await;
    let (ca, task) = open(&world, policy());
    assert!(
        ca.can_sign(),
        "the active authorities sign before any step is taken"
    );
    task.settle().await.unwrap();
    assert_eq!(authorities(&world.store), before);
    issued.issue(&ca, HOUR);
    issued.verify(&bundle(&world.store), world.clock.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_svid_verifies_while_intermediates_and_jwt_keys_rotate() {
    let world = TestStore::create().await;
    // Eight days by the hour: prepared every 12 hours, taken over 8 hours later.
    let [roots, intermediates, jwt_keys] = live(&world, policy(), HOUR, 8 * 24, 6 * HOUR).await;
    assert_eq!(roots, 1);
    assert!(
        intermediates >= 12 && jwt_keys >= 12,
        "{intermediates} {jwt_keys}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_svid_verifies_while_roots_rotate() {
    let world = TestStore::create().await;
    // Thirty-day intermediates under one-year roots, two years by the day.
    let policy = Policy {
        ca_ttl: 30 * DAY,
        ..policy()
    };
    let [roots, intermediates, _] = live(&world, policy, DAY, 2 * 365, 20 * DAY).await;
    assert!(roots >= 2, "{roots}");
    assert!(intermediates >= 24, "{intermediates}");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_lived_authorities_rotate_too() {
    let world = TestStore::create().await;
    let policy = Policy {
        ca_ttl: Duration::from_secs(60),
        ..policy()
    };
    let second = Duration::from_secs(1);
    let [roots, intermediates, _] = live(&world, policy, second, 300, 20 * second).await;
    assert_eq!(roots, 1);
    assert!(intermediates >= 5, "{intermediates}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_standstill_nothing_is_signed_until_new_authorities_are_there() {
    let world = TestStore::create().await;
    let (ca, task) = open(&world, policy());
    task.settle().await.unwrap();
    world.clock.advance(3 * DAY);
    assert!(!ca.can_sign());
    assert!(matches!(
        sign_x509(&ca, HOUR),
        Err(SignError::OutsideValidity { .. })
    ));
    assert!(matches!(
        sign_jwt(&ca, HOUR),
        Err(SignError::OutsideValidity { .. })
    ));
    task.settle().await.unwrap();
    let mut issued = Issued::default();
    issued.issue(&ca, HOUR);
    issued.verify(&bundle(&world.store), world.clock.now());
    let left = authorities(&world.store);
    assert!(
        left.iter()
            .all(|(.., state)| *state == AuthorityState::Active),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_in_the_bundle_before_it_signs() {
    let world = TestStore::create().await;
    let (ca, task) = open(&world, policy());
    while task.take_step(AuthorityKind::Jwt).await.unwrap() {
        let published: BTreeSet<String> = world.store.read(|state| {
            let bundle = state.bundle(&trust_domain());
            let keys = bundle.iter().flat_map(|bundle| &bundle.jwt_authorities);
            keys.map(|key| key.key_id.to_string()).collect()
        });
        if let Ok(svid) = sign_jwt(&ca, HOUR) {
            assert!(published.contains(svid.key_id()));
        }
    }
    assert!(sign_jwt(&ca, HOUR).is_ok());
}

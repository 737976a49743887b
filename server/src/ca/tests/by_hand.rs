//! Rotation by hand over a real store, with the automatic lifecycle running beside it.

use std::sync::Arc;

use identity::{
    bundle::Bundle,
    clock::Clock as _,
    jwt_svid::{JwtSvid, verify_jwt_svid},
    secret::{KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    tls::{TlsMaterial, verify_svid_chain},
};
use raft_store::{AuthorityKind, AuthorityRecord, AuthorityState};

use super::Running;
use crate::{
    ca::{
        Ca, IssuedX509, JwtSvidParams, LocalAuthorities, LocalAuthorityError, LocalKind, Standing,
        SvidSubject, X509SvidParams,
    },
    testing::{DAY, HOUR, TestStore, policy, trust_domain},
};

const KINDS: [LocalKind; 2] = [LocalKind::X509, LocalKind::Jwt];

struct World {
    store: TestStore,
    ca: Ca,
    by_hand: LocalAuthorities,
    running: Running,
}

impl World {
    async fn create() -> Self {
        Self::over(TestStore::create().await).await
    }

    async fn over(store: TestStore) -> Self {
        let (ca, task) = Ca::open(store.store.clone(), store.clock(), policy());
        task.settle().await.unwrap();
        let by_hand = task.by_hand(&ca);
        let running = Running::start(task);
        Self {
            store,
            ca,
            by_hand,
            running,
        }
    }

    /// A process that dies and comes back.
    async fn restart(self) -> Self {
        self.running.stop().await;
        drop((self.ca, self.by_hand));
        Self::over(self.store.restart().await).await
    }

    fn active(&self, kind: LocalKind) -> Arc<AuthorityRecord> {
        self.by_hand.state(kind).unwrap().active
    }

    fn bundle(&self) -> Arc<Bundle> {
        let bundle = |state: &raft_store::State| state.bundle(&trust_domain()).cloned();
        self.store.store.read(bundle).unwrap()
    }

    fn records(&self, kind: AuthorityKind) -> Vec<Arc<AuthorityRecord>> {
        self.store
            .store
            .read(|state| state.authorities(kind).cloned().collect())
    }

    fn x509_svid(&self) -> IssuedX509 {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let params = X509SvidParams {
            spiffe_id: &SpiffeId::parse("spiffe://example.org/web").unwrap(),
            public_key_der: key.public_key_der(),
            dns_names: &[],
            ttl: None,
            subject: SvidSubject::Workload,
        };
        self.ca.sign_x509_svid(&params).unwrap()
    }

    fn jwt_svid(&self) -> JwtSvid {
        let params = JwtSvidParams {
            spiffe_id: &SpiffeId::parse("spiffe://example.org/web").unwrap(),
            audience: vec!["me".to_owned()],
            ttl: None,
            include_jti: false,
        };
        self.ca.sign_jwt_svid(params).unwrap()
    }

    /// Whether an SVID of each kind is believed by somebody with the bundle as it is now.
    fn believed(&self, x509: &IssuedX509, jwt: &JwtSvid) -> [bool; 2] {
        let (bundle, now) = (self.bundle(), self.store.clock.now());
        let material = TlsMaterial::new(None, [Arc::clone(&bundle)]).unwrap();
        [
            verify_svid_chain(&x509.chain, &material, now).is_ok(),
            verify_jwt_svid(jwt.token(), "me", |_| Some(&*bundle), now).is_ok(),
        ]
    }

    fn refusal<T>(result: Result<T, LocalAuthorityError>) -> Standing {
        match result {
            Err(LocalAuthorityError::Refused(standing)) => standing,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("was not refused"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_is_believed_until_the_revoke_and_not_after_it() {
    let mut world = World::create().await;
    let (old_x509, old_jwt) = (world.x509_svid(), world.jwt_svid());
    let old = KINDS.map(|kind| world.active(kind));
    for (kind, old) in KINDS.into_iter().zip(&old) {
        let prepared = world.by_hand.prepare(kind).await.unwrap();
        assert_eq!(prepared.state, AuthorityState::Published);
        // A crash between any two steps loses none of them.
        world = world.restart().await;
        let state = world.by_hand.state(kind).unwrap();
        assert_eq!(state.active.id, old.id);
        assert_eq!(state.prepared.unwrap().id, prepared.id);
        assert_eq!(state.old, None);

        world.by_hand.activate(kind, &prepared.id).await.unwrap();
        world = world.restart().await;
        let state = world.by_hand.state(kind).unwrap();
        assert_eq!(state.active.id, prepared.id);
        assert_eq!(state.prepared, None);
        assert_eq!(state.old.unwrap().id, old.id);
    }
    let (x509, jwt) = (world.x509_svid(), world.jwt_svid());
    assert_ne!(x509.chain[1], old_x509.chain[1]);
    assert_ne!(jwt.key_id(), old_jwt.key_id());
    assert_eq!(world.believed(&x509, &jwt), [true, true]);

    for (kind, old) in KINDS.into_iter().zip(&old) {
        let tainted = world.by_hand.taint(kind, &old.id).await.unwrap();
        assert_eq!(tainted.sealed_key, None);
        world = world.restart().await;
        assert_eq!(world.believed(&old_x509, &old_jwt), [true, true]);
    }
    let bundle = world.bundle();
    let x509_taint: Vec<_> = bundle
        .x509_authorities
        .iter()
        .map(|one| one.tainted)
        .collect();
    let jwt_taint: Vec<_> = bundle
        .jwt_authorities
        .iter()
        .map(|one| one.tainted)
        .collect();
    assert_eq!(
        (x509_taint, jwt_taint),
        (vec![true, false], vec![true, false])
    );

    for (kind, old) in KINDS.into_iter().zip(&old) {
        world.by_hand.revoke(kind, &old.id).await.unwrap();
        world = world.restart().await;
        // Remembered, so that the operator still sees it.
        let shown = world.by_hand.state(kind).unwrap().old.unwrap();
        assert_eq!((&shown.id, shown.state), (&old.id, AuthorityState::Revoked));
    }
    assert_eq!(world.believed(&old_x509, &old_jwt), [false, false]);
    assert_eq!(world.believed(&x509, &jwt), [true, true]);
    assert_eq!(world.bundle().x509_authorities.len(), 1);
    assert_eq!(world.bundle().jwt_authorities.len(), 1);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn activation_makes_root_and_intermediate_active_in_one_step() {
    let world = World::create().await;
    let before = world.active(LocalKind::X509);
    let prepared = world.by_hand.prepare(LocalKind::X509).await.unwrap();
    let mut changes = world
        .store
        .store
        .changes_after(world.store.store.read(raft_store::State::revision));
    world
        .by_hand
        .activate(LocalKind::X509, &prepared.id)
        .await
        .unwrap();
    // Signed below the new root as soon as the answer is there.
    let intermediates = world.records(AuthorityKind::X509Intermediate);
    let signing = world.x509_svid().chain[1].clone();
    let signer = intermediates
        .iter()
        .find(|one| one.certificate.as_ref() == Some(&signing))
        .unwrap();
    assert_eq!(signer.issuer_id.as_ref(), Some(&prepared.id));
    let revisions: std::collections::BTreeSet<_> = changes
        .next()
        .await
        .unwrap()
        .iter()
        .map(|change| change.revision)
        .collect();
    assert_eq!(revisions.len(), 1, "one entry");

    world
        .by_hand
        .taint(LocalKind::X509, &before.id)
        .await
        .unwrap();
    let left = world.records(AuthorityKind::X509Intermediate);
    assert!(
        left.iter()
            .all(|one| one.issuer_id.as_ref() == Some(&prepared.id)),
        "{left:?}"
    );
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_id_is_refused_by_what_it_stands_for_and_nothing_changes() {
    let world = World::create().await;
    for kind in KINDS {
        let active = world.active(kind);
        let prepared = world.by_hand.prepare(kind).await.unwrap();
        let before = world.store.store.read(raft_store::State::revision);
        let own = Standing::Own;
        for (id, standing) in [
            ("nope", Standing::Unknown),
            (&*active.id, own(AuthorityState::Active)),
        ] {
            let refused = World::refusal(world.by_hand.activate(kind, id).await);
            assert_eq!(refused, standing);
        }
        for (id, standing) in [
            ("nope", Standing::Unknown),
            (&*active.id, own(AuthorityState::Active)),
            (&*prepared.id, own(AuthorityState::Published)),
        ] {
            assert_eq!(
                World::refusal(world.by_hand.taint(kind, id).await),
                standing
            );
            assert_eq!(
                World::refusal(world.by_hand.revoke(kind, id).await),
                standing
            );
        }
        let after = world.store.store.read(raft_store::State::revision);
        assert_eq!(before, after);

        world.by_hand.activate(kind, &prepared.id).await.unwrap();
        let old = active;
        let refused = World::refusal(world.by_hand.activate(kind, &old.id).await);
        assert_eq!(refused, own(AuthorityState::Old));
        let refused = World::refusal(world.by_hand.revoke(kind, &old.id).await);
        assert_eq!(refused, own(AuthorityState::Old));
        world.by_hand.taint(kind, &old.id).await.unwrap();
        let refused = World::refusal(world.by_hand.taint(kind, &old.id).await);
        assert_eq!(refused, own(AuthorityState::Tainted));
        world.by_hand.revoke(kind, &old.id).await.unwrap();
        for refused in [
            World::refusal(world.by_hand.taint(kind, &old.id).await),
            World::refusal(world.by_hand.revoke(kind, &old.id).await),
        ] {
            assert_eq!(refused, own(AuthorityState::Revoked));
        }
    }
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_preparation_takes_the_place_of_the_one_before() {
    let world = World::create().await;
    for kind in KINDS {
        let first = world.by_hand.prepare(kind).await.unwrap();
        let second = world.by_hand.prepare(kind).await.unwrap();
        let refused = World::refusal(world.by_hand.activate(kind, &first.id).await);
        assert_eq!(refused, Standing::Unknown);
        world.by_hand.activate(kind, &second.id).await.unwrap();
    }
    assert_eq!(world.bundle().x509_authorities.len(), 2);
    assert_eq!(world.bundle().jwt_authorities.len(), 2);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_never_holds_more_than_three_and_the_refusal_names_the_way_out() {
    let world = World::create().await;
    for kind in KINDS {
        let first = world.active(kind);
        for _ in 0..2 {
            let prepared = world.by_hand.prepare(kind).await.unwrap();
            world.by_hand.activate(kind, &prepared.id).await.unwrap();
        }
        let Err(LocalAuthorityError::Full { oldest }) = world.by_hand.prepare(kind).await else {
            panic!("a fourth authority");
        };
        assert_eq!(oldest, first.id);
        world.by_hand.taint(kind, &oldest).await.unwrap();
        world.by_hand.revoke(kind, &oldest).await.unwrap();
        world.by_hand.prepare(kind).await.unwrap();
    }
    assert_eq!(world.bundle().x509_authorities.len(), 3);
    assert_eq!(world.bundle().jwt_authorities.len(), 3);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_prepared_takes_over_by_itself_when_its_time_comes() {
    let world = World::create().await;
    // Of the same age, it would be due for a successor at the same time.
    world.store.clock.advance(6 * HOUR);
    let prepared = world.by_hand.prepare(LocalKind::Jwt).await.unwrap();
    let World {
        store,
        ca,
        by_hand,
        running,
    } = world;
    running.stop().await;
    let (_, task) = Ca::open(store.store.clone(), store.clock(), policy());
    store.clock.advance(13 * HOUR);
    task.settle().await.unwrap();
    assert_ne!(
        by_hand.state(LocalKind::Jwt).unwrap().active.id,
        prepared.id
    );
    store.clock.advance(HOUR);
    task.settle().await.unwrap();
    assert_eq!(
        by_hand.state(LocalKind::Jwt).unwrap().active.id,
        prepared.id
    );
    drop(ca);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_forced_in_one_day_never_leave_the_server_without_one() {
    let store = TestStore::create().await;
    let (ca, task) = Ca::open(store.store.clone(), store.clock(), policy());
    task.settle().await.unwrap();
    let by_hand = task.by_hand(&ca);
    let running = Running::start(task);
    // As many as there may be, all of the same age: none has ended when the last one has to go.
    for kind in KINDS {
        for _ in 0..2 {
            let prepared = by_hand.prepare(kind).await.unwrap();
            by_hand.activate(kind, &prepared.id).await.unwrap();
        }
    }
    running.stop().await;
    let (ca, task) = Ca::open(store.store.clone(), store.clock(), policy());
    for _ in 0..2 * 24 {
        store.clock.advance(HOUR);
        task.settle().await.unwrap();
        assert!(ca.can_sign(), "at {}", store.clock.now());
    }
    // The roots live a year.
    for _ in 0..400 {
        store.clock.advance(DAY);
        task.settle().await.unwrap();
        assert!(ca.can_sign(), "at {}", store.clock.now());
        let kinds = [AuthorityKind::X509Root, AuthorityKind::Jwt];
        for kind in kinds {
            let count = store.store.read(|state| state.authorities(kind).count());
            assert!(count <= 3, "{kind:?} {count}");
        }
    }
}

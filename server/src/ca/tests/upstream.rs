//! Authorities below an upstream, over a real store and a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::{
    bundle::{Bundle, JwtAuthority, X509Authority},
    clock::{Clock as _, FakeClock},
    secret::{KeyType, PrivateKey},
    spiffe_id::SpiffeId,
    testing::TestPki,
    tls::{TlsMaterial, verify_svid_chain},
};
use parking_lot::Mutex;
use raft_store::{AuthorityKind, AuthorityRecord, AuthorityState, State};

use crate::{
    ca::{
        AuthorityTask, Ca, IssuedX509, LocalAuthorities, LocalAuthorityError, LocalKind,
        SvidSubject, UpstreamKey, UpstreamRefusal, UpstreamTask, X509SvidParams,
    },
    testing::{DAY, HOUR, NOW, TestStore, policy, trust_domain},
    upstream::{MintRequest, Minted, Upstream, UpstreamAuthority, UpstreamError},
};

/// An upstream that the test is in control of.
#[derive(Debug)]
pub(super) struct Controlled {
    clock: Arc<FakeClock>,
    pki: Mutex<Arc<TestPki>>,
    /// What it says of its roots.
    pub(super) roots: Mutex<Vec<X509Authority>>,
    pub(super) keys: Mutex<Vec<JwtAuthority>>,
    pub(super) is_away: AtomicBool,
    mints: AtomicUsize,
    /// Changes an answer before it leaves.
    pub(super) lie: Mutex<Option<fn(&mut Minted)>>,
}

impl Controlled {
    pub(super) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        let pki = Arc::new(TestPki::root("upstream", NOW));
        let root = X509Authority::new(pki.certificate().clone()).unwrap();
        Arc::new(Self {
            clock,
            pki: Mutex::new(pki),
            roots: Mutex::new(vec![root]),
            keys: Mutex::default(),
            is_away: AtomicBool::new(false),
            mints: AtomicUsize::new(0),
            lie: Mutex::new(None),
        })
    }

    pub(super) fn mints(&self) -> usize {
        self.mints.load(Ordering::Relaxed)
    }

    /// Signs with a new root from now on.
    fn rekey(&self) {
        let pki = Arc::new(TestPki::root("upstream", self.clock.now()));
        let root = X509Authority::new(pki.certificate().clone()).unwrap();
        self.roots.lock().push(root);
        *self.pki.lock() = pki;
    }

    fn taint_first(&self) {
        self.roots.lock()[0].tainted = true;
    }

    fn answer<T>(&self, answer: T) -> Result<T, UpstreamError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(UpstreamError::Late(Duration::ZERO)),
            false => Ok(answer),
        }
    }

    fn sign(&self, request: &MintRequest) -> Result<Minted, UpstreamError> {
        let pki = Arc::clone(&self.pki.lock());
        let key = UpstreamKey::new(pki.certificate().clone(), pki.key().clone()).unwrap();
        let ttl = request.preferred_ttl;
        let signed = key.sign_request(&request.csr, &trust_domain(), ttl, self.clock.now());
        let mut minted = Minted {
            chain: vec![signed.unwrap()],
            roots: self.roots.lock().clone(),
        };
        if let Some(lie) = *self.lie.lock() {
            lie(&mut minted);
        }
        let answer = self.answer(minted)?;
        self.mints.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
}

impl UpstreamAuthority for Arc<Controlled> {
    fn name(&self) -> &str {
        "controlled"
    }

    fn mint<'a>(
        &'a self,
        request: &'a MintRequest,
    ) -> BoxFuture<'a, Result<Minted, UpstreamError>> {
        Box::pin(async { self.sign(request) })
    }

    fn publish_jwt_key<'a>(
        &'a self,
        key: &'a JwtAuthority,
    ) -> BoxFuture<'a, Result<Vec<JwtAuthority>, UpstreamError>> {
        Box::pin(async {
            self.answer(())?;
            let mut keys = self.keys.lock();
            keys.retain(|one| one.key_id != key.key_id);
            keys.push(key.clone());
            Ok(keys.clone())
        })
    }

    fn bundle(&self) -> BoxFuture<'_, Result<Bundle, UpstreamError>> {
        Box::pin(async {
            self.answer(Bundle {
                x509_authorities: self.roots.lock().clone(),
                jwt_authorities: self.keys.lock().clone(),
                ..Bundle::empty(trust_domain())
            })
        })
    }
}

/// A server below an upstream, without the tasks that would run by themselves.
pub(super) struct World {
    pub(super) store: TestStore,
    pub(super) upstream: Arc<Controlled>,
    ca: Ca,
    task: AuthorityTask,
    pub(super) above: UpstreamTask,
    by_hand: LocalAuthorities,
}

impl World {
    pub(super) async fn create() -> Self {
        let store = TestStore::create().await;
        let upstream = Controlled::new(Arc::clone(&store.clock));
        Self::over(store, upstream)
    }

    fn over(store: TestStore, upstream: Arc<Controlled>) -> Self {
        let handle = Upstream::new(Box::new(Arc::clone(&upstream)));
        let (ca, task) = Ca::open_below(handle, store.store.clone(), store.clock(), policy());
        Self {
            above: task.upstream().unwrap(),
            by_hand: task.by_hand(&ca),
            store,
            upstream,
            ca,
            task,
        }
    }

    /// A process that dies and comes back.
    async fn restart(self) -> Self {
        let Self {
            store, upstream, ..
        } = self;
        Self::over(store.restart().await, upstream)
    }

    /// Everything that is due now.
    async fn settle(&self) {
        for _ in 0..4 {
            self.above.tend().await.unwrap();
            self.task.settle().await.unwrap();
        }
    }

    /// Activates by hand. The signer follows while the operator waits for it.
    async fn activate(&self, kind: LocalKind, id: &str) {
        let following = async {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            while *self.by_hand.state(kind).unwrap().active.id != *id {
                assert!(tokio::time::Instant::now() < deadline, "not activated");
                tokio::task::yield_now().await;
            }
            self.task.settle().await.unwrap();
        };
        let (activated, ()) = tokio::join!(self.by_hand.activate(kind, id), following);
        activated.unwrap();
    }

    pub(super) fn bundle(&self) -> Option<Arc<Bundle>> {
        let bundle = |state: &State| state.bundle(&trust_domain()).cloned();
        self.store.store.read(bundle)
    }

    /// The certificates of the roots and whether they are tainted.
    fn roots(&self) -> Vec<bool> {
        let bundle = self.bundle().unwrap();
        bundle
            .x509_authorities
            .iter()
            .map(|root| root.tainted)
            .collect()
    }

    pub(super) fn records(&self, kind: AuthorityKind) -> Vec<Arc<AuthorityRecord>> {
        let all = |state: &State| state.authorities(kind).cloned().collect();
        self.store.store.read(all)
    }

    fn states(&self) -> Vec<AuthorityState> {
        let intermediates = self.records(AuthorityKind::X509Intermediate);
        intermediates.iter().map(|one| one.state).collect()
    }

    fn svid(&self) -> IssuedX509 {
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

    /// Whether somebody with the bundle as it is now believes an SVID.
    fn believes(&self, svid: &IssuedX509) -> bool {
        let material = TlsMaterial::new(None, [self.bundle().unwrap()]).unwrap();
        verify_svid_chain(&svid.chain, &material, self.store.clock.now()).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_root_is_in_the_bundle_before_anything_signs() {
    let world = World::create().await;
    world.above.tend().await.unwrap();
    assert_eq!(world.states(), [AuthorityState::Published]);
    assert_eq!(world.roots(), [false]);
    assert!(!world.ca.can_sign());
    world.settle().await;
    assert!(world.ca.can_sign());
    assert_eq!(world.records(AuthorityKind::X509Root), []);
    let active = &world.records(AuthorityKind::X509Intermediate)[0];
    let svid = world.svid();
    assert_eq!(svid.chain.len(), 2);
    assert_eq!(Some(&svid.chain[1]), active.certificate.as_ref());
    assert!(world.believes(&svid));
    // What stands below a downstream server leads up to the same root.
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let downstream = world
        .ca
        .sign_downstream_authority(key.public_key_der(), None);
    assert_eq!(downstream.unwrap()[1..], svid.chain[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_any_two_steps_asks_the_upstream_for_nothing_twice() {
    let mut world = World::create().await;
    for _ in 0..8 {
        world.above.tend().await.unwrap();
        world = world.restart().await;
        for kind in AuthorityKind::SPIFFE {
            if world.task.take_step(kind).await.unwrap() {
                world = world.restart().await;
            }
        }
    }
    assert!(world.ca.can_sign());
    assert_eq!(world.upstream.mints(), 1);
    assert_eq!(world.states(), [AuthorityState::Active]);
    assert_eq!(world.records(AuthorityKind::Jwt).len(), 1);
    assert_eq!(world.upstream.keys.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_svid_verifies_while_intermediates_rotate() {
    let world = World::create().await;
    let mut svids: Vec<IssuedX509> = Vec::new();
    for _ in 0..5 * 24 {
        world.settle().await;
        svids.retain(|svid| world.store.clock.now() <= svid.not_after);
        svids.push(world.svid());
        for svid in &svids {
            assert!(world.believes(svid), "{svid:?}");
        }
        assert!(world.states().len() <= 3);
        world.store.clock.advance(HOUR);
    }
    // Prepared every 12 hours, taken over 8 hours later.
    let mints = world.upstream.mints();
    assert!((6..=10).contains(&mints), "{mints}");
    assert_eq!(world.roots(), [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_root_gives_way_to_an_upstream_and_comes_back() {
    let store = TestStore::create().await;
    let (ca, task) = Ca::open(store.store.clone(), store.clock(), policy());
    task.settle().await.unwrap();
    let own_key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let before = ca.sign_x509_svid(&X509SvidParams {
        spiffe_id: &SpiffeId::parse("spiffe://example.org/web").unwrap(),
        public_key_der: own_key.public_key_der(),
        dns_names: &[],
        ttl: Some(12 * HOUR),
        subject: SvidSubject::Workload,
    });
    let before = before.unwrap();
    drop((ca, task));
    let upstream = Controlled::new(Arc::clone(&store.clock));
    let world = World::over(store, upstream);
    world.settle().await;
    assert_eq!(world.svid().chain.len(), 2);
    assert!(world.believes(&world.svid()) && world.believes(&before));
    assert_eq!(
        world.records(AuthorityKind::X509Root)[0].state,
        AuthorityState::Old
    );
    // A day later nothing is valid any more that it signed.
    world.store.clock.advance(DAY + HOUR);
    world.settle().await;
    assert_eq!(world.records(AuthorityKind::X509Root), []);
    assert_eq!(world.roots(), [false]);

    let below = world.svid();
    let World { store, .. } = world;
    let (ca, task) = Ca::open(store.store.clone(), store.clock(), policy());
    task.settle().await.unwrap();
    assert!(ca.can_sign());
    let roots = store.store.read(|state| {
        let of_kind = state.authorities(AuthorityKind::X509Root);
        of_kind.map(|root| root.state).collect::<Vec<_>>()
    });
    assert_eq!(roots, [AuthorityState::Active]);
    let bundle = store
        .store
        .read(|state| state.bundle(&trust_domain()).cloned());
    let material = TlsMaterial::new(None, bundle).unwrap();
    verify_svid_chain(&below.chain, &material, store.clock.now()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tainted_root_of_the_upstream_is_left_before_anybody_is_told() {
    let world = World::create().await;
    world.settle().await;
    let old = world.svid();
    // Nothing to go over to: nobody is told to replace what could not be replaced.
    world.upstream.taint_first();
    world.above.tend().await.unwrap();
    assert_eq!(world.roots(), [false]);
    assert!(world.believes(&old));

    world.upstream.rekey();
    let mut changes = world
        .store
        .store
        .changes_after(world.store.store.read(State::revision));
    world.above.tend().await.unwrap();
    assert_eq!(world.roots(), [true, false]);
    world.task.settle().await.unwrap();
    let new = world.svid();
    assert_ne!(new.chain[1], old.chain[1]);
    assert!(world.believes(&new) && world.believes(&old));
    // The new intermediate was active before the mark.
    let mut order = Vec::new();
    while let Some(Ok(batch)) = futures_util::FutureExt::now_or_never(changes.next()) {
        for change in batch {
            match &change.kind {
                raft_store::ChangeKind::Authority {
                    after: Some(after), ..
                } if after.state == AuthorityState::Active => {
                    order.push("active");
                }
                raft_store::ChangeKind::Bundle {
                    after: Some(after), ..
                } if after.x509_authorities[0].tainted => {
                    order.push("tainted");
                }
                _ => {}
            }
        }
    }
    assert_eq!(order, ["active", "tainted"]);

    // Gone above, gone here.
    world.upstream.roots.lock().remove(0);
    world.above.tend().await.unwrap();
    assert_eq!(world.roots(), [false]);
    assert!(world.believes(&new) && !world.believes(&old));
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_key_signs_once_the_upstream_has_it() {
    let world = World::create().await;
    world.settle().await;
    let jwt = || world.records(AuthorityKind::Jwt);
    assert_eq!(jwt()[0].state, AuthorityState::Active);
    assert_eq!(world.upstream.keys.lock()[0].key_id, jwt()[0].id);

    // Its successor waits for an upstream that is away, and the old one signs on.
    world.store.clock.advance(13 * HOUR);
    world.upstream.is_away.store(true, Ordering::Relaxed);
    world.task.settle().await.unwrap();
    let away = world.above.tend().await.unwrap_err().to_string();
    assert!(
        away.contains("no answer from the upstream authority"),
        "{away}"
    );
    assert!(world.above.trouble().now().is_some());
    assert_eq!(jwt()[1].state, AuthorityState::Prepared);
    let prepared = world.by_hand.prepare(LocalKind::Jwt).await.unwrap_err();
    assert!(
        matches!(prepared, LocalAuthorityError::Maker(_)),
        "{prepared:?}"
    );
    world.upstream.is_away.store(false, Ordering::Relaxed);
    world.settle().await;
    assert_eq!(world.above.trouble().now(), None);
    assert_eq!(jwt()[1].state, AuthorityState::Published);
    assert_eq!(world.upstream.keys.lock().len(), 2);

    // Keys of others come down; own ones that were revoked do not.
    let own: Vec<_> = jwt().iter().map(|key| key.id.clone()).collect();
    world.activate(LocalKind::Jwt, &own[1]).await;
    world.by_hand.taint(LocalKind::Jwt, &own[0]).await.unwrap();
    world.by_hand.revoke(LocalKind::Jwt, &own[0]).await.unwrap();
    let foreign = JwtAuthority {
        key_id: "foreign".into(),
        public_key: jwt()[0].public_key.clone(),
        expires_at: None,
        tainted: false,
    };
    let expired = JwtAuthority {
        key_id: "expired".into(),
        expires_at: Some(world.store.clock.now().saturating_sub(HOUR)),
        ..foreign.clone()
    };
    world.upstream.keys.lock().extend([foreign, expired]);
    world.settle().await;
    let held = || {
        let bundle = world.bundle().unwrap();
        let keys = bundle.jwt_authorities.iter();
        keys.map(|key| key.key_id.to_string()).collect::<Vec<_>>()
    };
    assert!(
        world
            .upstream
            .keys
            .lock()
            .iter()
            .any(|key| key.key_id == own[0])
    );
    assert_eq!(held(), [&*own[1], "foreign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_follows_an_upstream_whose_key_was_replaced() {
    let world = World::create().await;
    world.settle().await;
    let by_hand = &world.by_hand;
    let old = by_hand.state(LocalKind::X509).unwrap().active;
    let (old_upstream, old_svid) = (old.issuer_id.clone().unwrap(), world.svid());
    for refused in [
        by_hand.taint(LocalKind::X509, &old.id).await,
        by_hand.revoke(LocalKind::X509, &old.id).await,
    ] {
        assert!(
            matches!(refused, Err(LocalAuthorityError::HasUpstream)),
            "{refused:?}"
        );
    }
    let refusal = async |taints: bool, id: &str| {
        let moved = match taints {
            true => by_hand.taint_upstream(id).await,
            false => by_hand.revoke_upstream(id).await,
        };
        match moved {
            Err(LocalAuthorityError::Upstream(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(true, "").await, UpstreamRefusal::NoId);
    assert_eq!(
        refusal(true, &old_upstream).await,
        UpstreamRefusal::OfActive
    );
    assert_eq!(refusal(true, "abc").await, UpstreamRefusal::OfNoOld);

    world.upstream.rekey();
    let prepared = by_hand.prepare(LocalKind::X509).await.unwrap();
    assert_eq!(prepared.state, AuthorityState::Published);
    let new_upstream = prepared.issuer_id.clone().unwrap();
    assert_ne!(new_upstream, old_upstream);
    assert_eq!(world.roots(), [false, false]);
    assert_eq!(
        refusal(true, &new_upstream).await,
        UpstreamRefusal::OfPrepared
    );
    world.activate(LocalKind::X509, &prepared.id).await;
    assert_eq!(
        refusal(false, &old_upstream).await,
        UpstreamRefusal::NotTainted
    );
    by_hand.taint_upstream(&old_upstream).await.unwrap();
    assert_eq!(
        refusal(true, &old_upstream).await,
        UpstreamRefusal::AlreadyTainted
    );
    assert_eq!(world.roots(), [true, false]);
    let shown = by_hand.state(LocalKind::X509).unwrap().old.unwrap();
    assert_eq!((&shown.id, &shown.sealed_key), (&old.id, &None));
    assert!(world.believes(&old_svid));
    by_hand.revoke_upstream(&old_upstream).await.unwrap();
    assert_eq!(
        refusal(false, &old_upstream).await,
        UpstreamRefusal::NotInBundle
    );
    assert_eq!(world.roots(), [false]);
    assert!(!world.believes(&old_svid) && world.believes(&world.svid()));
}

//! The server's own SVID follows time, its issuer and the bundles.

use identity::{
    clock::Clock,
    spiffe_id::SpiffeId,
    tls::{SharedTlsMaterial, TlsMaterial},
    x509_svid::X509Svid,
};

use crate::{
    ca::{Ca, LocalKind, ServerSvidTask, tests::Running},
    testing::{HOUR, TestStore, policy, trust_domain},
};

fn shown(material: &TlsMaterial) -> &X509Svid {
    material.svid().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_svid_is_replaced_at_half_of_its_life() {
    let world = TestStore::create().await;
    let (ca, authorities) = Ca::open(world.store.clone(), world.clock(), policy());
    authorities.settle().await.unwrap();
    let material = SharedTlsMaterial::new(TlsMaterial::new(None, []).unwrap());
    let (store, clock) = (world.store.clone(), world.clock());
    let started = ServerSvidTask::start(material.clone(), ca, store, clock).await;
    let mut task = started.unwrap();
    let first = material.load();
    assert_eq!(
        *shown(&first).spiffe_id(),
        SpiffeId::server(&trust_domain())
    );
    assert_eq!(
        shown(&first).not_after(),
        world.clock.now().saturating_add(HOUR)
    );
    assert!(first.bundle(&trust_domain()).is_some());

    world.clock.advance(HOUR / 4);
    task.refresh().await.unwrap();
    assert_eq!(shown(&material.load()).serial(), shown(&first).serial());

    world.clock.advance(HOUR / 4);
    task.refresh().await.unwrap();
    let second = material.load();
    assert_ne!(shown(&second).serial(), shown(&first).serial());
    assert_ne!(
        shown(&second).key().public_key_der(),
        shown(&first).key().public_key_der()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_svid_is_replaced_when_its_root_is_tainted_and_not_before() {
    let world = TestStore::create().await;
    let (ca, authorities) = Ca::open(world.store.clone(), world.clock(), policy());
    authorities.settle().await.unwrap();
    let by_hand = authorities.by_hand(&ca);
    let material = SharedTlsMaterial::new(TlsMaterial::new(None, []).unwrap());
    let (store, clock) = (world.store.clone(), world.clock());
    let started = ServerSvidTask::start(material.clone(), ca, store, clock).await;
    let mut task = started.unwrap();
    let first = material.load();
    let old = by_hand.state(LocalKind::X509).unwrap().active;
    let running = Running::start(authorities);
    let prepared = by_hand.prepare(LocalKind::X509).await.unwrap();
    by_hand
        .activate(LocalKind::X509, &prepared.id)
        .await
        .unwrap();
    task.refresh().await.unwrap();
    assert_eq!(shown(&material.load()).serial(), shown(&first).serial());

    by_hand.taint(LocalKind::X509, &old.id).await.unwrap();
    task.refresh().await.unwrap();
    let second = material.load();
    assert_ne!(shown(&second).chain()[1], shown(&first).chain()[1]);
    task.refresh().await.unwrap();
    assert_eq!(shown(&material.load()).serial(), shown(&second).serial());
    running.stop().await;
}

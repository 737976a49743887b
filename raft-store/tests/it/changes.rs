//! The change feed, and requests that come twice.

use std::time::Duration;

use futures_util::FutureExt as _;
use identity::bundle::Bundle;
use identity::trust_domain::TrustDomain;
use raft_store::{
    ChangeKind, Compacted, CreateEntries, DeleteEntries, ProposeError, Revision, SetBundleMode,
    SetFederatedBundle, SetSetting, Topic,
};

use crate::fixture::{close, create, entry, large_entry, open, options, proposal};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_resumes_where_it_was_and_sees_every_change_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    create(&store, "a").await;
    let from = store.read(raft_store::State::revision);
    let mut changes = store.changes_after(from);
    create(&store, "b").await;
    create(&store, "c").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        for change in changes.next().await.unwrap() {
            let ChangeKind::Entry {
                before: None,
                after: Some(entry),
            } = &change.kind
            else {
                panic!("{change:?}");
            };
            seen.push((
                change.revision.as_u64() - from.as_u64(),
                entry.id.to_string(),
            ));
        }
    }
    assert_eq!(seen, [(1, "b".to_owned()), (2, "c".to_owned())]);

    let mut again = store.changes_after(Revision::new(from.as_u64() + 1));
    assert_eq!(again.next().await.unwrap().len(), 1);
    let nothing = tokio::time::timeout(Duration::from_millis(20), changes.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_wakes_those_who_care_for_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let mut authorities = store.signal(Topic::Authorities);
    let mut bundles = store.signal(Topic::Bundles);
    create(&store, "a").await;
    assert!(authorities.raised().now_or_never().is_none());
    assert!(bundles.raised().now_or_never().is_none());
    let set = SetFederatedBundle {
        bundle: Bundle::empty(TrustDomain::parse("other.org").unwrap()),
        mode: SetBundleMode::Create,
    };
    store.propose(set, proposal()).await.unwrap();
    assert!(bundles.raised().now_or_never().is_some());
    assert!(bundles.raised().now_or_never().is_none(), "told twice");
    assert!(authorities.raised().now_or_never().is_none());
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_fell_behind_is_told_to_reload() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.limits.changes = 3;
    let (store, driver) = raft_store::Store::start(options, crate::fixture::STARTS)
        .await
        .unwrap();
    let from = store.read(raft_store::State::revision);
    let mut slow = store.changes_after(from);
    for name in ["a", "b", "c", "d", "e"] {
        create(&store, name).await;
    }
    let oldest = Revision::new(from.as_u64() + 2);
    assert_eq!(slow.next().await, Err(Compacted { oldest }));
    assert_eq!(store.changes_after(oldest).next().await.unwrap().len(), 3);
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_has_one_effect_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let proposal = proposal();
    let create = || CreateEntries {
        entries: vec![entry("a")],
    };
    let first = store.propose(create(), proposal).await.unwrap();
    let hash = store.read(raft_store::State::state_hash);
    assert_eq!(store.propose(create(), proposal).await.unwrap(), first);
    close(store, driver).await;

    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.propose(create(), proposal).await.unwrap(), first);
    assert_eq!(store.read(raft_store::State::state_hash), hash);
    let other = store
        .propose(DeleteEntries { ids: Vec::new() }, proposal)
        .await;
    assert!(matches!(other, Err(ProposeError::RequestReused)));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_did_not_come_in_time_is_undecided_and_a_retry_learns_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let set = || SetSetting {
        key: "a".into(),
        // Takes longer than the timer's grain.
        value: vec![1; 3 << 20],
        only_if_absent: true,
    };
    let patient = proposal();
    let hasty = raft_store::Proposal {
        deadline: Duration::ZERO,
        ..patient
    };
    let result = store.propose(set(), hasty).await;
    assert!(
        matches!(result, Err(ProposeError::Undecided | ProposeError::Busy)),
        "{result:?}"
    );
    let outcome = store.propose(set(), patient).await.unwrap();
    assert_eq!(outcome, raft_store::SetSettingOutcome::Set);
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_large_records_were_is_not_held_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let mut behind = store.changes_after(store.read(raft_store::State::revision));
    // A created and a deleted one each time: 6 MB in the ring.
    for number in 0..12 {
        let name = format!("large-{number}");
        let entries = vec![large_entry(&name)];
        let id = entries[0].id.clone();
        let created = store.propose(CreateEntries { entries }, proposal());
        created.await.unwrap();
        let deleted = store.propose(DeleteEntries { ids: vec![id] }, proposal());
        deleted.await.unwrap();
    }
    assert!(matches!(behind.take(), Err(Compacted { .. })));
    // The newest are there.
    let newest = store.read(raft_store::State::revision).as_u64();
    let mut near = store.changes_after(Revision::new(newest - 4));
    assert_eq!(near.take().unwrap().len(), 4);
    close(store, driver).await;
}

//! Bounds of what the store takes.

use std::time::Duration;

use raft_store::{ProposeError, SetSetting, Store};

use crate::fixture::{close, create, open, options, proposal};

fn setting(len_bytes: usize) -> SetSetting {
    SetSetting {
        key: "a".into(),
        value: vec![0; len_bytes],
        only_if_absent: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.limits.proposal_len_bytes = 1000;
    let (store, driver) = Store::start(options, crate::fixture::STARTS).await.unwrap();
    let result = store.propose(setting(1000), proposal()).await;
    assert!(matches!(
        result,
        Err(ProposeError::TooLarge { limit: 1000, .. })
    ));
    store.propose(setting(900), proposal()).await.unwrap();
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_after_a_confirmation_are_as_new_as_any_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    create(&store, "a").await;
    let revision = store.linearizable(Duration::from_secs(5)).await.unwrap();
    assert_eq!(revision, store.read(raft_store::State::revision));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_takes_no_proposals_but_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    create(&store, "a").await;
    close(store.clone(), driver).await;
    let result = store.propose(setting(1), proposal()).await;
    assert!(matches!(result, Err(ProposeError::Stopped(_))));
    assert_eq!(store.read(raft_store::State::entry_count), 1);
    assert_eq!(store.status(), None);
}

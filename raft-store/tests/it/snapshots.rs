//! Snapshots, purging, and starting from what is left.

use std::time::Duration;

use raft_store::{CreateEntries, State, Store};

use crate::fixture::{close, create, large_entry, open, options, proposal};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_purged_behind_snapshots_and_a_restart_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut few = options(dir.path());
    few.limits.snapshot_every = 16;
    let (store, driver) = Store::start(few, crate::fixture::STARTS).await.unwrap();
    let mut count = 0;
    while store.status().unwrap().purged_index.is_none() {
        create(&store, &format!("entry-{count}")).await;
        count += 1;
    }
    let hash = store.read(State::state_hash);
    close(store, driver).await;
    let kept = std::fs::read_dir(dir.path().join("store/snapshots")).unwrap();
    assert!(kept.count() <= 2);

    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.read(State::state_hash), hash);
    close(store, driver).await;

    // The state is lost, and the log does not begin at the beginning: the snapshot fills the gap.
    std::fs::remove_dir_all(dir.path().join("store/state")).unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.read(State::entry_count), count);
    assert_eq!(store.read(State::state_hash), hash);
    close(store, driver).await;

    // Without the snapshot as well nothing can fill it.
    std::fs::remove_dir_all(dir.path().join("store/state")).unwrap();
    std::fs::remove_dir_all(dir.path().join("store/snapshots")).unwrap();
    let error = open(dir.path()).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, raft_store::OpenError::StateMissing { .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_large_commands_is_purged_before_they_are_many() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options(dir.path());
    small.limits.snapshot_every_len_bytes = 12_000_000;
    let (store, driver) = Store::start(small, crate::fixture::STARTS).await.unwrap();
    let mut count = 0;
    while store.status().unwrap().purged_index.is_none() {
        let entries = vec![large_entry(&format!("large-{count}"))];
        let created = store.propose(CreateEntries { entries }, proposal());
        created.await.unwrap();
        count += 1;
        assert!(count < 100, "nothing is purged");
    }
    close(store, driver).await;
    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.read(State::entry_count), count);
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    create(&store, "a").await;
    store.start_snapshot().await.unwrap();
    let done = async {
        while store.status().unwrap().snapshot_index.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done)
        .await
        .unwrap();
    close(store, driver).await;
}

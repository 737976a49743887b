//! Opening, closing and opening again.

use std::fs;

use identity::entry::EntryId;
use identity::secret::SecretBytes;
use raft_store::{CreateEntries, CreateEntryOutcome, OpenError, RecordName, State, Store};

use crate::fixture::{close, create, entry, open, options, proposal};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let entries = vec![entry("web")];
    let outcome = store.propose(CreateEntries { entries }, proposal()).await;
    assert!(matches!(
        outcome.unwrap().as_slice(),
        [CreateEntryOutcome::Created(created)] if created.id.as_str() == "web"
    ));
    let hash = store.read(State::state_hash);
    close(store, driver).await;

    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.read(State::state_hash), hash);
    let id = EntryId::parse("web").unwrap();
    assert!(store.read(|state| state.entry(&id).is_some()));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_log_is_refused_and_a_torn_end_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    for number in 0..20 {
        create(&store, &format!("entry-{number}")).await;
    }
    close(store, driver).await;
    let log = dir.path().join("store/raft");
    let log = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let log: Vec<_> = log
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    let [log] = log.as_slice() else {
        panic!("one log expected: {log:?}");
    };
    let whole = fs::read(log).unwrap();

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(log, flipped).unwrap();
    let refused = open(dir.path()).await;
    assert!(matches!(refused, Err(OpenError::Corrupt { .. })));

    // What a crash in the middle of a write leaves.
    let torn = [whole.as_slice(), &whole[..5]].concat();
    fs::write(log, torn).unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let last = EntryId::parse("entry-19").unwrap();
    assert!(store.read(|state| state.entry(&last).is_some()));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_store_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let second = open(dir.path()).await;
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stopped_by_itself_is_released_while_others_have_a_handle() {
    let dir = tempfile::tempdir().unwrap();
    let (place, away) = (dir.path().join("store"), dir.path().join("away"));
    let (store, driver) = open(dir.path()).await.unwrap();
    let handle = store.clone();
    fs::rename(&place, &away).unwrap();
    driver.run().await.unwrap_err();
    fs::rename(&away, &place).unwrap();
    let refused = open(dir.path()).await;
    assert!(matches!(refused, Err(OpenError::Locked { .. })));
    // It had stopped, and says so.
    drop(store.release().await);
    let (store, driver) = open(dir.path()).await.unwrap();
    close(store, driver).await;
    drop(handle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_secret_opens_after_a_restart_under_its_own_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let name = RecordName::new("authority/a");
    let sealed = store
        .seal(&name, &SecretBytes::new(b"key".to_vec()))
        .unwrap();
    close(store, driver).await;

    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.unseal(&name, &sealed).unwrap().expose(), b"key");
    assert!(
        store
            .unseal(&RecordName::new("authority/b"), &sealed)
            .is_err()
    );
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_is_known_before_its_store_is_open_and_does_not_start_over_without_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let folder = options(dir.path()).data_dir;
    assert_eq!(Store::identity_in(&folder).unwrap(), None);
    let (store, driver) = open(dir.path()).await.unwrap();
    let status = store.status().unwrap();
    close(store, driver).await;
    let found = Store::identity_in(&folder).unwrap().unwrap();
    assert_eq!(found.member_id, status.member_id);
    assert_eq!(found.cluster_id, status.cluster_id);

    // All is lost but the name: a member that voted must not vote again as if it had not.
    for part in ["state", "snapshots"] {
        fs::remove_dir_all(folder.join(part)).unwrap();
    }
    for file in fs::read_dir(folder.join("raft")).unwrap() {
        let file = file.unwrap().path();
        if !file.ends_with("MEMBER") {
            fs::remove_file(file).unwrap();
        }
    }
    let opened = open(dir.path()).await;
    assert!(matches!(opened, Err(OpenError::LogMissing { .. })));
}

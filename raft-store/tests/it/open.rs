//! Opening, closing and opening again.

use identity::entry::EntryId;
use identity::secret::SecretBytes;
use raft_store::{CreateEntries, CreateEntryOutcome, OpenError, RecordName, State};

use crate::fixture::{close, entry, open, proposal};

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
async fn a_second_store_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let second = open(dir.path()).await;
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    close(store, driver).await;
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

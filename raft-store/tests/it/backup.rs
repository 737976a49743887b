//! Backups: made while the store works on, refused when a bit is wrong, restored as a new cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_store::backup::{NewHome, Restore, RestoreError, restore, verify};
use raft_store::{
    CreateEntries, CreateEntryOutcome, CreateJoinToken, FileSeal, JoinTokenHash, Revision,
    SealProviderError, State, Store, recover,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::fixture::{NOW, close, create, entry, open, proposal};

/// A directory with a seal key, as a host has it.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    fn seal(&self) -> FileSeal {
        FileSeal::at(&self.path().join("seal.key"))
    }

    /// Another host with the same seal key.
    fn another(&self) -> Self {
        let other = Self::new();
        std::fs::copy(self.path().join("seal.key"), other.path().join("seal.key")).unwrap();
        other
    }

    fn restore(&self, file: &Path) -> Result<raft_store::backup::Restored, RestoreError> {
        restore(Restore {
            file,
            data_dir: &self.store(),
            seal: &self.seal(),
            home: home(),
            now: NOW,
        })
    }

    fn recover(&self) -> Result<raft_store::backup::Restored, RestoreError> {
        recover::apply(recover::Recovery {
            data_dir: &self.store(),
            seal: &self.seal(),
            home: home(),
            now: NOW,
        })
    }
}

fn home() -> NewHome {
    NewHome {
        peer_address: "h9:8083".into(),
        api_address: "h9:8081".into(),
        program_version: "test".into(),
    }
}

async fn backup(store: &Store, path: &Path) {
    let mut reader = store.backup(NOW).await.unwrap();
    let mut file = tokio::fs::File::create(path).await.unwrap();
    while let Some(part) = reader.next().await {
        file.write_all(&part.unwrap()).await.unwrap();
    }
    file.flush().await.unwrap();
}

async fn create_many(store: &Store, prefix: &str, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    for names in names.chunks(1000) {
        let entries = names.iter().map(|name| entry(name)).collect();
        let outcome = store.propose(CreateEntries { entries }, proposal()).await;
        let all_created = outcome
            .unwrap()
            .iter()
            .all(|outcome| matches!(outcome, CreateEntryOutcome::Created(_)));
        assert!(all_created);
    }
}

/// A store with a few records of several kinds, its backup, and what it was a backup of.
async fn small() -> (Host, PathBuf, Revision) {
    let host = Host::new();
    let (store, driver) = open(host.path()).await.unwrap();
    create_many(&store, "web", 20).await;
    let token = CreateJoinToken {
        hash: JoinTokenHash::of(b"token"),
        expires_at: NOW,
        alias: None,
    };
    store.propose(token, proposal()).await.unwrap();
    let file = host.path().join("backup");
    backup(&store, &file).await;
    let revision = store.read(State::revision);
    close(store, driver).await;
    (host, file, revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_100_000_entries_is_consistent_and_comes_back() {
    const ENTRIES: usize = 100_000;
    let host = Host::new();
    let (store, driver) = open(host.path()).await.unwrap();
    create_many(&store, "web", ENTRIES).await;
    let file = host.path().join("backup");
    let started = Instant::now();
    // Writes go on while it is made.
    let (before, _) = tokio::join!(
        async {
            let before = store.read(State::revision);
            backup(&store, &file).await;
            before
        },
        create_many(&store, "late", 3000)
    );
    let backup_took = started.elapsed();
    let after = store.read(State::revision);
    close(store, driver).await;

    let started = Instant::now();
    let manifest = verify(&file, &host.seal()).unwrap();
    let verify_took = started.elapsed();
    assert!((before..=after).contains(&manifest.revision));
    // Whole commands only: a multiple of a thousand entries.
    let entries = usize::try_from(manifest.entries).unwrap();
    assert_eq!(entries % 1000, 0);
    assert!((ENTRIES..=ENTRIES + 3000).contains(&entries));

    let other = host.another();
    let started = Instant::now();
    let restored = other.restore(&file).unwrap();
    let restore_took = started.elapsed();
    assert_ne!(restored.cluster_id, manifest.cluster_id);
    let jumped = manifest.revision.as_u64() + 1_000_000_000;
    assert!(restored.revision.as_u64() > jumped);
    let (store, driver) = open(other.path()).await.unwrap();
    assert_eq!(store.read(State::entry_count), entries);
    let status = store.status().unwrap();
    assert_eq!(status.cluster_id, restored.cluster_id);
    assert_eq!(status.member_id, restored.member_id);
    create(&store, "new").await;
    close(store, driver).await;
    for took in [backup_took, verify_took, restore_took] {
        assert!(took < Duration::from_secs(180), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cluster_forgets_tokens_and_goes_on_after_restarts() {
    let (host, file, _) = small().await;
    let other = host.another();
    other.restore(&file).unwrap();
    for round in 0..3 {
        let (store, driver) = open(other.path()).await.unwrap();
        assert_eq!(store.read(State::join_token_count), 0);
        let members = store.read(|state| state.members().cloned().collect::<Vec<_>>());
        assert_eq!(members.len(), 1);
        create(&store, &format!("round-{round}")).await;
        assert_eq!(store.read(State::entry_count), 21 + round);
        if round == 1 {
            store.start_snapshot().await.unwrap();
        }
        close(store, driver).await;
    }
    // A restored store can be backed up, and that backup restored.
    let (store, driver) = open(other.path()).await.unwrap();
    let second = other.path().join("second");
    backup(&store, &second).await;
    close(store, driver).await;
    let third = host.another();
    third.restore(&second).unwrap();
    let (store, driver) = open(third.path()).await.unwrap();
    assert_eq!(store.read(State::entry_count), 23);
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_and_no_cut_goes_unseen() {
    let (host, file, _) = small().await;
    let whole = std::fs::read(&file).unwrap();
    let damaged = host.path().join("damaged");
    let is_refused = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        verify(&damaged, &host.seal()).is_err()
    };
    assert!(!is_refused(&whole));
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(is_refused(&flipped), "bit at {at}");
        assert!(is_refused(&whole[..at]), "cut at {at}");
    }
    assert!(is_refused(&[whole.as_slice(), b"more"].concat()));
    // Nothing of a damaged backup stays behind, and a good one is restored after it.
    let mut flipped = whole.clone();
    let late = whole.len() - 100;
    flipped[late] ^= 1;
    std::fs::write(&damaged, &flipped).unwrap();
    let other = host.another();
    let error = other.restore(&damaged).unwrap_err();
    assert!(matches!(error, RestoreError::Damaged { .. }), "{error}");
    assert!(!other.store().join("raft").exists());
    assert!(!other.store().join("new.tmp").exists());
    other.restore(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_seal_key_a_foreign_file_and_a_used_directory_are_refused_by_name() {
    let (host, file, _) = small().await;
    let stranger = Host::new();
    let error = stranger.restore(&file).unwrap_err();
    assert!(
        matches!(
            &error,
            RestoreError::Seal(SealProviderError::Missing { location }) if location.ends_with("seal.key")
        ),
        "{error:?}"
    );
    let (store, driver) = open(stranger.path()).await.unwrap();
    close(store, driver).await;
    std::fs::remove_dir_all(stranger.store()).unwrap();
    let error = stranger.restore(&file).unwrap_err();
    assert!(
        matches!(&error, RestoreError::Seal(SealProviderError::Wrong { .. })),
        "{error:?}"
    );
    let error = host.restore(&file).unwrap_err();
    assert!(
        matches!(&error, RestoreError::NotEmpty { path } if *path == host.store()),
        "{error:?}"
    );
    let other = host.another();
    let foreign = other.path().join("seal.key");
    let error = other.restore(&foreign).unwrap_err();
    assert!(
        matches!(&error, RestoreError::NotABackup { .. }),
        "{error:?}"
    );
    let error = other.restore(&other.path().join("nothing")).unwrap_err();
    assert!(matches!(&error, RestoreError::File { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_becomes_a_cluster_and_keeps_what_it_had() {
    let host = Host::new();
    let (store, driver) = open(host.path()).await.unwrap();
    create_many(&store, "web", 100_000).await;
    let before = store.status().unwrap();
    let error = recover::plan(&host.store(), &host.seal()).unwrap_err();
    assert!(matches!(&error, RestoreError::Locked { .. }), "{error:?}");
    close(store, driver).await;

    let plan = recover::plan(&host.store(), &host.seal()).unwrap();
    assert_eq!(plan.entries, 100_000);
    assert_eq!(plan.cluster_id, before.cluster_id);
    assert_eq!(plan.revision, before.revision);
    assert_eq!(plan.state_hash, before.state_hash);
    assert!(
        plan.losses()
            .iter()
            .any(|loss| loss.contains("join tokens"))
    );
    let started = Instant::now();
    let recovered = host.recover().unwrap();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(180), "{took:?}");
    assert!(recovered.member_id > plan.last_index);
    let (store, driver) = open(host.path()).await.unwrap();
    assert_eq!(store.read(State::entry_count), 100_000);
    assert_eq!(store.status().unwrap().cluster_id, recovered.cluster_id);
    create(&store, "new").await;
    close(store, driver).await;
    // The old files are kept aside.
    let kept = std::fs::read_dir(host.store()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with("replaced-by-")
    });
    assert!(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_without_the_seal_key_or_a_store_changes_nothing() {
    let (host, _, revision) = small().await;
    let key = host.path().join("seal.key");
    let away = host.path().join("away");
    std::fs::rename(&key, &away).unwrap();
    let error = host.recover().unwrap_err();
    assert!(matches!(&error, RestoreError::Keys(_)), "{error:?}");
    std::fs::rename(&away, &key).unwrap();
    let (store, driver) = open(host.path()).await.unwrap();
    assert_eq!(store.read(State::revision), revision);
    close(store, driver).await;
    let empty = Host::new();
    let error = recover::plan(&empty.store(), &host.seal()).unwrap_err();
    assert!(matches!(&error, RestoreError::NoStore { .. }), "{error:?}");
}

//! What a store does not open, with the cause and the way out, and nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_store::{OpenError, SealProviderError, State};
use tokio::time::Instant;

use crate::fixture::{STARTS, close, create, open};

/// A closed store with ten entries.
async fn closed_store(path: &Path) {
    let (store, driver) = open(path).await.unwrap();
    for number in 0..10 {
        create(&store, &format!("entry-{number}")).await;
    }
    close(store, driver).await;
}

async fn count(path: &Path) -> usize {
    let (store, driver) = open(path).await.unwrap();
    let count = store.read(State::entry_count);
    close(store, driver).await;
    count
}

async fn refusal(path: &Path) -> (OpenError, String) {
    let error = open(path).await.map(|_| ()).unwrap_err();
    let text = error.to_string();
    (error, text)
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_seal_key_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let key = dir.path().join("seal.key");
    let bytes = fs::read(&key).unwrap();
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::remove_file(&key).unwrap();

    let (error, _) = refusal(dir.path()).await;
    let OpenError::Seal(SealProviderError::Missing { location }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(location, key.display().to_string());
    assert!(!key.exists());

    fs::write(&key, bytes).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(count(dir.path()).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_seal_key_is_told_from_a_damaged_store() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let key = dir.path().join("seal.key");
    fs::write(&key, [9; 32]).unwrap();
    let (error, _) = refusal(dir.path()).await;
    assert!(matches!(
        error,
        OpenError::Seal(SealProviderError::Wrong { .. })
    ));

    fs::write(&key, [9; 31]).unwrap();
    let (error, _) = refusal(dir.path()).await;
    assert!(matches!(
        error,
        OpenError::Seal(SealProviderError::Unusable { .. })
    ));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let (error, _) = refusal(dir.path()).await;
    assert!(matches!(
        error,
        OpenError::Seal(SealProviderError::Unusable { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_refused_and_rebuilt_once_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let state = dir.path().join("store/state");
    let tables = files(&state.join("1"), "sst");
    for table in &tables {
        let mut bytes = fs::read(table).unwrap();
        bytes[40] ^= 0x55;
        fs::write(table, bytes).unwrap();
    }
    assert!(!tables.is_empty());

    let (error, text) = refusal(dir.path()).await;
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert!(
        text.contains("below state/, remove that directory"),
        "{text}"
    );

    fs::remove_dir_all(&state).unwrap();
    assert_eq!(count(dir.path()).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    for manifest in fs::read_dir(dir.path().join("store/raft")).unwrap() {
        let manifest = manifest.unwrap().path();
        let name = manifest.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST") {
            fs::write(&manifest, b"not a manifest").unwrap();
        }
    }
    let (error, _) = refusal(dir.path()).await;
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let raft = dir.path().join("store/raft");
    fs::rename(&raft, dir.path().join("elsewhere")).unwrap();
    let (error, _) = refusal(dir.path()).await;
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error:?}");

    fs::remove_dir_all(&raft).unwrap();
    fs::rename(dir.path().join("elsewhere"), &raft).unwrap();
    assert_eq!(count(dir.path()).await, 10);
}

/// A file system of its own, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: PathBuf, len: &str) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={len}"), "tmpfs"])
            .arg(&path)
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
async fn a_full_disk_stops_the_store_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(dir.path().join("small"), "24m") else {
        eprintln!("skipped: mounting a tmpfs takes root");
        return;
    };
    let (store, driver) = open(&mount.0).await.unwrap();
    let mut acknowledged = 0;
    loop {
        let mut entry = crate::fixture::entry(&format!("entry-{acknowledged}"));
        entry.hint = "x".repeat(200_000).into();
        let entries = vec![entry];
        let proposal = crate::fixture::proposal();
        match store
            .propose(raft_store::CreateEntries { entries }, proposal)
            .await
        {
            Ok(_) => acknowledged += 1,
            Err(raft_store::ProposeError::Stopped(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    driver.run().await.unwrap_err();
    drop(store.close().await);

    // The stopped store lets go of its files in the background, which makes room again.
    let filler = mount.0.join("filler");
    let error = loop {
        drop(fs::write(&filler, vec![0; 24 << 20]));
        match open(&mount.0).await {
            Ok((store, driver)) => close(store, driver).await,
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, OpenError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("is full; make room"), "{error}");

    fs::remove_file(&filler).unwrap();
    let resized = std::process::Command::new("mount")
        .args(["-o", "remount,size=96m"])
        .arg(&mount.0)
        .status();
    assert!(resized.unwrap().success());
    assert!(count(&mount.0).await >= acknowledged);
}

/// Makes a store's state and a snapshot of it, and returns where they are.
async fn store_with_snapshot(path: &Path, seal_key: Option<&Path>) -> PathBuf {
    if let Some(key) = seal_key {
        fs::copy(key, path.join("seal.key")).unwrap();
    }
    let (store, driver) = open(path).await.unwrap();
    for number in 0..10 {
        create(&store, &format!("entry-{number}")).await;
    }
    store.start_snapshot().await.unwrap();
    let deadline = Instant::now() + STARTS;
    while store.status().unwrap().snapshot_index.is_none() {
        assert!(Instant::now() < deadline, "no snapshot");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    close(store, driver).await;
    path.join("store")
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_another_cluster_under_the_same_seal_key_are_refused() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let foreign = store_with_snapshot(other.path(), None).await;
    let key = other.path().join("seal.key");
    let store = store_with_snapshot(own.path(), Some(&key)).await;
    for (part, cause) in [("state", "state below state/"), ("snapshots", "snapshot")] {
        let aside = own.path().join("aside");
        fs::rename(store.join(part), &aside).unwrap();
        fs::rename(foreign.join(part), store.join(part)).unwrap();
        let (error, text) = refusal(own.path()).await;
        let OpenError::Foreign { source, .. } = error else {
            panic!("{error:?}");
        };
        let source = source.to_string();
        assert!(source.contains(cause) && source.ends_with("belongs to another cluster"));
        assert!(text.contains("parts of two clusters"), "{text}");
        // Nothing of it was taken in.
        fs::rename(store.join(part), foreign.join(part)).unwrap();
        fs::rename(&aside, store.join(part)).unwrap();
        assert_eq!(count(own.path()).await, 10);
    }
}

//! Recoveries that are killed half-way, logs that go on behind the state, and states that are gone.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use identity::clock::UnixTime;
use identity::secret::SecretBytes;

use super::{Plan, Recovery, apply, plan};
use crate::backup::{NewHome, RestoreError, Restored};
use crate::codec::{Frame, encode_envelope, wire};
use crate::command::{Envelope, RequestId, SetSetting};
use crate::seal::{FileSeal, RecordName};
use crate::storage::crash::CRASH_AT;
use crate::storage::data_dir::{DataDir, list};
use crate::storage::log_db::LogDb;
use crate::storage::{Memory, OpenGuard};
use crate::store::{Driver, Options, Proposal, Store};

const DIR: &str = "RAFT_STORE_CRASH_DIR";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const STARTS: std::time::Duration = std::time::Duration::from_secs(60);

fn seal(path: &Path) -> FileSeal {
    FileSeal::at(&path.join("seal.key"))
}

async fn open(path: &Path) -> (Store, Driver) {
    let mut options = Options::new(path.join("store"), Box::new(seal(path)));
    options.limits.snapshot_every = 20;
    Store::start(options, STARTS).await.unwrap()
}

async fn close(store: Store, driver: Driver) {
    store.close().await.unwrap();
    driver.run().await.unwrap();
}

fn setting(number: u64) -> SetSetting {
    SetSetting {
        key: format!("key {number}").into(),
        value: number.to_be_bytes().to_vec(),
        only_if_absent: false,
    }
}

fn value(store: &Store, number: u64) -> Option<Vec<u8>> {
    store.read(|state| state.setting(&format!("key {number}")).map(<[u8]>::to_vec))
}

/// A member that stored `count` settings and was stopped.
async fn member(path: &Path, count: u64) {
    let (store, driver) = open(path).await;
    for number in 0..count {
        store
            .propose(setting(number), Proposal::new(NOW))
            .await
            .unwrap();
    }
    close(store, driver).await;
}

fn recover(path: &Path) -> Result<Restored, RestoreError> {
    apply(Recovery {
        data_dir: &path.join("store"),
        seal: &seal(path),
        home: NewHome {
            peer_address: "h9:8083".into(),
            api_address: "h9:8081".into(),
            program_version: "test".into(),
        },
        now: NOW,
    })
}

fn planned(path: &Path) -> Plan {
    plan(&path.join("store"), &seal(path)).unwrap()
}

fn log(path: &Path) -> LogDb {
    let (guard, _closed) = OpenGuard::new();
    let dir = Arc::new(DataDir::lock(&path.join("store"), guard).ok().unwrap());
    let raft = dir.raft();
    LogDb::open(&raft, &Memory::new(dir)).unwrap()
}

/// Appends a setting to the log, as a leader's message does whose later ones never came.
fn append(path: &Path, index: u64, number: u64) {
    let envelope = Envelope {
        request_id: RequestId::random(),
        at: UnixTime::from_secs(NOW.as_secs() + 7),
        command: setting(number).into(),
    };
    let record = wire::LogRecord {
        position: Some(wire::LogPosition {
            term: 9,
            leader: 5,
            index,
        }),
        payload: Some(wire::log_record::Payload::Command(encode_envelope(
            &envelope,
        ))),
    };
    let log = log(path);
    log.append(&[(index, Frame::wrap(&record))]).unwrap();
    log.sync().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_acknowledged_is_taken_over_and_listed() {
    let temp = tempfile::tempdir().unwrap();
    member(temp.path(), 3).await;
    let known = planned(temp.path());
    assert_eq!(known.undecided, []);
    append(temp.path(), known.last_index + 1, 77);
    append(temp.path(), known.last_index + 2, 78);

    let plan = planned(temp.path());
    assert_eq!((plan.last_term, plan.last_index), (9, known.last_index + 2));
    assert_eq!(plan.undecided_count, 2);
    assert_eq!(plan.undecided[0].command, "SetSetting");
    assert_eq!(plan.undecided[0].index, known.last_index + 1);
    assert_eq!(
        plan.last_change_at,
        Some(UnixTime::from_secs(NOW.as_secs() + 7))
    );
    let restored = recover(temp.path()).unwrap();
    assert_eq!(restored.member_id, plan.last_index + 1);
    let (store, driver) = open(temp.path()).await;
    assert_eq!(value(&store, 78), Some(78_u64.to_be_bytes().to_vec()));
    assert_eq!(value(&store, 2), Some(2_u64.to_be_bytes().to_vec()));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_hole_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    member(temp.path(), 3).await;
    let last = planned(temp.path()).last_index;
    append(temp.path(), last + 2, 78);
    let error = recover(temp.path()).unwrap_err();
    assert!(matches!(error, RestoreError::LogGap { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_is_taken_from_the_snapshot_and_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let (store, driver) = open(temp.path()).await;
    let name = RecordName::new("x");
    let sealed = store.seal(&name, &SecretBytes::new(vec![1])).unwrap();
    close(store, driver).await;
    member(temp.path(), 60).await;
    let before = planned(temp.path());
    std::fs::remove_dir_all(temp.path().join("store/state")).unwrap();
    let after = planned(temp.path());
    assert_eq!(after.state_hash, before.state_hash);
    recover(temp.path()).unwrap();
    let (store, driver) = open(temp.path()).await;
    assert_eq!(value(&store, 59), Some(59_u64.to_be_bytes().to_vec()));
    assert_eq!(store.unseal(&name, &sealed).unwrap().expose(), [1]);
    close(store, driver).await;
}

#[test]
fn child_that_recovers() {
    let Some(path) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    recover(&path).unwrap();
}

fn crash(path: &Path, point: &str, pass: u64) {
    let status = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "recover::tests::child_that_recovers", "--quiet"])
        .env(DIR, path)
        .env(CRASH_AT, format!("{point}:{pass}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(6), "{point}:{pass} was not reached");
}

async fn check(point: &str, pass: u64, is_done: bool) {
    let temp = tempfile::tempdir().unwrap();
    member(temp.path(), 30).await;
    let old = planned(temp.path());
    crash(temp.path(), point, pass);
    let (store, driver) = open(temp.path()).await;
    let is_new = store.status().unwrap().cluster_id != old.cluster_id;
    assert_eq!(is_new, is_done, "{point}:{pass}");
    assert_eq!(value(&store, 29), Some(29_u64.to_be_bytes().to_vec()));
    store
        .propose(setting(30), Proposal::new(NOW))
        .await
        .unwrap();
    close(store, driver).await;
    let left = list(&temp.path().join("store")).unwrap();
    assert!(
        !left
            .iter()
            .any(|path| path.to_string_lossy().contains("new")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_dies_leaves_the_old_member_or_the_new_cluster() {
    check("replace.before_rename", 1, false).await;
    check("replace.after_rename", 1, true).await;
    for pass in 1..=3 {
        check("replace.between", pass, true).await;
        check("replace.moved", pass, true).await;
    }
}

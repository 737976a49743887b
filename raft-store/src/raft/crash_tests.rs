//! The process is killed at every step of append, apply, snapshot and install, and the power is
//! cut; every acknowledged write is found again, and the state is the one that the commands make.
//!
//! The child is this test binary itself, running one test that does nothing without the environment,
//! which says where it crashes. After the crash the parent cuts the write-ahead log back to what had been synced.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::clock::{SystemClock, UnixTime};
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;

use super::machine::{Machine, Model};
use super::{Member, StartError, StartOptions, WriteError};
use crate::codec::encode_envelope;
use crate::command::{CreateEntries, Envelope, RequestId};
use crate::peer::NoPeers;
use crate::state::State;
use crate::storage::crash::{CRASH_AT, SYNCED_FILE, lose_power};
use crate::storage::data_dir::DataDir;
use crate::storage::snapshot::Snapshot;
use crate::storage::{FilesClosed, Memory, OpenGuard};
use crate::store::Start;

const DIR: &str = "RAFT_STORE_CRASH_DIR";
const SOURCE: &str = "RAFT_STORE_CRASH_SOURCE";
const COMMANDS: u64 = 60;
const SNAPSHOT_EVERY: u64 = 16;

fn command(number: u64) -> Envelope {
    let id = |path: String| SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap();
    let entry = RegistrationEntry {
        id: EntryId::parse(&format!("entry-{number}")).unwrap(),
        spiffe_id: id(format!("workload/{number}")),
        parent_id: id(format!("host/{}", number % 3)),
        selectors: SelectorSet::from_iter([Selector::new("unix", "uid:1").unwrap()]),
        x509_svid_ttl_s: 60,
        jwt_svid_ttl_s: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: Box::default(),
        additional_attributes: None,
        created_at: UnixTime::from_secs(1_800_000_000),
    };
    Envelope {
        request_id: RequestId::from_bytes(u128::from(number).to_be_bytes()),
        at: UnixTime::from_secs(1_800_000_000),
        command: CreateEntries {
            entries: vec![entry],
        }
        .into(),
    }
}

/// The state after the first `count` commands.
fn oracle(count: u64) -> State {
    let mut state = State::default();
    for number in 0..count {
        state.apply(number, &command(number));
    }
    state
}

type Started = Result<(Arc<Member>, Arc<Model>), StartError>;

fn within() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

async fn start(path: &Path) -> (Arc<Member>, Arc<Model>, FilesClosed) {
    let (started, gone) = try_start(path).await;
    let (member, model) = started.unwrap();
    (member, model, gone)
}

async fn try_start(path: &Path) -> (Started, FilesClosed) {
    let (guard, gone) = OpenGuard::new();
    let dir = Arc::new(DataDir::lock(path, guard).ok().unwrap());
    let options = StartOptions {
        memory: Memory::new(Arc::clone(&dir)),
        dir,
        connector: Arc::new(NoPeers),
        snapshot_every: SNAPSHOT_EVERY,
        snapshot_every_len_bytes: u64::MAX,
        feed_capacity: 16,
        start: Start::Alone,
        runtime: tokio::runtime::Handle::current(),
        clock: Arc::new(SystemClock),
    };
    let started = Member::start(options).await;
    if let Ok((member, _)) = &started {
        member.ready(within()).await.unwrap();
    }
    (started, gone)
}

async fn stop(member: Arc<Member>, gone: FilesClosed) {
    member.shut_down().await.unwrap();
    drop(member);
    gone.wait().await;
}

async fn write(member: &Member, number: u64) {
    let command = command(number);
    let bytes = Bytes::from(encode_envelope(&command));
    member
        .propose(command.request_id, bytes, within())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes() {
    let Some(path) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let mut acknowledged = File::create(path.join("acknowledged")).unwrap();
    let (member, _, _) = start(&path.join("store")).await;
    for number in 0..COMMANDS {
        write(&member, number).await;
        acknowledged.write_all(b".").unwrap();
    }
    // Snapshots are built in the background: wait for those that are due.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while member.status().purged_index.is_none() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child_that_installs() {
    let Some(path) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let source = Snapshot::open(Path::new(&std::env::var_os(SOURCE).unwrap())).unwrap();
    let (mut machine, _) = open_machine(&path.join("store"), &source);
    let incoming = path.join("store/snapshots/incoming.tmp");
    copy(&source.path, &incoming);
    let snapshot = Snapshot {
        path: incoming,
        ..source
    };
    machine.install(snapshot).await.unwrap();
}

/// The machine of a member of the cluster that the snapshot is of.
fn open_machine(path: &Path, source: &Snapshot) -> (Machine, Arc<Model>) {
    let (guard, _) = OpenGuard::new();
    let dir = Arc::new(DataDir::lock(path, guard).ok().unwrap());
    Machine::open(
        Arc::clone(&dir),
        Memory::new(dir),
        source.manifest.cluster_id.clone(),
        16,
    )
    .unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Runs a child in `path` that crashes at the `pass`-th time it comes to `point`.
fn crash(child: &str, path: &Path, source: &Path, point: &str, pass: u64) {
    let status = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--quiet"])
        .env(DIR, path)
        .env(SOURCE, source)
        .env(CRASH_AT, format!("{point}:{pass}"))
        .env(SYNCED_FILE, path.join("synced"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(6), "{point}:{pass} was not reached");
    // A lone state machine has no log to lose.
    if path.join("store/raft").is_dir() {
        lose_power(&path.join("store/raft"), &path.join("synced"));
    }
}

async fn check_writes(point: &str, pass: u64) {
    let temp = tempfile::tempdir().unwrap();
    let child = "raft::crash_tests::child_that_writes";
    crash(child, temp.path(), Path::new(""), point, pass);
    let acknowledged = std::fs::read(temp.path().join("acknowledged")).unwrap();
    let acknowledged = u64::try_from(acknowledged.len()).unwrap();

    let (member, model, gone) = start(&temp.path().join("store")).await;
    let found = u64::try_from(model.state.read().entry_count()).unwrap();
    assert!(
        (acknowledged..=acknowledged + 1).contains(&found),
        "{point}:{pass}: {acknowledged} acknowledged, {found} found"
    );
    let hash = oracle(found).state_hash();
    assert_eq!(model.state.read().state_hash(), hash, "{point}:{pass}");
    // A client that got no answer asks again, and that has one effect.
    for number in found.saturating_sub(1)..COMMANDS {
        write(&member, number).await;
    }
    let hash = oracle(COMMANDS).state_hash();
    assert_eq!(model.state.read().state_hash(), hash, "{point}:{pass}");
    stop(member, gone).await;
}

macro_rules! crash_in_writes {
    ($($name:ident: $point:literal at $($pass:literal),*;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $(check_writes($point, $pass).await;)*
        }
    )*};
}

crash_in_writes! {
    crash_before_a_vote_is_written: "vote.before_write" at 1;
    crash_before_an_append_is_written: "append.before_write" at 2, 30;
    crash_after_an_append_is_written: "append.after_write" at 2, 31;
    crash_before_the_log_is_synced: "flush.before_sync" at 5, 33;
    crash_after_the_log_is_synced: "flush.after_sync" at 5, 34;
    crash_before_an_apply_is_written: "apply.before_write" at 3, 40;
    crash_after_an_apply_is_written: "apply.after_write" at 3, 41;
    crash_before_a_purge_is_written: "purge.before_write" at 1;
    crash_after_a_purge_is_written: "purge.after_write" at 1;
    crash_before_a_checkpoint: "snapshot.before_checkpoint" at 1, 2;
    crash_after_a_checkpoint: "snapshot.after_checkpoint" at 1, 2;
    crash_before_a_manifest: "snapshot.before_manifest" at 1, 2;
    crash_before_a_snapshot_has_its_name: "snapshot.before_rename" at 1, 2;
    crash_after_a_snapshot_has_its_name: "snapshot.after_rename" at 1, 2;
}

/// A finished snapshot of the first 20 commands.
async fn source(path: &Path) -> PathBuf {
    let (member, _, gone) = start(path).await;
    for number in 0..20 {
        write(&member, number).await;
    }
    while member.status().snapshot_index.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop(member, gone).await;
    Snapshot::newest(&path.join("snapshots"))
        .unwrap()
        .unwrap()
        .path
}

async fn check_install(point: &str) {
    let temp = tempfile::tempdir().unwrap();
    let source = source(&temp.path().join("source")).await;
    let child = "raft::crash_tests::child_that_installs";
    crash(child, temp.path(), &source, point, 1);

    let wanted = Snapshot::open(&source).unwrap();
    let (mut machine, model) = open_machine(&temp.path().join("store"), &wanted);
    let hash = model.state.read().state_hash();
    let is_old = hash == State::default().state_hash();
    let is_new = hash.as_bytes().as_slice() == wanted.manifest.state_hash;
    assert!(
        is_old || is_new,
        "{point}: neither the old state nor the new"
    );

    let incoming = temp.path().join("store/snapshots/again.tmp");
    copy(&source, &incoming);
    let snapshot = Snapshot {
        path: incoming,
        manifest: wanted.manifest.clone(),
    };
    machine.install(snapshot).await.unwrap();
    let hash = model.state.read().state_hash();
    assert_eq!(hash.as_bytes().as_slice(), wanted.manifest.state_hash);
}

macro_rules! crash_in_install {
    ($($name:ident: $point:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check_install($point).await;
        }
    )*};
}

crash_in_install! {
    crash_before_a_snapshot_is_unpacked: "install.before_unpack";
    crash_after_a_snapshot_is_unpacked: "install.after_unpack";
    crash_before_the_state_is_switched: "install.before_switch";
    crash_after_the_state_is_switched: "install.after_switch";
    crash_after_an_install: "install.done";
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_newer_version_stops_the_member_and_is_never_skipped() {
    let temp = tempfile::tempdir().unwrap();
    let (member, model, gone) = start(temp.path()).await;
    write(&member, 0).await;
    let mut newer = encode_envelope(&command(1));
    newer[0] += 1;
    let id = command(1).request_id;
    let refused = member.propose(id, Bytes::from(newer), within()).await;
    assert!(
        matches!(refused, Err(WriteError::Stopped(_))),
        "{refused:?}"
    );
    drop(member.shut_down().await);
    drop((member, model));
    gone.wait().await;

    let (error, _) = try_start(temp.path()).await;
    assert!(matches!(error, Err(StartError::Newer(_))));
}

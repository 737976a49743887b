//! The storage against the library's own conformance suite, and snapshots between stores.

use std::sync::Arc;

use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::machine::Machine;
use super::*;
use crate::storage::data_dir::DataDir;
use crate::storage::log_db::LogDb;
use crate::storage::{Memory, OpenGuard};

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<Types>> {
        let temp = tempfile::tempdir().unwrap();
        let (log, machine) = stores(temp.path());
        Ok((temp, log, machine))
    }
}

fn stores(path: &std::path::Path) -> (LogStore, Machine) {
    let (guard, _gone) = OpenGuard::new();
    let dir = Arc::new(DataDir::lock(path, guard).ok().unwrap());
    let memory = Memory::new(Arc::clone(&dir));
    let db = LogDb::open(&dir.raft(), &memory).unwrap();
    let log = LogStore::open(db.into()).unwrap();
    let (machine, _) = Machine::open(dir, memory, vec![7; 16], 16).unwrap();
    (log, machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_passes_the_librarys_conformance_suite() {
    Suite::test_all(Builder).await.unwrap();
}

fn write_rows(machine: &Machine, model: &Model) {
    use crate::command::{Envelope, RequestId, SetSetting};
    for number in 0..40_u8 {
        let envelope = Envelope {
            request_id: RequestId::from_bytes([number; 16]),
            at: identity::clock::UnixTime::from_secs(1),
            command: SetSetting {
                key: format!("key {number}").into(),
                value: vec![number; 40_000],
                only_if_absent: false,
            }
            .into(),
        };
        let applied = model.state.write().apply(1, &envelope);
        machine.write_for_tests(applied.rows).unwrap();
    }
}

fn machine(path: &std::path::Path) -> (Machine, Arc<Model>) {
    let (guard, _gone) = OpenGuard::new();
    guarded_machine(path, guard)
}

fn guarded_machine(path: &std::path::Path, guard: OpenGuard) -> (Machine, Arc<Model>) {
    let dir = Arc::new(DataDir::lock(path, guard).ok().unwrap());
    Machine::open(Arc::clone(&dir), Memory::new(dir), vec![7; 16], 16).unwrap()
}

async fn snapshot(machine: &mut Machine) -> crate::storage::snapshot::Snapshot {
    use openraft::storage::{RaftSnapshotBuilder as _, RaftStateMachine as _};
    let mut builder = machine.get_snapshot_builder().await;
    builder.build_snapshot().await.unwrap().snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_sent_in_chunks_makes_an_empty_store_equal() {
    use crate::codec::wire::snapshot_chunk::Part;
    use crate::storage::transfer::{Receiver, Sender};

    let temp = tempfile::tempdir().unwrap();
    let (mut full, full_model) = machine(&temp.path().join("full"));
    write_rows(&full, &full_model);
    let mut chunks = Sender::new(snapshot(&mut full).await);

    let (mut empty, empty_model) = machine(&temp.path().join("empty"));
    let incoming = temp.path().join("empty/snapshots/incoming.tmp");
    let mut receiver = match chunks.next().unwrap().unwrap().part.unwrap() {
        Part::Manifest(manifest) => Receiver::begin(&incoming, manifest).unwrap(),
        Part::Data(_) => panic!("the manifest comes first"),
    };
    let mut count = 0;
    while let Some(chunk) = chunks.next().unwrap() {
        let Some(Part::Data(data)) = chunk.part else {
            panic!("one manifest only");
        };
        receiver.accept(&data).unwrap();
        // The same bytes again are out of order.
        assert!(receiver.accept(&data).is_err());
        count += 1;
    }
    assert!(count > 3, "{count} chunks");
    empty.install(receiver.finish().unwrap()).await.unwrap();
    let hash = full_model.state.read().state_hash();
    assert_eq!(empty_model.state.read().state_hash(), hash);
    assert_eq!(
        empty_model.state.read().setting("key 7"),
        Some([7; 40_000].as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_not_free_before_a_snapshot_that_nobody_waits_for_is_complete() {
    use futures_util::FutureExt as _;
    use openraft::storage::{RaftSnapshotBuilder as _, RaftStateMachine as _};

    let temp = tempfile::tempdir().unwrap();
    let (guard, gone) = OpenGuard::new();
    let (mut machine, model) = guarded_machine(temp.path(), guard);
    write_rows(&machine, &model);
    let mut builder = machine.get_snapshot_builder().await;
    drop(machine);
    assert!(builder.build_snapshot().now_or_never().is_none());
    drop(builder);
    gone.wait().await;
    let snapshots = crate::storage::data_dir::list(&temp.path().join("snapshots")).unwrap();
    let [complete] = snapshots.as_slice() else {
        panic!("{snapshots:?}");
    };
    assert_eq!(complete.extension(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_not_installed() {
    use crate::storage::snapshot::Snapshot;

    let temp = tempfile::tempdir().unwrap();
    let (mut full, full_model) = machine(&temp.path().join("full"));
    write_rows(&full, &full_model);
    let good = snapshot(&mut full).await;

    let table = good
        .manifest
        .files
        .iter()
        .find(|file| file.name.ends_with(".sst"));
    let table = good.path.join(&table.unwrap().name);
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&table).unwrap();
    std::fs::write(&table, bytes).unwrap();

    let (mut empty, empty_model) = machine(&temp.path().join("empty"));
    let before = empty_model.state.read().state_hash();
    let refused = empty.install(good.clone()).await;
    assert!(refused.unwrap_err().to_string().ends_with("is corrupt"));
    assert_eq!(empty_model.state.read().state_hash(), before);

    let manifest = good.path.join("snapshot.manifest");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[9] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    assert!(Snapshot::open(&good.path).is_err());
}

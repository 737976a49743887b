//! The storage against the library's own conformance suite, and snapshots between stores.

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
    let dir = DataDir::lock(path, guard.clone()).ok().unwrap();
    let memory = Memory::new(guard);
    let db = LogDb::open(&dir.raft(), &memory).unwrap();
    let log = LogStore::open(db.into()).unwrap();
    let (machine, _) = Machine::open(dir.into(), memory, vec![7; 16], 16).unwrap();
    (log, machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_passes_the_librarys_conformance_suite() {
    Suite::test_all(Builder).await.unwrap();
}

//! Owns what an operator asks of the cluster through one of its members: how it is, who leads, who goes, new seals,
//! backups. How members come in is [`peers`](crate::peers)' matter.
//!
//! What must hold: nothing here waits longer than an operator would, and a member that has left stops by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::clock::Clock;
use raft_store::backup::{BackupError, BackupReader};
use raft_store::{RotateError, Rotation, Store};

/// The cluster in the hands of an operator.
#[derive(Clone, Debug)]
pub struct ClusterControl {
    store: Store,
    clock: Arc<dyn Clock>,
    seal_key_path: PathBuf,
}

impl ClusterControl {
    /// Control through this member.
    pub fn new(store: Store, clock: Arc<dyn Clock>, seal_key_path: PathBuf) -> Self {
        Self {
            store,
            clock,
            seal_key_path,
        }
    }

    /// Where the key lies that backups can be opened with.
    pub fn seal_key_path(&self) -> &Path {
        &self.seal_key_path
    }

    /// Seals every secret with a new data key.
    ///
    /// # Errors
    ///
    /// See [`RotateError`].
    pub async fn rotate_seal(&self) -> Result<Rotation, RotateError> {
        self.store.rotate_data_key(self.clock.now()).await
    }

    /// A backup of now.
    ///
    /// # Errors
    ///
    /// See [`BackupError`].
    pub async fn backup(&self) -> Result<BackupReader, BackupError> {
        self.store.backup(self.clock.now()).await
    }
}

/// A cluster's id as it is shown: 32 hex digits.
pub fn cluster_id_text(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

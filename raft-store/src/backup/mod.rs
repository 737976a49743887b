//! Backups: the whole state in one encrypted file, and the way back.
//!
//! A backup is made online and is consistent at one revision. It opens only with the seal key that
//! the cluster had, and says for every byte of it whether it is as it was written. Restored, it is
//! a new cluster of one: see [`BeginEpoch`](crate::BeginEpoch) for what it forgets.

mod error;
mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod making;
mod restoring;

use identity::clock::UnixTime;

pub use self::error::{BackupError, RestoreError};
pub use self::making::BackupReader;
pub(crate) use self::making::backup;
pub use self::restoring::{Restore, restore, verify};
pub use crate::storage::founding::{NewHome, Restored};

use crate::codec::wire;
use crate::record::Revision;
use crate::state::StateHash;

/// What a backup says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The cluster that it is of.
    pub cluster_id: [u8; 16],
    /// Store version.
    pub revision: Revision,
    /// Hash of the state at that version.
    pub state_hash: StateHash,
    /// Newest command format that was applied to the state.
    pub format: u32,
    /// Number of rows.
    pub rows: u64,
    /// Number of registration entries among them.
    pub entries: u64,
    /// Number of agents among them.
    pub agents: u64,
    /// SHA-256 over the rows.
    pub sha256: [u8; 32],
    /// When it was made.
    pub made_at: UnixTime,
}

impl Manifest {
    fn from_message(manifest: &wire::BackupManifest) -> Option<Self> {
        Some(Self {
            cluster_id: manifest.cluster_id.as_slice().try_into().ok()?,
            revision: Revision::new(manifest.revision),
            state_hash: StateHash::from_bytes(manifest.state_hash.as_slice().try_into().ok()?),
            format: manifest.format_version,
            rows: manifest.rows,
            entries: 0,
            agents: 0,
            sha256: manifest.sha256.as_slice().try_into().ok()?,
            made_at: UnixTime::from_secs(manifest.made_at),
        })
    }
}

//! What can go wrong, by what a caller can do about it.

use std::path::PathBuf;

use super::options::Identity;
use crate::raft::Stopped;
use crate::seal::SealProviderError;
use crate::storage::StorageError;

/// Why a proposal has no outcome to report.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was appended: no leader was found before the deadline.
    #[error("no leader before the deadline")]
    NoLeader,
    /// The deadline passed. The command may still take effect, or have taken
    /// it: retry with the same request id.
    #[error("no outcome before the deadline")]
    Undecided,
    /// Refused before appending: too many proposals are on their way.
    #[error("too many proposals at once")]
    Busy,
    /// Refused before appending: the command is too large.
    #[error("a command of {len_bytes} bytes is larger than {limit}")]
    TooLarge {
        /// Its size.
        len_bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Refused before appending: not every member understands the command.
    #[error(
        "commands of format {format} are not in use yet, only up to {cluster_version}: upgrade every member first"
    )]
    NotYet {
        /// What the command needs.
        format: u32,
        /// What the cluster uses.
        cluster_version: u32,
    },
    /// The request id had been used for another kind of command; nothing changed.
    #[error("request id used for another command")]
    RequestReused,
    /// This member's store has stopped and will not come back without a restart. The fate of the
    /// command is open.
    #[error("store stopped")]
    Stopped(#[source] StoppedError),
}

/// Why a read could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A quorum did not answer in time.
    #[error("no quorum before the deadline")]
    NoQuorum,
    /// This member's store has stopped.
    #[error("store stopped")]
    Stopped(#[source] StoppedError),
}

/// The store has stopped and will not come back without a restart.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct StoppedError {
    reason: String,
}

impl StoppedError {
    pub(super) fn closed() -> Self {
        Self {
            reason: "store closed".to_owned(),
        }
    }
}

impl From<Stopped> for StoppedError {
    fn from(stopped: Stopped) -> Self {
        Self {
            reason: stopped.reason,
        }
    }
}

/// Why closing was not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The store had stopped by itself.
    #[error("store stopped before it was closed")]
    Stopped(#[from] StoppedError),
}

/// Why a store could not be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the data directory.
    #[error("data directory {} is in use by another process; stop that one first, or choose another data_dir", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The files are damaged.
    #[error("store in {} is corrupt; restore it from a backup, or if the damage is below state/, remove that directory: it is rebuilt from the newest snapshot and the log", .path.display())]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What was found.
        #[source]
        source: StorageError,
    },
    /// There is a state, but the log that led to it is gone in whole or in part.
    #[error("store in {} has a state, but its log is missing or cut short; acknowledged changes may be lost. Restore {} from a backup, or start with an empty data directory", .path.display(), .path.join("raft").display())]
    LogMissing {
        /// The directory.
        path: PathBuf,
    },
    /// There is a log, but neither the state it starts from nor a snapshot.
    #[error("store in {} has a log, but neither the state that it starts from nor a snapshot of it; restore the data directory from a backup", .path.display())]
    StateMissing {
        /// The directory.
        path: PathBuf,
    },
    /// A part of the files is another cluster's.
    #[error("store in {} has parts of two clusters; put back the part that belongs here, or restore the directory from a backup", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Which part.
        #[source]
        source: StorageError,
    },
    /// A newer program wrote this store.
    #[error("store in {} was written by a newer version; start that version, or restore a backup made before", .path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// What was found.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full; make room and start again, nothing is lost", .path.display())]
    DiskFull {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error("store in {} cannot be opened", .path.display())]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: StorageError,
    },
    /// The directory belongs to another member than the one that is to start.
    #[error("store in {} is member {} of cluster {}, not the member that was admitted; choose an empty data_dir, or remove what is in this one if that member was removed from its cluster", .path.display(), .found.member_id, uuid::Uuid::from_bytes(.found.cluster_id).simple())]
    OtherMember {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: Identity,
    },
    /// The member was removed from its cluster.
    #[error("the member of {} was removed from its cluster; to take part again, empty the directory and join with a new invitation", .path.display())]
    Removed {
        /// The directory.
        path: PathBuf,
    },
    /// The data is of a cluster of several members, and none of them could be reached.
    #[error("store in {} belongs to a cluster of several members; start it with the cluster block that it was made with", .path.display())]
    NotAlone {
        /// The directory.
        path: PathBuf,
    },
    /// The data is a copy: the member that it belongs to runs somewhere else.
    #[error(
        "store in {} is a copy of that of a member that runs at {address:?}: two processes must never be one member; stop that one to move it here, or empty the directory and join as a new member", .path.display()
    )]
    RunsElsewhere {
        /// The directory.
        path: PathBuf,
        /// Where the member runs.
        address: Box<str>,
    },
    /// Another member has this member's address.
    #[error(
        "member {by} has the peer address {address:?} already; remove that member first if it is gone for good, or choose another address"
    )]
    AddressTaken {
        /// The address.
        address: Box<str>,
        /// Whose it is.
        by: u64,
    },
    /// The seal key is missing, wrong or unusable.
    #[error("the stored keys cannot be opened")]
    Seal(#[source] SealProviderError),
    /// The cluster did not come to a leader in time.
    #[error("no leader was found in time")]
    NoLeader,
    /// Consensus stopped while it started.
    #[error("store in {} stopped while it started", .path.display())]
    Stopped {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoppedError,
    },
    /// The first data key could not be stored.
    #[error("the first data key could not be stored")]
    FirstKey(#[source] ProposeError),
}

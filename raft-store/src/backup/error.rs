//! What can go wrong with a backup, a restore and a recovery, by what an operator can do about it.

use std::path::PathBuf;

use crate::seal::{SealError, SealProviderError};
use crate::storage::StorageError;
use crate::storage::data_dir::LockError;
use crate::store::{ReadError, StoppedError};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It could not be made sure that this member knows everything.
    #[error(
        "this member cannot make sure that it knows every change, so a backup might lack some; ask again when a quorum is connected"
    )]
    NotCurrent(#[source] ReadError),
    /// The backup's key could not be wrapped.
    #[error("the backup's key cannot be wrapped")]
    Seal(#[source] SealProviderError),
    /// The state could not be read.
    #[error("the state cannot be read")]
    Storage(#[from] StorageError),
    /// The random source or the cipher failed.
    #[error("cryptography failed")]
    Cryptography,
    /// The reader took nothing for too long.
    #[error("nobody took the backup's next part in time")]
    Abandoned,
    /// The store has stopped.
    #[error("store stopped")]
    Stopped(#[from] StoppedError),
}

/// Why a backup was not verified or restored, or a member not recovered. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is something else.
    #[error("{} is no backup of this program", .path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// A newer program made it.
    #[error(
        "format {found} is newer than {known}, the newest known here: use the program that made it, or a later one"
    )]
    Newer {
        /// What it is of.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// It is not what was written.
    #[error("backup {} is damaged: {what}; take another one", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// The rows in it are no state.
    #[error("backup {} holds no state that adds up; take another one", .path.display())]
    NoState {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StorageError,
    },
    /// The seal key is missing, or another one.
    #[error("it cannot be opened without the seal key that the cluster had")]
    Seal(#[source] SealProviderError),
    /// A data key in it does not open.
    #[error("the keys in it cannot be opened")]
    Keys(#[source] SealError),
    /// A store is there already.
    #[error("{} is not empty; a backup is restored into an empty directory, so that it never replaces what may be newer", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There is no store.
    #[error("{} holds no store that could be recovered", .path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the data directory.
    #[error("data directory {} is in use by another process; stop that one first", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The log does not lead on from the state.
    #[error("the log in {} does not go on where the state and its snapshots end; recover from another survivor, or restore a backup", .path.display())]
    LogGap {
        /// The directory.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A database could not be read or written.
    #[error("the store's files cannot be read or written")]
    Storage(#[from] StorageError),
}

impl RestoreError {
    pub(crate) fn locking(path: &std::path::Path) -> impl FnOnce(LockError) -> Self {
        let path = path.to_owned();
        move |error| match error {
            LockError::Taken => Self::Locked { path },
            LockError::Storage(error) => Self::Storage(error),
        }
    }
}

//! What stands on disk: the log, the state, snapshots, and who may touch them.
//!
//! Knows bytes and positions, neither commands nor the consensus library.

pub(crate) mod crash;
pub(crate) mod data_dir;
pub(crate) mod flusher;
pub(crate) mod founding;
pub(crate) mod log_db;
mod open_files;
mod options;
pub(crate) mod snapshot;
pub(crate) mod state_db;
pub(crate) mod transfer;

pub use self::open_files::all_closed_within;
pub(crate) use self::open_files::{FilesClosed, OpenGuard};
pub(crate) use self::options::Memory;

/// Why the disk did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The storage engine refused.
    #[error("cannot {doing}")]
    Engine {
        /// What was asked.
        doing: &'static str,
        /// What the engine says.
        #[source]
        source: rocksdb::Error,
    },
    /// A file or directory could not be read or written.
    #[error("cannot {doing} {path}")]
    File {
        /// What was asked.
        doing: &'static str,
        /// Of which file.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// What was read is not what was written.
    #[error("{what} is corrupt")]
    Corrupt {
        /// What.
        what: String,
    },
    /// What was read belongs to another cluster.
    #[error("{what} belongs to another cluster")]
    Foreign {
        /// What.
        what: &'static str,
    },
    /// What was read cannot be decoded.
    #[error("{what} cannot be read")]
    Unreadable {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: crate::codec::DecodeError,
    },
    /// The rows are no state.
    #[error("the state does not add up")]
    Load(#[source] crate::state::LoadError),
}

impl StorageError {
    pub(crate) fn engine(doing: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |source| Self::Engine { doing, source }
    }

    pub(crate) fn file(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn unreadable(what: &'static str) -> impl FnOnce(crate::codec::DecodeError) -> Self {
        move |source| Self::Unreadable { what, source }
    }
}

impl From<StorageError> for std::io::Error {
    fn from(error: StorageError) -> Self {
        Self::other(error)
    }
}

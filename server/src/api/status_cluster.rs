//! Owns the wire statuses of the cluster service; a part of [`status`](super::status).

use raft_store::RotateError;
use raft_store::backup::BackupError;
use tonic::{Code, Status};

use super::status::{failed, log_cause, store_failure};

/// The answer to a rotation that stopped on its way.
pub(super) fn not_rotated(error: &RotateError) -> Status {
    const WHAT: &str = "failed to rotate the data key";
    log_cause(WHAT, error);
    match error {
        RotateError::Provider(cause) => failed(Code::FailedPrecondition, WHAT, cause),
        RotateError::Seal { source, .. } => {
            failed(Code::Internal, WHAT, format_args!("{error}: {source}"))
        }
        RotateError::Store(cause) => store_failure(WHAT, cause),
        RotateError::Overtaken => failed(Code::Aborted, WHAT, error),
    }
}

/// The answer to a backup that there is not, or that ends too early.
pub(super) fn no_backup(error: &BackupError) -> Status {
    const WHAT: &str = "failed to back up";
    log_cause(WHAT, error);
    match error {
        BackupError::NotCurrent(_) => failed(Code::Unavailable, WHAT, error),
        BackupError::Seal(cause) => failed(Code::FailedPrecondition, WHAT, cause),
        BackupError::Storage(_) | BackupError::Cryptography => failed(Code::Internal, WHAT, error),
        BackupError::Abandoned => failed(Code::DeadlineExceeded, WHAT, error),
        BackupError::Stopped(_) => failed(Code::Unavailable, WHAT, error),
    }
}

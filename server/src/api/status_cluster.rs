//! Owns the wire statuses of the cluster service; a part of [`status`](super::status).

use daemon::supervisor::chain;
use raft_store::backup::BackupError;
use raft_store::{MembershipError, RotateError, SealError, SealProviderError, StoppedError};
use tonic::{Code, Status};

use super::status::{failed, log_cause, store_failure};
use crate::cluster::InviteError;
use crate::peers::InvitationError;

/// The answer of a member whose store has stopped.
pub(super) fn no_status(error: &StoppedError) -> Status {
    failed(Code::Unavailable, "failed to tell the status", error)
}

/// The answer when there is no invitation.
pub(super) fn no_invite(error: &InviteError) -> Status {
    const WHAT: &str = "failed to make an invitation";
    log_cause(WHAT, error);
    let error = match error {
        InviteError::Alone => return failed(Code::FailedPrecondition, WHAT, error),
        InviteError::Invitation(error) => error,
    };
    match error {
        InvitationError::Ttl => failed(Code::InvalidArgument, WHAT, error),
        InvitationError::TooMany => failed(Code::ResourceExhausted, WHAT, error),
        InvitationError::NoAuthority | InvitationError::Stopped => {
            failed(Code::Unavailable, WHAT, error)
        }
        InvitationError::Overtaken => failed(Code::Aborted, WHAT, error),
        InvitationError::Store(cause) => store_failure(WHAT, cause),
        InvitationError::SealKey(cause)
        | InvitationError::Seal(SealError::Provider { source: cause, .. }) => {
            without_seal_key(WHAT, cause)
        }
        InvitationError::Authority(_) | InvitationError::Secret(_) | InvitationError::Seal(_) => {
            failed(Code::Internal, WHAT, error)
        }
    }
}

/// The answer when a member stays.
pub(super) fn not_removed(error: &MembershipError) -> Status {
    membership("failed to remove the member", error)
}

/// The answer when this member stays.
pub(super) fn not_left(error: &MembershipError) -> Status {
    membership("failed to leave", error)
}

/// The answer when the lead was not handed over.
pub(super) fn not_transferred(error: &MembershipError) -> Status {
    membership("failed to hand over the lead", error)
}

fn membership(what: &str, error: &MembershipError) -> Status {
    match error {
        MembershipError::NotFound { .. } => failed(Code::NotFound, what, error),
        MembershipError::WouldLoseQuorum { .. }
        | MembershipError::LastMember
        | MembershipError::NotAble => failed(Code::FailedPrecondition, what, error),
        MembershipError::Unfinished { .. } => failed(Code::DeadlineExceeded, what, error),
        MembershipError::NoLeader => failed(
            Code::Unavailable,
            what,
            "no member leads now; cluster status tells who can be reached",
        ),
        MembershipError::Propose(cause) => store_failure(what, cause),
        MembershipError::Stopped(cause) => failed(Code::Unavailable, what, cause),
    }
}

/// The answer to a rotation that stopped on its way.
pub(super) fn not_rotated(error: &RotateError) -> Status {
    const WHAT: &str = "failed to rotate the data key";
    log_cause(WHAT, error);
    match error {
        RotateError::Provider(cause)
        | RotateError::Seal {
            source: SealError::Provider { source: cause, .. },
            ..
        } => without_seal_key(WHAT, cause),
        RotateError::Ring(SealError::Provider { .. }) => {
            failed(Code::FailedPrecondition, WHAT, chain(error))
        }
        RotateError::Ring(_) => failed(Code::Internal, WHAT, chain(error)),
        RotateError::Seal { source, .. } => {
            failed(Code::Internal, WHAT, format_args!("{error}: {source}"))
        }
        RotateError::Store(cause) => store_failure(WHAT, cause),
        RotateError::Overtaken => failed(Code::Aborted, WHAT, error),
    }
}

/// The seal key is a file of this host: what is wrong with it is for the operator to put right.
fn without_seal_key(what: &str, error: &SealProviderError) -> Status {
    failed(Code::FailedPrecondition, what, chain(error))
}

/// The answer to a backup that there is not, or that ends too early.
pub(super) fn no_backup(error: &BackupError) -> Status {
    const WHAT: &str = "failed to back up";
    log_cause(WHAT, error);
    match error {
        BackupError::NotCurrent(_) => failed(Code::Unavailable, WHAT, error),
        BackupError::Seal(cause) => without_seal_key(WHAT, cause),
        BackupError::Storage(_) | BackupError::Cryptography => failed(Code::Internal, WHAT, error),
        BackupError::Abandoned => failed(Code::DeadlineExceeded, WHAT, error),
        BackupError::Stopped(_) => failed(Code::Unavailable, WHAT, error),
    }
}

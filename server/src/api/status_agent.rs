//! Owns the wire statuses of attestation and of agents; a part of [`status`](super::status).

use proto::convert::ConvertError;
use proto::spire::api::types::permission_denied_details::Reason;
use tonic::{Code, Status};

use super::status::{failed, log_cause, permission_denied_because, read_failure, store_failure};
use super::status_svid::{csr_problem, invalid, not_signed};
use crate::agents::JoinTokenError;
use crate::attest::{AttestError, RenewError};

/// The answer about an agent that there is not.
pub(super) fn not_found() -> Status {
    Status::not_found("agent not found")
}

/// The answer to a filter that cannot be used.
pub(super) fn unusable_filter(what: &str, error: &ConvertError) -> Status {
    if matches!(error, ConvertError::EmptySelectorFilter) {
        return failed(Code::Internal, what, "cannot list by empty selectors set");
    }
    invalid("failed to parse selectors", error)
}

/// The answer to an agent that was not admitted.
pub(super) fn not_attested(error: &AttestError) -> Status {
    const WHAT: &str = "failed to attest";
    match error {
        AttestError::UnknownType(_) => failed(
            Code::FailedPrecondition,
            "error getting node attestor",
            error,
        ),
        AttestError::Attestor { cause, .. } if cause.is_of_the_conversation => {
            Status::new(cause.code, cause.text.as_str())
        }
        AttestError::Attestor { cause, .. } => Status::new(cause.code, error.to_string()),
        AttestError::ServerId => Status::internal(error.to_string()),
        AttestError::NotAnAgentId(_) => failed(Code::Internal, "invalid agent ID", error),
        AttestError::Selector(cause) => {
            log_cause(WHAT, cause);
            failed(Code::Internal, WHAT, error)
        }
        AttestError::TokenNotRedeemable => invalid(WHAT, error),
        AttestError::TokenExpired => Status::invalid_argument(error.to_string()),
        AttestError::Banned => failed(Code::PermissionDenied, WHAT, error),
        AttestError::Csr(cause) => invalid("failed to parse CSR", csr_problem(cause)),
        AttestError::Sign(cause) => not_signed(NOT_SIGNED, cause),
        AttestError::Unconfirmed(cause) => read_failure(WHAT, cause),
        AttestError::Store(cause) => store_failure(WHAT, cause),
    }
}

/// The answer to an agent that got no new certificate.
pub(super) fn not_renewed(error: &RenewError) -> Status {
    match error {
        RenewError::NotFound => not_found(),
        RenewError::Banned => permission_denied_because(
            "failed to update agent: agent is banned",
            Reason::AgentBanned,
        ),
        RenewError::Csr(cause) => invalid("failed to parse CSR", csr_problem(cause)),
        RenewError::Sign(cause) => not_signed(NOT_SIGNED, cause),
        RenewError::Store(cause) => store_failure("failed to update agent", cause),
    }
}

/// The answer to an agent that has to attest again instead of renewing.
pub(super) fn must_reattest() -> Status {
    permission_denied_because(
        "agent must reattest instead of renew",
        Reason::AgentMustReattest,
    )
}

/// The answer to a version that is too long.
pub(super) fn version_too_long(limit: usize) -> Status {
    invalid(
        "invalid agent version",
        format_args!("longer than {limit} bytes"),
    )
}

/// The answer to a join token that was not made.
pub(super) fn no_join_token(error: &JoinTokenError) -> Status {
    const WHAT: &str = "failed to create token";
    match error {
        JoinTokenError::Unusable(cause) => invalid("invalid token", cause),
        JoinTokenError::Exists | JoinTokenError::Alias => failed(Code::AlreadyExists, WHAT, error),
        JoinTokenError::Selector(cause) => {
            log_cause(WHAT, cause);
            failed(Code::Internal, WHAT, error)
        }
        JoinTokenError::Store(cause) => store_failure(WHAT, cause),
    }
}

const NOT_SIGNED: &str = "failed to sign X509 SVID";

//! Owns the wire statuses of signing; a part of [`status`](super::status).

use std::fmt::Display;

use identity::x509::X509Error;
use proto::spire::api::types;
use tonic::{Code, Status};

use super::status::{self, failed, log_cause, read_failure};
use crate::ca::SignError;
use crate::svids::IssueError;

/// The answer to a request of which a part is wrong.
pub(super) fn invalid(what: &str, cause: impl Display) -> Status {
    failed(Code::InvalidArgument, what, cause)
}

/// The answer to every JWT call of a server that issues none.
pub(super) fn jwt_disabled() -> Status {
    Status::unimplemented("JWT functionality is disabled")
}

/// The answer to every WIT call: what SPIRE says with the feature switched off.
pub(super) fn wit_disabled() -> Status {
    Status::unimplemented("WIT functionality is disabled")
}

/// The status of an item of a batch of X.509-SVIDs.
pub(super) fn item(error: &IssueError) -> types::Status {
    let status = x509_status(error, "invalid CSR signature");
    status::item(status.code(), status.message())
}

/// The answer to a batch about which nothing can be said.
pub(super) fn not_issued(error: &IssueError) -> Status {
    x509_status(error, "invalid CSR signature")
}

/// The answer to an X.509-SVID that was not minted.
pub(super) fn not_minted(error: &IssueError) -> Status {
    x509_status(error, "failed to verify CSR signature")
}

/// The answer to a downstream server that got no CA.
pub(super) fn no_downstream_authority(error: &IssueError) -> Status {
    x509_status(error, "invalid CSR signature")
}

/// The answer to a JWT-SVID that was not issued.
pub(super) fn no_jwt_svid(error: &IssueError) -> Status {
    const WHAT: &str = "failed to sign JWT-SVID";
    match error {
        IssueError::Sign(SignError::EmptyAudience) => {
            failed(Code::Internal, WHAT, SignError::EmptyAudience)
        }
        IssueError::Sign(cause) => not_signed(WHAT, cause),
        other => x509_status(other, "invalid CSR signature"),
    }
}

/// What is wrong with a signing request, without naming it again.
pub(super) fn csr_problem(error: &X509Error) -> String {
    match error {
        X509Error::Malformed { problem, .. } => problem.clone(),
        other => other.to_string(),
    }
}

fn x509_status(error: &IssueError, unverified: &str) -> Status {
    const URI_NAME: &str = "CSR URI SAN is invalid";
    match error {
        IssueError::NotAuthorized => Status::not_found(error.to_string()),
        IssueError::NoAudience => Status::invalid_argument(error.to_string()),
        IssueError::MalformedCsr(cause) => invalid("malformed CSR", csr_problem(cause)),
        IssueError::CsrSignature(cause) => invalid(unverified, cause),
        IssueError::NoUriName => Status::invalid_argument("CSR URI SAN is required"),
        IssueError::SeveralUriNames => Status::invalid_argument("only one URI SAN is expected"),
        IssueError::UriName(cause) => invalid(URI_NAME, cause),
        IssueError::NotAWorkload(cause) => invalid(URI_NAME, cause),
        IssueError::DnsName(cause) => invalid("CSR DNS name is invalid", cause),
        IssueError::Subject(cause) => invalid("malformed CSR", cause),
        IssueError::Sign(cause) => not_signed("failed to sign X509-SVID", cause),
        IssueError::Interrupted(cause) => internal("failed to sign X509-SVID", cause),
        IssueError::Unconfirmed(cause) => read_failure("failed to look up entries", cause),
        IssueError::NoBundle => internal("failed to fetch bundle", error),
    }
}

/// The answer to something that was not signed.
pub(super) fn not_signed(what: &str, cause: &SignError) -> Status {
    match cause {
        SignError::Suspended(suspended) => {
            log_cause(what, cause);
            failed(Code::Unavailable, what, suspended)
        }
        SignError::NoAuthority(_)
        | SignError::OutsideValidity { .. }
        | SignError::PublicKey(_)
        | SignError::Signature(_)
        | SignError::EmptyAudience
        | SignError::Jwt(_)
        | SignError::Random
        | SignError::Refused(_) => internal(what, cause),
    }
}

fn internal(what: &str, cause: &(dyn std::error::Error + 'static)) -> Status {
    log_cause(what, cause);
    Status::internal(what)
}

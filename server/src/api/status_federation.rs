//! Owns the wire statuses of federation; a part of [`status`](super::status).

use daemon::supervisor::chain;
use identity::trust_domain::TrustDomain;
use tonic::{Code, Status};

use super::status::{failed, log_cause, read_failure, store_failure};
use crate::federation::RefreshError;

/// The answer to a refresh that brought nothing. What the endpoint did is told as it is: whoever
/// asks has to mend it.
pub(super) fn not_refreshed(trust_domain: &TrustDomain, error: &RefreshError) -> Status {
    const WHAT: &str = "failed to refresh bundle";
    match error {
        RefreshError::NoRelationship => Status::not_found(format!(
            "no relationship with trust domain \"{trust_domain}\""
        )),
        RefreshError::Unconfirmed(cause) => read_failure(WHAT, cause),
        RefreshError::Fetch(cause) => {
            log_cause(WHAT, cause);
            failed(Code::Internal, WHAT, chain(cause))
        }
        RefreshError::Store(cause) => store_failure(WHAT, cause),
    }
}

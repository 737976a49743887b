//! Owns the wire statuses: the only place that turns what went wrong inside into a gRPC code and a
//! text.
//!
//! Texts are SPIRE's, `<what failed>: <cause>`, because programs match on them. Causes from inside
//! (the store, the disk) stay in the log.

use std::fmt::Display;

use http::{HeaderValue, Response};
use identity::entry::EntryIdError;
use prost::Message as _;
use proto::convert::entry::Attempt;
use proto::convert::{self, ConvertError};
use proto::google::rpc;
use proto::spire::api::types;
use proto::spire::api::types::permission_denied_details::Reason;
use raft_store::{
    CreateEntryOutcome, DeleteBundleOutcome, EntryRule, ProposeError, ReadError, UpdateEntryOutcome,
};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::bundles::AppendError;
use crate::endpoints::{AgentRefusal, AuthorizeError, Caller, RateError, Waiting};
use crate::sync::{Ended, WatchError};

/// A status that says what failed and why.
pub fn failed(code: Code, what: &str, cause: impl Display) -> Status {
    Status::new(code, format!("{what}: {cause}"))
}

/// PermissionDenied with the detail that tells an agent what to do about it.
pub fn permission_denied_because(message: impl Into<String>, reason: Reason) -> Status {
    let message = message.into();
    let detail = types::PermissionDeniedDetails {
        reason: reason.into(),
    };
    let status = rpc::Status {
        code: Code::PermissionDenied.into(),
        message: message.clone(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/spire.api.types.PermissionDeniedDetails".to_owned(),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(
        Code::PermissionDenied,
        message,
        status.encode_to_vec().into(),
    )
}

/// The answer to a call that was not admitted.
pub fn not_admitted(method: &str, error: &AuthorizeError) -> Status {
    let denied = || format!("authorization denied for method {method}");
    match error {
        AuthorizeError::Denied { reason: None } => Status::permission_denied(denied()),
        AuthorizeError::Denied {
            reason: Some(refusal),
        } => permission_denied_because(denied(), reason(*refusal)),
        AuthorizeError::Unconfirmed(cause) => {
            log_cause("authorization", cause);
            Status::unavailable(error.to_string())
        }
        AuthorizeError::NotPromoted(cause) => store_failure(&error.to_string(), cause),
    }
}

/// The answer to a call that comes before the server serves.
pub fn not_serving_yet(waiting: Waiting) -> Status {
    failed(Code::Unavailable, "this server does not serve yet", waiting)
}

fn reason(refusal: AgentRefusal) -> Reason {
    match refusal {
        AgentRefusal::Expired => Reason::AgentExpired,
        AgentRefusal::NotAttested => Reason::AgentNotAttested,
        AgentRefusal::Banned => Reason::AgentBanned,
        AgentRefusal::NotActive => Reason::AgentNotActive,
    }
}

/// The answer to a call that a rate limit refused.
pub fn rate_limited(what: &str, error: &RateError) -> Status {
    failed(Code::ResourceExhausted, what, error)
}

/// The answer to a write that the store did not carry out, or did not tell the outcome of.
pub fn store_failure(what: &str, error: &ProposeError) -> Status {
    log_cause(what, error);
    match error {
        ProposeError::NoLeader => failed(Code::Unavailable, what, NO_LEADER),
        ProposeError::Undecided => failed(Code::Unavailable, what, OUTCOME_UNKNOWN),
        ProposeError::Busy | ProposeError::RequestReused => failed(Code::Unavailable, what, error),
        ProposeError::TooLarge { .. } => failed(Code::ResourceExhausted, what, error),
        ProposeError::NotYet { .. } => failed(Code::FailedPrecondition, what, error),
        ProposeError::Stopped(_) => failed(Code::Unavailable, what, "store stopped"),
    }
}

const NO_LEADER: &str = "nothing was changed, no leader: too few servers reach each other";

/// The write may still happen: nobody must take this for a refusal.
const OUTCOME_UNKNOWN: &str = "outcome unknown, it may have been done: look before trying again";

/// The answer to authorities that were not appended to the own bundle.
pub fn append_failure(what: &str, error: &AppendError) -> Status {
    match error {
        AppendError::Full => failed(Code::ResourceExhausted, what, error),
        AppendError::Upstream(cause) => {
            log_cause(what, cause);
            failed(Code::Internal, what, error)
        }
        AppendError::Store(error) => store_failure(what, error),
    }
}

/// The answer to a read that could not be confirmed in time.
pub fn read_failure(what: &str, error: &ReadError) -> Status {
    log_cause(what, error);
    failed(Code::Unavailable, what, UNCONFIRMED)
}

/// The answer to an agent that is told nothing.
pub fn not_watched(error: &WatchError) -> Status {
    match error {
        WatchError::Refused(refusal) => watch_ended(Ended::Refused(*refusal)),
        WatchError::CutOff => watch_ended(Ended::CutOff),
        WatchError::Behind(cause) => read_failure(&error.to_string(), cause),
    }
}

/// The end of a stream of changes.
pub fn watch_ended(ended: Ended) -> Status {
    match ended {
        // It may have a newer certificate, with which it has only to call again.
        Ended::Refused(AgentRefusal::NotActive) => {
            Status::unavailable("agent SVID was replaced during the call")
        }
        Ended::Refused(refusal) => {
            let text = format!("authorization denied for method {WATCH}");
            permission_denied_because(text, reason(refusal))
        }
        Ended::CutOff => Status::unavailable(CUT_OFF),
        Ended::Superseded => Status::unavailable("agent has opened newer streams"),
    }
}

const CUT_OFF: &str = "this server is cut off from its cluster, call another one";

/// The end of a stream whose connection ends: another connection, or another server, goes on.
pub fn connection_ends() -> Status {
    Status::unavailable("connection ends, call again")
}

const WATCH: &str = "/conclave.sync.v1.Sync/Watch";

const UNCONFIRMED: &str = "no confirmed answer in time: too few servers reach each other";

/// Logs what a client is not told.
pub(super) fn log_cause(what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error, subsystem_name = "api", "{what}");
}

/// The answer to a call that no service of the listener knows, in grpc-go's words.
pub fn unknown_method(path: &str, caller: &Caller) -> Status {
    let Some((service, method)) = path
        .strip_prefix('/')
        .and_then(|path| path.rsplit_once('/'))
    else {
        return Status::unimplemented(format!("malformed method name: {path:?}"));
    };
    if crate::endpoints::authz::serves(service, caller) {
        Status::unimplemented(format!("unknown method {method} for service {service}"))
    } else {
        Status::unimplemented(format!("unknown service {service}"))
    }
}

/// The answer to a call of a method that this server has no code for.
pub fn not_implemented(method: &str) -> Status {
    Status::unimplemented(format!("method {method} not implemented"))
}

/// Gives a request over the size limit the code that SPIRE's clients know.
pub fn with_spire_codes(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    // Nothing of ours answers OUT_OF_RANGE, only the decoder does when a message is too large.
    if headers
        .get(Status::GRPC_STATUS)
        .is_some_and(|code| code == "11")
    {
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("8"));
        headers.insert(
            Status::GRPC_MESSAGE,
            HeaderValue::from_static("grpc:%20received%20message%20larger%20than%20max"),
        );
    }
    response
}

/// The answer to a request that cannot be read; `error` says it all.
pub fn invalid_argument(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The answer to a log level that there is not.
pub fn no_log_level(problem: &str) -> Status {
    Status::invalid_argument(problem)
}

/// The status of an item that succeeded.
pub fn item_ok() -> types::Status {
    convert::status::ok()
}

/// The status of an item that did not.
pub fn item(code: Code, message: impl Into<String>) -> types::Status {
    convert::status::failed(code, message)
}

/// The status of an item that did not, with its cause.
pub fn item_failed(code: Code, what: &str, cause: impl Display) -> types::Status {
    item(code, format!("{what}: {cause}"))
}

/// The status of an item that the store did not carry out, or did not tell the outcome of.
pub fn item_store_failure(what: &str, error: &ProposeError) -> types::Status {
    let status = store_failure(what, error);
    item(status.code(), status.message())
}

/// The status of a call about one thing, from that of an item.
pub fn of_item(item: types::Status) -> Status {
    Status::new(Code::from(item.code), item.message)
}

/// The status of one entry to create.
pub fn created_entry(outcome: &CreateEntryOutcome) -> types::Status {
    const WHAT: &str = "failed to create entry";
    match outcome {
        CreateEntryOutcome::Created(_) => item_ok(),
        CreateEntryOutcome::Similar(_) => item(Code::AlreadyExists, SIMILAR_ENTRY),
        CreateEntryOutcome::IdTaken => {
            item_failed(Code::AlreadyExists, WHAT, "entry ID is already in use")
        }
        CreateEntryOutcome::UnknownFederatedBundle(trust_domain) => {
            item_failed(Code::Internal, WHAT, missing_bundle(trust_domain))
        }
        CreateEntryOutcome::Invalid(rule) => broken_rule(WHAT, *rule),
    }
}

/// The status of an entry that cannot be created or changed as it stands.
pub fn unusable_entry(attempt: Attempt, error: &ConvertError) -> types::Status {
    item(Code::InvalidArgument, attempt.refusal(error))
}

/// The status of one entry to update.
pub fn updated_entry(outcome: &UpdateEntryOutcome) -> types::Status {
    const WHAT: &str = "failed to update entry";
    match outcome {
        UpdateEntryOutcome::Updated(_) => item_ok(),
        UpdateEntryOutcome::NotFound => item(Code::NotFound, WHAT),
        UpdateEntryOutcome::Similar(_) => item_failed(Code::AlreadyExists, WHAT, SIMILAR_ENTRY),
        UpdateEntryOutcome::UnknownFederatedBundle(trust_domain) => {
            item_failed(Code::Internal, WHAT, missing_bundle(trust_domain))
        }
        UpdateEntryOutcome::Invalid(rule) => broken_rule(WHAT, *rule),
    }
}

/// The status of one entry to delete, of which `existed` says whether there was one.
pub fn deleted_entry(existed: bool) -> types::Status {
    if existed {
        item_ok()
    } else {
        item(Code::NotFound, "entry not found")
    }
}

/// The status of an entry to delete whose id no entry can have.
pub fn no_such_entry(error: EntryIdError) -> types::Status {
    match error {
        EntryIdError::Missing => item(Code::InvalidArgument, "missing entry ID"),
        EntryIdError::TooLong | EntryIdError::Characters => deleted_entry(false),
    }
}

/// The status of one federated bundle to delete.
pub fn deleted_bundle(outcome: DeleteBundleOutcome) -> types::Status {
    match outcome {
        DeleteBundleOutcome::Deleted => item_ok(),
        DeleteBundleOutcome::NotFound => item(Code::NotFound, "bundle not found"),
        DeleteBundleOutcome::InUse(count) => item_failed(
            Code::FailedPrecondition,
            "failed to delete federated bundle",
            format_args!("cannot delete bundle; federated with {count} registration entries"),
        ),
    }
}

fn missing_bundle(trust_domain: &identity::trust_domain::TrustDomain) -> String {
    format!(
        "unable to find federated bundle {:?}",
        trust_domain.id_string()
    )
}

fn broken_rule(what: &str, rule: EntryRule) -> types::Status {
    item_failed(
        Code::InvalidArgument,
        what,
        format_args!("datastore-validation: {rule}"),
    )
}

const SIMILAR_ENTRY: &str = "similar entry already exists";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_agents_are_told_why_in_the_status_details() {
        let error = AuthorizeError::Denied {
            reason: Some(AgentRefusal::Banned),
        };
        let status = not_admitted("/a.B/C", &error);
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), "authorization denied for method /a.B/C");
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(details.code, 7);
        assert_eq!(details.message, status.message());
        let [detail] = details.details.as_slice() else {
            panic!("one detail expected: {details:?}");
        };
        assert!(
            detail
                .type_url
                .ends_with("/spire.api.types.PermissionDeniedDetails")
        );
        let detail = types::PermissionDeniedDetails::decode(detail.value.as_slice()).unwrap();
        assert_eq!(detail.reason(), Reason::AgentBanned);
    }

    #[test]
    fn denied_callers_that_are_no_agents_get_no_details() {
        let status = not_admitted("/a.B/C", &AuthorizeError::Denied { reason: None });
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.details(), b"");
    }

    #[test]
    fn what_may_have_been_done_is_told_apart_from_what_was_not() {
        let status = |error| store_failure("failed to create entry", &error);
        let undecided = status(ProposeError::Undecided);
        assert_eq!(undecided.code(), Code::Unavailable);
        assert!(undecided.message().contains("may have been done"));
        let refused = status(ProposeError::NoLeader);
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("nothing was changed"));
    }
}

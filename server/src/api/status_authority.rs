//! Owns the wire statuses of rotation by hand; a part of [`status`](super::status).
//!
//! Which code and text an id gets depends on what is asked of it: SPIRE's texts are a table of
//! action, kind and standing.

use raft_store::AuthorityState;
use tonic::{Code, Status};

pub(super) use super::status_svid::jwt_disabled;

use super::status::{failed, log_cause, read_failure, store_failure};
use crate::ca::{LocalAuthorityError, LocalKind, Standing, UpstreamRefusal};

/// What an operator asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Show,
    Prepare,
    Activate,
    Taint,
    Revoke,
}

impl Action {
    fn failure(self, kind: LocalKind) -> String {
        let verb = match self {
            Self::Show => "look up",
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Revoke => "revoke",
        };
        let kind = match kind {
            LocalKind::X509 => "X.509",
            LocalKind::Jwt => "JWT",
        };
        format!("failed to {verb} {kind} authority")
    }
}

/// The answer to every WIT call: SPIRE has none either.
pub(super) fn wit_missing() -> Status {
    Status::unimplemented("WIT-SVID functionality is not yet implemented")
}

/// The answer about the authority of an upstream to a server that is its own root.
pub(super) fn no_upstream() -> Status {
    Status::failed_precondition("upstream authority is not configured")
}

/// Refuses a request that names no authority.
pub(super) fn require_id(action: Action, id: &str) -> Result<(), Status> {
    const MISSING: &str = "no authority ID provided";
    match (action, id) {
        (Action::Revoke, "") => Err(invalid_id(MISSING)),
        (_, "") => Err(Status::invalid_argument(MISSING)),
        (_, _) => Ok(()),
    }
}

/// The answer to what was not done.
pub(super) fn not_done(action: Action, kind: LocalKind, error: &LocalAuthorityError) -> Status {
    let what = action.failure(kind);
    match error {
        LocalAuthorityError::HasUpstream => Status::failed_precondition(format!(
            "local authority can't be {} if there is an upstream authority",
            if action == Action::Revoke {
                "revoked"
            } else {
                "tainted"
            }
        )),
        LocalAuthorityError::NoUpstream => no_upstream(),
        LocalAuthorityError::Upstream(refusal) => failed(Code::Internal, &what, refusal),
        LocalAuthorityError::NotReady => Status::unavailable("server is initializing"),
        LocalAuthorityError::Refused(standing) => refused(action, kind, *standing),
        LocalAuthorityError::Full { .. } => failed(Code::FailedPrecondition, &what, error),
        LocalAuthorityError::Overtaken | LocalAuthorityError::WrongClock(_) => {
            failed(Code::Unavailable, &what, error)
        }
        LocalAuthorityError::Unconfirmed(cause) => read_failure(&what, cause),
        LocalAuthorityError::Store(cause) => store_failure(&what, cause),
        LocalAuthorityError::Maker(cause) => {
            log_cause(&what, cause);
            Status::internal(what)
        }
    }
}

/// The answer to an operator whose word on an upstream's authority was not followed.
pub(super) fn upstream_not_moved(action: Action, error: &LocalAuthorityError) -> Status {
    let (invalid, what) = match action {
        Action::Revoke => (
            "invalid subject key ID",
            "failed to revoke X.509 upstream authority",
        ),
        Action::Show | Action::Prepare | Action::Activate | Action::Taint => (
            "provided subject key id is not valid",
            "failed to taint upstream authority",
        ),
    };
    let LocalAuthorityError::Upstream(refusal) = error else {
        return not_done(action, LocalKind::X509, error);
    };
    match refusal {
        UpstreamRefusal::NoId
        | UpstreamRefusal::OfActive
        | UpstreamRefusal::OfPrepared
        | UpstreamRefusal::OfNoOld => failed(Code::InvalidArgument, invalid, refusal),
        UpstreamRefusal::NotInBundle if action == Action::Taint => failed(
            Code::Internal,
            what,
            "no ca found with provided subject key ID",
        ),
        UpstreamRefusal::NotInBundle
        | UpstreamRefusal::AlreadyTainted
        | UpstreamRefusal::NotTainted => failed(Code::Internal, what, refusal),
    }
}

fn refused(action: Action, kind: LocalKind, standing: Standing) -> Status {
    match action {
        Action::Activate => not_activated(standing),
        Action::Taint => not_tainted(kind, standing),
        Action::Revoke => not_revoked(kind, standing),
        // Neither names an authority.
        Action::Show | Action::Prepare => Status::internal(action.failure(kind)),
    }
}

fn not_activated(standing: Standing) -> Status {
    match standing {
        Standing::Unknown | Standing::Foreign | Standing::Own(AuthorityState::Active) => {
            Status::invalid_argument(UNEXPECTED)
        }
        Standing::Own(AuthorityState::Prepared) => {
            Status::unavailable("authority is not in the bundle yet, try again")
        }
        Standing::Own(state) => failed(
            Code::Internal,
            "only Prepared authorities can be activated",
            unsupported(state),
        ),
    }
}

fn not_tainted(kind: LocalKind, standing: Standing) -> Status {
    let impossible = |cause: &str| failed(Code::Internal, &Action::Taint.failure(kind), cause);
    match (standing, kind) {
        (Standing::Unknown | Standing::Foreign, _) => Status::invalid_argument(UNEXPECTED),
        (Standing::Own(AuthorityState::Active), _) => {
            Status::invalid_argument("unable to taint current local authority")
        }
        (Standing::Own(AuthorityState::Tainted), LocalKind::X509) => {
            impossible("root CA is already tainted")
        }
        (Standing::Own(AuthorityState::Tainted), LocalKind::Jwt) => {
            impossible("key is already tainted")
        }
        (Standing::Own(AuthorityState::Revoked), LocalKind::X509) => {
            impossible("no ca found with provided subject key ID")
        }
        (Standing::Own(AuthorityState::Revoked), LocalKind::Jwt) => impossible(NO_KEY),
        (Standing::Own(state), _) => failed(
            Code::InvalidArgument,
            "only Old local authorities can be tainted",
            unsupported(state),
        ),
    }
}

fn not_revoked(kind: LocalKind, standing: Standing) -> Status {
    let impossible = |cause: &str| failed(Code::Internal, &Action::Revoke.failure(kind), cause);
    match (standing, kind) {
        (Standing::Own(AuthorityState::Active), _) => invalid_id("unable to use current authority"),
        (
            Standing::Unknown
            | Standing::Foreign
            | Standing::Own(AuthorityState::Prepared | AuthorityState::Published),
            LocalKind::X509,
        ) => invalid_id("only Old local authority can be revoked"),
        (Standing::Own(AuthorityState::Prepared | AuthorityState::Published), LocalKind::Jwt) => {
            invalid_id("unable to use a prepared key")
        }
        (Standing::Unknown, LocalKind::Jwt) => {
            invalid_id("no JWT authority found with provided authority ID")
        }
        (
            Standing::Own(AuthorityState::Old | AuthorityState::Tainted) | Standing::Foreign,
            LocalKind::Jwt,
        ) => impossible("it is not possible to revoke an untainted key"),
        (Standing::Own(AuthorityState::Old | AuthorityState::Tainted), LocalKind::X509) => {
            impossible("it is not possible to revoke an untainted root CA")
        }
        (Standing::Own(AuthorityState::Revoked), LocalKind::X509) => {
            impossible("no root CA found with provided subject key ID")
        }
        (Standing::Own(AuthorityState::Revoked), LocalKind::Jwt) => impossible(NO_KEY),
    }
}

fn invalid_id(cause: &str) -> Status {
    failed(Code::InvalidArgument, "invalid authority ID", cause)
}

/// The state in the words of SPIRE's journal, which knows three.
fn unsupported(state: AuthorityState) -> String {
    let status = match state {
        AuthorityState::Prepared | AuthorityState::Published => "PREPARED",
        AuthorityState::Active => "ACTIVE",
        AuthorityState::Old | AuthorityState::Tainted | AuthorityState::Revoked => "OLD",
    };
    format!("unsupported local authority status: {status}")
}

const UNEXPECTED: &str = "unexpected authority ID";
const NO_KEY: &str = "no JWT Key found with provided key ID";

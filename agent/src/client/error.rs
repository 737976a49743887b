//! Why a call to the server failed, by what the agent can do about it.

use std::error::Error as _;
use std::time::Duration;

use prost::Message as _;
use proto::convert::ConvertError;
use proto::google::rpc;
use proto::spire::api::types::PermissionDeniedDetails;
use proto::spire::api::types::permission_denied_details::Reason;
use tonic::{Code, Status};

use super::DialError;
use super::link::Link;

/// Why a call has no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No server could be reached, or none that the bundle vouches for.
    #[error(transparent)]
    Dial(DialError),
    /// The server refuses this agent.
    #[error("{}", rpc_text(.status))]
    Denied {
        /// What the agent has to do about it; `None` if the server does not say.
        demand: Option<Demand>,
        /// The whole answer.
        status: Box<Status>,
    },
    /// The connection was replaced during the call; a server may refuse the SVID that it was made
    /// with.
    #[error("{}", rpc_text(.0))]
    Superseded(Box<Status>),
    /// The connection broke. The server may still act on the call.
    #[error("{}", rpc_text(.0))]
    Transport(Box<Status>),
    /// The server failed.
    #[error("{}", rpc_text(.0))]
    Status(Box<Status>),
    /// No answer in time. The server may still act on the call.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The answer breaks the protocol.
    #[error("malformed answer")]
    Malformed(#[from] Malformed),
}

/// What a server expects of an agent that it refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// To attest again.
    Reattest,
    /// The same, for no other reason than that its SVID has ended.
    ReattestExpired,
    /// To stop: it is banned.
    ShutDown,
}

/// How an answer breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is not what it should be.
    #[error("{0}")]
    Convert(#[from] ConvertError),
    /// There are more or fewer results than requests.
    #[error("{results} results for {requests} requests")]
    Count {
        /// How many were asked for.
        requests: usize,
        /// How many came.
        results: usize,
    },
    /// A message of the wrong kind at this point of a stream.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// A token expires before it was issued.
    #[error("JWT-SVID expires before it was issued")]
    Lifetime,
}

impl CallError {
    /// What the server wants the agent to do.
    pub fn demand(&self) -> Option<Demand> {
        match self {
            Self::Denied { demand, .. } => *demand,
            Self::Dial(_)
            | Self::Superseded(_)
            | Self::Transport(_)
            | Self::Status(_)
            | Self::Deadline(_)
            | Self::Malformed(_) => None,
        }
    }

    /// Whether the server's certificate does not chain to the bundle.
    pub fn is_untrusted_server(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_untrusted_server())
    }

    /// Whether no server gave any answer, so that there is nothing to do but to ask again.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::Transport(_) | Self::Deadline(_))
    }

    /// Whether no server answered, or none could help now, as they say themselves.
    pub fn is_transient(&self) -> bool {
        !self.is_untrusted_server() && (self.is_outage() || self.code() == Code::Unavailable)
    }

    /// Whether a server may have acted on the call although it failed.
    pub fn is_undecided(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Deadline(_) | Self::Malformed(_) => true,
            Self::Status(_) => self.is_of_the_server(),
            Self::Dial(_) | Self::Denied { .. } | Self::Superseded(_) => false,
        }
    }

    /// The status code in gRPC's terms.
    pub fn code(&self) -> Code {
        match self {
            // Another try, on a new connection, can succeed at once.
            Self::Dial(_) | Self::Superseded(_) | Self::Transport(_) => Code::Unavailable,
            Self::Denied { .. } => Code::PermissionDenied,
            Self::Status(status) => status.code(),
            Self::Deadline(_) => Code::DeadlineExceeded,
            Self::Malformed(_) => Code::Internal,
        }
    }

    /// This failure of a call on `link`. The first use of a renewed SVID makes the one before
    /// invalid: a call that was under way with that one is then refused, which says nothing about
    /// the agent.
    pub(super) fn on(self, link: &Link) -> Self {
        match self {
            Self::Denied { status, .. } if link.has_ended() => Self::Superseded(status),
            other => other,
        }
    }

    /// Whether another server could do better.
    pub(super) fn is_of_the_server(&self) -> bool {
        matches!(
            self.code(),
            Code::Unavailable
                | Code::Unknown
                | Code::Internal
                | Code::Cancelled
                | Code::DeadlineExceeded
        )
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        // Only a status that was made on this side has a cause.
        if status.source().is_some() {
            return Self::Transport(Box::new(status));
        }
        if status.code() == Code::PermissionDenied {
            return Self::Denied {
                demand: demand(&status),
                status: Box::new(status),
            };
        }
        Self::Status(Box::new(status))
    }
}

impl From<ConvertError> for CallError {
    fn from(error: ConvertError) -> Self {
        Self::Malformed(error.into())
    }
}

/// The reason travels as a detail of a `google.rpc.Status` in the trailers.
fn demand(status: &Status) -> Option<Demand> {
    let details = rpc::Status::decode(status.details()).ok()?.details;
    let reason = details.iter().find_map(|detail| {
        detail
            .type_url
            .ends_with("/spire.api.types.PermissionDeniedDetails")
            .then(|| PermissionDeniedDetails::decode(detail.value.as_slice()).ok())?
    })?;
    match reason.reason() {
        Reason::AgentExpired => Some(Demand::ReattestExpired),
        Reason::AgentNotActive | Reason::AgentNotAttested | Reason::AgentMustReattest => {
            Some(Demand::Reattest)
        }
        Reason::AgentBanned => Some(Demand::ShutDown),
        Reason::Unknown => None,
    }
}

/// The text that operators know from gRPC in Go, because scripts look for it in the log.
fn rpc_text(status: &Status) -> String {
    format!(
        "rpc error: code = {:?} desc = {}",
        status.code(),
        status.message()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(reason: Reason) -> Status {
        let detail = PermissionDeniedDetails {
            reason: reason.into(),
        };
        let details = rpc::Status {
            code: Code::PermissionDenied.into(),
            message: "no".to_owned(),
            details: vec![prost_types::Any {
                type_url: "type.googleapis.com/spire.api.types.PermissionDeniedDetails".to_owned(),
                value: detail.encode_to_vec(),
            }],
        };
        Status::with_details(Code::PermissionDenied, "no", details.encode_to_vec().into())
    }

    #[test]
    fn demand_is_in_the_details() {
        let check = |reason, demand| {
            assert_eq!(
                CallError::from(denied(reason)).demand(),
                demand,
                "{reason:?}"
            );
        };
        check(Reason::AgentExpired, Some(Demand::ReattestExpired));
        check(Reason::AgentNotActive, Some(Demand::Reattest));
        check(Reason::AgentNotAttested, Some(Demand::Reattest));
        check(Reason::AgentMustReattest, Some(Demand::Reattest));
        check(Reason::AgentBanned, Some(Demand::ShutDown));
        check(Reason::Unknown, None);
    }

    #[test]
    fn refusal_without_details_demands_nothing() {
        let error = CallError::from(Status::permission_denied("no"));
        assert_eq!(error.demand(), None);
        assert_eq!(
            error.to_string(),
            "rpc error: code = PermissionDenied desc = no"
        );
        let garbled = Status::with_details(Code::PermissionDenied, "no", vec![0xff; 9].into());
        assert_eq!(CallError::from(garbled).demand(), None);
    }
}

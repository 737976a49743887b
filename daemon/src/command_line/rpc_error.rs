//! gRPC errors as Go's programs print them, which scripts search for.

use tonic::{Code, Status};

/// A failed call: `rpc error: code = NotFound desc = entry not found`.
#[derive(Debug, thiserror::Error)]
#[error("rpc error: code = {} desc = {}", code_name(.0.code()), .0.message())]
pub struct RpcError(Status);

impl RpcError {
    /// What a call that was given up reads like.
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self(Status::deadline_exceeded("context deadline exceeded"))
    }

    /// The status behind it.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.0
    }
}

impl From<Status> for RpcError {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

/// The name that Go gives to a status code.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_in_go() {
        let error = RpcError::from(Status::not_found("entry not found"));
        assert_eq!(
            error.to_string(),
            "rpc error: code = NotFound desc = entry not found"
        );
    }
}

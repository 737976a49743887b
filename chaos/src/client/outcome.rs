//! What a client may conclude from an answer, or from none.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Response, Status};

/// The outcome of one call as its client knows it.
#[derive(Clone, Debug)]
pub enum Outcome<T> {
    /// Done, and acknowledged.
    Done(T),
    /// Refused: it has no effect.
    Refused(String),
    /// It may have had its effect, or may yet have it.
    Undecided(String),
}

impl<T> Outcome<T> {
    /// What was acknowledged.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Refused(_) | Self::Undecided(_) => None,
        }
    }

    /// Whether it was acknowledged.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Why it was not acknowledged.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Done(_) => None,
            Self::Refused(text) | Self::Undecided(text) => Some(text),
        }
    }

    /// As a result, for where anything but an acknowledgement ends the run.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub fn required(self) -> anyhow::Result<T> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Refused(text) => anyhow::bail!("refused: {text}"),
            Self::Undecided(text) => anyhow::bail!("undecided: {text}"),
        }
    }

    /// Goes on with what was acknowledged.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Self::Done(value) => next(value),
            Self::Refused(text) => Outcome::Refused(text),
            Self::Undecided(text) => Outcome::Undecided(text),
        }
    }

    /// The outcome that a status of a whole call or of one item stands for.
    pub fn of_failure(code: Code, message: &str) -> Self {
        let text = format!("{code:?}: {message}");
        match code {
            // These are given before anything was done.
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented => Self::Refused(text),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Undecided(text),
        }
    }
}

/// Makes a call that must answer within `deadline`.
pub async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Outcome<T> {
    match timeout(deadline, call).await {
        Ok(Ok(response)) => Outcome::Done(response.into_inner()),
        Ok(Err(status)) => Outcome::of_failure(status.code(), status.message()),
        Err(_late) => Outcome::Undecided(format!("no answer in {deadline:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_undecided_and_a_refusal_is_not() {
        let never = std::future::pending::<Result<Response<()>, Status>>();
        let late = within(Duration::from_secs(1), never).await;
        assert!(matches!(late, Outcome::Undecided(text) if text == "no answer in 1s"));
        let status = Status::permission_denied("no");
        let refused = within(Duration::from_secs(1), async {
            Err::<Response<()>, _>(status)
        })
        .await;
        assert!(matches!(refused, Outcome::Refused(text) if text == "PermissionDenied: no"));
        let status = Status::unavailable("gone");
        let lost = within(Duration::from_secs(1), async {
            Err::<Response<()>, _>(status)
        })
        .await;
        assert!(matches!(lost, Outcome::Undecided(_)));
    }
}

//! The handle to a plugin, whichever life it is in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::call::CallError;
use crate::settings::Kind;

/// How many calls a plugin has at once; more wait, within their deadline.
const MAX_CALLS: usize = 256;

/// A plugin to be called. Clones are the same plugin.
#[derive(Clone)]
pub struct Plugin(Arc<Shared>);

struct Shared {
    kind: Kind,
    name: String,
    state: watch::Receiver<State>,
    calls: Semaphore,
    call_within: Duration,
    /// Told when a call took too long.
    suspected: Arc<Notify>,
}

/// Whether a plugin can be called.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Up(Channel),
    /// Why not.
    Down(String),
}

impl Plugin {
    pub(crate) fn new(
        (kind, name): (Kind, String),
        state: watch::Receiver<State>,
        call_within: Duration,
        suspected: Arc<Notify>,
    ) -> Self {
        Self(Arc::new(Shared {
            kind,
            name,
            state,
            calls: Semaphore::new(MAX_CALLS),
            call_within,
            suspected,
        }))
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Calls the plugin, within the deadline that all calls have.
    ///
    /// # Errors
    /// The plugin is not there, says no, says nothing, or something else than it should.
    pub(crate) async fn call<T, F>(&self, call: impl FnOnce(Channel) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let whole = async {
            let _place = self.0.calls.acquire().await;
            let state = self.0.state.borrow().clone();
            match state {
                State::Up(channel) => call(channel).await.map_err(|status| self.refused(&status)),
                State::Down(reason) => Err(self.error(
                    Code::Unavailable,
                    format!("plugin is not running: {reason}; it will be started again"),
                )),
            }
        };
        self.within(whole).await
    }

    /// One step of a conversation, within the same deadline.
    ///
    /// # Errors
    /// As of `step`, or there was no answer in time.
    pub(crate) async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let limit = self.0.call_within;
        match tokio::time::timeout(limit, step).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                self.0.suspected.notify_one();
                let text = format!("plugin did not answer within {limit:?}");
                Err(self.error(Code::DeadlineExceeded, text))
            }
        }
    }

    pub(crate) fn refused(&self, status: &Status) -> CallError {
        CallError::from_status(self.0.kind.name(), self.name(), status)
    }

    pub(crate) fn error(&self, code: Code, text: impl Into<String>) -> CallError {
        CallError::new(self.0.kind.name(), self.name(), code, text)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Plugin")
            .field("kind", &self.0.kind)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

//! The connections to servers and the calls made over them.
//!
//! Every call has a deadline, and its answer is checked and in domain types when it leaves here. A
//! call whose connection breaks, or whose server is unavailable, is made again on another server
//! within its deadline: each of them may be made twice. A refusal is an answer.

mod calls;
mod dial;
mod entries;
mod error;
mod link;
mod pool;
mod watch;
mod workload_api;

pub use calls::{JwtAnswer, SignedChain, SigningRequest};
pub(crate) use calls::{chain, own_bundle};
pub use dial::{DialError, Dialer, ServerAddress, Servers, TlsMode};
pub use entries::{EntryRevision, KnownEntries};
pub use error::{CallError, Demand, Malformed};
pub use link::LinkId;
pub use pool::Replacing;
pub use watch::{Batch, Offer, Watch};
pub use workload_api::first_x509_bundle;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use watch::batches;

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::trust_domain::TrustDomain;

use link::Link;
use pool::Pool;

/// The time that one call may take, connections and further attempts included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Entries of a page and authorities of a bundle fit many times.
const MAX_ANSWER_LEN_BYTES: usize = 32 << 20;

/// How often one call is made at most.
const MAX_ATTEMPTS: usize = 4;

/// Calls to the servers; a clone shares the connections.
#[derive(Clone, Debug)]
pub struct ServerClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    trust_domain: TrustDomain,
}

/// What a failed attempt means for the call.
enum Verdict {
    /// It has failed.
    Final,
    /// Another connection may do better, to any server.
    Again,
    /// Another server may do better.
    Elsewhere,
}

impl ServerClient {
    /// A client that connects by `dialer` at its first call.
    pub fn new(dialer: Dialer, trust_domain: TrustDomain) -> Self {
        Self(Arc::new(Inner {
            pool: Pool::new(dialer),
            trust_domain,
        }))
    }

    /// Begins to replace the agent's SVID by attesting again, until the guard is dropped.
    ///
    /// The server takes the SVID for an old one as soon as it has signed the next, of which the agent hears
    /// later. So what is refused meanwhile waits for the guard's end, and counts only if the connection is
    /// still in use then.
    pub async fn replace_svid(&self) -> Replacing<'_> {
        self.0.pool.replace().await
    }

    /// Lets the next call use a new connection, because the agent has another SVID now. Calls under
    /// way end on the old one; what the server demands of the old SVID there no longer counts.
    pub fn reconnect(&self) {
        self.0.pool.renew();
    }

    /// Keeps a connection in use and one to another server in reserve, until `shutdown`.
    pub async fn keep_connected(&self, shutdown: Shutdown) {
        self.0.pool.keep(shutdown).await;
    }

    /// Whether a call needs no connection to be made first.
    pub fn is_connected(&self) -> bool {
        self.0.pool.has_connection()
    }

    /// Whether calls are made on the connection `id`.
    pub fn uses(&self, id: LinkId) -> bool {
        self.0.pool.is_active(id)
    }

    /// Makes one call within its deadline, on as many connections as it takes.
    async fn call<T, F>(
        &self,
        deadline: Duration,
        call: impl Fn(Arc<Link>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut in_use = None;
        let attempts = self.attempts(call, &mut in_use);
        if let Ok(result) = tokio::time::timeout(deadline, attempts).await {
            return result;
        }
        if let Some(link) = in_use {
            self.0.pool.demote(&link);
        }
        Err(CallError::Deadline(deadline))
    }

    /// The attempts of one call; `in_use` is the connection of the latest.
    async fn attempts<T, F>(
        &self,
        call: impl Fn(Arc<Link>) -> F,
        in_use: &mut Option<Arc<Link>>,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut tried = Vec::new();
        let mut failure = None;
        for _ in 0..MAX_ATTEMPTS {
            let link = match self.0.pool.link(&tried).await {
                Ok(link) => link,
                Err(error) => return Err(failure.unwrap_or(CallError::Dial(error))),
            };
            *in_use = Some(Arc::clone(&link));
            let error = match call(Arc::clone(&link)).await {
                Ok(answer) => {
                    link.set_answered();
                    return Ok(answer);
                }
                Err(error) => self.judged(error, &link).await,
            };
            match self.settle(&error, &link) {
                Verdict::Final => return Err(error),
                Verdict::Again => {}
                Verdict::Elsewhere => tried.push(link.address()),
            }
            failure = Some(error);
        }
        Err(failure.expect("invariant: there is at least one attempt"))
    }

    /// What a failure on `link` means once the SVID is settled.
    async fn judged(&self, error: CallError, link: &Link) -> CallError {
        if matches!(error, CallError::Denied { .. }) {
            self.0.pool.replaced().await;
        }
        error.on(link)
    }

    /// Draws the consequence of a failure on `link` for later calls, and tells it for this one.
    fn settle(&self, error: &CallError, link: &Link) -> Verdict {
        let pool = &self.0.pool;
        match error {
            CallError::Superseded(_) => Verdict::Again,
            CallError::Transport(_) => {
                pool.give_up(link);
                // A server that answered before may have ended this connection for its age only.
                match link.has_answered() {
                    true => Verdict::Again,
                    false => Verdict::Elsewhere,
                }
            }
            CallError::Status(_) if error.code() == tonic::Code::Unavailable => {
                link.set_answered();
                pool.demote(link);
                Verdict::Elsewhere
            }
            CallError::Dial(_) | CallError::Denied { .. } => Verdict::Final,
            CallError::Status(_) | CallError::Deadline(_) | CallError::Malformed(_) => {
                if error.is_of_the_server() {
                    pool.demote(link);
                }
                Verdict::Final
            }
        }
    }
}

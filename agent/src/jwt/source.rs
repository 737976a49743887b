//! Asks the servers for tokens, and keeps what they issue.

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::chain;
use identity::clock::{Clock, UnixTime};
use identity::entry::EntryId;
use identity::spiffe_id::SpiffeId;
use parking_lot::Mutex;
use proto::convert::entry::AuthorizedEntry;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tracing::debug;

use super::{CachedToken, TokenCache, TokenKey};
use crate::backoff::{Backoff, FullJitter};
use crate::client::{CALL_DEADLINE, CallError, ServerClient};
use crate::jitter::jitter;

/// The wait before the first retry of a call that may succeed then.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(8);

/// The same while no server answers at all: the workload waits, and only a connection is at stake.
const FIRST_OUTAGE_RETRY: Duration = Duration::from_millis(100);
const MAX_OUTAGE_RETRY: Duration = Duration::from_secs(2);

/// Tokens longer than this are not kept. Workloads choose the audience, so a few of them could fill
/// the memory with tokens of megabytes.
const MAX_CACHED_LEN_BYTES: usize = 16 * 1024;

/// The servers, and the tokens that came from them.
pub(super) struct Source {
    pub(super) client: ServerClient,
    pub(super) cache: Mutex<TokenCache>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a workload asks for.
#[derive(Clone)]
pub(super) struct Wanted {
    entry_id: EntryId,
    pub(super) spiffe_id: SpiffeId,
    audience: Vec<String>,
}

/// How long the servers are asked.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// For this time, whether one can be reached or not.
    Full(Duration),
    /// For this time, or until it is seen that none can be reached.
    WhileReachable(Duration),
}

impl Wanted {
    pub(super) fn new(entry: &AuthorizedEntry, audience: &[String]) -> Self {
        Self {
            entry_id: entry.id.clone(),
            spiffe_id: entry.spiffe_id.clone(),
            audience: audience.to_vec(),
        }
    }

    pub(super) fn key(&self) -> TokenKey {
        TokenKey::new(&self.spiffe_id, &self.audience)
    }
}

impl Source {
    /// A new token, which is kept.
    pub(super) async fn renew(
        &self,
        wanted: &Wanted,
        patience: Patience,
    ) -> Result<Arc<CachedToken>, CallError> {
        let token = self.request(wanted, patience).await?;
        self.keep(wanted, &token);
        Ok(token)
    }

    /// Waits for a server that answers, and keeps the token that it issues. What it refuses is left
    /// to whoever asks next. Gives up when the token held has ended, by `expires_at`.
    pub(super) async fn renew_once_reachable(&self, wanted: &Wanted, expires_at: UnixTime) {
        let mut outage = FullJitter::new(FIRST_OUTAGE_RETRY, MAX_OUTAGE_RETRY);
        while self.clock.now() < expires_at {
            sleep(outage.next(jitter())).await;
            let patience = Patience::WhileReachable(CALL_DEADLINE);
            match self.renew(wanted, patience).await {
                Ok(_token) => return debug!("Renewed JWT SVID after an outage"),
                Err(error) if is_outage(&error) => {
                    debug!(error = %chain(&error), "Failed to renew JWT SVID; retrying");
                }
                Err(error) => return debug!(error = %chain(&error), "Failed to renew JWT SVID"),
            }
        }
    }

    /// Asks the servers until one answers or patience is at its end.
    pub(super) async fn request(
        &self,
        wanted: &Wanted,
        patience: Patience,
    ) -> Result<Arc<CachedToken>, CallError> {
        let (Patience::Full(deadline) | Patience::WhileReachable(deadline)) = patience;
        let end = Instant::now() + deadline;
        let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        let mut outage = FullJitter::new(FIRST_OUTAGE_RETRY, MAX_OUTAGE_RETRY);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (entry_id, audience) = (&wanted.entry_id, &wanted.audience);
            let error = match self.client.new_jwt_svid(entry_id, audience, left).await {
                Ok(answer) => return Ok(Arc::new(CachedToken::new(answer))),
                Err(error) => error,
            };
            let is_over = matches!(patience, Patience::WhileReachable(_)) && is_outage(&error);
            if is_over || !is_retriable(&error) {
                return Err(error);
            }
            debug!(error = %chain(&error), "Failed to fetch JWT SVID; retrying");
            let wait = match error.is_outage() {
                true => outage.next(jitter()),
                false => backoff.next(jitter()),
            };
            if timeout_at(end, sleep(wait)).await.is_err() {
                return Err(error);
            }
        }
    }

    fn keep(&self, wanted: &Wanted, token: &Arc<CachedToken>) {
        if token.token().len() <= MAX_CACHED_LEN_BYTES {
            let now = self.clock.now();
            let mut cache = self.cache.lock();
            cache.insert(wanted.key(), Arc::clone(token), now);
        }
    }
}

/// Whether no server answered, or none could help now. A refusal is an answer.
pub(super) fn is_outage(error: &CallError) -> bool {
    error.is_outage() || error.is_transient()
}

fn is_retriable(error: &CallError) -> bool {
    !matches!(
        error.code(),
        Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::InvalidArgument
            | Code::Unimplemented
    ) && !matches!(error, CallError::Malformed(_))
}

//! JWT-SVIDs of workloads: from the cache while half of their life is left, else from the server.

mod cache;

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::chain;
use identity::bundle::Bundle;
use identity::clock::Clock;
use parking_lot::Mutex;
use proto::convert::entry::AuthorizedEntry;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tracing::{debug, info, warn};

use crate::backoff::{Backoff, FullJitter};
use crate::client::{CALL_DEADLINE, CallError, ServerClient};
use crate::jitter::jitter;

pub use cache::{CachedToken, TokenCache, TokenKey};

/// The wait before the first retry of a call that may succeed then.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(8);

/// The same while no server answers at all: the workload waits, and only a connection is at stake.
const FIRST_OUTAGE_RETRY: Duration = Duration::from_millis(100);
const MAX_OUTAGE_RETRY: Duration = Duration::from_secs(2);

/// Tokens longer than this are not kept. Workloads choose the audience, so a few of them could fill
/// the memory with tokens of megabytes.
const MAX_CACHED_LEN_BYTES: usize = 16 * 1024;

/// Gives out JWT-SVIDs.
pub struct JwtSvids {
    client: ServerClient,
    cache: Mutex<TokenCache>,
    renewal: Duration,
    clock: Arc<dyn Clock>,
}

/// How much is spent on tokens that are kept.
#[derive(Clone, Copy, Debug)]
pub struct TokenLimits {
    /// How many there are at most.
    pub max_tokens: usize,
    /// The time that the server has to renew one that still holds: the workload waits for it, and
    /// would be served without.
    pub renewal: Duration,
}

impl JwtSvids {
    /// Gives out tokens of `client`, and keeps as many of them as `limits` says.
    pub fn new(client: ServerClient, clock: Arc<dyn Clock>, limits: TokenLimits) -> Self {
        Self {
            client,
            cache: Mutex::new(TokenCache::new(limits.max_tokens)),
            renewal: limits.renewal,
            clock,
        }
    }

    /// A token for `entry` and `audience` that has not ended.
    ///
    /// # Errors
    /// The server gives none, and none is cached that still holds.
    pub async fn fetch(
        &self,
        entry: &AuthorizedEntry,
        audience: &[String],
    ) -> Result<Arc<CachedToken>, CallError> {
        let has_jti = entry
            .additional_attributes
            .as_ref()
            .is_some_and(|attributes| attributes.jwt_svid_include_jti);
        if has_jti {
            // Such a token is good for one use.
            return self.request(entry, audience, CALL_DEADLINE).await;
        }
        let key = TokenKey::new(&entry.spiffe_id, audience);
        let now = self.clock.now();
        let cached = self
            .cache
            .lock()
            .get(&key)
            .filter(|token| now < token.expires_at());
        let deadline = match &cached {
            Some(token) if now < token.refresh_at() => return Ok(Arc::clone(token)),
            Some(_) => self.renewal,
            None => CALL_DEADLINE,
        };
        match (self.request(entry, audience, deadline).await, cached) {
            (Ok(token), _) => {
                if token.token().len() <= MAX_CACHED_LEN_BYTES {
                    self.cache.lock().insert(key, Arc::clone(&token), now);
                }
                Ok(token)
            }
            (Err(error), Some(token)) if self.clock.now() < token.expires_at() => {
                warn!(
                    spiffe_id = %entry.spiffe_id,
                    error = %chain(&error),
                    "Unable to renew JWT; returning cached copy"
                );
                Ok(token)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Forgets the tokens that a tainted key of `bundle` signed, and keeps no more of them.
    pub fn drop_tainted(&self, bundle: &Bundle) {
        let tainted = || bundle.jwt_authorities.iter().filter(|key| key.tainted);
        let key_ids = tainted().map(|key| key.key_id.clone()).collect();
        self.cache.lock().set_tainted(key_ids);
        for key in tainted() {
            let count = self.cache.lock().drop_signed_by(&key.key_id);
            if count > 0 {
                info!(
                    jwt_authority_key_ids = %key.key_id,
                    tainted_jwt_svids = count,
                    "JWT-SVIDs were removed from the JWT cache because they were issued by a \
                     tainted authority"
                );
            }
        }
    }

    /// How many tokens are cached.
    pub fn count(&self) -> usize {
        self.cache.lock().len()
    }

    /// Asks the server until it answers or `deadline` has passed.
    async fn request(
        &self,
        entry: &AuthorizedEntry,
        audience: &[String],
        deadline: Duration,
    ) -> Result<Arc<CachedToken>, CallError> {
        let end = Instant::now() + deadline;
        let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        let mut outage = FullJitter::new(FIRST_OUTAGE_RETRY, MAX_OUTAGE_RETRY);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let error = match self.client.new_jwt_svid(&entry.id, audience, left).await {
                Ok(answer) => return Ok(Arc::new(CachedToken::new(answer))),
                Err(error) => error,
            };
            if !is_retriable(&error) {
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

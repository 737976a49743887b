//! JWT-SVIDs of workloads: from the cache while half of their life is left, else from the server; from
//! the cache until their end while no server can be reached.

mod cache;
mod source;

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::chain;
use identity::bundle::Bundle;
use identity::clock::Clock;
use parking_lot::Mutex;
use proto::convert::entry::AuthorizedEntry;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::client::{CALL_DEADLINE, CallError, ServerClient};

use source::{Patience, Source, Wanted, is_outage};

pub use cache::{CachedToken, TokenCache, TokenKey};

/// The time for the renewal of a token that still holds where a connection has to be made first. One
/// that can be made takes a fraction of it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Gives out JWT-SVIDs.
pub struct JwtSvids {
    source: Arc<Source>,
    renewal: Duration,
    clock: Arc<dyn Clock>,
    /// The one renewal that waits for a server to come back; empty while servers answer.
    waiting: Mutex<JoinSet<()>>,
}

/// How much is spent on tokens that are kept.
#[derive(Clone, Copy, Debug)]
pub struct TokenLimits {
    /// How many there are at most.
    pub max_tokens: usize,
    /// The time that a server which can be reached has to renew one that still holds: the workload
    /// waits for it, and would be served without.
    pub renewal: Duration,
}

impl JwtSvids {
    /// Gives out tokens of `client`, and keeps as many of them as `limits` says.
    pub fn new(client: ServerClient, clock: Arc<dyn Clock>, limits: TokenLimits) -> Self {
        let source = Source {
            client,
            cache: Mutex::new(TokenCache::new(limits.max_tokens)),
            clock: Arc::clone(&clock),
        };
        Self {
            source: Arc::new(source),
            renewal: limits.renewal,
            clock,
            waiting: Mutex::default(),
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
        let wanted = Wanted::new(entry, audience);
        let has_jti = entry
            .additional_attributes
            .as_ref()
            .is_some_and(|attributes| attributes.jwt_svid_include_jti);
        if has_jti {
            // Such a token is good for one use.
            let patience = Patience::Full(CALL_DEADLINE);
            return self.source.request(&wanted, patience).await;
        }
        let now = self.clock.now();
        let cached = self.source.cache.lock().get(&wanted.key());
        match cached.filter(|token| now < token.expires_at()) {
            Some(token) if now < token.refresh_at() => Ok(token),
            Some(token) => self.renewed(wanted, token).await,
            None => {
                let patience = Patience::Full(CALL_DEADLINE);
                self.source.renew(&wanted, patience).await
            }
        }
    }

    /// A newer token than `held`, which holds and is given out where there is none.
    async fn renewed(
        &self,
        wanted: Wanted,
        held: Arc<CachedToken>,
    ) -> Result<Arc<CachedToken>, CallError> {
        if self.awaits_server() {
            debug!("No server can be reached; returning cached copy of JWT");
            return Ok(held);
        }
        let time = match self.source.client.is_connected() {
            true => self.renewal,
            false => self.renewal.min(CONNECT_PATIENCE),
        };
        let patience = Patience::WhileReachable(time);
        let error = match self.source.renew(&wanted, patience).await {
            Ok(token) => return Ok(token),
            Err(error) if self.clock.now() >= held.expires_at() => return Err(error),
            Err(error) => error,
        };
        warn!(
            spiffe_id = %wanted.spiffe_id,
            error = %chain(&error),
            "Unable to renew JWT; returning cached copy"
        );
        if is_outage(&error) {
            self.await_server(wanted, &held);
        }
        Ok(held)
    }

    /// Whether no server could be reached when one was asked last.
    fn awaits_server(&self) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.try_join_next().is_some() {}
        !waiting.is_empty()
    }

    /// Renews a token as soon as a server answers. One is enough to see that: the others are renewed
    /// when they are asked for.
    fn await_server(&self, wanted: Wanted, held: &CachedToken) {
        let (source, expires_at) = (Arc::clone(&self.source), held.expires_at());
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            waiting.spawn(async move { source.renew_once_reachable(&wanted, expires_at).await });
        }
    }

    /// Forgets the tokens that a tainted key of `bundle` signed, and keeps no more of them.
    pub fn drop_tainted(&self, bundle: &Bundle) {
        let tainted = || bundle.jwt_authorities.iter().filter(|key| key.tainted);
        let key_ids = tainted().map(|key| key.key_id.clone()).collect();
        self.source.cache.lock().set_tainted(key_ids);
        for key in tainted() {
            let count = self.source.cache.lock().drop_signed_by(&key.key_id);
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
        self.source.cache.lock().len()
    }
}

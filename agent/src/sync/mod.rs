//! Keeps the cache as the server has it.
//!
//! Two tasks: one learns entries and bundles, the other has SVIDs signed. They meet in the cache
//! only, so that a slow list of entries never delays a workload that waits for its SVID.

mod signing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use futures_util::{StreamExt as _, stream};
use identity::bundle::Bundle;
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::cache::Cache;
use crate::client::{CallError, Demand, KnownEntries, ServerClient};
use crate::jitter::jitter;
use crate::jwt::JwtSvids;
use crate::svid::{OwnSvid, OwnSvidError};

pub use signing::{Signer, SigningError};

/// Workloads without any entry make the next sync come early, but not sooner than this after the
/// one before.
const EARLIEST: Duration = Duration::from_millis(500);

/// Bounds of the wait after failures, as SPIRE has them.
const MAX_WAIT: Duration = Duration::from_secs(8 * 60);
const MAX_WAIT_INTERVALS: u32 = 48;

/// Federated bundles asked for at once.
const MAX_BUNDLE_CALLS: usize = 10;

/// Learns the entries and bundles of this agent.
pub struct Synchronizer {
    client: ServerClient,
    cache: Arc<Cache>,
    jwt_svids: Arc<JwtSvids>,
    own: Arc<OwnSvid>,
    trust_domain: TrustDomain,
    interval: Duration,
    backoff: Backoff,
    entries: KnownEntries,
    bundles: BTreeMap<TrustDomain, Bundle>,
    last_success: Arc<Mutex<Option<Instant>>>,
}

/// What a synchronizer works with.
pub struct Parts {
    /// Asks the server.
    pub client: ServerClient,
    /// Is kept up to date.
    pub cache: Arc<Cache>,
    /// Forgets tokens of tainted keys.
    pub jwt_svids: Arc<JwtSvids>,
    /// Follows the bundle, and the server's demands.
    pub own: Arc<OwnSvid>,
    /// Whose agent this is.
    pub trust_domain: TrustDomain,
    /// The time between two syncs.
    pub interval: Duration,
}

/// What ends a wait.
#[derive(Debug)]
enum Event {
    Due,
    Stop,
}

impl Synchronizer {
    /// A synchronizer that has not asked yet.
    pub fn new(parts: Parts) -> Self {
        let max_wait = MAX_WAIT.min(parts.interval * MAX_WAIT_INTERVALS);
        Self {
            client: parts.client,
            cache: parts.cache,
            jwt_svids: parts.jwt_svids,
            own: parts.own,
            trust_domain: parts.trust_domain,
            interval: parts.interval,
            backoff: Backoff::new(parts.interval, max_wait),
            entries: KnownEntries::new(),
            bundles: BTreeMap::new(),
            last_success: Arc::default(),
        }
    }

    /// When the last sync succeeded.
    pub fn last_success(&self) -> Arc<Mutex<Option<Instant>>> {
        Arc::clone(&self.last_success)
    }

    /// The first sync, without which there is nothing to serve: tries until it succeeds.
    ///
    /// # Errors
    /// The server refuses this agent, or is not one that the bundle vouches for. A refused agent has
    /// forgotten its SVID.
    pub async fn first(&mut self) -> Result<(), SyncError> {
        loop {
            let error = match self.synchronize().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(demand) = error.call().demand() {
                // The server's view at start decides; the next start attests anew.
                let cause = chain(&error);
                match demand {
                    Demand::Reattest => error!(
                        error = cause,
                        "Agent needs to re-attest: removing SVID and shutting down"
                    ),
                    Demand::ShutDown => error!(
                        error = cause,
                        "Agent is banned: removing SVID and shutting down"
                    ),
                }
                self.own.forget();
                return Err(error.into());
            }
            if error.call().is_untrusted_server() {
                return Err(error.into());
            }
            let wait = self.backoff.next(jitter());
            error!(error = %chain(&error), retry_interval = ?wait, "Synchronize failed");
            tokio::time::sleep(wait).await;
        }
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// The agent cannot go on: it is refused, or no server has a certificate that it can trust.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), SyncError> {
        let mut last = Instant::now();
        let mut wait = self.interval;
        let mut is_failing = false;
        loop {
            match self.select(&shutdown, last, wait, is_failing).await {
                Event::Stop => return Ok(()),
                Event::Due => {}
            }
            last = Instant::now();
            let result = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                result = self.synchronize() => result,
            };
            is_failing = result.is_err();
            wait = self.handle(result)?;
        }
    }

    /// Waits for the next sync. While the server fails, workloads cannot hasten it.
    async fn select(
        &self,
        shutdown: &Shutdown,
        last: Instant,
        wait: Duration,
        is_failing: bool,
    ) -> Event {
        let hastened = async {
            if is_failing {
                std::future::pending::<()>().await;
            }
            self.cache.unknown_workload().await;
            sleep_until(last + EARLIEST).await;
        };
        tokio::select! {
            () = shutdown.requested() => Event::Stop,
            () = sleep_until(last + wait) => Event::Due,
            () = hastened => Event::Due,
        }
    }

    /// How long to wait after a sync with this result.
    fn handle(&mut self, result: Result<(), RoundError>) -> Result<Duration, SyncError> {
        let Err(error) = result else {
            self.backoff.reset();
            return Ok(self.interval.mul_f64(1.0 + 0.1 * jitter()));
        };
        if error.call().is_untrusted_server() {
            info!(error = %chain(&error), "Synchronize failed, non-recoverable error");
            return Err(error.into());
        }
        error!(error = %chain(&error), "Synchronize failed");
        if let Some(demand) = error.call().demand() {
            self.own.obey(demand, error.call())?;
        }
        Ok(self.backoff.next(jitter()))
    }

    async fn synchronize(&mut self) -> Result<(), RoundError> {
        let entries = self.client.sync_entries(&self.entries).await;
        let entries = entries.map_err(RoundError::Entries)?;
        let own = self.client.own_bundle().await.map_err(RoundError::Bundle)?;
        let federated = self.federated_bundles(&entries).await;
        self.entries = entries;
        self.bundles = federated;
        self.bundles.insert(self.trust_domain.clone(), own);
        self.apply();
        Ok(())
    }

    /// Hands what was learnt to everyone who acts on it. Bundles go first, so that no SVID is given
    /// out before the authority that verifies it.
    fn apply(&self) {
        if let Some(own) = self.bundles.get(&self.trust_domain) {
            self.own.set_bundle(own);
            self.jwt_svids.drop_tainted(own);
        }
        self.cache
            .set_bundles(self.bundles.values().cloned().collect());
        self.cache.set_entries(self.entries.values());
        *self.last_success.lock() = Some(Instant::now());
    }

    /// The bundles of all trust domains that the entries federate with. One that cannot be had now
    /// stays as it was; one that the server does not have is left out.
    async fn federated_bundles(&self, entries: &KnownEntries) -> BTreeMap<TrustDomain, Bundle> {
        let wanted: BTreeSet<TrustDomain> = entries
            .values()
            .flat_map(|entry| entry.federates_with.iter().cloned())
            .filter(|trust_domain| *trust_domain != self.trust_domain)
            .collect();
        let calls = wanted.into_iter().map(|name| self.federated_bundle(name));
        stream::iter(calls.collect::<Vec<_>>())
            .buffer_unordered(MAX_BUNDLE_CALLS)
            .filter_map(std::future::ready)
            .map(|bundle| (bundle.trust_domain.clone(), bundle))
            .collect()
            .await
    }

    async fn federated_bundle(&self, trust_domain: TrustDomain) -> Option<Bundle> {
        match self.client.federated_bundle(&trust_domain).await {
            Ok(Some(bundle)) => Some(bundle),
            Ok(None) => {
                warn!(trust_domain_id = %trust_domain.id_string(), "Federated bundle not found");
                None
            }
            Err(error) => {
                error!(
                    federated_bundle = %trust_domain,
                    error = %chain(&error),
                    "Failed to fetch federated bundle"
                );
                self.bundles.get(&trust_domain).cloned()
            }
        }
    }
}

/// Why one sync failed.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The entries could not be learnt.
    #[error("failed to fetch authorized entries")]
    Entries(#[source] CallError),
    /// The own bundle could not be learnt.
    #[error("failed to fetch bundle")]
    Bundle(#[source] CallError),
}

impl RoundError {
    fn call(&self) -> &CallError {
        match self {
            Self::Entries(error) | Self::Bundle(error) => error,
        }
    }
}

/// Why there is no point in another sync.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The server refuses this agent, or cannot be trusted.
    #[error(transparent)]
    Final(#[from] RoundError),
    /// The server demanded what ends the agent.
    #[error(transparent)]
    OwnSvid(#[from] OwnSvidError),
}

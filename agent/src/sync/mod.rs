//! Keeps the cache as the servers have it.
//!
//! Two tasks: one learns entries and bundles, the other has SVIDs signed. They meet in the cache
//! only, so that a slow list of entries never delays a workload that waits for its SVID. Changes
//! come as a stream where the server offers one; otherwise the agent asks again and again, as
//! SPIRE's do.

mod learnt;
mod poll;
mod push;
mod reminder;
mod signing;

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use identity::clock::Clock;
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info};

use crate::backoff::{Backoff, FullJitter};
use crate::bootstrap::{Rebootstrapper, Verdict};
use crate::cache::Cache;
use crate::client::{CallError, Demand, LinkId, ServerClient};
use crate::jitter::jitter;
use crate::jwt::JwtSvids;
use crate::storage::DataError;
use crate::svid::{OwnSvid, OwnSvidError};

use learnt::Learnt;
use push::{Followed, Follower};
use reminder::Reminder;

pub use signing::{Signer, SigningError};

/// Workloads without any entry make the next sync come early, but not sooner than this after the
/// one before.
const EARLIEST: Duration = Duration::from_millis(500);

/// Bounds of the wait after failures, as SPIRE has them.
const MAX_WAIT: Duration = Duration::from_secs(8 * 60);
const MAX_WAIT_INTERVALS: u32 = 48;

/// Bounds of the wait while no server answers at all.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(4);

/// The wait before a server that is not believed is looked at again, as SPIRE has it.
const MAX_DISBELIEF_WAIT: Duration = Duration::from_secs(5);

/// Learns the entries and bundles of this agent.
pub struct Synchronizer {
    client: ServerClient,
    own: Arc<OwnSvid>,
    cache: Arc<Cache>,
    trust_domain: TrustDomain,
    interval: Duration,
    learnt: Learnt,
    follower: Follower,
    /// The connection to a server without a stream of changes.
    asks: Option<LinkId>,
    backoff: Backoff,
    outage: FullJitter,
    reminder: Reminder,
    rebootstrapper: Rebootstrapper,
    clock: Arc<dyn Clock>,
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
    /// The time between two syncs with a server that has to be asked.
    pub interval: Duration,
    /// When servers are believed anew that the bundle does not vouch for.
    pub rebootstrapper: Rebootstrapper,
    /// Tells how long there have been no others.
    pub clock: Arc<dyn Clock>,
}

/// What ends a wait.
#[derive(Debug)]
enum Event {
    Due,
    Stop,
}

/// What one round brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Round {
    /// All that there is.
    Complete,
    /// A part of a stream that brings more by itself.
    Streamed,
}

/// Why the next round waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    /// It need not.
    None,
    /// The server was asked a moment ago. A workload without an entry can hasten it.
    Interval(Duration),
    /// The one before failed.
    Failure(Duration),
}

impl Synchronizer {
    /// A synchronizer that has not asked yet.
    pub fn new(parts: Parts) -> Self {
        let max_wait = MAX_WAIT.min(parts.interval * MAX_WAIT_INTERVALS);
        let cache = Arc::clone(&parts.cache);
        let own = Arc::clone(&parts.own);
        Self {
            client: parts.client,
            learnt: Learnt::new(parts.trust_domain.clone(), cache, parts.jwt_svids, own),
            own: parts.own,
            cache: parts.cache,
            trust_domain: parts.trust_domain,
            interval: parts.interval,
            follower: Follower::new(),
            asks: None,
            backoff: Backoff::new(parts.interval, max_wait),
            outage: FullJitter::new(FIRST_RETRY, MAX_RETRY),
            reminder: Reminder::default(),
            rebootstrapper: parts.rebootstrapper,
            clock: parts.clock,
        }
    }

    /// When the last sync succeeded.
    pub fn last_success(&self) -> Arc<Mutex<Option<Instant>>> {
        self.learnt.last_success()
    }

    /// The first sync, without which there is nothing to serve: tries until it succeeds.
    ///
    /// # Errors
    /// The server refuses this agent, or is not one that the bundle vouches for. A refused agent has
    /// forgotten its SVID.
    pub async fn first(&mut self) -> Result<(), SyncError> {
        loop {
            let error = match self.round().await {
                Ok(Round::Complete) => {
                    self.own.believed();
                    return Ok(());
                }
                Ok(Round::Streamed) => continue,
                Err(error) => error,
            };
            if let Some(demand) = error.call().demand() {
                // The server's view at start decides; the next start attests anew.
                let cause = chain(&error);
                match demand {
                    Demand::Reattest | Demand::ReattestExpired => error!(
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
            let wait = match error.call().is_untrusted_server() {
                true => self.disbelieve(error)?,
                false => {
                    let wait = self.wait_after(&error);
                    self.tell(&error, wait);
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// The agent cannot go on: it is refused, or no server has a certificate that it can trust.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), SyncError> {
        let mut last = Instant::now();
        let mut pause = self.pause();
        loop {
            match self.select(&shutdown, last, pause).await {
                Event::Stop => return Ok(()),
                Event::Due => {}
            }
            last = Instant::now();
            let result = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                result = self.round() => result,
            };
            pause = self.handle(result)?;
        }
    }

    /// Waits for the next round. While the server fails, workloads cannot hasten it.
    async fn select(&self, shutdown: &Shutdown, last: Instant, pause: Pause) -> Event {
        let (wait, can_be_hastened) = match pause {
            Pause::None => return Event::Due,
            Pause::Interval(wait) => (wait, true),
            Pause::Failure(wait) => (wait, false),
        };
        // From the end of a failed round, which may have taken longer than the wait.
        let due = match can_be_hastened {
            true => last + wait,
            false => Instant::now() + wait,
        };
        let hastened = async {
            self.cache.unknown_workload().await;
            sleep_until(last + EARLIEST).await;
        };
        tokio::select! {
            () = shutdown.requested() => Event::Stop,
            () = sleep_until(due) => Event::Due,
            () = hastened, if can_be_hastened => Event::Due,
        }
    }

    /// What a round with this result is followed by.
    fn handle(&mut self, result: Result<Round, RoundError>) -> Result<Pause, SyncError> {
        let Err(error) = result else {
            self.backoff.reset();
            self.outage.reset();
            if self.reminder.reset() {
                info!("Synchronized again");
            }
            self.own.believed();
            return Ok(self.pause());
        };
        if error.call().is_untrusted_server() {
            return self.disbelieve(error).map(Pause::Failure);
        }
        let wait = self.wait_after(&error);
        self.tell(&error, wait);
        if let Some(demand) = error.call().demand() {
            self.own.obey(demand, error.call())?;
        }
        Ok(Pause::Failure(wait))
    }

    /// How long to wait after having met no server that the bundle vouches for.
    fn disbelieve(&self, error: RoundError) -> Result<Duration, SyncError> {
        let now = self.clock.now();
        let since = match self.rebootstrapper.is_enabled() {
            true => self.own.disbelieved_since(now),
            false => now,
        };
        match self.rebootstrapper.judge(since, now) {
            Verdict::Final => {
                info!(error = %chain(&error), "Synchronize failed, non-recoverable error");
                Err(error.into())
            }
            Verdict::Wait => Ok(self.interval.min(MAX_DISBELIEF_WAIT)),
            Verdict::StartOver => {
                self.own.start_over()?;
                Err(SyncError::StartOver)
            }
        }
    }

    /// The pause after a round that succeeded.
    fn pause(&self) -> Pause {
        match self.asks {
            None => Pause::None,
            Some(_) => Pause::Interval(self.interval.mul_f64(1.0 + 0.1 * jitter())),
        }
    }

    /// Servers that do not answer are asked again soon, since only the connection is at stake. One
    /// that answers with an error gets the time that SPIRE's agents give it.
    fn wait_after(&mut self, error: &RoundError) -> Duration {
        let is_unavailable = matches!(error, RoundError::Changes(error) if error.is_transient());
        match error.call().is_outage() || is_unavailable {
            true => self.outage.next(jitter()),
            false => self.backoff.next(jitter()),
        }
    }

    fn tell(&mut self, error: &RoundError, wait: Duration) {
        let error = chain(error);
        match self.reminder.is_due() {
            true => error!(error, retry_interval = ?wait, "Synchronize failed"),
            false => debug!(error, retry_interval = ?wait, "Synchronize failed"),
        }
    }

    /// Learns what comes next: the rest of a stream, or everything from a server that must be asked.
    async fn round(&mut self) -> Result<Round, RoundError> {
        if !self.asks.is_some_and(|link| self.client.uses(link)) {
            let followed = self.follower.next(&self.client).await;
            match followed.map_err(RoundError::Changes)? {
                Followed::Batch(batch) => {
                    self.asks = None;
                    let round = match batch.is_reset {
                        true => Round::Complete,
                        false => Round::Streamed,
                    };
                    self.learnt.change(batch);
                    return Ok(round);
                }
                Followed::Unimplemented(link) => {
                    if self.asks.replace(link).is_none() {
                        info!(interval = ?self.interval, "Server does not push changes: polling");
                    }
                    // What is learnt by asking has no place in the history.
                    self.follower.start_over();
                }
            }
        }
        poll::poll(&self.client, &self.trust_domain, &mut self.learnt).await?;
        Ok(Round::Complete)
    }
}

/// Why one sync failed.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The stream of changes could not be followed.
    // In the words that scripts look for: what could not be had is the same.
    #[error("failed to fetch authorized entries")]
    Changes(#[source] CallError),
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
            Self::Changes(error) | Self::Entries(error) | Self::Bundle(error) => error,
        }
    }
}

/// Why there is no point in another sync.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The server refuses this agent, or cannot be trusted.
    #[error(transparent)]
    Final(#[from] RoundError),
    /// No server was believed for too long; the stored SVID and bundle are gone.
    #[error("shutting down for rebootstrapping")]
    StartOver,
    /// The store of both fails.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The server demanded what ends the agent.
    #[error(transparent)]
    OwnSvid(#[from] OwnSvidError),
}

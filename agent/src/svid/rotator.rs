//! Renews the agent's own SVID, and decides whether the agent can go on when that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use identity::clock::UnixTime;
use identity::secret::PrivateKey;
use identity::spiffe_id::SpiffeId;
use identity::tls::{SharedTlsMaterial, TlsError, TlsMaterial};
use identity::x509::{X509Error, generate_csr};
use identity::x509_svid::{SvidError, X509Svid};
use tonic::Code;
use tracing::{debug, error, info, warn};

use super::{OwnSvid, OwnSvidError};
use crate::attest::{AttestError, NodeAttestor, attest};
use crate::backoff::{Backoff, FullJitter};
use crate::cache::Cache;
use crate::client::{CallError, Dialer, ServerClient, Servers, TlsMode};
use crate::jitter::jitter;
use crate::storage::{KeyStore, KeyStoreError};

/// The longest sleep between two looks at the clock, which may be set.
const MAX_SLEEP: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Bounds of the wait while no server answers at all.
const FIRST_OUTAGE_RETRY: Duration = Duration::from_millis(500);
const MAX_OUTAGE_RETRY: Duration = Duration::from_secs(10);

/// An SVID that has ended for good is told this often.
const REMIND: Duration = Duration::from_secs(60);

/// Renews the agent's SVID for as long as the agent runs.
pub struct Rotator {
    /// What is renewed.
    pub own: Arc<OwnSvid>,
    /// Where new keys come from.
    pub keys: KeyStore,
    /// Asks for renewals, and connects anew after one.
    pub client: ServerClient,
    /// Where to attest again.
    pub servers: Servers,
    /// What to attest again with.
    pub attestor: Option<Arc<dyn NodeAttestor>>,
    /// Says how long there is something to serve without an SVID of the agent.
    pub cache: Arc<Cache>,
}

impl Rotator {
    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// The agent has no valid SVID any more and no way to one.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), OwnSvidError> {
        let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        let mut outage = FullJitter::new(FIRST_OUTAGE_RETRY, MAX_OUTAGE_RETRY);
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                () = shutdown.requested() => {
                    store_late(&mut self.keys, &self.own);
                    return Ok(());
                }
                () = tokio::time::sleep(wait) => {}
                () = self.own.wake.notified() => {}
                () = keep_storing(&mut self.keys, &self.own) => {}
            }
            wait = self.own.due_in(self.servers.clock.now()).min(MAX_SLEEP);
            if !wait.is_zero() {
                continue;
            }
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                renewed = self.renew() => match renewed {
                    Ok(()) => {
                        outage.reset();
                        // Zero unless the new one has to be replaced, too.
                        let due_in = self.own.due_in(self.servers.clock.now());
                        match due_in.is_zero() {
                            true => wait = backoff.next(jitter()),
                            false => backoff.reset(),
                        }
                    }
                    Err(error) => wait = match self.judge(error)? {
                        Prospect::Soon => outage.next(jitter()),
                        Prospect::Later => {
                            let now = self.servers.clock.now();
                            self.own.at_last_quarter(backoff.next(jitter()), now)
                        }
                        Prospect::None { for_now } => for_now.min(REMIND),
                    },
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), RenewError> {
        let (current, reattestable) = {
            let held = self.own.held.lock();
            (held.svid.key().clone(), held.reattestable)
        };
        let key = self.next_key(&current)?;
        let attests = reattestable || self.own.must_reattest.load(Ordering::Relaxed);
        let client = self.client.clone();
        let _replacing = match attests {
            true => Some(client.replace_svid().await),
            false => None,
        };
        if attests {
            self.attest_again(&key).await?;
        } else {
            debug!("Rotating agent SVID");
            let csr = generate_csr(&key, None, &[]).map_err(RenewError::Csr)?;
            let chain = self.client.renew_agent(csr).await?;
            let svid = X509Svid::new(chain, key).map_err(RenewError::Svid)?;
            self.check_id(&svid)?;
            info!(spiffe_id = %svid.spiffe_id(), "Successfully rotated agent SVID");
            self.own.replace(svid, reattestable);
        }
        // The connection is tied to the SVID it was made with.
        self.client.reconnect();
        Ok(())
    }

    /// A key that is stored, or in memory alone if the disk does not take it and must not be waited
    /// for any longer.
    fn next_key(&mut self, current: &PrivateKey) -> Result<PrivateKey, KeyStoreError> {
        match self.keys.generate(Some(current)) {
            Err(error @ KeyStoreError::Write { .. })
                if !self.own.awaits_disk(self.servers.clock.now()) =>
            {
                warn!(
                    error = %chain(&error),
                    "Next key of the agent is in memory only, until it can be written; an agent that \
                     starts anew before that has to attest"
                );
                self.keys.generate_in_memory(Some(current))
            }
            other => other,
        }
    }

    async fn attest_again(&self, key: &PrivateKey) -> Result<(), RenewError> {
        let attestor = self.attestor.as_deref().ok_or(RenewError::NoEvidence)?;
        debug!("Reattesting node");
        let material = TlsMaterial::new(None, self.own.bundle())?;
        let mode = TlsMode::Verified(SharedTlsMaterial::new(material));
        let dialer = Dialer::new(&self.servers, mode)?;
        let attested = attest(&dialer, &self.servers, attestor, key).await?;
        self.check_id(&attested.svid)?;
        info!(spiffe_id = %attested.svid.spiffe_id(), "Successfully reattested node");
        self.own.replace(attested.svid, attested.reattestable);
        self.own.set_bundle(&attested.bundle);
        Ok(())
    }

    /// Entries and records on the server are tied to the id that the agent came up with.
    fn check_id(&self, svid: &X509Svid) -> Result<(), RenewError> {
        let expected = self.own.spiffe_id();
        if *svid.spiffe_id() == expected {
            return Ok(());
        }
        let received = svid.spiffe_id().clone();
        Err(RenewError::AnotherId { received, expected })
    }

    /// Whether the agent can go on after a failed renewal, and what to hope for.
    fn judge(&self, error: RenewError) -> Result<Prospect, OwnSvidError> {
        let (not_after, reattestable) = {
            let held = self.own.held.lock();
            (held.svid.not_after(), held.reattestable)
        };
        let soon_or_later = match error.is_outage() {
            true => Prospect::Soon,
            false => Prospect::Later,
        };
        let is_expired = self.servers.clock.now() > not_after;
        if is_expired && !reattestable {
            return self.outlive(not_after, error);
        }
        error!(error = %chain(&error), "Could not rotate agent SVID");
        if self.own.must_reattest.load(Ordering::Relaxed) {
            if error.is_outage() || error.is_of_this_node() {
                return Ok(Prospect::Soon);
            }
            self.own.give_up(&chain(&error));
            return Err(OwnSvidError::MustReattest);
        }
        if let RenewError::Call(cause) = &error
            && let Some(demand) = cause.demand()
        {
            self.own.obey(demand, cause)?;
            return Ok(Prospect::Later);
        }
        match is_expired {
            false => Ok(soon_or_later),
            true if error.is_refusal() => Err(OwnSvidError::Expired(Box::new(error))),
            // Nothing but attesting again can help, and that needs no SVID.
            true => Ok(Prospect::Soon),
        }
    }

    /// An agent that cannot attest again goes on as long as it has something to serve.
    fn outlive(&self, not_after: UnixTime, error: RenewError) -> Result<Prospect, OwnSvidError> {
        let now = self.servers.clock.now();
        let Some(end) = self.cache.last_end().filter(|end| now < *end) else {
            return Err(OwnSvidError::TokenSpent(Box::new(error)));
        };
        error!(
            error = %chain(&error),
            expired_at = not_after.as_secs(),
            serves_until = end.as_secs(),
            "Agent SVID has expired and its join token is spent; make a new token with \
             `conclave-server token generate` and restart the agent with it"
        );
        // A whole second more: the clock has no finer steps.
        let for_now = end.saturating_duration_since(now) + Duration::from_secs(1);
        Ok(Prospect::None { for_now })
    }
}

/// Stores what the disk did not take before, for as long as this is waited for. Cancel-safe.
async fn keep_storing(keys: &mut KeyStore, own: &OwnSvid) {
    loop {
        store_late(keys, own);
        tokio::time::sleep(MAX_SLEEP).await;
    }
}

/// Stores what the disk did not take before, the keys first.
fn store_late(keys: &mut KeyStore, own: &OwnSvid) {
    match keys.catch_up() {
        Ok(false) => {}
        Ok(true) => info!("Keys of the agent stored after all"),
        Err(error) => return debug!(error = %chain(&error), "Could not store keys of the agent"),
    }
    own.store_again();
}

/// What an agent whose renewal failed can hope for.
enum Prospect {
    /// That a server answers.
    Soon,
    /// That a server answers otherwise.
    Later,
    /// Nothing, until somebody starts the agent anew. It has something to serve `for_now`.
    None { for_now: Duration },
}

/// Why the agent's SVID was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The server was not reached, or refuses.
    #[error("failed to renew agent")]
    Call(#[from] CallError),
    /// The node could not be attested again.
    #[error("failed to re-attest")]
    Attest(#[from] AttestError),
    /// There is nothing to attest with.
    #[error("no evidence to attest with")]
    NoEvidence,
    /// No key could be made or stored.
    #[error("no key for the next SVID")]
    Keys(#[from] KeyStoreError),
    /// No certificate request could be made.
    #[error("cannot make a certificate request")]
    Csr(#[source] X509Error),
    /// What the server sent is not an SVID for the key of this agent.
    #[error("server sent an unusable SVID")]
    Svid(#[source] SvidError),
    /// What the server sent is somebody else's SVID.
    #[error("server sent the SVID of {received} to {expected}")]
    AnotherId {
        /// Whose it is.
        received: SpiffeId,
        /// Who asked for one.
        expected: SpiffeId,
    },
    /// The TLS library refuses the bundle.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
}

impl RenewError {
    fn call(&self) -> Option<&CallError> {
        match self {
            Self::Call(error) | Self::Attest(AttestError::Call(error)) => Some(error),
            Self::Attest(_)
            | Self::NoEvidence
            | Self::Keys(_)
            | Self::Csr(_)
            | Self::Svid(_)
            | Self::AnotherId { .. }
            | Self::Tls(_) => None,
        }
    }

    /// Whether the servers did not answer, or could not.
    fn is_outage(&self) -> bool {
        self.call().is_some_and(CallError::is_transient)
    }

    /// Whether no server was asked: what is shown may be in the middle of being renewed.
    fn is_of_this_node(&self) -> bool {
        matches!(self, Self::Attest(AttestError::Attestor { .. }))
    }

    fn is_refusal(&self) -> bool {
        self.call()
            .is_some_and(|error| error.code() == Code::PermissionDenied)
    }
}

//! The agent's own SVID: who holds it, when it is renewed, and what a server's refusal means for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::lifetime::{rotate_at, rotate_at_for_availability};
use identity::secret::PrivateKey;
use identity::spiffe_id::SpiffeId;
use identity::tls::{Issuers, SharedTlsMaterial, TaintedAuthorities, TlsError, TlsMaterial};
use identity::trust_domain::TrustDomain;
use identity::x509::{X509Error, generate_csr};
use identity::x509_svid::{SvidError, X509Svid};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::Code;
use tracing::{debug, error, info, warn};

use crate::attest::{AttestError, Attested, NodeAttestor, attest};
use crate::backoff::{Backoff, FullJitter};
use crate::cache::Cache;
use crate::client::{CallError, Demand, Dialer, ServerClient, Servers, TlsMode};
use crate::jitter::jitter;
use crate::storage::{DataError, DataFile, KeyStore, KeyStoreError};

/// The longest sleep between two looks at the clock, which may be set.
const MAX_SLEEP: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Bounds of the wait while no server answers at all.
const FIRST_OUTAGE_RETRY: Duration = Duration::from_millis(500);
const MAX_OUTAGE_RETRY: Duration = Duration::from_secs(10);

/// An SVID that has ended for good is told this often.
const REMIND: Duration = Duration::from_secs(60);

/// The agent's SVID and bundle, in memory and on disk.
pub struct OwnSvid {
    trust_domain: TrustDomain,
    material: SharedTlsMaterial,
    data: Mutex<DataFile>,
    held: Mutex<Held>,
    availability_target: Option<Duration>,
    is_stored: AtomicBool,
    is_tainted: AtomicBool,
    must_reattest: AtomicBool,
    wake: Notify,
}

struct Held {
    svid: X509Svid,
    reattestable: bool,
    rotate_at: UnixTime,
}

impl OwnSvid {
    /// Takes over what an agent came up with.
    ///
    /// # Errors
    /// The TLS library refuses the key.
    pub fn new(
        trust_domain: TrustDomain,
        attested: Attested,
        data: DataFile,
        availability_target: Option<Duration>,
    ) -> Result<Self, TlsError> {
        let bundle = Arc::new(attested.bundle);
        let material = TlsMaterial::new(Some(attested.svid.clone()), [bundle])?;
        let rotate_at = rotation_time(&attested.svid, availability_target);
        Ok(Self {
            trust_domain,
            material: SharedTlsMaterial::new(material),
            data: Mutex::new(data),
            held: Mutex::new(Held {
                svid: attested.svid,
                reattestable: attested.reattestable,
                rotate_at,
            }),
            availability_target,
            is_stored: AtomicBool::new(true),
            is_tainted: AtomicBool::new(false),
            must_reattest: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// What connections to the server are made with, always the latest.
    pub fn material(&self) -> SharedTlsMaterial {
        self.material.clone()
    }

    /// Who the agent is.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.held.lock().svid.spiffe_id().clone()
    }

    /// Takes in the latest bundle of the own trust domain. An agent whose SVID depends on a tainted
    /// authority renews it at once.
    pub fn set_bundle(&self, bundle: &Bundle) {
        if bundle.x509_authorities.is_empty() {
            // With it the agent would never again believe any server.
            warn!("Bundle without X.509 authorities ignored");
            return;
        }
        // Kept until the material is set: a renewal in between would be undone, and the server
        // takes the SVID before it for an old one.
        let held = self.held.lock();
        let svid = held.svid.clone();
        if is_tainted(&svid, bundle) && !self.is_tainted.swap(true, Ordering::Relaxed) {
            info!("Agent SVID is tainted by a root authority, forcing rotation");
            self.wake.notify_one();
        }
        if self.bundle().is_none_or(|shown| *shown != *bundle) {
            self.set_material(TlsMaterial::new(Some(svid), [Arc::new(bundle.clone())]));
        }
        // Taken before the other is let go, so that the later bundle is the one that stays stored.
        let mut data = self.data.lock();
        drop(held);
        let authorities = bundle.x509_authorities.iter();
        let authorities = authorities.map(|one| one.certificate.clone()).collect();
        // Also where nothing is new: it may not have been stored when it was.
        if let Err(error) = data.store_bundle(authorities) {
            error!(error = %chain(&error), "Could not store bundle");
        }
    }

    /// Does what a server demanded with the refusal `cause`.
    ///
    /// # Errors
    /// The agent has to end; its stored SVID is gone, so that the next start attests.
    pub fn obey(&self, demand: Demand, cause: &CallError) -> Result<(), OwnSvidError> {
        match demand {
            Demand::ShutDown => {
                let error = chain(cause);
                warn!(error, "Agent is banned: removing SVID and shutting down");
                self.forget();
                Err(OwnSvidError::Banned)
            }
            Demand::Reattest => {
                let error = chain(cause);
                warn!(error, "Agent needs to re-attest; will attempt to re-attest");
                if !self.held.lock().reattestable {
                    self.give_up(&"attestation method is not re-attestable");
                    return Err(OwnSvidError::MustReattest);
                }
                self.must_reattest.store(true, Ordering::Relaxed);
                self.wake.notify_one();
                Ok(())
            }
        }
    }

    /// Removes the stored SVID, so that the next start attests.
    pub fn forget(&self) {
        self.is_stored.store(true, Ordering::Relaxed);
        if let Err(error) = self.data.lock().delete_svid() {
            error!(error = %chain(&error), "Failed to remove SVID");
        }
    }

    /// Since when no server was believed, this time included; `now` if that cannot be noted.
    pub fn disbelieved_since(&self, now: UnixTime) -> UnixTime {
        self.data
            .lock()
            .disbelieved_since(now)
            .unwrap_or_else(|error| {
                error!(error = %chain(&error), "Could not store since when no server is believed");
                now
            })
    }

    /// Notes that a server was believed.
    pub fn believed(&self) {
        if let Err(error) = self.data.lock().believed() {
            error!(error = %chain(&error), "Could not store that a server was believed");
        }
    }

    /// Removes the stored SVID and bundle, so that the next start is as the first.
    ///
    /// # Errors
    /// They are still stored.
    pub fn start_over(&self) -> Result<(), DataError> {
        self.data.lock().start_over()
    }

    fn give_up(&self, error: &dyn std::fmt::Display) {
        error!(%error, "Agent failed re-attestation; removing SVID and shutting down");
        self.forget();
    }

    fn replace(&self, svid: X509Svid, reattestable: bool) {
        self.store(&svid, reattestable);
        self.show(svid, reattestable);
        self.must_reattest.store(false, Ordering::Relaxed);
    }

    /// Stores the SVID that is held if that has failed so far: servers take the one before it for an old one.
    fn store_again(&self) {
        if self.is_stored.load(Ordering::Relaxed) {
            return;
        }
        let (svid, reattestable) = {
            let held = self.held.lock();
            (held.svid.clone(), held.reattestable)
        };
        self.store(&svid, reattestable);
    }

    fn store(&self, svid: &X509Svid, reattestable: bool) {
        let chain_der = svid.chain().to_vec();
        let stored = self.data.lock().store_svid(chain_der, reattestable);
        let was_stored = self.is_stored.swap(stored.is_ok(), Ordering::Relaxed);
        match (stored, was_stored) {
            (Ok(()), true) => {}
            (Ok(()), false) => info!("SVID stored after all"),
            (Err(error), true) => warn!(error = %chain(&error), "Could not store SVID; retrying"),
            (Err(error), false) => debug!(error = %chain(&error), "Could not store SVID"),
        }
    }

    /// Takes `svid` for all connections from now on.
    fn show(&self, svid: X509Svid, reattestable: bool) {
        let mut held = self.held.lock();
        let bundle = self.bundle();
        // A server that lags behind may have signed it with what is tainted meanwhile. With `held` taken, since a
        // bundle that arrives now looks at the SVID before.
        let is_tainted = bundle.as_ref().is_some_and(|own| is_tainted(&svid, own));
        self.is_tainted.store(is_tainted, Ordering::Relaxed);
        self.set_material(TlsMaterial::new(Some(svid.clone()), bundle));
        *held = Held {
            rotate_at: rotation_time(&svid, self.availability_target),
            svid,
            reattestable,
        };
    }

    fn bundle(&self) -> Option<Arc<Bundle>> {
        self.material.load().bundle(&self.trust_domain).cloned()
    }

    fn set_material(&self, material: Result<TlsMaterial, TlsError>) {
        match material {
            Ok(material) => self.material.replace(material),
            Err(error) => error!(error = %chain(&error), "Could not use SVID for TLS"),
        }
    }

    /// How long until the SVID is due; zero when it is.
    fn due_in(&self, now: UnixTime) -> Duration {
        if self.is_tainted.load(Ordering::Relaxed) || self.must_reattest.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.held.lock().rotate_at.saturating_duration_since(now)
    }
}

fn is_tainted(svid: &X509Svid, bundle: &Bundle) -> bool {
    TaintedAuthorities::of(bundle).stand_behind(&Issuers::of(svid.chain()))
}

fn rotation_time(svid: &X509Svid, availability_target: Option<Duration>) -> UnixTime {
    let (not_before, not_after) = (svid.not_before(), svid.not_after());
    match availability_target {
        Some(target) => rotate_at_for_availability(not_before, not_after, target, jitter()),
        None => rotate_at(not_before, not_after, jitter()),
    }
}

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
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                () = self.own.wake.notified() => {}
            }
            self.own.store_again();
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
                        Prospect::Later => backoff.next(jitter()),
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
        let key = self.keys.generate(Some(&current))?;
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

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OwnSvidError {
    /// The server banned it.
    #[error("agent is banned")]
    Banned,
    /// The server wants it to attest again, which it cannot do.
    #[error("agent needs to re-attest, and the attestation method is not re-attestable")]
    MustReattest,
    /// Its SVID ended, and the server refuses to attest it again.
    #[error("current SVID has already expired and rotation failed")]
    Expired(#[source] Box<RenewError>),
    /// Its SVID ended, so did those of all workloads, and it cannot attest again by itself.
    #[error(
        "agent SVID has expired and its join token is spent; make a new token with \
         `conclave-server token generate` and restart the agent with it"
    )]
    TokenSpent(#[source] Box<RenewError>),
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use identity::testing::TestAuthority;

    use super::*;

    fn own(authority: &TestAuthority, directory: &std::path::Path) -> OwnSvid {
        let attested = Attested {
            svid: authority.x509_svid("/spire/agent/x"),
            bundle: authority.bundle(),
            reattestable: false,
        };
        let data = DataFile::open(directory).unwrap();
        OwnSvid::new(authority.trust_domain().clone(), attested, data, None).unwrap()
    }

    #[test]
    fn bundle_that_arrives_during_a_renewal_does_not_undo_it() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, directory.path());
        let shown = own.material();
        let arrived = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let renewals = scope.spawn(|| {
                let svids = [(); 2].map(|()| authority.x509_svid("/spire/agent/x"));
                for svid in svids.iter().cycle().take(60) {
                    own.show(svid.clone(), false);
                    // One bundle was on its way, and the next one would mend what it had spoilt.
                    let before = arrived.load(Ordering::SeqCst);
                    while arrived.load(Ordering::SeqCst) < before + 2 {
                        let material = shown.load();
                        assert_eq!(material.svid().unwrap().serial(), svid.serial());
                    }
                }
            });
            let mut bundle = authority.bundle();
            while !renewals.is_finished() {
                bundle.sequence += 1;
                own.set_bundle(&bundle);
                arrived.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    #[test]
    fn bundle_that_could_not_be_stored_is_stored_when_it_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, &data_dir);
        std::fs::remove_dir(&data_dir).unwrap();
        let bundle = authority.bundle();
        own.set_bundle(&bundle);
        std::fs::create_dir(&data_dir).unwrap();
        own.set_bundle(&bundle);
        let stored = DataFile::open(&data_dir).unwrap().data().bundle.clone();
        assert_eq!(stored, [bundle.x509_authorities[0].certificate.clone()]);
    }

    #[test]
    fn svid_that_could_not_be_stored_is_stored_later() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, &data_dir);
        std::fs::remove_dir(&data_dir).unwrap();
        let renewed = authority.x509_svid("/spire/agent/x");
        own.replace(renewed.clone(), false);
        own.store_again();
        std::fs::create_dir(&data_dir).unwrap();
        own.store_again();
        let stored = DataFile::open(&data_dir).unwrap().data().svid.clone();
        assert_eq!(stored, renewed.chain());
        // Once is enough.
        std::fs::remove_dir_all(&data_dir).unwrap();
        own.store_again();
        assert!(own.is_stored.load(Ordering::Relaxed));
    }

    #[test]
    fn bundle_without_authorities_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("example.org");
        let own = own(&authority, directory.path());
        own.set_bundle(&Bundle::empty(authority.trust_domain().clone()));
        assert_eq!(*own.bundle().unwrap(), authority.bundle());
    }
}

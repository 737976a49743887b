//! How an agent comes up: with the SVID of its last run if that still holds, else by attestation.

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::chain;
use identity::bundle::{Bundle, X509Authority};
use identity::clock::UnixTime;
use identity::secret::PrivateKey;
use identity::tls::{SharedTlsMaterial, TlsError, TlsMaterial};
use identity::trust_domain::TrustDomain;
use identity::x509::{CertificateInfo, X509Error};
use identity::x509_svid::X509Svid;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{AttestError, Attested, Lasts, NodeAttestor, attest};
use crate::backoff::{Backoff, FullJitter};
use crate::bootstrap::{Rebootstrapper, TrustSource, TrustSourceError, Verdict};
use crate::client::{Dialer, Servers, TlsMode};
use crate::jitter::jitter;
use crate::storage::{DataError, DataFile, KeyStore, KeyStoreError};

const FIRST_WAIT: Duration = Duration::from_secs(5);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Bounds of the wait while no server answers at all.
const FIRST_OUTAGE_WAIT: Duration = Duration::from_millis(200);
const MAX_OUTAGE_WAIT: Duration = Duration::from_secs(5);

/// After this time without success the agent gives up, as SPIRE's does: whoever runs it decides.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// The same for an agent that may come to believe other servers meanwhile.
const GIVE_UP_AFTER_WITH_REBOOTSTRAP: Duration = Duration::from_secs(24 * 3600);

/// An SVID this close to its end is not worth a start.
const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// What an agent needs to come up.
pub struct Starter {
    /// Who can attest this node.
    pub servers: Servers,
    /// What the first server is believed by.
    pub trust: TrustSource,
    /// When a server that the stored bundle does not vouch for is believed anew.
    pub rebootstrapper: Rebootstrapper,
    /// What proves this node; not needed while a stored SVID holds.
    pub attestor: Option<Arc<dyn NodeAttestor>>,
}

impl Starter {
    /// The agent's SVID and bundle: the stored ones, or new ones, which are stored. Tries again
    /// where that can help. Cancel-safe, but a join token may be spent.
    ///
    /// An attempt that got no answer may have used the token. The next one, with the same key on
    /// whichever server answers, succeeds nevertheless where the server knows the key again, as
    /// Conclave's does and SPIRE's does not: a token admits one agent on all servers together.
    ///
    /// # Errors
    /// The server refuses, nothing was reached for a minute, the bundle cannot be read, or the
    /// store fails.
    pub async fn start(
        &self,
        data: &mut DataFile,
        keys: &mut KeyStore,
    ) -> Result<Attested, StartError> {
        if let Some(stored) = self.stored(data, keys)? {
            info!(spiffe_id = %stored.svid.spiffe_id(), "SVID loaded");
            return Ok(stored);
        }
        let attestor = self.attestor.as_deref().ok_or(StartError::NoEvidence)?;
        info!("SVID is not found. Starting node attestation");
        let started = Instant::now();
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        let mut outage = FullJitter::new(FIRST_OUTAGE_WAIT, MAX_OUTAGE_WAIT);
        let mut may_be_spent = false;
        // An attempt after one that got no answer is the same one, perhaps on another server.
        let key = keys.generate(None)?;
        loop {
            let error = match self.attempt(data, attestor, &key).await? {
                Ok(attested) => {
                    self.store(&attested, data)?;
                    return Ok(attested);
                }
                Err(error) => error,
            };
            if error.is_untrusted_server() {
                self.disbelieve(data)?;
            }
            if may_be_spent && error.is_spent_token() {
                return Err(StartError::TokenSpent(error));
            }
            may_be_spent |= error.is_undecided() && attestor.lasts() == Lasts::Once;
            let wait = match error.is_transient() {
                true => outage.next(jitter()),
                false => backoff.next(jitter()),
            };
            if error.is_refusal() || started.elapsed() + wait > self.give_up_after() {
                return Err(StartError::Attest(error));
            }
            warn!(
                error = %chain(&error),
                retry_interval = ?wait,
                "Failed to retrieve attestation result"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt; the outer error is not of the attempt, so another one would not help.
    async fn attempt(
        &self,
        data: &mut DataFile,
        attestor: &dyn NodeAttestor,
        key: &PrivateKey,
    ) -> Result<Result<Attested, AttestError>, StartError> {
        let mode = match self.tls_mode(data).await? {
            Ok(mode) => mode,
            Err(error) if error.is_final() => return Err(StartError::Trust(error)),
            Err(error) => return Ok(Err(AttestError::Trust(error))),
        };
        let dialer = Dialer::new(&self.servers, mode)?;
        Ok(attest(&dialer, &self.servers, attestor, key).await)
    }

    /// Forgets the stored bundle, if it has vouched for nobody for long enough.
    fn disbelieve(&self, data: &mut DataFile) -> Result<(), StartError> {
        if data.data().bundle.is_empty() {
            info!("Trust Bundle and Server don't agree, bootstrapping again");
            return Ok(());
        }
        if !self.rebootstrapper.is_enabled() {
            return Ok(());
        }
        let now = self.servers.clock.now();
        let since = data.disbelieved_since(now)?;
        match self.rebootstrapper.judge(since, now) {
            Verdict::Final | Verdict::Wait => Ok(()),
            Verdict::StartOver => Ok(data.start_over()?),
        }
    }

    fn give_up_after(&self) -> Duration {
        match self.rebootstrapper.is_enabled() {
            true => GIVE_UP_AFTER_WITH_REBOOTSTRAP,
            false => GIVE_UP_AFTER,
        }
    }

    fn store(&self, attested: &Attested, data: &mut DataFile) -> Result<(), StartError> {
        let authorities = attested.bundle.x509_authorities.iter();
        data.store_bundle(authorities.map(|one| one.certificate.clone()).collect())?;
        data.store_svid(attested.svid.chain().to_vec(), attested.reattestable)?;
        data.believed()?;
        info!(
            spiffe_id = %attested.svid.spiffe_id(),
            reattestable = attested.reattestable,
            trust_domain_id = %self.servers.trust_domain.id_string(),
            "Node attestation was successful"
        );
        Ok(())
    }

    /// The stored SVID, if it can still be used.
    fn stored(&self, data: &DataFile, keys: &KeyStore) -> Result<Option<Attested>, StartError> {
        let stored = data.data();
        let Some(leaf) = stored.svid.first() else {
            if !keys.is_empty() {
                warn!("Keys recovered, but no SVID found. Generating new keypair");
            }
            return Ok(None);
        };
        let leaf = CertificateInfo::parse(leaf).map_err(StartError::StoredCertificate)?;
        let Some(key) = keys.find(&leaf.public_key_der) else {
            warn!("SVID recovered, but no SVID key found. Generating new keypair");
            return Ok(None);
        };
        if self.is_expired(leaf.not_after) {
            warn!(
                expiry = leaf.not_after.as_secs(),
                "SVID key recovered, but SVID is expired. Generating new keypair"
            );
            return Ok(None);
        }
        let bundle = stored_bundle(&self.servers.trust_domain, &stored.bundle)?;
        if bundle.x509_authorities.is_empty() {
            return Err(StartError::NoBundle);
        }
        Ok(usable(&stored.svid, key).map(|svid| Attested {
            svid,
            bundle,
            reattestable: stored.reattestable,
        }))
    }

    fn is_expired(&self, not_after: UnixTime) -> bool {
        self.servers.clock.now().saturating_add(CLOCK_SKEW) >= not_after
    }

    /// How the server is believed by an agent without an SVID. A stored bundle goes before any
    /// other: it is newer.
    async fn tls_mode(
        &self,
        data: &mut DataFile,
    ) -> Result<Result<TlsMode, TrustSourceError>, StartError> {
        let stored = stored_bundle(&self.servers.trust_domain, &data.data().bundle)?;
        let bundle = match stored.x509_authorities.is_empty() {
            false => Some(stored),
            true => {
                let occasion = data.begin_attempt(self.servers.clock.now())?;
                match self.trust.bundle(&occasion).await {
                    Ok(bundle) => bundle,
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let Some(bundle) = bundle else {
            warn!("Insecure bootstrap enabled; skipping server certificate verification");
            return Ok(Ok(TlsMode::Insecure));
        };
        let material = TlsMaterial::new(None, [Arc::new(bundle)])?;
        Ok(Ok(TlsMode::Verified(SharedTlsMaterial::new(material))))
    }
}

fn usable(chain: &[CertificateDer<'static>], key: PrivateKey) -> Option<X509Svid> {
    match X509Svid::new(chain.to_vec(), key) {
        Ok(svid) => Some(svid),
        Err(error) => {
            warn!(%error, "SVID recovered, but it is unusable. Generating new keypair");
            None
        }
    }
}

fn stored_bundle(
    trust_domain: &TrustDomain,
    certificates: &[CertificateDer<'static>],
) -> Result<Bundle, StartError> {
    let authorities = certificates.iter().cloned().map(X509Authority::new);
    Ok(Bundle {
        x509_authorities: authorities
            .collect::<Result<_, _>>()
            .map_err(StartError::StoredCertificate)?,
        ..Bundle::empty(trust_domain.clone())
    })
}

/// Why an agent cannot come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no SVID, and nothing to attest with.
    #[error(
        "no stored SVID, no join token and no other node attestor; give a token with -joinToken \
         or join_token, or name a NodeAttestor"
    )]
    NoEvidence,
    /// There is no bundle to believe a server by.
    #[error(transparent)]
    Trust(TrustSourceError),
    /// The node could not be attested.
    #[error("node attestation failed")]
    Attest(#[source] AttestError),
    /// An attempt without an answer had used the token.
    #[error(
        "join token was used by an attempt that got no answer; make a new one with \
         `conclave-server token generate`"
    )]
    TokenSpent(#[source] AttestError),
    /// The store of the SVID and the bundle fails.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The store of the keys fails.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// A stored certificate cannot be read.
    #[error("stored certificate is unusable")]
    StoredCertificate(#[source] X509Error),
    /// The TLS library refuses the bundle.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// There is an SVID but no bundle, so somebody changed the data.
    #[error("SVID loaded but no bundle in cache")]
    NoBundle,
}

//! What this member shows to others, and whom it believes: kept current, in memory and on disk.
//!
//! Every member issues its own certificate from the shared peer authority and believes every
//! authority that is not removed. What handshakes use is replaced as a whole, and stays as it was
//! while a replacement fails.

mod file;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use identity::lifetime;
use identity::secret::{KeyError, KeyType, PrivateKey};
use identity::tls::{SharedTlsMaterial, TlsError, TlsMaterial};
use identity::x509_svid::{SvidError, X509Svid};
use raft_store::{AuthorityKind, Store, Topic};
use rustls_pki_types::CertificateDer;

use crate::ca::{Ca, SignError};
use crate::peers::name;

pub use self::file::IdentityFileError;
#[cfg(feature = "fuzzing")]
pub use self::file::reads_as_identity;
pub(crate) use self::file::{IdentityFile, PeerIdentity};

/// Keeps the peer identity of this member current. Runs for as long as the server does.
#[derive(Debug)]
pub(crate) struct IdentityTask {
    store: Store,
    ca: Ca,
    clock: Arc<dyn Clock>,
    file: Arc<IdentityFile>,
    material: SharedTlsMaterial,
    held: Option<PeerIdentity>,
}

impl IdentityTask {
    /// Starts with what was `kept` from before, which `material` shows already.
    pub(crate) fn new(
        store: Store,
        ca: Ca,
        clock: Arc<dyn Clock>,
        file: IdentityFile,
        (material, kept): (SharedTlsMaterial, Option<PeerIdentity>),
    ) -> Self {
        Self {
            store,
            ca,
            clock,
            file: Arc::new(file),
            material,
            held: kept,
        }
    }

    /// Makes sure of an identity before this member knows what the others know: the kept one if it
    /// is still good, else one of what the state held when this member stopped. There may be none,
    /// as on the very first start.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub(crate) async fn prepare(&mut self) -> Result<(), IdentityError> {
        let now = self.clock.now();
        let is_good = |held: &PeerIdentity| held.svid.leaf().is_valid_at(now);
        match &self.held {
            Some(held) if is_good(held) && held.has_started => Ok(()),
            Some(held) if is_good(held) => {
                let started = PeerIdentity {
                    has_started: true,
                    ..held.clone()
                };
                self.adopt(started).await
            }
            Some(_) | None => self.refresh().await,
        }
    }

    /// Keeps the identity current until `shutdown`. The state must be as new as the cluster's.
    ///
    /// # Errors
    /// None: failures are logged, and what failed is tried again.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut authorities = self.store.signal(Topic::Authorities);
        let mut activations = self.ca.activations();
        loop {
            if let Err(error) = self.refresh().await {
                let cause = daemon::supervisor::chain(&error);
                tracing::warn!(cause, "peer certificate was not replaced");
            }
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                // The sender lives in `self.ca`, so this does not fail.
                _ = activations.changed() => {}
                () = authorities.raised() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Replaces certificate and trust if one of them is not what it should be.
    async fn refresh(&mut self) -> Result<(), IdentityError> {
        let authorities = self.authorities();
        let Some(active) = self.ca.active_peer_authority() else {
            return Ok(());
        };
        let status = self.store.status().ok_or(IdentityError::Stopped)?;
        let (cluster_id, member_id) = (status.cluster_id, status.member_id);
        let svid = match &self.held {
            Some(held) if self.is_current(held, (cluster_id, member_id), &active) => {
                if held.authorities == authorities && held.has_started {
                    return Ok(());
                }
                held.svid.clone()
            }
            Some(_) | None => self.issue(cluster_id, member_id)?,
        };
        self.adopt(PeerIdentity {
            cluster_id,
            member_id,
            svid,
            authorities,
            has_started: true,
        })
        .await
    }

    fn is_current(
        &self,
        held: &PeerIdentity,
        own: ([u8; 16], u64),
        active: &CertificateDer<'_>,
    ) -> bool {
        let (start, end) = (held.svid.not_before(), held.svid.not_after());
        let now = self.clock.now();
        (held.cluster_id, held.member_id) == own
            && held.svid.chain().get(1) == Some(active)
            // It may be one of the future: made while the clock was ahead.
            && start <= now
            && !lifetime::rotation_due(start, end, now, 0.0)
    }

    fn issue(&self, cluster_id: [u8; 16], member_id: u64) -> Result<X509Svid, IdentityError> {
        let key = PrivateKey::generate(KeyType::EcP256).map_err(IdentityError::Key)?;
        let member = name::member(&cluster_id, member_id);
        let issued = self
            .ca
            .sign_peer_certificate(&member, key.public_key_der())?;
        tracing::info!(
            member_id,
            serial = &*issued.serial,
            expires_at = issued.not_after.as_secs(),
            "issued peer certificate"
        );
        Ok(X509Svid::new(issued.chain, key)?)
    }

    /// Uses an identity from now on, and after the next start.
    async fn adopt(&mut self, identity: PeerIdentity) -> Result<(), IdentityError> {
        self.material.replace(identity.material()?);
        self.held = Some(identity.clone());
        let file = Arc::clone(&self.file);
        let writing = tokio::task::spawn_blocking(move || file.write(&identity));
        Ok(writing.await.map_err(IdentityError::Interrupted)??)
    }

    fn authorities(&self) -> Vec<CertificateDer<'static>> {
        self.store.read(|state| {
            let authorities = state.authorities(AuthorityKind::Peer);
            authorities
                .filter_map(|authority| authority.certificate.clone())
                .collect()
        })
    }
}

/// What handshakes use at first: the kept identity, or nothing.
pub(crate) fn first_material(
    kept: Option<&PeerIdentity>,
) -> Result<SharedTlsMaterial, IdentityError> {
    let material = match kept {
        Some(kept) => kept.material()?,
        None => TlsMaterial::new(None, [])?,
    };
    Ok(SharedTlsMaterial::new(material))
}

/// Why this member's peer identity is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("peer identity could not be kept")]
    File(#[from] IdentityFileError),
    /// The thread that writes it did not finish.
    #[error("keeping of the peer identity was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// A key could not be made.
    #[error("key could not be made")]
    Key(#[source] KeyError),
    /// A certificate could not be signed.
    #[error("peer certificate could not be signed")]
    Sign(#[from] SignError),
    /// What was signed is no certificate of a member.
    #[error("peer certificate cannot be used")]
    Svid(#[from] SvidError),
    /// It cannot be shown in handshakes.
    #[error("peer certificate cannot be used for TLS")]
    Tls(#[from] TlsError),
    /// The store has stopped.
    #[error("store stopped")]
    Stopped,
}

/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(10);

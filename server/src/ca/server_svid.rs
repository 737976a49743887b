//! The server's own X.509-SVID, and the bundles that its handshakes believe.
//!
//! The key lives in memory only. The SVID is replaced at half of its life and as soon as an authority
//! behind it is tainted; bundles follow the change feed. What handshakes use is replaced as a whole,
//! and stays as it was while a replacement fails.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::bundle::Bundle;
use identity::clock::Clock;
use identity::lifetime;
use identity::secret::{KeyError, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::tls::{Issuers, SharedTlsMaterial, TaintedAuthorities, TlsError, TlsMaterial};
use identity::x509_svid::{SvidError, X509Svid};
use raft_store::{Signal, Store, Topic};
use tracing::{debug, info, warn};

use crate::ca::{Ca, SignError, SvidSubject, X509SvidParams};

/// Keeps the TLS material of this server current. Runs for as long as the server does.
#[derive(Debug)]
pub struct ServerSvidTask {
    ca: Ca,
    store: Store,
    clock: Arc<dyn Clock>,
    material: SharedTlsMaterial,
    bundles_changed: Signal,
    svid: X509Svid,
}

impl ServerSvidTask {
    /// Issues the server's first SVID and puts it into `material`, which handshakes use; returns the
    /// task that keeps that current. The authority must be ready.
    ///
    /// # Errors
    /// No SVID could be made.
    pub async fn start(
        material: SharedTlsMaterial,
        ca: Ca,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServerSvidError> {
        let bundles_changed = store.signal(Topic::Bundles);
        let svid = issue(&ca).await?;
        material.replace(TlsMaterial::new(Some(svid.clone()), bundles(&store))?);
        Ok(Self {
            ca,
            store,
            clock,
            material,
            bundles_changed,
            svid,
        })
    }

    /// Keeps the material current until `shutdown`.
    ///
    /// # Errors
    /// None: failures are logged, and what failed is tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut issuers = self.ca.0.activation.subscribe();
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                // The sender lives in `self.ca`, so this does not fail.
                _ = issuers.changed() => {}
                () = self.bundles_changed.raised() => {}
                () = tokio::time::sleep(TICK) => {
                    if !self.is_due() && !self.is_tainted() {
                        continue;
                    }
                }
            }
            if let Err(error) = self.refresh().await {
                warn!(error = &error as &dyn Error, "server SVID was not replaced");
            }
        }
    }

    /// Replaces the SVID if it is time to, and hands out the bundles as they are now.
    pub(super) async fn refresh(&mut self) -> Result<(), ServerSvidError> {
        let is_tainted = self.is_tainted();
        if is_tainted {
            info!(
                "Server SVID signed using a tainted authority, forcing rotation of the Server SVID"
            );
        }
        if is_tainted || self.is_due() {
            self.svid = issue(&self.ca).await?;
            debug!(serial = self.svid.serial(), "Rotated server SVID");
        }
        let material = TlsMaterial::new(Some(self.svid.clone()), bundles(&self.store))?;
        self.material.replace(material);
        Ok(())
    }

    fn is_due(&self) -> bool {
        let (start, end) = (self.svid.not_before(), self.svid.not_after());
        lifetime::rotation_due(start, end, self.clock.now(), 0.0)
    }

    fn is_tainted(&self) -> bool {
        let own = self.ca.trust_domain();
        let bundle = self.store.read(|state| state.bundle(own).cloned());
        let tainted = bundle.map(|bundle| TaintedAuthorities::of(&bundle));
        tainted.is_some_and(|tainted| tainted.stand_behind(&Issuers::of(self.svid.chain())))
    }
}

/// Why the server has no new SVID.
#[derive(Debug, thiserror::Error)]
pub enum ServerSvidError {
    /// Its key could not be made.
    #[error("key could not be made")]
    Key(#[source] KeyError),
    /// The thread that makes it did not finish.
    #[error("making of the key was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// It could not be signed.
    #[error("server SVID could not be signed")]
    Sign(#[from] SignError),
    /// What was signed is no X.509-SVID.
    #[error("server SVID cannot be used")]
    Svid(#[from] SvidError),
    /// It cannot be shown in handshakes.
    #[error("server SVID cannot be used for TLS")]
    Tls(#[from] TlsError),
}

/// How often the time is looked at, as in SPIRE.
const TICK: Duration = Duration::from_secs(5);

async fn issue(ca: &Ca) -> Result<X509Svid, ServerSvidError> {
    let key_type = ca.0.policy.ca_key_type;
    // An RSA key takes seconds to make.
    let making = tokio::task::spawn_blocking(move || PrivateKey::generate(key_type));
    let key = making
        .await
        .map_err(ServerSvidError::Interrupted)?
        .map_err(ServerSvidError::Key)?;
    let issued = ca.sign_x509_svid(&X509SvidParams {
        spiffe_id: &SpiffeId::server(ca.trust_domain()),
        public_key_der: key.public_key_der(),
        dns_names: &[],
        ttl: None,
        subject: SvidSubject::Server,
    })?;
    Ok(X509Svid::new(issued.chain, key)?)
}

fn bundles(store: &Store) -> Vec<Arc<Bundle>> {
    store.read(|state| {
        state
            .bundles()
            .map(|(_, bundle)| Arc::clone(bundle))
            .collect()
    })
}

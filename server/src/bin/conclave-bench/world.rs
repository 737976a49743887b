//! A store with an authority, as the server has them, in a directory of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, SystemClock};
use identity::secret::KeyType;
use identity::trust_domain::TrustDomain;
use raft_store::{FileSeal, Options, Store};
use server::ca::{Ca, DistinguishedName, Policy};
use tokio::task::JoinSet;

/// What is measured.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) ca: Ca,
    shutdown: daemon::supervisor::Shutdown,
    tasks: JoinSet<()>,
}

impl World {
    /// Makes a store and waits until its authorities can sign.
    pub(crate) async fn create(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let seal = FileSeal::at(&directory.join("seal.key"));
        let options = Options::new(directory.join("data"), Box::new(seal));
        let (store, driver) = Store::start(options, Duration::from_secs(60)).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (ca, authorities) = Ca::open(store.clone(), clock, policy()?);
        let shutdown = daemon::supervisor::Shutdown::new();
        let mut tasks = JoinSet::new();
        let requested = shutdown.clone();
        tasks.spawn(async move {
            let Ok(()) = authorities.run(requested).await;
        });
        tasks.spawn(async move {
            // A store that fails makes the measurement fail.
            drop(driver.run().await);
        });
        ca.ready().await;
        Ok(Self {
            store,
            ca,
            shutdown,
            tasks,
        })
    }

    /// Closes the store.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.shutdown.request();
        self.store.close().await?;
        self.tasks.shutdown().await;
        Ok(())
    }
}

fn policy() -> anyhow::Result<Policy> {
    const HOUR: Duration = Duration::from_secs(3600);
    Ok(Policy {
        trust_domain: TrustDomain::parse("example.org")?,
        ca_ttl: 24 * HOUR,
        ca_key_type: KeyType::EcP256,
        jwt_key_type: KeyType::EcP256,
        ca_subject: DistinguishedName::new(&["US".to_owned()], &["SPIFFE".to_owned()], ""),
        svid_subject: DistinguishedName::svid_default(),
        jwt_enabled: true,
        jwt_issuer: None,
        x509_svid_ttl: HOUR,
        jwt_svid_ttl: HOUR / 12,
        agent_ttl: HOUR,
        signing_max_staleness: None,
        peer_trust_domain: None,
    })
}

//! A store with an authority, as the server has them, in a directory of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, SystemClock};
use raft_store::{FileSeal, Options, Store};
use server::ca::{Ca, Policy};
use server::config::{self, LoadArgs};
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
        let (ca, authorities) = Ca::open(store.clone(), clock, policy(directory)?);
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

/// That of a server without any settings.
fn policy(directory: &Path) -> anyhow::Result<Policy> {
    let path = directory.join("server.conf");
    let settings = r#"server { trust_domain = "example.org" data_dir = "data" }"#;
    std::fs::write(&path, settings)?;
    let config = config::load(&LoadArgs::from_path(path))?;
    Ok(Policy::from_config(&config))
}

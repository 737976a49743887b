//! Owns the life of a server's store: how it is opened, waited for, and closed last.

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use raft_store::{Driver, FileSeal, OpenError, Options, Store};

use crate::config::Config;
use crate::peers::{self, Arrival};

/// Opens the store of this server, as a member of several if it arrives as one.
pub(super) async fn open_store(
    config: &Config,
    arrival: Option<&Arrival>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Store, Driver)> {
    let seal = FileSeal::at(&config.seal_key_path);
    let mut options = Options::new(peers::store_folder(&config.data_dir), Box::new(seal));
    options.clock = clock;
    options.program_version = peers::PROGRAM_VERSION.to_owned();
    if let Some(arrival) = arrival {
        options = arrival.complete(options);
    }
    Ok(Store::open(options).await?)
}

/// Waits until the store serves. A member waits for a quorum as long as it takes, since the others
/// may be starting too; whoever is alone need not wait for anybody.
pub(super) async fn wait_until_ready(store: &Store, config: &Config) -> anyhow::Result<()> {
    if config.cluster.is_none() {
        return Ok(store.ready(STORE_STARTS).await?);
    }
    loop {
        match store.ready(COMPLAIN_AFTER).await {
            Err(OpenError::NoLeader) => tracing::warn!(
                "no leader yet: a majority of the members must run and reach each other"
            ),
            ready => return Ok(ready?),
        }
    }
}

/// Drives the store until the endpoints have stopped, then closes it.
pub(super) async fn drive(
    store: Store,
    driver: Driver,
    shutdown: Shutdown,
    drained: Shutdown,
    closed: Shutdown,
) -> anyhow::Result<()> {
    let _closed = RequestedOnDrop(closed);
    let mut running = std::pin::pin!(driver.run());
    tokio::select! {
        ended = running.as_mut() => return Ok(ended?),
        () = shutdown.requested() => {}
    }
    hand_over(&store).await;
    // Calls in progress may still write; without endpoints, nobody does.
    tokio::time::timeout(STORE_WAITS, drained.requested())
        .await
        .ok();
    store.close().await?;
    Ok(running.await?)
}

/// Closes the store, unless it is closed, after whatever the parts ended with: one that stopped by itself has its files
/// open still, and threads that work with them.
pub(super) async fn release(store: Store) {
    match tokio::time::timeout(CLOSES_WITHIN, store.release()).await {
        Ok(Ok(())) => {}
        // Most likely what the server ended with, and the log has everything.
        Ok(Err(error)) => {
            let cause = daemon::supervisor::chain(&error);
            tracing::debug!(cause, "the store was closed after a failure");
        }
        Err(_) => tracing::warn!("files of the store are still open"),
    }
}

/// Lets another member lead before this one goes, so that no write waits for an election.
async fn hand_over(store: &Store) {
    let is_leader = store.status().is_some_and(|status| status.is_leader);
    let members = store.read(|state| state.members().filter(|one| !one.is_removed).count());
    if !is_leader || members < 2 {
        return;
    }
    match store.transfer_leadership(None, HAND_OVER_WITHIN).await {
        Ok(leader) => tracing::info!(leader, "handed the lead over"),
        Err(error) => {
            let cause = daemon::supervisor::chain(&error);
            tracing::warn!(
                cause,
                "stopping as the leader: the lead could not be handed over"
            );
        }
    }
}

/// Gives the order however its holder ends.
struct RequestedOnDrop(Shutdown);

impl Drop for RequestedOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// How long a member waits for a quorum before it says so.
const COMPLAIN_AFTER: Duration = Duration::from_secs(15);

/// How long the store may take until it serves.
const STORE_STARTS: Duration = Duration::from_secs(120);

/// How long another member may take to take the lead when this one stops.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

/// How long the store may take to close its files.
const CLOSES_WITHIN: Duration = Duration::from_secs(10);

/// How long the store waits for the endpoints when the server stops.
const STORE_WAITS: Duration = Duration::from_secs(7);

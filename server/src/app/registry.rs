//! Owns the life of a server's store: how it is opened, waited for, bound to its trust domain, and
//! closed last.

use std::time::Duration;

use anyhow::Context as _;
use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use raft_store::{
    Driver, FileSeal, OpenError, Options, Proposal, SetSetting, SetSettingOutcome, Store,
};

use crate::config::Config;
use crate::peers::{self, Arrival};

/// Opens the store of this server, as a member of several if it arrives as one.
pub(super) async fn open_store(
    config: &Config,
    arrival: Option<&Arrival>,
) -> anyhow::Result<(Store, Driver)> {
    let seal = FileSeal::at(&config.seal_key_path);
    let mut options = Options::new(peers::store_folder(&config.data_dir), Box::new(seal));
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

/// Binds the data to the trust domain that it was made for: identities of one would be signed with
/// the keys of another if the name in the config could change.
pub(super) async fn pin_trust_domain(
    store: &Store,
    clock: &dyn Clock,
    config: &Config,
) -> anyhow::Result<()> {
    let own = config.trust_domain.as_str();
    let operation = SetSetting {
        key: TRUST_DOMAIN_SETTING.into(),
        value: own.as_bytes().to_vec(),
        only_if_absent: true,
    };
    let pinned = store.read(|state| state.setting(TRUST_DOMAIN_SETTING).map(<[u8]>::to_vec));
    let pinned = match pinned {
        Some(pinned) => pinned,
        None => {
            let proposal = Proposal::new(clock.now());
            match store
                .propose(operation, proposal)
                .await
                .context("cannot store the name of the trust domain")?
            {
                SetSettingOutcome::Set => return Ok(()),
                SetSettingOutcome::Present(pinned) => pinned,
            }
        }
    };
    anyhow::ensure!(
        pinned == own.as_bytes(),
        "the data in {data_dir} belongs to trust domain {pinned:?}, but the config says {own:?}: \
         correct trust_domain, or give this trust domain an empty data_dir",
        data_dir = config.data_dir.display(),
        pinned = String::from_utf8_lossy(&pinned),
    );
    Ok(())
}

const TRUST_DOMAIN_SETTING: &str = "trust_domain";

/// How long a member waits for a quorum before it says so.
const COMPLAIN_AFTER: Duration = Duration::from_secs(15);

/// How long the store may take until it serves.
const STORE_STARTS: Duration = Duration::from_secs(120);

/// How long another member may take to take the lead when this one stops.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

/// How long the store waits for the endpoints when the server stops.
const STORE_WAITS: Duration = Duration::from_secs(7);

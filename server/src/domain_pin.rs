//! Owns which trust domain the data are of: the first member writes the name down, every start and every
//! host that joins is held to it.
//!
//! What must hold: identities of one trust domain are never signed with the keys of another, as they would
//! be if the name in the config could change.

use anyhow::Context as _;
use identity::clock::Clock;
use raft_store::{Proposal, SetSetting, SetSettingOutcome, State, Store};

use crate::config::Config;

/// Writes the name of the config down, unless there is one already.
///
/// # Errors
/// The data are of another trust domain, or the store did not take the name.
pub(crate) async fn pin(store: &Store, clock: &dyn Clock, config: &Config) -> anyhow::Result<()> {
    let own = config.trust_domain.as_str();
    let operation = SetSetting {
        key: SETTING.into(),
        value: own.as_bytes().to_vec(),
        only_if_absent: true,
    };
    let pinned = match store.read(pinned) {
        Some(pinned) => pinned,
        None => {
            let proposal = Proposal::new(clock.now());
            match store
                .propose(operation, proposal)
                .await
                .context("cannot store the name of the trust domain")?
            {
                SetSettingOutcome::Set => return Ok(()),
                SetSettingOutcome::Present(pinned) => text(&pinned),
            }
        }
    };
    ensure_own(&pinned, config)
}

/// Refuses data that are of another trust domain than the config.
///
/// # Errors
/// They are.
pub(crate) fn ensure_own(pinned: &str, config: &Config) -> anyhow::Result<()> {
    let own = config.trust_domain.as_str();
    anyhow::ensure!(
        pinned == own,
        "the data in {data_dir} belongs to trust domain {pinned:?}, but the config says {own:?}: \
         correct trust_domain, or give this trust domain an empty data_dir",
        data_dir = config.data_dir.display(),
    );
    Ok(())
}

/// The name that was written down; `None` before the first start is over.
pub(crate) fn pinned(state: &State) -> Option<String> {
    state.setting(SETTING).map(text)
}

fn text(pinned: &[u8]) -> String {
    String::from_utf8_lossy(pinned).into_owned()
}

const SETTING: &str = "trust_domain";

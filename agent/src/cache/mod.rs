//! What the agent holds for its workloads: entries, their X.509-SVIDs and the bundles.
//!
//! [`State`] is plain data with update functions; [`Cache`] shares one and tells the tasks that have
//! to act on a change. Workloads do not read the state: they hold a [`WorkloadView`], which is
//! replaced when something in it changed and only then.

mod bundle;
mod entry_index;
mod state;
mod svid;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::entry::EntryId;
use identity::selector::SelectorSet;
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use proto::convert::entry::AuthorizedEntry;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

pub use bundle::TrustBundle;
pub use state::{Bundles, Counts, State, Wanted};
pub use svid::CachedSvid;
pub use view::{Identity, WorkloadView, signed};

/// How long SVIDs beyond the limit may stay when those who listened for them have left.
const EVICTION_INTERVAL: Duration = Duration::from_secs(5);

/// The state, shared by the tasks of the agent.
#[derive(Debug)]
pub struct Cache {
    state: Mutex<State>,
    unsigned: Notify,
    unknown_workload: Notify,
}

impl Cache {
    /// An empty cache that keeps about `max_svids` SVIDs beyond those in use.
    pub fn new(trust_domain: TrustDomain, max_svids: usize) -> Self {
        Self {
            state: Mutex::new(State::new(trust_domain, max_svids)),
            unsigned: Notify::new(),
            unknown_workload: Notify::new(),
        }
    }

    /// Makes the entries exactly `entries`.
    pub fn set_entries<'a>(&self, entries: impl IntoIterator<Item = &'a Arc<AuthorizedEntry>>) {
        self.state.lock().set_entries(entries);
        self.unsigned.notify_one();
    }

    /// Drops the entries that are gone, then takes in those that are new or differ.
    pub fn change_entries(&self, entries: &[Arc<AuthorizedEntry>], gone: &[EntryId]) {
        self.state.lock().change_entries(entries, gone);
        self.unsigned.notify_one();
    }

    /// Makes the bundles exactly `bundles`, but never drops the one of the own trust domain.
    pub fn set_bundles(&self, bundles: Vec<Bundle>) {
        self.state.lock().set_bundles(bundles);
        // An authority may be tainted now.
        self.unsigned.notify_one();
    }

    /// Takes in newly signed SVIDs and drops what the size limit has no room for.
    pub fn set_svids(&self, svids: Vec<(EntryId, CachedSvid)>) {
        self.state.lock().set_svids(svids);
    }

    /// What a workload with these selectors gets, now and at every change.
    ///
    /// A view without identities makes [`Cache::unknown_workload`] return; a view that lacks SVIDs
    /// makes [`Cache::unsigned`] return.
    pub fn subscribe(&self, selectors: &SelectorSet) -> watch::Receiver<Arc<WorkloadView>> {
        let view = self.state.lock().subscribe(selectors);
        let (has_identity, lacks_svid) = {
            let view = view.borrow();
            (view.has_identity(), view.lacks_svid())
        };
        if !has_identity {
            self.unknown_workload.notify_one();
        } else if lacks_svid {
            self.unsigned.notify_one();
        }
        view
    }

    /// What a workload with these selectors gets now.
    pub fn view(&self, selectors: &SelectorSet) -> Arc<WorkloadView> {
        let view = self.subscribe(selectors);
        let view = view.borrow();
        Arc::clone(&view)
    }

    /// The SVIDs to be signed at `now`, most urgent first.
    pub fn wanted(&self, now: UnixTime) -> Vec<Wanted> {
        self.state.lock().wanted(now)
    }

    /// When the next SVID is due for renewal.
    pub fn next_rotation(&self) -> Option<UnixTime> {
        self.state.lock().next_rotation()
    }

    /// When the last of the SVIDs ends; `None` if there is none.
    pub fn last_end(&self) -> Option<UnixTime> {
        self.state.lock().last_end()
    }

    /// Returns when an SVID may be missing. Cancel-safe.
    pub async fn unsigned(&self) {
        self.unsigned.notified().await;
    }

    /// Returns when a workload without any entry asked. Cancel-safe.
    pub async fn unknown_workload(&self) {
        self.unknown_workload.notified().await;
    }

    /// The bundle of a trust domain.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<TrustBundle>> {
        self.state.lock().bundle(trust_domain)
    }

    /// All bundles, now and at every change.
    pub fn subscribe_to_bundles(&self) -> watch::Receiver<Arc<Bundles>> {
        self.state.lock().subscribe_to_bundles()
    }

    /// Drops what the size limit has no room for, again and again until `shutdown`: workloads leave
    /// without a word.
    pub async fn keep_small(&self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(EVICTION_INTERVAL) => self.state.lock().evict(),
            }
        }
    }

    /// How much is held.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts()
    }
}

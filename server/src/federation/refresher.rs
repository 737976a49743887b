//! The leader's looks at the endpoints, one after the other or a few at once.
//!
//! Only the leader looks; what it proposes changes nothing if another did the same before.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use daemon::supervisor::{Shutdown, chain};
use identity::bundle::Bundle;
use identity::federation::BundleEndpoint;
use identity::trust_domain::TrustDomain;
use raft_store::{Signal, Store, Topic};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::polls::{Found, Polls, SUBSYSTEM};
use super::{Federation, FetchError, Refreshed};
use crate::leadership::{self, Leadership};

/// Keeps the bundles of all relationships fresh while this member leads. Runs for as long as the
/// server does.
#[derive(Debug)]
pub struct Refresher {
    federation: Federation,
    polls: Polls,
    /// As they were last seen.
    bundles: BTreeMap<TrustDomain, Arc<Bundle>>,
    changes: Signal,
}

fn bundles(store: &Store) -> BTreeMap<TrustDomain, Arc<Bundle>> {
    store.read(|state| {
        let bundles = state.bundles();
        let bundles = bundles.map(|(_, bundle)| (bundle.trust_domain.clone(), Arc::clone(bundle)));
        bundles.collect()
    })
}

/// A look that has ended.
struct Look {
    trust_domain: TrustDomain,
    endpoint: BundleEndpoint,
    fetched: Result<Bundle, FetchError>,
}

impl Refresher {
    /// Refreshing of the relationships of `federation`.
    pub fn new(federation: Federation) -> Self {
        let store = &federation.store;
        let changes = store.signal(Topic::Bundles);
        Self {
            bundles: bundles(store),
            federation,
            polls: Polls::default(),
            changes,
        }
    }

    /// Looks at the endpoints when they are due, until `shutdown`.
    ///
    /// # Errors
    /// None: failures are logged, and the next look comes.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut leadership = Leadership::of(&self.federation.store);
        let mut looks = JoinSet::new();
        self.manage();
        loop {
            self.start(&mut looks);
            let next = self.polls.next_due();
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = leadership.gained() => {
                    // Nobody knows when the last leader looked.
                    self.polls.clear();
                    self.manage();
                }
                () = self.changes.raised() => self.look_again(),
                () = sleep_until(next), if looks.len() < MAX_AT_ONCE => {}
                Some(ended) = looks.join_next() => {
                    match ended {
                        Ok(look) => self.ended(look).await,
                        Err(_broken_off) => {
                            self.polls.clear();
                            self.manage();
                        }
                    }
                }
            }
        }
    }

    /// Starts the looks that are due.
    fn start(&mut self, looks: &mut JoinSet<Look>) {
        if !leadership::leads(&self.federation.store) {
            self.polls.clear();
            return;
        }
        let room = MAX_AT_ONCE.saturating_sub(looks.len());
        for (trust_domain, endpoint) in self.polls.start(Instant::now(), room) {
            debug!(%trust_domain, subsystem_name = SUBSYSTEM, "Polling for bundle update");
            let federation = self.federation.clone();
            looks.spawn(async move {
                let fetched = federation.fetch(&trust_domain, &endpoint).await;
                Look {
                    trust_domain,
                    endpoint,
                    fetched,
                }
            });
        }
    }

    fn manage(&mut self) {
        if leadership::leads(&self.federation.store) {
            let endpoints = self.federation.endpoints();
            self.polls.manage(&endpoints, Instant::now());
        }
    }

    fn look_again(&mut self) {
        self.manage();
        let bundles = bundles(&self.federation.store);
        let held = |name: &TrustDomain, bundle| {
            let known = self.bundles.get(name);
            known.is_some_and(|known| Arc::ptr_eq(known, bundle))
        };
        let changed = bundles.iter().filter(|(name, bundle)| !held(name, bundle));
        let changed = changed.map(|(name, _)| name.clone()).collect();
        self.polls.bundles_changed(&changed, Instant::now());
        self.bundles = bundles;
    }

    async fn ended(&mut self, look: Look) {
        let Look {
            trust_domain,
            endpoint,
            fetched,
        } = look;
        let held = self.federation.bundle(&trust_domain);
        let found = match &fetched {
            Ok(bundle) => found(bundle, held.as_deref()),
            Err(error) => {
                let error = chain(error);
                error!(error, %trust_domain, subsystem_name = SUBSYSTEM, "Error updating bundle");
                Found::Nothing(held.as_deref())
            }
        };
        let takes = self.polls.takes(&trust_domain, &endpoint, &found);
        if let (Found::Older(bundle), false) = (&found, takes) {
            warn!(
                %trust_domain,
                found = bundle.sequence,
                held = held.as_ref().map(|held| held.sequence),
                subsystem_name = SUBSYSTEM,
                "the endpoint has an older bundle than the one held, which is kept for now"
            );
        }
        let kept = match &fetched {
            Ok(bundle) if takes => self.keep(bundle).await,
            _ => Ok(()),
        };
        let found = match kept {
            Ok(()) => found,
            Err(Unstored) => Found::Nothing(held.as_deref()),
        };
        let now = Instant::now();
        self.polls.ended(&trust_domain, &endpoint, &found, now);
    }

    async fn keep(&self, bundle: &Bundle) -> Result<(), Unstored> {
        let trust_domain = &bundle.trust_domain;
        match self.federation.keep(bundle.clone()).await {
            Ok(Refreshed::Changed) => {
                info!(%trust_domain, subsystem_name = SUBSYSTEM, "Bundle refreshed");
                Ok(())
            }
            Ok(Refreshed::Unchanged) => Ok(()),
            Err(error) => {
                let error = chain(&error);
                error!(error, %trust_domain, subsystem_name = SUBSYSTEM, "Error updating bundle");
                Err(Unstored)
            }
        }
    }
}

/// The store did not take a bundle; the log says why.
struct Unstored;

/// A bundle without a sequence says nothing of its age.
fn found<'a>(bundle: &'a Bundle, held: Option<&Bundle>) -> Found<'a> {
    let is_older = bundle.sequence != 0 && held.is_some_and(|held| bundle.sequence < held.sequence);
    match is_older {
        true => Found::Older(bundle),
        false => Found::Bundle(bundle),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// So many endpoints are asked at once: each answer may have a few megabytes.
const MAX_AT_ONCE: usize = 8;

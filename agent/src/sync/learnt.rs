//! What was learnt of entries and bundles, and how it reaches those who act on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::bundle::Bundle;
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::client::{Batch, KnownEntries};
use crate::jwt::JwtSvids;
use crate::svid::OwnSvid;

/// The entries and bundles that the servers told last.
///
/// Whatever changes here is handed on at once, bundles first, so that no SVID is given out before
/// the authority that verifies it.
pub(super) struct Learnt {
    cache: Arc<Cache>,
    jwt_svids: Arc<JwtSvids>,
    own: Arc<OwnSvid>,
    trust_domain: TrustDomain,
    entries: KnownEntries,
    bundles: BTreeMap<TrustDomain, Bundle>,
    last_success: Arc<Mutex<Option<Instant>>>,
}

impl Learnt {
    /// Nothing, for agents of `trust_domain`.
    pub(super) fn new(
        trust_domain: TrustDomain,
        cache: Arc<Cache>,
        jwt_svids: Arc<JwtSvids>,
        own: Arc<OwnSvid>,
    ) -> Self {
        Self {
            cache,
            jwt_svids,
            own,
            trust_domain,
            entries: KnownEntries::new(),
            bundles: BTreeMap::new(),
            last_success: Arc::default(),
        }
    }

    pub(super) fn entries(&self) -> &KnownEntries {
        &self.entries
    }

    pub(super) fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        self.bundles.get(trust_domain)
    }

    /// When anything was learnt last, if only that nothing changed.
    pub(super) fn last_success(&self) -> Arc<Mutex<Option<Instant>>> {
        Arc::clone(&self.last_success)
    }

    /// Takes over all that there is.
    pub(super) fn replace(
        &mut self,
        entries: KnownEntries,
        bundles: BTreeMap<TrustDomain, Bundle>,
    ) {
        self.entries = entries;
        self.bundles = bundles;
        self.hand_on_bundles();
        self.cache.set_entries(self.entries.values());
        self.note_success();
    }

    /// Takes over what changed.
    pub(super) fn change(&mut self, batch: Batch) {
        if batch.is_reset {
            let entries = batch.entries.into_iter();
            let entries = entries.map(|entry| (entry.id.clone(), entry)).collect();
            let bundles = batch.bundles.into_iter();
            let bundles = bundles.map(|one| (one.trust_domain.clone(), one)).collect();
            self.replace(entries, bundles);
            return;
        }
        if !batch.bundles.is_empty() || !batch.removed_bundles.is_empty() {
            for name in &batch.removed_bundles {
                self.bundles.remove(name);
            }
            for bundle in batch.bundles {
                self.bundles.insert(bundle.trust_domain.clone(), bundle);
            }
            self.hand_on_bundles();
        }
        if !batch.entries.is_empty() || !batch.removed_entries.is_empty() {
            for id in &batch.removed_entries {
                self.entries.remove(id);
            }
            for entry in &batch.entries {
                self.entries.insert(entry.id.clone(), Arc::clone(entry));
            }
            self.cache
                .change_entries(&batch.entries, &batch.removed_entries);
        }
        self.note_success();
    }

    fn hand_on_bundles(&self) {
        if let Some(own) = self.bundles.get(&self.trust_domain) {
            self.own.set_bundle(own);
            self.jwt_svids.drop_tainted(own);
        }
        self.cache
            .set_bundles(self.bundles.values().cloned().collect());
    }

    fn note_success(&self) {
        *self.last_success.lock() = Some(Instant::now());
    }
}

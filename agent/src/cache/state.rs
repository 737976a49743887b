//! The cached entries, SVIDs and bundles, and the rules by which they change. No clock, no I/O.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::entry::EntryId;
use identity::selector::SelectorSet;
use identity::tls::TaintedAuthorities;
use identity::trust_domain::TrustDomain;
use proto::convert::entry::AuthorizedEntry;
use tokio::sync::watch;
use tracing::debug;

use super::entry_index::EntryIndex;
use super::{CachedSvid, Identity, TrustBundle, WorkloadView};

/// Views that nobody listens to are kept for the next call, up to this number.
const MAX_IDLE_VIEWS: usize = 1024;

/// Bundles by the trust domain they are of.
pub type Bundles = BTreeMap<TrustDomain, Arc<TrustBundle>>;

/// Everything that the cache holds.
#[derive(Debug)]
pub struct State {
    trust_domain: TrustDomain,
    max_svids: usize,
    records: BTreeMap<EntryId, Record>,
    index: EntryIndex,
    bundles: Bundles,
    /// What those see who follow all bundles.
    shown_bundles: watch::Sender<Arc<Bundles>>,
    tainted: TaintedAuthorities,
    views: HashMap<SelectorSet, watch::Sender<Arc<WorkloadView>>>,
    uses: u64,
}

#[derive(Debug)]
struct Record {
    entry: Arc<AuthorizedEntry>,
    svid: Option<Arc<CachedSvid>>,
    /// The value of `State::uses` when a workload last asked for it.
    last_used: u64,
}

/// An SVID that should be signed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// For this entry.
    pub entry: Arc<AuthorizedEntry>,
    /// Whether there is one already, which ends then.
    pub expires_at: Option<UnixTime>,
}

/// How much the cache holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// Entries.
    pub entries: usize,
    /// X.509-SVIDs.
    pub x509_svids: usize,
}

impl State {
    /// A state without anything in it.
    pub fn new(trust_domain: TrustDomain, max_svids: usize) -> Self {
        Self {
            trust_domain,
            max_svids,
            records: BTreeMap::new(),
            index: EntryIndex::default(),
            bundles: Bundles::new(),
            shown_bundles: watch::Sender::default(),
            tainted: TaintedAuthorities::default(),
            views: HashMap::new(),
            uses: 0,
        }
    }

    /// Makes the entries exactly `entries`. Entries whose SVID goes to a store are not for workloads
    /// and are left out.
    pub fn set_entries<'a>(&mut self, entries: impl IntoIterator<Item = &'a Arc<AuthorizedEntry>>) {
        let mut changed = Vec::new();
        let mut gone: BTreeSet<EntryId> = self.records.keys().cloned().collect();
        for entry in entries.into_iter().filter(|entry| !entry.store_svid) {
            gone.remove(&entry.id);
            changed.extend(self.set_entry(entry));
        }
        for id in gone {
            changed.extend(self.remove_entry(&id));
        }
        self.refresh_views_of(&changed);
    }

    /// Drops the entries that are gone, then takes in those that are new or differ.
    pub fn change_entries(&mut self, entries: &[Arc<AuthorizedEntry>], gone: &[EntryId]) {
        let mut changed = Vec::new();
        for id in gone {
            changed.extend(self.remove_entry(id));
        }
        for entry in entries {
            match entry.store_svid {
                true => changed.extend(self.remove_entry(&entry.id)),
                false => changed.extend(self.set_entry(entry)),
            }
        }
        self.refresh_views_of(&changed);
    }

    /// The entry that was there.
    fn remove_entry(&mut self, id: &EntryId) -> Option<Arc<AuthorizedEntry>> {
        let record = self.records.remove(id)?;
        debug!(entry = %id, spiffe_id = %record.entry.spiffe_id, "Entry removed");
        self.index.remove(&record.entry);
        Some(record.entry)
    }

    /// Recomputes the views that have one of `entries` or may have it now.
    fn refresh_views_of(&mut self, entries: &[Arc<AuthorizedEntry>]) {
        if entries.is_empty() {
            return;
        }
        self.refresh_views(|view, selectors| {
            entries.iter().any(|entry| {
                entry.selectors.is_subset(selectors)
                    || view.identities().iter().any(|one| one.entry.id == entry.id)
            })
        });
    }

    /// The entries before and after, if they differ.
    fn set_entry(&mut self, entry: &Arc<AuthorizedEntry>) -> Vec<Arc<AuthorizedEntry>> {
        let Some(record) = self.records.get_mut(&entry.id) else {
            debug!(entry = %entry.id, spiffe_id = %entry.spiffe_id, "Entry created");
            self.index.insert(entry);
            let record = Record {
                entry: Arc::clone(entry),
                svid: None,
                last_used: 0,
            };
            self.records.insert(entry.id.clone(), record);
            return vec![Arc::clone(entry)];
        };
        if Arc::ptr_eq(&record.entry, entry) || record.entry == *entry {
            return Vec::new();
        }
        debug!(entry = %entry.id, spiffe_id = %entry.spiffe_id, "Entry updated");
        self.index.remove(&record.entry);
        self.index.insert(entry);
        // Until it is signed again the SVID may be given out, but never under another identity.
        if record.entry.spiffe_id != entry.spiffe_id {
            record.svid = None;
        }
        let before = std::mem::replace(&mut record.entry, Arc::clone(entry));
        vec![before, Arc::clone(entry)]
    }

    /// Makes the bundles exactly `bundles`, but never drops the one of the own trust domain: without
    /// it no server could be recognised.
    pub fn set_bundles(&mut self, bundles: Vec<Bundle>) {
        let mut changed = BTreeSet::new();
        let mut gone: BTreeSet<TrustDomain> = self.bundles.keys().cloned().collect();
        gone.remove(&self.trust_domain);
        for bundle in bundles {
            let trust_domain = bundle.trust_domain.clone();
            gone.remove(&trust_domain);
            let held = self.bundles.get(&trust_domain);
            if held.is_none_or(|held| *held.bundle() != bundle) {
                debug!(trust_domain_id = %trust_domain.id_string(), "Bundle updated");
                let bundle = Arc::new(TrustBundle::new(bundle));
                self.bundles.insert(trust_domain.clone(), bundle);
                changed.insert(trust_domain);
            }
        }
        for trust_domain in gone {
            debug!(trust_domain_id = %trust_domain.id_string(), "Bundle removed");
            self.bundles.remove(&trust_domain);
            changed.insert(trust_domain);
        }
        if changed.is_empty() {
            return;
        }
        let shown = Arc::new(self.bundles.clone());
        self.shown_bundles.send_replace(shown);
        if changed.contains(&self.trust_domain) {
            self.note_tainted();
        }
        self.refresh_views(|_, _| true);
    }

    /// SVIDs below a tainted authority are due from now on.
    fn note_tainted(&mut self) {
        let tainted = self
            .bundle(&self.trust_domain)
            .map(|own| TaintedAuthorities::of(own.bundle()))
            .unwrap_or_default();
        let known: BTreeSet<String> = self.tainted.ids().collect();
        let new: Vec<String> = tainted.ids().filter(|id| !known.contains(id)).collect();
        self.tainted = tainted;
        if new.is_empty() {
            return;
        }
        let subject_key_ids = new.join(",");
        debug!(subject_key_ids, "New tainted X.509 authorities found");
        let svids = self.records.values().filter_map(|one| one.svid.as_ref());
        let count = svids.filter(|svid| svid.depends_on(&self.tainted)).count();
        debug!(
            count,
            "Scheduled rotation for SVID entries due to tainted X.509 authorities"
        );
    }

    /// Takes in signed SVIDs, each for the entry it names, and drops those that the limit has no
    /// room for. An SVID of an entry that is gone or has another identity by now is dropped.
    pub fn set_svids(&mut self, svids: Vec<(EntryId, CachedSvid)>) {
        let mut changed = BTreeSet::new();
        for (id, svid) in svids {
            if let Some(record) = self.records.get_mut(&id)
                && record.entry.spiffe_id == *svid.spiffe_id()
            {
                debug!(entry = %id, spiffe_id = %svid.spiffe_id(), "SVID updated");
                record.svid = Some(Arc::new(svid));
                changed.insert(id);
            }
        }
        self.evict();
        self.refresh_views(|view, _| {
            let mut ids = view.identities().iter().map(|one| &one.entry.id);
            ids.any(|id| changed.contains(id))
        });
    }

    /// Drops SVIDs that nobody listens for until the limit is kept, those used longest ago first.
    pub fn evict(&mut self) {
        let surplus = self.counts().x509_svids.saturating_sub(self.max_svids);
        if surplus == 0 {
            return;
        }
        let subscribed = self.subscribed();
        let mut idle: Vec<_> = self
            .records
            .iter_mut()
            .filter(|(id, record)| record.svid.is_some() && !subscribed.contains(*id))
            .map(|(_, record)| record)
            .collect();
        idle.sort_by_key(|record| record.last_used);
        for record in idle.into_iter().take(surplus) {
            record.svid = None;
        }
        self.views.retain(|_, view| view.receiver_count() > 0);
    }

    /// What a workload with these selectors gets, now and at every change.
    pub fn subscribe(&mut self, selectors: &SelectorSet) -> watch::Receiver<Arc<WorkloadView>> {
        self.uses += 1;
        if let Some(view) = self.views.get(selectors) {
            let receiver = view.subscribe();
            let view = Arc::clone(&receiver.borrow());
            self.mark_used(&view);
            return receiver;
        }
        if self.views.len() >= MAX_IDLE_VIEWS {
            self.views.retain(|_, view| view.receiver_count() > 0);
        }
        let view = Arc::new(self.view(selectors));
        self.mark_used(&view);
        let (sender, receiver) = watch::channel(view);
        self.views.insert(selectors.clone(), sender);
        receiver
    }

    fn mark_used(&mut self, view: &WorkloadView) {
        for identity in view.identities() {
            if let Some(record) = self.records.get_mut(&identity.entry.id) {
                record.last_used = self.uses;
            }
        }
    }

    fn view(&self, selectors: &SelectorSet) -> WorkloadView {
        let matching: BTreeSet<&EntryId> = self.index.candidates(selectors).collect();
        let identities: Vec<Identity> = matching
            .into_iter()
            .filter_map(|id| self.records.get(id))
            .filter(|record| record.entry.selectors.is_subset(selectors))
            .map(|record| Identity::new(Arc::clone(&record.entry), record.svid.clone()))
            .collect();
        let federated: BTreeSet<&TrustDomain> = identities
            .iter()
            .flat_map(|one| &one.entry.federates_with)
            .filter(|trust_domain| **trust_domain != self.trust_domain)
            .collect();
        let federated = federated
            .into_iter()
            .filter_map(|trust_domain| self.bundle(trust_domain))
            .collect();
        WorkloadView::new(identities, self.bundle(&self.trust_domain), federated)
    }

    /// Recomputes the views that `affected` picks; those nobody listens to are dropped instead.
    fn refresh_views(&mut self, affected: impl Fn(&WorkloadView, &SelectorSet) -> bool) {
        let mut views = std::mem::take(&mut self.views);
        views.retain(|selectors, sender| {
            if !affected(&sender.borrow(), selectors) {
                return true;
            }
            if sender.receiver_count() == 0 {
                return false;
            }
            let view = self.view(selectors);
            sender.send_if_modified(|held| {
                let differs = view.differs(held);
                if differs {
                    *held = Arc::new(view);
                }
                differs
            });
            true
        });
        self.views = views;
    }

    /// The entries of all views that somebody listens to.
    fn subscribed(&self) -> BTreeSet<EntryId> {
        self.views
            .values()
            .filter(|view| view.receiver_count() > 0)
            .flat_map(|view| {
                let view = view.borrow();
                let ids: Vec<_> = view
                    .identities()
                    .iter()
                    .map(|one| one.entry.id.clone())
                    .collect();
                ids
            })
            .collect()
    }

    /// The SVIDs to be signed at `now`: first those that a workload waits for, then renewals by
    /// urgency, then as many ahead of their first use as the limit has room for.
    pub fn wanted(&self, now: UnixTime) -> Vec<Wanted> {
        let subscribed = self.subscribed();
        let mut room = self.max_svids.saturating_sub(self.counts().x509_svids);
        let mut wanted = Vec::new();
        for (id, record) in &self.records {
            let is_subscribed = subscribed.contains(id);
            let take = match &record.svid {
                Some(svid) => self.is_due(record, svid, now),
                None if is_subscribed => true,
                None if !prefetches(&record.entry) => false,
                None => {
                    let has_room = room > 0;
                    room = room.saturating_sub(1);
                    has_room
                }
            };
            if take {
                let expires_at = record.svid.as_ref().map(|svid| svid.not_after());
                let urgency = (
                    !is_subscribed,
                    expires_at.is_some(),
                    Reverse(record.last_used),
                );
                wanted.push((
                    urgency,
                    Wanted {
                        entry: Arc::clone(&record.entry),
                        expires_at,
                    },
                ));
            }
        }
        wanted.sort_by_key(|(urgency, _)| *urgency);
        wanted.into_iter().map(|(_, wanted)| wanted).collect()
    }

    fn is_due(&self, record: &Record, svid: &CachedSvid, now: UnixTime) -> bool {
        now >= svid.rotate_at()
            || svid.revision() != record.entry.revision
            || svid.depends_on(&self.tainted)
    }

    /// When the next SVID is due for renewal.
    pub fn next_rotation(&self) -> Option<UnixTime> {
        let svids = self
            .records
            .values()
            .filter_map(|record| record.svid.as_ref());
        svids.map(|svid| svid.rotate_at()).min()
    }

    /// The bundle of a trust domain.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<TrustBundle>> {
        self.bundles.get(trust_domain).cloned()
    }

    /// All bundles, now and at every change.
    pub fn subscribe_to_bundles(&self) -> watch::Receiver<Arc<Bundles>> {
        self.shown_bundles.subscribe()
    }

    /// When the last of the SVIDs ends.
    pub fn last_end(&self) -> Option<UnixTime> {
        let svids = self
            .records
            .values()
            .filter_map(|record| record.svid.as_ref());
        svids.map(|svid| svid.not_after()).max()
    }

    /// How much is held.
    pub fn counts(&self) -> Counts {
        Counts {
            entries: self.records.len(),
            x509_svids: self
                .records
                .values()
                .filter(|record| record.svid.is_some())
                .count(),
        }
    }
}

fn prefetches(entry: &AuthorizedEntry) -> bool {
    !entry
        .additional_attributes
        .as_ref()
        .is_some_and(|attributes| attributes.disable_x509_svid_prefetch)
}

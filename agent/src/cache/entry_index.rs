//! Finds the entries that a workload matches without looking at the others.

use std::collections::{BTreeSet, HashMap};

use identity::entry::EntryId;
use identity::selector::{Selector, SelectorSet};
use proto::convert::entry::AuthorizedEntry;

/// Entries under one selector each: a workload that matches an entry has that selector too.
#[derive(Debug, Default)]
pub(super) struct EntryIndex(HashMap<Selector, BTreeSet<EntryId>>);

impl EntryIndex {
    pub(super) fn insert(&mut self, entry: &AuthorizedEntry) {
        if let Some(anchor) = anchor(&entry.selectors) {
            self.0
                .entry(anchor.clone())
                .or_default()
                .insert(entry.id.clone());
        }
    }

    pub(super) fn remove(&mut self, entry: &AuthorizedEntry) {
        if let Some(anchor) = anchor(&entry.selectors)
            && let Some(ids) = self.0.get_mut(anchor)
        {
            ids.remove(&entry.id);
            if ids.is_empty() {
                self.0.remove(anchor);
            }
        }
    }

    /// Every entry that a workload with `selectors` can match, and some that it does not.
    pub(super) fn candidates(&self, selectors: &SelectorSet) -> impl Iterator<Item = &EntryId> {
        selectors.iter().filter_map(|one| self.0.get(one)).flatten()
    }
}

/// The last one in order: of `k8s:ns:…` and `k8s:pod-name:…`, or of `unix:gid:…` and `unix:uid:…`,
/// the later kind tells workloads apart better. An entry without selectors matches nobody.
fn anchor(selectors: &SelectorSet) -> Option<&Selector> {
    selectors.iter().next_back()
}

//! Owns what an agent that comes back, to this member or from another, has to be told.
//!
//! What the agent holds is at least as new as the revision that it names, so everything that
//! changed since is told, also what it may know: to be told of an entry twice, or of the removal of
//! one that it never had, changes nothing. Where a change may have moved what is below the entry,
//! the agent is told everything.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::{AgentRecord, Change, ChangeKind, Revision, State, Store};

use super::hub::Hub;
use super::{Batch, StreamId};
use crate::entries;

/// What changed since, as far as it concerns an agent.
#[derive(Debug, Default)]
struct Touched {
    entries: BTreeSet<EntryId>,
    bundles: BTreeSet<TrustDomain>,
}

impl Hub {
    /// What changed for a stream's agent since `after`; `None` if it has to be told everything.
    ///
    /// The state and what the feed holds must be of one revision.
    pub(super) fn changed_since(
        &mut self,
        store: &Store,
        state: &State,
        id: StreamId,
        after: Revision,
    ) -> Option<Batch> {
        let mut feed = store.changes_after(after);
        let mut changes = Vec::new();
        loop {
            match feed.take() {
                Ok(some) if some.is_empty() => break,
                Ok(some) => changes.extend(some),
                Err(_compacted) => return None,
            }
        }
        let touched = self.touched(state, id, &changes)?;
        let mut batch = Batch::empty(self.revision());
        batch.bundles = self.tell_all_bundles(state, id);
        let stream = self.streams.get(&id)?;
        for entry_id in touched.entries {
            match self.member(&stream.roots, &entry_id) {
                Some(entry) => batch.entries.push(Arc::clone(entry)),
                None => batch.removed_entries.push(entry_id),
            }
        }
        let is_told = |name: &TrustDomain| stream.bundles.contains_key(name);
        let gone = touched.bundles.into_iter().filter(|name| !is_told(name));
        batch.removed_bundles = gone.collect();
        Some(batch)
    }

    fn touched(&self, state: &State, id: StreamId, changes: &[Arc<Change>]) -> Option<Touched> {
        let stream = self.streams.get(&id)?;
        let parents = parents_in(changes);
        let mut touched = Touched::default();
        for change in changes {
            match &change.kind {
                ChangeKind::Entry { before, after } => {
                    let versions: Vec<_> = before.iter().chain(after).collect();
                    if versions.iter().any(|e| entries::applies(e, &stream.agent)) {
                        return None;
                    }
                    let mut roots = BTreeSet::new();
                    for entry in &versions {
                        self.roots_above(state, &entry.parent_id, &mut roots);
                    }
                    if !stream.roots.iter().any(|root| roots.contains(root)) {
                        continue;
                    }
                    let has_children = |entry: &&Arc<RegistrationEntry>| {
                        let id = &entry.spiffe_id;
                        parents.contains(id) || state.entries_by_parent(id, None).next().is_some()
                    };
                    if has_moved(before.as_ref(), after.as_ref())
                        && versions.iter().copied().any(|entry| has_children(&entry))
                    {
                        return None;
                    }
                    for entry in versions {
                        touched.entries.insert(entry.id.clone());
                        touched.bundles.extend(entry.federates_with.iter().cloned());
                    }
                }
                ChangeKind::Agent { before, after } => {
                    if starts_elsewhere(before.as_ref(), after.as_ref(), &stream.agent.spiffe_id) {
                        return None;
                    }
                }
                ChangeKind::Bundle { trust_domain, .. } => {
                    touched.bundles.insert(trust_domain.clone());
                }
                ChangeKind::Authority { .. }
                | ChangeKind::Relationship { .. }
                | ChangeKind::Setting { .. }
                | ChangeKind::Member { .. }
                | ChangeKind::ClusterVersion => {}
            }
        }
        Some(touched)
    }
}

/// The parents of all entries that changed: what is below an entry may have gone before the entry.
fn parents_in(changes: &[Arc<Change>]) -> HashSet<&SpiffeId> {
    let mut parents = HashSet::new();
    for change in changes {
        if let ChangeKind::Entry { before, after } = &change.kind {
            parents.extend(before.iter().chain(after).map(|entry| &entry.parent_id));
        }
    }
    parents
}

/// Whether what is below an entry is now reached another way than before.
fn has_moved(
    before: Option<&Arc<RegistrationEntry>>,
    after: Option<&Arc<RegistrationEntry>>,
) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return true;
    };
    before.spiffe_id != after.spiffe_id || before.parent_id != after.parent_id
}

/// Whether the change of an agent decides from which IDs `own` starts.
fn starts_elsewhere(
    before: Option<&Arc<AgentRecord>>,
    after: Option<&Arc<AgentRecord>>,
    own: &SpiffeId,
) -> bool {
    let is_own = before
        .or(after)
        .is_some_and(|agent| agent.spiffe_id == *own);
    let selectors = |agent: Option<&Arc<AgentRecord>>| agent.map(|agent| agent.selectors.clone());
    is_own && selectors(before) != selectors(after)
}

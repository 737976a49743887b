//! Owns the way from a change to the streams that it concerns, which are found by the parents of
//! the entry: the others have no work with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use identity::entry::RegistrationEntry;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::{Change, ChangeKind, State, Store};

use super::hub::{Hub, Stream, Updates, standing};
use super::root::{Diff, Root};
use super::{Ended, StreamId};
use crate::entries;

impl Hub {
    /// Finds out what changes mean for the streams.
    pub(super) fn process(
        &mut self,
        state: &State,
        changes: &[Arc<Change>],
        updates: &mut Updates,
    ) {
        for change in changes {
            match &change.kind {
                ChangeKind::Entry { before, after } => {
                    self.entry_changed(state, before.as_ref(), after.as_ref(), updates);
                }
                ChangeKind::Agent { before, after } => {
                    if let Some(agent) = before.as_ref().or(after.as_ref()) {
                        self.agent_changed(state, &agent.spiffe_id, updates);
                    }
                }
                ChangeKind::Bundle { trust_domain, .. } => {
                    self.bundle_changed(trust_domain, updates);
                }
                ChangeKind::Authority { .. }
                | ChangeKind::Relationship { .. }
                | ChangeKind::Setting { .. }
                | ChangeKind::Member { .. }
                | ChangeKind::ClusterVersion => {}
            }
        }
        self.update_bundles(state, updates);
    }

    /// Finds out what is different after changes that nobody can tell any more. Looks at the state root by root, and
    /// stream by stream: to look at all that all agents have would hold up what is applied.
    pub(super) fn process_anything(&mut self, store: &Store, updates: &mut Updates) {
        let root_ids: Vec<_> = self.roots.keys().cloned().collect();
        for root_id in root_ids {
            let mut diff = Diff::new();
            if let Some(root) = self.roots.get_mut(&root_id) {
                let moved = store.read(|state| root.rebuild(state, &mut diff));
                self.parents_moved(&root_id, moved);
                self.pass_on(&root_id, &diff, updates);
            }
        }
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            store.read(|state| {
                self.look_at_agent(state, id, updates);
                self.find_roots(state, id, updates);
            });
            updates.entry(id).or_default();
        }
        store.read(|state| self.update_bundles(state, updates));
    }

    fn entry_changed(
        &mut self,
        state: &State,
        before: Option<&Arc<RegistrationEntry>>,
        after: Option<&Arc<RegistrationEntry>>,
        updates: &mut Updates,
    ) {
        let Some(some) = before.or(after) else {
            return;
        };
        let now = state.entry(&some.id);
        let versions: Vec<_> = [before, after, now].into_iter().flatten().collect();
        let mut concerned = BTreeSet::new();
        for entry in &versions {
            self.roots_above(state, &entry.parent_id, &mut concerned);
        }
        for root_id in concerned {
            let mut diff = Diff::new();
            if let Some(root) = self.roots.get_mut(&root_id) {
                let before = before.map(|before| &**before);
                let moved = root.update(state, &some.id, before, &mut diff);
                self.parents_moved(&root_id, moved);
                self.pass_on(&root_id, &diff, updates);
            }
        }
        if versions.iter().any(|entry| entry.parent_id.is_server()) {
            self.alias_changed(state, &versions, updates);
        }
    }

    /// Adds the roots that lead to what is below `parent`.
    pub(super) fn roots_above(
        &self,
        state: &State,
        parent: &SpiffeId,
        found: &mut BTreeSet<SpiffeId>,
    ) {
        let mut add = |parent| {
            let roots = self.roots_of_parent.get(parent).into_iter().flatten();
            found.extend(roots.cloned());
        };
        add(parent);
        // A member of a root is not among its parents before it has a child.
        for (_, above) in state.entries_by_spiffe_id(parent, None) {
            add(&above.parent_id);
        }
    }

    /// Tells the streams of a root what happened below it. What is gone there may still be there
    /// below another root of the same stream.
    fn pass_on(&self, root_id: &SpiffeId, diff: &Diff, updates: &mut Updates) {
        let Some(root) = self.roots.get(root_id) else {
            return;
        };
        for id in &root.streams {
            let Some(stream) = self.streams.get(id) else {
                continue;
            };
            let update = updates.entry(*id).or_default();
            for (entry_id, entry) in diff {
                let elsewhere = || self.member(&stream.roots, entry_id);
                let now = entry.as_ref().or_else(elsewhere);
                update.entries.insert(entry_id.clone(), now.cloned());
            }
        }
    }

    fn alias_changed(
        &mut self,
        state: &State,
        versions: &[&Arc<RegistrationEntry>],
        updates: &mut Updates,
    ) {
        let concerns = |stream: &Stream| {
            let mut versions = versions.iter();
            versions.any(|alias| entries::applies(alias, &stream.agent))
        };
        let streams = self.streams.iter();
        let concerned: Vec<StreamId> = streams
            .filter_map(|(id, stream)| concerns(stream).then_some(*id))
            .collect();
        for id in concerned {
            self.find_roots(state, id, updates);
        }
    }

    /// Looks anew from where a stream's agent starts.
    fn find_roots(&mut self, state: &State, id: StreamId, updates: &mut Updates) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let roots = entries::roots(state, &stream.agent);
        if stream.roots == roots {
            return;
        }
        let held = std::mem::replace(&mut stream.roots, roots.clone());
        for root in &roots {
            self.enter_root(state, root, id);
        }
        let update = updates.entry(id).or_default();
        for left in held.iter().filter(|root| !roots.contains(root)) {
            for entry in self.roots.get(left).into_iter().flat_map(Root::members) {
                let elsewhere = self.member(&roots, &entry.id);
                update.entries.insert(entry.id.clone(), elsewhere.cloned());
            }
        }
        for entered in roots.iter().filter(|root| !held.contains(root)) {
            for entry in self.roots.get(entered).into_iter().flat_map(Root::members) {
                let now = Some(Arc::clone(entry));
                update.entries.insert(entry.id.clone(), now);
            }
        }
        for left in held.iter().filter(|root| !roots.contains(root)) {
            self.leave_root(left, id);
        }
    }

    fn agent_changed(&mut self, state: &State, agent: &SpiffeId, updates: &mut Updates) {
        for id in self.streams_of(agent) {
            self.look_at_agent(state, id, updates);
            self.find_roots(state, id, updates);
        }
    }

    fn look_at_agent(&mut self, state: &State, id: StreamId, updates: &mut Updates) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match standing(state.agent(&stream.agent.spiffe_id), &stream.serial) {
            Ok(agent) => stream.agent = Arc::clone(agent),
            Err(refusal) => {
                updates.entry(id).or_default().ended = Some(Ended::Refused(refusal));
            }
        }
    }

    fn bundle_changed(&self, trust_domain: &TrustDomain, updates: &mut Updates) {
        for (id, stream) in &self.streams {
            let mut roots = stream.roots.iter().filter_map(|root| self.roots.get(root));
            if *trust_domain == self.own || roots.any(|root| root.federates_with(trust_domain)) {
                updates.entry(*id).or_default();
            }
        }
    }

    /// Adds the bundles that are new or other than those that a stream was told.
    fn update_bundles(&mut self, state: &State, updates: &mut Updates) {
        for (id, update) in updates {
            let Some(stream) = self.streams.get(id) else {
                continue;
            };
            let needed = self.needed_bundles(state, stream);
            for (name, bundle) in &needed {
                let is_told = |told: &Arc<_>| Arc::ptr_eq(told, bundle) || told == bundle;
                if !stream.bundles.get(name).is_some_and(is_told) {
                    let now = Some(Arc::clone(bundle));
                    update.bundles.insert(name.clone(), now);
                }
            }
            for name in stream.bundles.keys() {
                if !needed.contains_key(name) {
                    update.bundles.insert(name.clone(), None);
                }
            }
            if let Some(stream) = self.streams.get_mut(id) {
                stream.bundles = needed;
            }
        }
    }
}

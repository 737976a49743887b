//! Owns what is below one SPIFFE ID: its children, their children, and so on. Agents that start
//! from the same ID, that of a node alias for example, share it.
//!
//! What must hold: once every change up to a revision was taken over, the members are exactly the
//! entries that the state of that revision leads to. A changed entry is looked up in the current
//! state, which may be newer; the later change then finds little left to do.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::State;

use super::StreamId;
use crate::entries::is_in_domain;

/// Entries by id: as they are now, or `None` for those that are no longer there.
pub(super) type Diff = BTreeMap<EntryId, Option<Arc<RegistrationEntry>>>;

/// Everything below one SPIFFE ID.
#[derive(Debug)]
pub(super) struct Root {
    id: SpiffeId,
    members: HashSet<ById>,
    /// The root, and the SPIFFE IDs of members that have children.
    parents: HashSet<SpiffeId>,
    /// How many members federate with a trust domain.
    federates: BTreeMap<TrustDomain, usize>,
    /// Who is told about changes.
    pub(super) streams: BTreeSet<StreamId>,
}

/// Parents that a root gained, and then those that it lost.
#[derive(Debug, Default)]
pub(super) struct ParentsMoved {
    pub(super) gained: Vec<SpiffeId>,
    pub(super) lost: Vec<SpiffeId>,
}

impl Root {
    /// Everything below `id`.
    pub(super) fn build(state: &State, id: SpiffeId) -> Self {
        let mut root = Self {
            parents: HashSet::from([id.clone()]),
            members: HashSet::new(),
            federates: BTreeMap::new(),
            streams: BTreeSet::new(),
            id: id.clone(),
        };
        root.grow(state, id, &mut Diff::new(), &mut Vec::new());
        root
    }

    pub(super) fn parents(&self) -> impl Iterator<Item = &SpiffeId> {
        self.parents.iter()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Arc<RegistrationEntry>> {
        self.members.iter().map(|member| &member.0)
    }

    pub(super) fn member(&self, id: &EntryId) -> Option<&Arc<RegistrationEntry>> {
        self.members.get(id).map(|member| &member.0)
    }

    /// Trust domains that a member federates with.
    pub(super) fn federated(&self) -> impl Iterator<Item = &TrustDomain> {
        self.federates.keys()
    }

    /// Whether a member federates with `trust_domain`.
    pub(super) fn federates_with(&self, trust_domain: &TrustDomain) -> bool {
        self.federates.contains_key(trust_domain)
    }

    /// Takes over a change of the entry `id`, which was as `before`, and notes in `diff` what comes
    /// of it.
    pub(super) fn update(
        &mut self,
        state: &State,
        id: &EntryId,
        before: Option<&RegistrationEntry>,
        diff: &mut Diff,
    ) -> ParentsMoved {
        let mut moved = ParentsMoved::default();
        let held = self.remove(id);
        let now = state.entry(id).filter(|entry| self.leads_to(state, entry));
        diff.insert(id.clone(), now.cloned());
        if let Some(entry) = now {
            self.insert(entry);
            if self.parents.insert(entry.parent_id.clone()) {
                moved.gained.push(entry.parent_id.clone());
            }
            if !self.parents.contains(&entry.spiffe_id) {
                self.grow(state, entry.spiffe_id.clone(), diff, &mut moved.gained);
            }
        }
        let mut had = [before, held.as_deref()].into_iter().flatten();
        let has_lost_a_parent = had.any(|had| {
            now.is_none_or(|now| now.spiffe_id != had.spiffe_id)
                && self.parents.contains(&had.spiffe_id)
        });
        if has_lost_a_parent {
            // What was below it may still be reached another way.
            let rebuilt = self.rebuild(state, diff);
            moved.gained.extend(rebuilt.gained);
            moved.lost.extend(rebuilt.lost);
        }
        moved
    }

    /// Finds everything anew, and notes in `diff` what is different.
    pub(super) fn rebuild(&mut self, state: &State, diff: &mut Diff) -> ParentsMoved {
        let new = Self::build(state, self.id.clone());
        for entry in self.members() {
            if !new.members.contains(&entry.id) {
                diff.insert(entry.id.clone(), None);
            }
        }
        for entry in new.members() {
            let is_same = |held: &Arc<_>| Arc::ptr_eq(held, entry) || held == entry;
            if !self.member(&entry.id).is_some_and(is_same) {
                diff.insert(entry.id.clone(), Some(Arc::clone(entry)));
            }
        }
        let moved = ParentsMoved {
            gained: new.parents.difference(&self.parents).cloned().collect(),
            lost: self.parents.difference(&new.parents).cloned().collect(),
        };
        let streams = std::mem::take(&mut self.streams);
        *self = Self { streams, ..new };
        moved
    }

    /// Adds everything below `start`, which has just come within reach.
    fn grow(
        &mut self,
        state: &State,
        start: SpiffeId,
        diff: &mut Diff,
        gained: &mut Vec<SpiffeId>,
    ) {
        let own = self.id.trust_domain().clone();
        let mut reached = vec![start];
        while let Some(parent) = reached.pop() {
            for (_, child) in state.entries_by_parent(&parent, None) {
                if !is_in_domain(child, &own) {
                    continue;
                }
                if self.parents.insert(parent.clone()) {
                    gained.push(parent.clone());
                }
                if self.insert(child) {
                    diff.insert(child.id.clone(), Some(Arc::clone(child)));
                    reached.push(child.spiffe_id.clone());
                }
            }
        }
    }

    /// Whether `entry` is below this root: below a parent, or the first child of a member.
    fn leads_to(&self, state: &State, entry: &RegistrationEntry) -> bool {
        is_in_domain(entry, self.id.trust_domain())
            && (self.parents.contains(&entry.parent_id)
                || state
                    .entries_by_spiffe_id(&entry.parent_id, None)
                    .any(|(_, above)| self.members.contains(&above.id)))
    }

    /// Says whether it was not there.
    fn insert(&mut self, entry: &Arc<RegistrationEntry>) -> bool {
        let is_new = self.members.insert(ById(Arc::clone(entry)));
        if is_new {
            for trust_domain in &entry.federates_with {
                *self.federates.entry(trust_domain.clone()).or_default() += 1;
            }
        }
        is_new
    }

    fn remove(&mut self, id: &EntryId) -> Option<Arc<RegistrationEntry>> {
        let ById(entry) = self.members.take(id)?;
        for trust_domain in &entry.federates_with {
            if let Some(count) = self.federates.get_mut(trust_domain) {
                *count -= 1;
                if *count == 0 {
                    self.federates.remove(trust_domain);
                }
            }
        }
        Some(entry)
    }
}

/// An entry that is looked up by its id.
#[derive(Debug)]
struct ById(Arc<RegistrationEntry>);

impl Borrow<EntryId> for ById {
    fn borrow(&self) -> &EntryId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.id.hash(hasher);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

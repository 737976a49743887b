//! What one kind of workload gets: the identities and bundles for one set of selectors.

use std::collections::HashMap;
use std::sync::Arc;

use identity::clock::UnixTime;
use identity::entry::EntryId;
use proto::convert::entry::AuthorizedEntry;

use super::{CachedSvid, TrustBundle};

/// The identities and bundles of the workloads that have one set of selectors.
///
/// Invariant: identities are in the order of their entries' ids, which decides the default identity
/// of a workload.
#[derive(Debug, Default)]
pub struct WorkloadView {
    identities: Vec<Identity>,
    own_bundle: Option<Arc<TrustBundle>>,
    federated_bundles: Vec<Arc<TrustBundle>>,
}

/// An entry that the workload matches, and its SVID if there is one.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The entry.
    pub entry: Arc<AuthorizedEntry>,
    /// The SVID; `None` until it is signed.
    pub svid: Option<Arc<CachedSvid>>,
    /// Whether an older entry of the same view has the same hint.
    repeats_hint: bool,
}

impl Identity {
    pub(super) fn new(entry: Arc<AuthorizedEntry>, svid: Option<Arc<CachedSvid>>) -> Self {
        Self {
            entry,
            svid,
            repeats_hint: false,
        }
    }
}

/// Each of `identities` with its SVID; `None` while one is missing or at its end.
pub fn signed<'a>(
    identities: impl IntoIterator<Item = &'a Identity>,
    now: UnixTime,
) -> Option<Vec<(&'a AuthorizedEntry, &'a CachedSvid)>> {
    identities
        .into_iter()
        .map(|one| match one.svid.as_deref() {
            Some(svid) if now < svid.not_after() => Some((&*one.entry, svid)),
            Some(_) | None => None,
        })
        .collect()
}

impl WorkloadView {
    /// A view of these identities, which are in the order of their entries' ids.
    pub(super) fn new(
        mut identities: Vec<Identity>,
        own_bundle: Option<Arc<TrustBundle>>,
        federated_bundles: Vec<Arc<TrustBundle>>,
    ) -> Self {
        mark_repeated_hints(&mut identities);
        Self {
            identities,
            own_bundle,
            federated_bundles,
        }
    }

    /// The identities, the default one first.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The identities that the Workload API tells of, where a hint has to be that of one only.
    pub fn distinctly_hinted(&self) -> impl Iterator<Item = &Identity> {
        self.identities.iter().filter(|one| !one.repeats_hint)
    }

    /// Whether the workload has any identity.
    pub fn has_identity(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Whether an identity has no SVID yet.
    pub fn lacks_svid(&self) -> bool {
        self.identities.iter().any(|one| one.svid.is_none())
    }

    /// The bundle of the own trust domain; `None` before the first sync.
    pub fn own_bundle(&self) -> Option<&TrustBundle> {
        self.own_bundle.as_deref()
    }

    /// The bundles of the trust domains that the identities federate with, by name.
    pub fn federated_bundles(&self) -> impl Iterator<Item = &TrustBundle> {
        self.federated_bundles.iter().map(|bundle| &**bundle)
    }

    /// Whether a workload could tell this view from `other`.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let same_identity = |(a, b): (&Identity, &Identity)| {
            Arc::ptr_eq(&a.entry, &b.entry) && same(a.svid.as_ref(), b.svid.as_ref())
        };
        self.identities.len() != other.identities.len()
            || !self
                .identities
                .iter()
                .zip(&other.identities)
                .all(same_identity)
            || !same(self.own_bundle.as_ref(), other.own_bundle.as_ref())
            || self.federated_bundles.len() != other.federated_bundles.len()
            || !self
                .federated_bundles
                .iter()
                .zip(&other.federated_bundles)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Of the entries with one hint the oldest has it for itself; a tie goes to the smaller id.
fn mark_repeated_hints(identities: &mut [Identity]) {
    let mut winners: HashMap<Box<str>, EntryId> = HashMap::new();
    let mut oldest_first: Vec<_> = identities.iter().map(|one| &one.entry).collect();
    oldest_first.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    for entry in oldest_first {
        if !entry.hint.is_empty() {
            winners
                .entry(entry.hint.clone())
                .or_insert_with(|| entry.id.clone());
        }
    }
    for one in identities {
        let winner = winners.get(&one.entry.hint);
        one.repeats_hint = winner.is_some_and(|winner| *winner != one.entry.id);
        if one.repeats_hint {
            tracing::warn!(
                hint = %one.entry.hint,
                registration_id = %one.entry.id,
                "Ignoring entry with duplicate hint"
            );
        }
    }
}

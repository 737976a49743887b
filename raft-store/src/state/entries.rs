//! Registration entries: their indexes, and the commands on them.
//!
//! Must hold: ids are unique; no two entries have the same parent, SPIFFE ID and selectors; every
//! index knows exactly the entries of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity::clock::UnixTime;
use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::codec::DecodeError;
use crate::command::EntryRule;
use crate::record::Sequence;
use crate::state::journal::Journal;
use crate::state::rows::StateHash;
use crate::state::table::{HashIndex, Table, hash};

#[derive(Debug, Default)]
pub(crate) struct Entries {
    table: Table<RegistrationEntry>,
    by_id: HashIndex,
    by_parent: HashIndex,
    by_spiffe_id: HashIndex,
    by_likeness: HashIndex,
    by_federation: HashIndex,
    by_end: BTreeSet<(UnixTime, Sequence)>,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<RegistrationEntry>)> {
        self.table.after(sequence).map(|(key, entry)| (*key, entry))
    }

    pub(crate) fn find(&self, id: &EntryId) -> Option<(Sequence, &Arc<RegistrationEntry>)> {
        self.by_id.candidates(id, None).find_map(|sequence| {
            let entry = self.table.record(&sequence)?;
            (entry.id == *id).then_some((sequence, entry))
        })
    }

    pub(crate) fn by_parent<'a>(
        &'a self,
        parent: &SpiffeId,
        after: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &'a Arc<RegistrationEntry>)> + use<'a> {
        let parent = parent.clone();
        self.matching(self.by_parent.candidates(&parent, after), move |entry| {
            entry.parent_id == parent
        })
    }

    pub(crate) fn by_spiffe_id<'a>(
        &'a self,
        spiffe_id: &SpiffeId,
        after: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &'a Arc<RegistrationEntry>)> + use<'a> {
        let spiffe_id = spiffe_id.clone();
        self.matching(
            self.by_spiffe_id.candidates(&spiffe_id, after),
            move |entry| entry.spiffe_id == spiffe_id,
        )
    }

    pub(crate) fn federating_with(
        &self,
        trust_domain: &TrustDomain,
    ) -> impl Iterator<Item = (Sequence, &Arc<RegistrationEntry>)> {
        let trust_domain = trust_domain.clone();
        self.matching(
            self.by_federation.candidates(&trust_domain, None),
            move |entry| entry.federates_with.contains(&trust_domain),
        )
    }

    /// Another entry with the same parent, SPIFFE ID and selectors.
    pub(crate) fn similar(
        &self,
        entry: &RegistrationEntry,
        except: Option<Sequence>,
    ) -> Option<&Arc<RegistrationEntry>> {
        let likeness_sought = likeness(entry);
        self.by_likeness
            .candidates(&likeness_sought, None)
            .filter(|sequence| Some(*sequence) != except)
            .filter_map(|sequence| self.table.record(&sequence))
            .find(|other| likeness(other) == likeness_sought)
    }

    /// Entries that ended before `before`, the longest ended first.
    pub(crate) fn ended(&self, before: UnixTime) -> impl Iterator<Item = (Sequence, EntryId)> {
        self.by_end
            .iter()
            .take_while(move |(end, _)| *end < before)
            .filter_map(|(_, sequence)| {
                let entry = self.table.record(sequence)?;
                Some((*sequence, entry.id.clone()))
            })
    }

    pub(crate) fn insert(
        &mut self,
        sequence: Sequence,
        mut entry: RegistrationEntry,
        journal: &mut Journal,
    ) -> Arc<RegistrationEntry> {
        self.share_ids(&mut entry);
        let entry = Arc::new(entry);
        self.index(sequence, &entry);
        self.table.put(sequence, Arc::clone(&entry), journal);
        journal.entry(None, Some(&entry));
        entry
    }

    pub(crate) fn replace(
        &mut self,
        sequence: Sequence,
        mut entry: RegistrationEntry,
        journal: &mut Journal,
    ) -> Arc<RegistrationEntry> {
        self.share_ids(&mut entry);
        let entry = Arc::new(entry);
        let before = self.table.put(sequence, Arc::clone(&entry), journal);
        if let Some(before) = &before {
            self.unindex(sequence, before);
        }
        self.index(sequence, &entry);
        journal.entry(before.as_ref(), Some(&entry));
        entry
    }

    pub(crate) fn remove(&mut self, sequence: Sequence, journal: &mut Journal) {
        if let Some(entry) = self.table.remove(&sequence, journal) {
            self.unindex(sequence, &entry);
            journal.entry(Some(&entry), None);
        }
    }

    /// Takes over a stored row. Lookups find nothing until [`Self::index_all`].
    pub(crate) fn load(
        &mut self,
        key: &[u8],
        value: &[u8],
        shared: &mut SharedIds,
    ) -> Result<StateHash, DecodeError> {
        let loaded = self
            .table
            .load_with(key, value, |entry| shared.use_in(entry))?;
        Ok(loaded.2)
    }

    /// Makes the indexes of all entries.
    pub(crate) fn index_all(&mut self) {
        let rows = || {
            self.table
                .iter()
                .map(|(sequence, entry)| (&**entry, *sequence))
        };
        self.by_id = HashIndex::of(rows().map(|(entry, sequence)| (&entry.id, sequence)));
        self.by_parent =
            HashIndex::of(rows().map(|(entry, sequence)| (&entry.parent_id, sequence)));
        self.by_spiffe_id =
            HashIndex::of(rows().map(|(entry, sequence)| (&entry.spiffe_id, sequence)));
        self.by_likeness =
            HashIndex::of(rows().map(|(entry, sequence)| (likeness(entry), sequence)));
        self.by_federation = HashIndex::of(rows().flat_map(|(entry, sequence)| {
            let names = entry.federates_with.iter();
            names.map(move |name| (name, sequence))
        }));
        let ends = rows().filter_map(|(entry, sequence)| Some((entry.expires_at?, sequence)));
        self.by_end = ends.collect();
    }

    fn matching<'a>(
        &'a self,
        candidates: impl Iterator<Item = Sequence> + 'a,
        matches: impl Fn(&RegistrationEntry) -> bool + 'a,
    ) -> impl Iterator<Item = (Sequence, &'a Arc<RegistrationEntry>)> + 'a {
        candidates.filter_map(move |sequence| {
            let entry = self.table.record(&sequence)?;
            matches(entry).then_some((sequence, entry))
        })
    }

    fn index(&mut self, sequence: Sequence, entry: &RegistrationEntry) {
        self.by_id.insert(&entry.id, sequence);
        self.by_parent.insert(&entry.parent_id, sequence);
        self.by_spiffe_id.insert(&entry.spiffe_id, sequence);
        self.by_likeness.insert(&likeness(entry), sequence);
        for trust_domain in &entry.federates_with {
            self.by_federation.insert(trust_domain, sequence);
        }
        if let Some(end) = entry.expires_at {
            self.by_end.insert((end, sequence));
        }
    }

    fn unindex(&mut self, sequence: Sequence, entry: &RegistrationEntry) {
        self.by_id.remove(&entry.id, sequence);
        self.by_parent.remove(&entry.parent_id, sequence);
        self.by_spiffe_id.remove(&entry.spiffe_id, sequence);
        self.by_likeness.remove(&likeness(entry), sequence);
        for trust_domain in &entry.federates_with {
            self.by_federation.remove(trust_domain, sequence);
        }
        if let Some(end) = entry.expires_at {
            self.by_end.remove(&(end, sequence));
        }
    }

    /// Lets the entry use the bytes of its siblings: with a hundred thousand entries under a
    /// thousand parents, their ids would otherwise be a fifth of the memory.
    fn share_ids(&self, entry: &mut RegistrationEntry) {
        let sibling = self.by_parent(&entry.parent_id, None).next();
        if let Some(parent_id) = sibling.map(|(_, sibling)| sibling.parent_id.clone()) {
            entry.parent_id = parent_id;
        }
        entry
            .spiffe_id
            .share_trust_domain(entry.parent_id.trust_domain());
    }
}

/// Ids that many entries have in common, while these are loaded.
#[derive(Debug, Default)]
pub(crate) struct SharedIds {
    parents: BTreeMap<u64, SpiffeId>,
    trust_domain: Option<TrustDomain>,
}

impl SharedIds {
    /// Lets the entry use the bytes of entries before it.
    fn use_in(&mut self, entry: &mut RegistrationEntry) {
        let own = entry.parent_id.trust_domain();
        let trust_domain = self.trust_domain.get_or_insert_with(|| own.clone());
        entry.parent_id.share_trust_domain(trust_domain);
        let known = self.parents.entry(hash(&entry.parent_id));
        let parent = known.or_insert_with(|| entry.parent_id.clone());
        // Hashes collide.
        if *parent == entry.parent_id {
            entry.parent_id = parent.clone();
        }
        entry
            .spiffe_id
            .share_trust_domain(entry.parent_id.trust_domain());
    }
}

/// The rules among the fields of an entry.
pub(crate) fn check(entry: &RegistrationEntry) -> Result<(), EntryRule> {
    let Some(first) = entry.selectors.iter().next() else {
        return Err(EntryRule::SelectorMissing);
    };
    if !entry.store_svid {
        return Ok(());
    }
    if entry
        .selectors
        .iter()
        .any(|selector| selector.kind() != first.kind())
    {
        return Err(EntryRule::StoreSvidSelectorTypes);
    }
    let attributes = entry.additional_attributes.as_ref();
    if attributes.is_some_and(|attributes| attributes.disable_x509_svid_prefetch) {
        return Err(EntryRule::StoreSvidWithoutPrefetch);
    }
    Ok(())
}

fn likeness(entry: &RegistrationEntry) -> (&SpiffeId, &SpiffeId, &identity::selector::SelectorSet) {
    (&entry.parent_id, &entry.spiffe_id, &entry.selectors)
}

//! Commands on registration entries.

use identity::entry::{EntryId, RegistrationEntry};
use identity::trust_domain::TrustDomain;

use crate::command::{
    CreateEntries, CreateEntryOutcome, DeleteEntries, EntryChange, PruneEntries, UpdateEntries,
    UpdateEntryOutcome,
};
use crate::state::journal::Journal;
use crate::state::{State, entries};

impl State {
    pub(super) fn create_entries(
        &mut self,
        command: &CreateEntries,
        journal: &mut Journal,
    ) -> Vec<CreateEntryOutcome> {
        let create = |entry: &RegistrationEntry| self.create_entry(entry, journal);
        command.entries.iter().map(create).collect()
    }

    pub(super) fn create_entry(
        &mut self,
        entry: &RegistrationEntry,
        journal: &mut Journal,
    ) -> CreateEntryOutcome {
        if let Err(rule) = entries::check(entry) {
            return CreateEntryOutcome::Invalid(rule);
        }
        // Before the id, as SPIRE: a controller that retries a create learns the entry it made.
        if let Some(similar) = self.entries.similar(entry, None) {
            return CreateEntryOutcome::Similar(similar.clone());
        }
        if self.entries.find(&entry.id).is_some() {
            return CreateEntryOutcome::IdTaken;
        }
        if let Some(trust_domain) = self.unknown_federation(&entry.federates_with) {
            return CreateEntryOutcome::UnknownFederatedBundle(trust_domain);
        }
        let sequence = self.next_sequence();
        let entry = RegistrationEntry {
            revision: 0,
            ..entry.clone()
        };
        CreateEntryOutcome::Created(self.entries.insert(sequence, entry, journal))
    }

    pub(super) fn update_entries(
        &mut self,
        command: &UpdateEntries,
        journal: &mut Journal,
    ) -> Vec<UpdateEntryOutcome> {
        let update = |change: &EntryChange| self.update_entry(change, journal);
        command.changes.iter().map(update).collect()
    }

    fn update_entry(&mut self, change: &EntryChange, journal: &mut Journal) -> UpdateEntryOutcome {
        let Some((sequence, present)) = self.entries.find(&change.id) else {
            return UpdateEntryOutcome::NotFound;
        };
        let entry = merge(present, change);
        if let Err(rule) = entries::check(&entry) {
            return UpdateEntryOutcome::Invalid(rule);
        }
        if let Some(similar) = self.entries.similar(&entry, Some(sequence)) {
            return UpdateEntryOutcome::Similar(similar.clone());
        }
        if let Some(trust_domain) = self.unknown_federation(&entry.federates_with) {
            return UpdateEntryOutcome::UnknownFederatedBundle(trust_domain);
        }
        UpdateEntryOutcome::Updated(self.entries.replace(sequence, entry, journal))
    }

    pub(super) fn delete_entries(
        &mut self,
        command: &DeleteEntries,
        journal: &mut Journal,
    ) -> Vec<bool> {
        let delete = |id: &EntryId| match self.entries.find(id) {
            Some((sequence, _)) => {
                self.entries.remove(sequence, journal);
                true
            }
            None => false,
        };
        command.ids.iter().map(delete).collect()
    }

    pub(super) fn prune_entries(
        &mut self,
        command: &PruneEntries,
        journal: &mut Journal,
    ) -> Vec<EntryId> {
        let limit = usize::try_from(command.limit).unwrap_or(usize::MAX);
        let ended: Vec<_> = self
            .entries
            .ended(command.expired_before)
            .take(limit)
            .collect();
        for (sequence, _) in &ended {
            self.entries.remove(*sequence, journal);
        }
        ended.into_iter().map(|(_, id)| id).collect()
    }

    fn unknown_federation(&self, trust_domains: &[TrustDomain]) -> Option<TrustDomain> {
        trust_domains
            .iter()
            .find(|trust_domain| self.bundles.find(trust_domain).is_none())
            .cloned()
    }
}

fn merge(present: &RegistrationEntry, change: &EntryChange) -> RegistrationEntry {
    fn or<T: Clone>(change: Option<&T>, present: &T) -> T {
        change.unwrap_or(present).clone()
    }
    RegistrationEntry {
        id: present.id.clone(),
        spiffe_id: or(change.spiffe_id.as_ref(), &present.spiffe_id),
        parent_id: or(change.parent_id.as_ref(), &present.parent_id),
        selectors: or(change.selectors.as_ref(), &present.selectors),
        x509_svid_ttl_s: change.x509_svid_ttl_s.unwrap_or(present.x509_svid_ttl_s),
        jwt_svid_ttl_s: change.jwt_svid_ttl_s.unwrap_or(present.jwt_svid_ttl_s),
        federates_with: or(change.federates_with.as_ref(), &present.federates_with),
        admin: change.admin.unwrap_or(present.admin),
        downstream: change.downstream.unwrap_or(present.downstream),
        expires_at: change.expires_at.unwrap_or(present.expires_at),
        dns_names: or(change.dns_names.as_ref(), &present.dns_names),
        revision: present.revision.saturating_add(1),
        store_svid: change.store_svid.unwrap_or(present.store_svid),
        hint: or(change.hint.as_ref(), &present.hint),
        additional_attributes: or(
            change.additional_attributes.as_ref(),
            &present.additional_attributes,
        ),
        created_at: present.created_at,
    }
}

//! Registration entries and the commands on them.

use identity::clock::UnixTime;
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::SelectorSet;

use super::field::{
    attributes, attributes_to_wire, dns_names, dns_names_to_wire, entry_id, selectors,
    selectors_to_wire, spiffe_id, time, trust_domains, trust_domains_to_wire,
};
use super::{DecodeError, Stored, wire};
use crate::command::{CreateEntries, DeleteEntries, EntryChange, PruneEntries, UpdateEntries};

impl Stored for RegistrationEntry {
    type Message = wire::Entry;

    fn to_message(&self) -> wire::Entry {
        wire::Entry {
            id: self.id.as_str().to_owned(),
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            parent_id: self.parent_id.as_str().to_owned(),
            selectors: selectors_to_wire(&self.selectors),
            x509_svid_ttl_s: self.x509_svid_ttl_s,
            jwt_svid_ttl_s: self.jwt_svid_ttl_s,
            federates_with: trust_domains_to_wire(&self.federates_with),
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.expires_at.map(UnixTime::as_secs),
            dns_names: dns_names_to_wire(&self.dns_names),
            revision: self.revision,
            store_svid: self.store_svid,
            hint: self.hint.to_string(),
            additional_attributes: self.additional_attributes.as_ref().map(attributes_to_wire),
            created_at: self.created_at.as_secs(),
        }
    }

    fn from_message(entry: wire::Entry) -> Result<Self, DecodeError> {
        Ok(Self {
            id: entry_id(&entry.id)?,
            spiffe_id: spiffe_id(&entry.spiffe_id)?,
            parent_id: spiffe_id(&entry.parent_id)?,
            selectors: selectors(&entry.selectors)?,
            x509_svid_ttl_s: entry.x509_svid_ttl_s,
            jwt_svid_ttl_s: entry.jwt_svid_ttl_s,
            federates_with: trust_domains(&entry.federates_with)?,
            admin: entry.admin,
            downstream: entry.downstream,
            expires_at: entry.expires_at.map(time),
            dns_names: dns_names(&entry.dns_names)?,
            revision: entry.revision,
            store_svid: entry.store_svid,
            hint: entry.hint.into(),
            additional_attributes: entry.additional_attributes.map(attributes),
            created_at: time(entry.created_at),
        })
    }
}

impl Stored for CreateEntries {
    type Message = wire::CreateEntries;

    fn to_message(&self) -> wire::CreateEntries {
        wire::CreateEntries {
            entries: self.entries.iter().map(Stored::to_message).collect(),
        }
    }

    fn from_message(command: wire::CreateEntries) -> Result<Self, DecodeError> {
        let entries = command.entries.into_iter().map(Stored::from_message);
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

impl Stored for EntryChange {
    type Message = wire::EntryChange;

    fn to_message(&self) -> wire::EntryChange {
        let text = |id: &identity::spiffe_id::SpiffeId| id.as_str().to_owned();
        wire::EntryChange {
            id: self.id.as_str().to_owned(),
            spiffe_id: self.spiffe_id.as_ref().map(text),
            parent_id: self.parent_id.as_ref().map(text),
            selectors: self
                .selectors
                .as_ref()
                .map(|selectors| wire::SelectorsChange {
                    values: selectors_to_wire(selectors),
                }),
            x509_svid_ttl_s: self.x509_svid_ttl_s,
            jwt_svid_ttl_s: self.jwt_svid_ttl_s,
            federates_with: self.federates_with.as_ref().map(|names| wire::NamesChange {
                values: trust_domains_to_wire(names),
            }),
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.expires_at.map(|end| wire::TimeChange {
                value: end.map(UnixTime::as_secs),
            }),
            dns_names: self.dns_names.as_ref().map(|names| wire::NamesChange {
                values: dns_names_to_wire(names),
            }),
            store_svid: self.store_svid,
            hint: self.hint.as_deref().map(str::to_owned),
            additional_attributes: self.additional_attributes.as_ref().map(|value| {
                wire::AttributesChange {
                    value: value.as_ref().map(attributes_to_wire),
                }
            }),
        }
    }

    fn from_message(change: wire::EntryChange) -> Result<Self, DecodeError> {
        let set = |change: wire::SelectorsChange| -> Result<SelectorSet, DecodeError> {
            selectors(&change.values)
        };
        Ok(Self {
            id: entry_id(&change.id)?,
            spiffe_id: change.spiffe_id.as_deref().map(spiffe_id).transpose()?,
            parent_id: change.parent_id.as_deref().map(spiffe_id).transpose()?,
            selectors: change.selectors.map(set).transpose()?,
            x509_svid_ttl_s: change.x509_svid_ttl_s,
            jwt_svid_ttl_s: change.jwt_svid_ttl_s,
            federates_with: change
                .federates_with
                .map(|names| trust_domains(&names.values))
                .transpose()?,
            admin: change.admin,
            downstream: change.downstream,
            expires_at: change.expires_at.map(|end| end.value.map(time)),
            dns_names: change
                .dns_names
                .map(|names| dns_names(&names.values))
                .transpose()?,
            store_svid: change.store_svid,
            hint: change.hint.map(Into::into),
            additional_attributes: change
                .additional_attributes
                .map(|change| change.value.map(attributes)),
        })
    }
}

impl Stored for UpdateEntries {
    type Message = wire::UpdateEntries;

    fn to_message(&self) -> wire::UpdateEntries {
        wire::UpdateEntries {
            changes: self.changes.iter().map(Stored::to_message).collect(),
        }
    }

    fn from_message(command: wire::UpdateEntries) -> Result<Self, DecodeError> {
        let changes = command.changes.into_iter().map(Stored::from_message);
        Ok(Self {
            changes: changes.collect::<Result<_, _>>()?,
        })
    }
}

impl Stored for DeleteEntries {
    type Message = wire::DeleteEntries;

    fn to_message(&self) -> wire::DeleteEntries {
        let text = |id: &EntryId| id.as_str().to_owned();
        wire::DeleteEntries {
            ids: self.ids.iter().map(text).collect(),
        }
    }

    fn from_message(command: wire::DeleteEntries) -> Result<Self, DecodeError> {
        let ids = command.ids.iter().map(|id| entry_id(id));
        Ok(Self {
            ids: ids.collect::<Result<_, _>>()?,
        })
    }
}

impl Stored for PruneEntries {
    type Message = wire::PruneEntries;

    fn to_message(&self) -> wire::PruneEntries {
        wire::PruneEntries {
            expired_before: self.expired_before.as_secs(),
            limit: self.limit,
        }
    }

    fn from_message(command: wire::PruneEntries) -> Result<Self, DecodeError> {
        Ok(Self {
            expired_before: time(command.expired_before),
            limit: command.limit,
        })
    }
}

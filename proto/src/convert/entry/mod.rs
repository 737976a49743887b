//! Registration entries on the wire: created, changed, filtered, answered, and as an agent gets them.

mod authorized;
mod filter;
mod parse;

pub use authorized::{AuthorizedEntry, authorized, authorized_mask};
pub use filter::{EntryFilter, count_filter, list_filter};
pub use parse::{Attempt, EntryUpdate, new, update};

use identity::entry::{AdditionalAttributes, RegistrationEntry};

use crate::convert::{id, selector};
use crate::spire::api::types;

/// The mask that chooses every field.
pub const EVERY_FIELD: types::EntryMask = types::EntryMask {
    spiffe_id: true,
    parent_id: true,
    selectors: true,
    x509_svid_ttl: true,
    federates_with: true,
    admin: true,
    downstream: true,
    expires_at: true,
    dns_names: true,
    revision_number: true,
    store_svid: true,
    jwt_svid_ttl: true,
    hint: true,
    created_at: true,
    additional_attributes: true,
};

/// The wire form, cut to the fields of the mask; the id is always there.
pub fn to_wire(entry: &RegistrationEntry, mask: Option<&types::EntryMask>) -> types::Entry {
    let mask = mask.unwrap_or(&EVERY_FIELD);
    let mut wire = types::Entry {
        id: entry.id.as_str().to_owned(),
        spiffe_id: mask.spiffe_id.then(|| id::to_wire(&entry.spiffe_id)),
        parent_id: mask.parent_id.then(|| id::to_wire(&entry.parent_id)),
        admin: mask.admin && entry.admin,
        downstream: mask.downstream && entry.downstream,
        store_svid: mask.store_svid && entry.store_svid,
        ..types::Entry::default()
    };
    if mask.selectors {
        wire.selectors = selector::to_wire(&entry.selectors);
    }
    if mask.x509_svid_ttl {
        wire.x509_svid_ttl = ttl_to_wire(entry.x509_svid_ttl_s);
    }
    if mask.jwt_svid_ttl {
        wire.jwt_svid_ttl = ttl_to_wire(entry.jwt_svid_ttl_s);
    }
    if mask.federates_with {
        wire.federates_with = strings(&entry.federates_with);
    }
    if mask.dns_names {
        wire.dns_names = strings(&entry.dns_names);
    }
    if mask.expires_at {
        wire.expires_at = entry.expires_at.map_or(0, |time| time.as_secs());
    }
    if mask.revision_number {
        wire.revision_number = entry.revision;
    }
    if mask.hint {
        wire.hint = entry.hint.to_string();
    }
    if mask.created_at {
        wire.created_at = entry.created_at.as_secs();
    }
    if mask.additional_attributes {
        wire.additional_attributes = entry.additional_attributes.as_ref().map(attributes_to_wire);
    }
    wire
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn ttl_to_wire(ttl_s: u32) -> i32 {
    i32::try_from(ttl_s).unwrap_or(i32::MAX)
}

fn attributes_to_wire(attributes: &AdditionalAttributes) -> types::entry::AdditionalAttributes {
    types::entry::AdditionalAttributes {
        disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
        jwt_svid_include_jti: attributes.jwt_svid_include_jti,
    }
}

fn attributes(wire: &types::entry::AdditionalAttributes) -> AdditionalAttributes {
    AdditionalAttributes {
        disable_x509_svid_prefetch: wire.disable_x509_svid_prefetch,
        jwt_svid_include_jti: wire.jwt_svid_include_jti,
    }
}

#[cfg(test)]
mod tests;

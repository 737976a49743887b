//! Entries as an agent gets them from the server.

use identity::clock::UnixTime;
use identity::entry::{AdditionalAttributes, EntryId};
use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::convert::{ConvertError, id, selector};
use crate::spire::api::types;

/// What an agent needs to know of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizedEntry {
    /// The name of the entry; the order of names is that of a workload's identities.
    pub id: EntryId,
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// A workload gets the identity if it has all of these.
    pub selectors: SelectorSet,
    /// Foreign trust domains whose bundles the workload gets.
    pub federates_with: Vec<TrustDomain>,
    /// Whether the holder may use the administrative API.
    pub admin: bool,
    /// Whether the holder is a downstream server.
    pub downstream: bool,
    /// With [`Self::created_at`], tells one state of the entry from another.
    pub revision: i64,
    /// Whether the SVID goes to a store instead of the Workload API.
    pub store_svid: bool,
    /// Shown to the workload.
    pub hint: Box<str>,
    /// What only few entries have.
    pub additional_attributes: Option<AdditionalAttributes>,
    /// When the entry was made; differs when an id is used again.
    pub created_at: UnixTime,
}

/// The fields of [`AuthorizedEntry`], for an agent to ask for; the same that SPIRE's agents ask for.
pub fn authorized_mask() -> types::EntryMask {
    types::EntryMask {
        spiffe_id: true,
        selectors: true,
        federates_with: true,
        admin: true,
        downstream: true,
        revision_number: true,
        store_svid: true,
        hint: true,
        created_at: true,
        additional_attributes: true,
        ..types::EntryMask::default()
    }
}

/// An entry of a server's answer. Of any trust domain, for the server answers for it.
pub fn authorized(wire: &types::Entry) -> Result<AuthorizedEntry, ConvertError> {
    if wire.selectors.is_empty() {
        return Err(ConvertError::NoSelectors);
    }
    Ok(AuthorizedEntry {
        id: EntryId::parse(&wire.id)?,
        spiffe_id: id::spiffe_id(wire.spiffe_id.as_ref())?,
        selectors: selector::merged(&wire.selectors)?,
        federates_with: super::parse::federates_with(wire)?,
        admin: wire.admin,
        downstream: wire.downstream,
        revision: wire.revision_number,
        store_svid: wire.store_svid,
        hint: wire.hint.as_str().into(),
        additional_attributes: wire.additional_attributes.as_ref().map(super::attributes),
        created_at: UnixTime::from_secs(wire.created_at),
    })
}

//! Entries as administrators send them: whole ones to create, and changes.
//!
//! Parts are checked in SPIRE's order, so that the first mistake that is named is the same.

use identity::clock::UnixTime;
use identity::dns_name::DnsName;
use identity::entry::{AdditionalAttributes, EntryId, EntryIdError, RegistrationEntry};
use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::convert::error::{EntryRule, InPart as _};
use crate::convert::{ConvertError, id, selector};
use crate::spire::api::types;

/// A change of an entry: what is `None` stays as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryUpdate {
    /// Which entry; `None` if the given text cannot be the id of any.
    pub id: Option<EntryId>,
    /// New identity.
    pub spiffe_id: Option<SpiffeId>,
    /// New parent.
    pub parent_id: Option<SpiffeId>,
    /// New selectors, all of them; not empty.
    pub selectors: Option<SelectorSet>,
    /// New lifetime of X.509-SVIDs in seconds.
    pub x509_svid_ttl_s: Option<u32>,
    /// New lifetime of JWT-SVIDs in seconds.
    pub jwt_svid_ttl_s: Option<u32>,
    /// New federated trust domains, all of them.
    pub federates_with: Option<Vec<TrustDomain>>,
    /// New admin mark.
    pub admin: Option<bool>,
    /// New downstream mark.
    pub downstream: Option<bool>,
    /// New end, or none.
    pub expires_at: Option<Option<UnixTime>>,
    /// New DNS names, all of them.
    pub dns_names: Option<Vec<DnsName>>,
    /// New store mark.
    pub store_svid: Option<bool>,
    /// New hint.
    pub hint: Option<Box<str>>,
    /// New attributes, or none.
    pub additional_attributes: Option<Option<AdditionalAttributes>>,
}

/// What was tried with an entry that is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// To create it.
    Create,
    /// To change it.
    Update,
}

impl Attempt {
    /// The text of the item's status. The code is INVALID_ARGUMENT.
    pub fn refusal(self, error: &ConvertError) -> String {
        let what = match (error, self) {
            (ConvertError::EntryRule(_), Self::Create) => "failed to create entry",
            (ConvertError::EntryRule(_), Self::Update) => "failed to update entry",
            _ => "failed to convert entry",
        };
        format!("{what}: {error}")
    }
}

/// A new entry of revision 0. An entry without an id gets a random one; revision and creation time
/// of the message are ignored.
pub fn new(
    own: &TrustDomain,
    wire: &types::Entry,
    created_at: UnixTime,
) -> Result<RegistrationEntry, ConvertError> {
    Ok(RegistrationEntry {
        parent_id: parent_id(own, wire)?,
        spiffe_id: spiffe_id(own, wire)?,
        dns_names: dns_names(wire)?,
        federates_with: federates_with(wire)?,
        selectors: selectors(wire)?,
        hint: hint(wire)?,
        id: new_id(&wire.id)?,
        x509_svid_ttl_s: x509_svid_ttl_s(wire)?,
        jwt_svid_ttl_s: jwt_svid_ttl_s(wire)?,
        admin: wire.admin,
        downstream: wire.downstream,
        expires_at: expires_at(wire.expires_at),
        revision: 0,
        store_svid: wire.store_svid,
        additional_attributes: wire.additional_attributes.as_ref().map(super::attributes),
        created_at,
    })
}

/// A change of the fields that the mask chooses.
pub fn update(
    own: &TrustDomain,
    wire: &types::Entry,
    mask: Option<&types::EntryMask>,
) -> Result<EntryUpdate, ConvertError> {
    let mask = mask.unwrap_or(&super::EVERY_FIELD);
    Ok(EntryUpdate {
        parent_id: chosen(mask.parent_id, || parent_id(own, wire))?,
        spiffe_id: chosen(mask.spiffe_id, || spiffe_id(own, wire))?,
        dns_names: chosen(mask.dns_names, || dns_names(wire))?,
        federates_with: chosen(mask.federates_with, || federates_with(wire))?,
        selectors: chosen(mask.selectors, || selectors(wire))?,
        hint: chosen(mask.hint, || hint(wire))?,
        x509_svid_ttl_s: chosen(mask.x509_svid_ttl, || x509_svid_ttl_s(wire))?,
        jwt_svid_ttl_s: chosen(mask.jwt_svid_ttl, || jwt_svid_ttl_s(wire))?,
        admin: mask.admin.then_some(wire.admin),
        downstream: mask.downstream.then_some(wire.downstream),
        expires_at: mask.expires_at.then(|| expires_at(wire.expires_at)),
        store_svid: mask.store_svid.then_some(wire.store_svid),
        additional_attributes: mask
            .additional_attributes
            .then(|| wire.additional_attributes.as_ref().map(super::attributes)),
        id: EntryId::parse(&wire.id).ok(),
    })
}

fn chosen<T>(
    is_chosen: bool,
    parse: impl FnOnce() -> Result<T, ConvertError>,
) -> Result<Option<T>, ConvertError> {
    is_chosen.then(parse).transpose()
}

fn parent_id(own: &TrustDomain, wire: &types::Entry) -> Result<SpiffeId, ConvertError> {
    id::member_id(own, wire.parent_id.as_ref()).in_part("invalid parent ID")
}

fn spiffe_id(own: &TrustDomain, wire: &types::Entry) -> Result<SpiffeId, ConvertError> {
    id::workload_id(own, wire.spiffe_id.as_ref()).in_part("invalid spiffe ID")
}

fn dns_names(wire: &types::Entry) -> Result<Vec<DnsName>, ConvertError> {
    wire.dns_names
        .iter()
        .map(|name| DnsName::parse(name).in_part("invalid DNS name"))
        .collect()
}

pub(super) fn federates_with(wire: &types::Entry) -> Result<Vec<TrustDomain>, ConvertError> {
    wire.federates_with
        .iter()
        .map(|name| TrustDomain::parse(name).in_part("invalid federated trust domain"))
        .collect()
}

fn selectors(wire: &types::Entry) -> Result<SelectorSet, ConvertError> {
    if wire.selectors.is_empty() {
        return Err(ConvertError::NoSelectors);
    }
    selector::set(&wire.selectors)
}

fn hint(wire: &types::Entry) -> Result<Box<str>, ConvertError> {
    let limit = RegistrationEntry::MAX_HINT_LEN_BYTES;
    if wire.hint.len() > limit {
        return Err(ConvertError::HintTooLong { limit });
    }
    Ok(wire.hint.as_str().into())
}

fn new_id(id: &str) -> Result<EntryId, ConvertError> {
    match EntryId::parse(id) {
        Ok(id) => Ok(id),
        Err(EntryIdError::Missing) => Ok(EntryId::random()),
        Err(EntryIdError::TooLong) => Err(ConvertError::EntryRule(EntryRule::IdTooLong)),
        Err(EntryIdError::Characters) => Err(ConvertError::EntryRule(EntryRule::IdCharacters)),
    }
}

fn x509_svid_ttl_s(wire: &types::Entry) -> Result<u32, ConvertError> {
    ttl_s(wire.x509_svid_ttl, EntryRule::X509SvidTtl)
}

fn jwt_svid_ttl_s(wire: &types::Entry) -> Result<u32, ConvertError> {
    ttl_s(wire.jwt_svid_ttl, EntryRule::JwtSvidTtl)
}

fn ttl_s(ttl: i32, rule: EntryRule) -> Result<u32, ConvertError> {
    u32::try_from(ttl).map_err(|_negative| ConvertError::EntryRule(rule))
}

/// Zero is no end. One before 1970 is past, as in SPIRE: a mistake of whoever computed it must not become an entry
/// without an end.
fn expires_at(seconds: i64) -> Option<UnixTime> {
    (seconds != 0).then(|| UnixTime::from_secs(seconds))
}

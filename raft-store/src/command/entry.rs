//! Commands on registration entries. Each answers per item, in the order of its input, and one
//! item's refusal leaves the others alone.

use std::sync::Arc;

use identity::clock::UnixTime;
use identity::dns_name::DnsName;
use identity::entry::{AdditionalAttributes, EntryId, RegistrationEntry};
use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

/// Creates entries. Their `revision` is ignored and starts at 0; `created_at` is stored as given.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateEntries {
    /// The entries.
    pub entries: Vec<RegistrationEntry>,
}

/// What became of one entry to create.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateEntryOutcome {
    /// Stored, as answered.
    Created(Arc<RegistrationEntry>),
    /// There is an entry with the same parent, SPIFFE ID and selectors: this one.
    Similar(Arc<RegistrationEntry>),
    /// There is another entry with this id.
    IdTaken,
    /// It federates with a trust domain whose bundle is not held.
    UnknownFederatedBundle(TrustDomain),
    /// It breaks a rule among its fields.
    Invalid(EntryRule),
}

/// Changes entries.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateEntries {
    /// One change an entry.
    pub changes: Vec<EntryChange>,
}

/// A change of one entry; a field that is `None` stays as it is. Every change raises the entry's
/// revision, even one without fields.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryChange {
    /// Which entry.
    pub id: EntryId,
    /// New SPIFFE ID.
    pub spiffe_id: Option<SpiffeId>,
    /// New parent.
    pub parent_id: Option<SpiffeId>,
    /// New selectors, all of them.
    pub selectors: Option<SelectorSet>,
    /// New X.509-SVID lifetime in seconds.
    pub x509_svid_ttl_s: Option<u32>,
    /// New JWT-SVID lifetime in seconds.
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

impl EntryChange {
    /// A change of nothing but the revision.
    #[must_use]
    pub const fn new(id: EntryId) -> Self {
        Self {
            id,
            spiffe_id: None,
            parent_id: None,
            selectors: None,
            x509_svid_ttl_s: None,
            jwt_svid_ttl_s: None,
            federates_with: None,
            admin: None,
            downstream: None,
            expires_at: None,
            dns_names: None,
            store_svid: None,
            hint: None,
            additional_attributes: None,
        }
    }
}

/// What became of one change.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateEntryOutcome {
    /// The entry as it is now.
    Updated(Arc<RegistrationEntry>),
    /// No entry has this id.
    NotFound,
    /// The change would make it similar to this other entry.
    Similar(Arc<RegistrationEntry>),
    /// It would federate with a trust domain whose bundle is not held.
    UnknownFederatedBundle(TrustDomain),
    /// It would break a rule among its fields.
    Invalid(EntryRule),
}

/// A rule among the fields of an entry. `Display` is SPIRE's wording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryRule {
    /// At least one selector.
    SelectorMissing,
    /// With `store_svid`, all selectors are of one type.
    StoreSvidSelectorTypes,
    /// It federates with a trust domain whose bundle is not held.
    FederationUnknown,
    /// `store_svid` needs the prefetch that `disable_x509_svid_prefetch` turns off.
    StoreSvidWithoutPrefetch,
}

impl std::fmt::Display for EntryRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::SelectorMissing => "invalid registration entry: missing selector list",
            Self::StoreSvidSelectorTypes => {
                "invalid registration entry: selector types must be the same when store SVID is enabled"
            }
            Self::FederationUnknown => "unable to find federated bundle",
            Self::StoreSvidWithoutPrefetch => {
                "invalid registration entry: store SVID and disable X509-SVID prefetch are mutually exclusive"
            }
        })
    }
}

/// Deletes entries.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteEntries {
    /// Which.
    pub ids: Vec<EntryId>,
}

/// Deletes entries whose time is over.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneEntries {
    /// Entries with an end before this go.
    pub expired_before: UnixTime,
    /// At most so many, the longest expired first.
    pub limit: u32,
}

//! Commands of a rotation by hand. Each step is one entry, so that no crash leaves half of one.
//!
//! ```text
//! (nothing) ─▶ published ─▶ active ─▶ old ─▶ tainted ─▶ revoked
//! ```

use identity::trust_domain::TrustDomain;

use crate::record::{AuthorityKind, AuthorityRecord};

/// Stores a new authority and puts it into the own bundle. One that was on its way has signed
/// nothing and gives up its place, as does one that is revoked.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareSuccessor {
    /// The authority; its state is ignored.
    pub authority: AuthorityRecord,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
    /// So many of its kind there may be, itself included.
    pub at_most: u32,
}

/// Lets a published root sign, through an intermediate of its own: no SVID is signed below one
/// root while another is the active one. Root and intermediate before become old; an intermediate
/// that was on its way goes.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivateRoot {
    /// Id of the root.
    pub id: Box<str>,
    /// The intermediate; its state is ignored.
    pub intermediate: AuthorityRecord,
}

/// Marks an old authority in the own bundle, so that everybody replaces what it signed. Its key
/// goes, and with a root its intermediates.
#[derive(Clone, Debug, PartialEq)]
pub struct TaintAuthority {
    /// Kind of the authority.
    pub kind: AuthorityKind,
    /// Its id.
    pub id: Box<str>,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
}

/// Takes a tainted authority out of the own bundle. Its record stays until its place is needed.
#[derive(Clone, Debug, PartialEq)]
pub struct RevokeAuthority {
    /// Kind of the authority.
    pub kind: AuthorityKind,
    /// Its id.
    pub id: Box<str>,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
}

//! Commands on authorities: one lifecycle for all kinds.
//!
//! ```text
//! prepared ─▶ published ─▶ active ─▶ old ─▶ removed
//! ```
//! At most one authority of a kind is on its way (prepared or published) and at most one is active.
//! What an operator does beside that is in [`rotation`](super::rotation).

use std::sync::Arc;

use identity::trust_domain::TrustDomain;

use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState, Sealed};

/// Stores a new authority with its sealed key, as prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareAuthority {
    /// The authority; its state is ignored.
    pub authority: AuthorityRecord,
}

/// Puts a prepared authority into the own bundle (roots and JWT keys; the other kinds are in no
/// bundle and only change their state). The bundle's sequence rises by one.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishAuthority {
    /// Kind of the authority.
    pub kind: AuthorityKind,
    /// Its id.
    pub id: Box<str>,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
}

/// Lets a published authority sign; the active one becomes old.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivateAuthority {
    /// Kind of the authority.
    pub kind: AuthorityKind,
    /// Its id.
    pub id: Box<str>,
}

/// Forgets an authority that is not active, and takes it out of the own bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoveAuthority {
    /// Kind of the authority.
    pub kind: AuthorityKind,
    /// Its id.
    pub id: Box<str>,
    /// The own trust domain.
    pub trust_domain: TrustDomain,
}

/// Replaces the sealed form of an authority's key: the same key under another data key.
#[derive(Clone, Debug, PartialEq)]
pub struct ResealAuthority {
    /// Kind of the authority.
    pub kind: AuthorityKind,
    /// Its id.
    pub id: Box<str>,
    /// Its private key.
    pub sealed_key: Sealed,
}

/// What became of a resealing. Unless resealed, nothing changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResealOutcome {
    /// Stored.
    Resealed,
    /// There is no such authority.
    NotFound,
    /// The data key is not in the ring, so nobody could open it.
    UnknownDataKey,
}

/// What became of a step. Unless done, nothing changed.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthorityOutcome {
    /// The authority as it is now, or was last.
    Done(Arc<AuthorityRecord>),
    /// There is no such authority.
    NotFound,
    /// Its state does not allow the step.
    WrongState(AuthorityState),
    /// Another authority of this kind is on its way, or has this id.
    SlotTaken,
    /// Its key is sealed with a data key that has left the ring: seal it anew.
    UnknownDataKey,
    /// There are as many of this kind as there may be, and all of them are still believed.
    Full,
}

//! Commands on authorities: one lifecycle for all kinds.
//!
//! ```text
//! prepared ─▶ published ─▶ active ─▶ old ─▶ removed
//! ```
//! At most one authority of a kind is on its way (prepared or published) and at most one is active.

use std::sync::Arc;

use identity::trust_domain::TrustDomain;

use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState};

/// Stores a new authority with its sealed key, as prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareAuthority {
    /// The authority; its state is ignored.
    pub authority: AuthorityRecord,
}

/// Puts a prepared authority into the own bundle (roots and JWT keys; an intermediate is in no
/// bundle and only changes its state). The bundle's sequence rises by one.
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
}

//! What has to happen next to the authorities of one kind: a pure function of their records and
//! the time, the same for roots, intermediates and JWT keys.
//!
//! ```text
//! prepared ─▶ published ─▶ active ─▶ old ─▶ removed
//! ```
//! What must hold: an authority signs only after it was published; at most [`MAX_AUTHORITIES`] of
//! a kind exist; an authority leaves the bundle only when nothing that it signed is valid any more.
//! Each step is one store operation, so a crash between two of them leaves records from which the
//! same function finds the next.

use std::{sync::Arc, time::Duration};

use identity::{clock::UnixTime, lifetime};
use raft_store::{AuthorityKind, AuthorityRecord, AuthorityState};

/// So many authorities of one kind exist at most (and, of roots and JWT keys, are in the bundle).
pub(super) const MAX_AUTHORITIES: usize = 3;

/// One step in the life of one authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Make a new authority.
    Prepare,
    /// Tell everybody about this one.
    Publish(Box<str>),
    /// Sign with this one.
    Activate(Box<str>),
    /// Forget this one.
    Remove(Box<str>),
}

/// The next step for the authorities of `kind`; `None` if all is as it should be now.
///
/// `root` is the active root; an intermediate cannot be made without one, and is replaced when
/// its root is no longer the active one.
pub(super) fn next_step(
    kind: AuthorityKind,
    authorities: &[Arc<AuthorityRecord>],
    root: Option<&AuthorityRecord>,
    now: UnixTime,
) -> Option<Step> {
    let in_state = |state| {
        authorities
            .iter()
            .find(|authority| authority.state == state)
    };
    let over = |authority: &&Arc<AuthorityRecord>| {
        authority.state != AuthorityState::Active && removed_at(authority) <= now
    };
    if let Some(authority) = authorities.iter().find(over) {
        return Some(Step::Remove(authority.id.clone()));
    }
    if let Some(prepared) = in_state(AuthorityState::Prepared) {
        return Some(Step::Publish(prepared.id.clone()));
    }
    let superseded = |authority: &AuthorityRecord| {
        kind == AuthorityKind::X509Intermediate
            && root.is_some_and(|root| authority.issuer_id.as_ref() != Some(&root.id))
    };
    let active = in_state(AuthorityState::Active);
    let next = in_state(AuthorityState::Published);
    match (active, next) {
        (None, Some(next)) => Some(Step::Activate(next.id.clone())),
        (Some(active), Some(next)) => {
            let due = activate_at(active) <= now || superseded(active);
            due.then(|| Step::Activate(next.id.clone()))
        }
        (Some(active), None) if now < prepare_at(active) && !superseded(active) => None,
        (_, None) => make_room(kind, authorities).or_else(|| prepare(kind, authorities, root, now)),
    }
}

/// When the successor of `authority` has to exist.
pub(super) fn prepare_at(authority: &AuthorityRecord) -> UnixTime {
    match authority.kind {
        AuthorityKind::Peer => part_before_end(authority, 5),
        AuthorityKind::X509Root | AuthorityKind::X509Intermediate | AuthorityKind::Jwt => {
            lifetime::prepare_at(authority.issued_at, authority.not_after)
        }
    }
}

/// When the successor of `authority` has to take over.
pub(super) fn activate_at(authority: &AuthorityRecord) -> UnixTime {
    match authority.kind {
        AuthorityKind::Peer => part_before_end(authority, 6),
        AuthorityKind::X509Root | AuthorityKind::X509Intermediate | AuthorityKind::Jwt => {
            lifetime::activate_at(authority.issued_at, authority.not_after)
        }
    }
}

/// When one of `parts` parts of the life of `authority` is left. The authority of members is
/// replaced months before its end, so that a member that was switched off for long still finds
/// itself trusted.
fn part_before_end(authority: &AuthorityRecord, parts: u32) -> UnixTime {
    let not_after = authority.not_after;
    let lifetime = not_after.saturating_duration_since(authority.issued_at);
    not_after.saturating_sub(lifetime / parts)
}

/// When `authority` leaves: a little after its end, for verifiers whose clocks are late, but so
/// little that it makes room for the successor of its successor.
fn removed_at(authority: &AuthorityRecord) -> UnixTime {
    let lifetime = authority
        .not_after
        .saturating_duration_since(authority.issued_at);
    authority
        .not_after
        .saturating_add((lifetime / 8).min(MAX_GRACE))
}

const MAX_GRACE: Duration = Duration::from_secs(5 * 60);

fn prepare(
    kind: AuthorityKind,
    authorities: &[Arc<AuthorityRecord>],
    root: Option<&AuthorityRecord>,
    now: UnixTime,
) -> Option<Step> {
    let issuer_at_hand = match kind {
        AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::Peer => true,
        AuthorityKind::X509Intermediate => root.is_some_and(|root| now <= root.not_after),
    };
    (issuer_at_hand && authorities.len() < MAX_AUTHORITIES).then_some(Step::Prepare)
}

/// The oldest intermediate that signs no more goes when its place is needed: it travels with the
/// SVIDs that it signed, so they stay valid. Roots and JWT keys are looked up in the bundle and
/// stay until their end.
fn make_room(kind: AuthorityKind, authorities: &[Arc<AuthorityRecord>]) -> Option<Step> {
    if kind != AuthorityKind::X509Intermediate || authorities.len() < MAX_AUTHORITIES {
        return None;
    }
    let oldest = authorities
        .iter()
        .filter(|authority| authority.state == AuthorityState::Old)
        .min_by_key(|authority| authority.issued_at)?;
    Some(Step::Remove(oldest.id.clone()))
}

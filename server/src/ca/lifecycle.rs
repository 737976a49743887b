//! What has to happen next to the authorities of one kind: a pure function of their records and
//! the time, the same for roots, intermediates and JWT keys.
//!
//! ```text
//! prepared ─▶ published ─▶ active ─▶ old ─▶ removed
//! ```
//! What must hold: an authority signs only after it was published; at most [`MAX_AUTHORITIES`] of
//! a kind exist; an authority leaves the bundle only when nothing that it signed is valid any more,
//! or when its place is needed for one without which nothing could be signed.
//! Each step is one store operation, so a crash between two of them leaves records from which the
//! same function finds the next.
//!
//! An operator may move authorities, too ([`by_hand`](super::by_hand)). What was prepared so is
//! activated here when the time has come, unless the operator did it before; what is tainted or
//! revoked is left alone until its end, or until its place is needed.

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

/// Who signs intermediates.
#[derive(Clone, Copy, Debug)]
pub(super) enum Above<'a> {
    /// Nobody yet: no root is active.
    Nobody,
    /// The active root.
    Root(&'a AuthorityRecord),
    /// An upstream.
    Upstream,
}

/// The next step for the authorities of `kind`; `None` if all is as it should be now.
///
/// An intermediate cannot be made without somebody above it, and is replaced when it is another one
/// by now. Roots have no step below an upstream: see [`next_step_of_former_roots`].
pub(super) fn next_step(
    kind: AuthorityKind,
    authorities: &[Arc<AuthorityRecord>],
    above: Above<'_>,
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
    let is_astray = |authority: &&Arc<AuthorityRecord>| {
        is_coming(authority) && is_below_another(kind, authority, above)
    };
    let leaving = authorities.iter().find(over);
    let leaving = leaving.or_else(|| authorities.iter().find(is_astray));
    if let Some(authority) = leaving.or_else(|| surplus(kind, authorities)) {
        return Some(Step::Remove(authority.id.clone()));
    }
    if let Some(prepared) = in_state(AuthorityState::Prepared) {
        return Some(Step::Publish(prepared.id.clone()));
    }
    let superseded = |active: &AuthorityRecord| is_below_another(kind, active, above);
    let active = in_state(AuthorityState::Active);
    let next = in_state(AuthorityState::Published);
    match (active, next) {
        (None, Some(next)) => Some(Step::Activate(next.id.clone())),
        (Some(active), Some(next)) => {
            let due = activate_at(active) <= now || superseded(active) || is_early(active, now);
            due.then(|| Step::Activate(next.id.clone()))
        }
        (Some(active), None)
            if now < prepare_at(active) && !superseded(active) && !is_early(active, now) =>
        {
            None
        }
        (active, None) => {
            let is_urgent =
                active.is_none_or(|active| activate_at(active) <= now || is_early(active, now));
            let making_room = make_room(kind, authorities, is_urgent);
            making_room.or_else(|| prepare(kind, authorities, above, now))
        }
    }
}

/// The next step for own roots below an upstream: each goes once nothing is there that it signed.
pub(super) fn next_step_of_former_roots(
    roots: &[Arc<AuthorityRecord>],
    intermediates: &[Arc<AuthorityRecord>],
) -> Option<Step> {
    let is_done = |root: &&Arc<AuthorityRecord>| {
        let signed = |one: &Arc<AuthorityRecord>| one.issuer_id.as_ref() == Some(&root.id);
        root.state != AuthorityState::Active && !intermediates.iter().any(signed)
    };
    let done = roots.iter().find(is_done)?;
    Some(Step::Remove(done.id.clone()))
}

fn is_coming(authority: &AuthorityRecord) -> bool {
    matches!(
        authority.state,
        AuthorityState::Prepared | AuthorityState::Published
    )
}

/// Whether `authority` is an intermediate that another one signed than who would sign it now.
fn is_below_another(kind: AuthorityKind, authority: &AuthorityRecord, above: Above<'_>) -> bool {
    kind == AuthorityKind::X509Intermediate
        && match above {
            Above::Nobody => false,
            Above::Root(root) => authority.issuer_id.as_ref() != Some(&root.id),
            Above::Upstream => authority.upstream_chain.is_none(),
        }
}

/// Whether nothing can be signed with `active` for a good while yet: a leader whose clock was ahead made it. A root
/// stays, since a clock that is late must not push out what everybody believes.
fn is_early(active: &AuthorityRecord, now: UnixTime) -> bool {
    match active.kind {
        AuthorityKind::X509Intermediate | AuthorityKind::Jwt => {
            now.saturating_add(MAX_GRACE) < active.issued_at
        }
        AuthorityKind::X509Root | AuthorityKind::Peer => false,
    }
}

/// An old intermediate that is one too many, since a root that takes over brings its own.
fn surplus(
    kind: AuthorityKind,
    authorities: &[Arc<AuthorityRecord>],
) -> Option<&Arc<AuthorityRecord>> {
    if kind != AuthorityKind::X509Intermediate || authorities.len() <= MAX_AUTHORITIES {
        return None;
    }
    oldest(authorities, AuthorityState::Old)
}

fn oldest(
    authorities: &[Arc<AuthorityRecord>],
    state: AuthorityState,
) -> Option<&Arc<AuthorityRecord>> {
    let of_state = authorities.iter().filter(|one| one.state == state);
    of_state.min_by_key(|authority| authority.issued_at)
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
    above: Above<'_>,
    now: UnixTime,
) -> Option<Step> {
    let issuer_at_hand = match (kind, above) {
        (AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::Peer, _)
        | (AuthorityKind::X509Intermediate, Above::Upstream) => true,
        (AuthorityKind::X509Intermediate, Above::Root(root)) => now <= root.not_after,
        (AuthorityKind::X509Intermediate, Above::Nobody) => false,
    };
    (issuer_at_hand && authorities.len() < MAX_AUTHORITIES).then_some(Step::Prepare)
}

/// Who goes when a place is needed. What is revoked nobody believes any more. An old intermediate
/// travels with the SVIDs that it signed, so they stay valid. Roots and JWT keys are looked up in
/// the bundle and stay until their end, unless nothing could be signed otherwise.
fn make_room(
    kind: AuthorityKind,
    authorities: &[Arc<AuthorityRecord>],
    is_urgent: bool,
) -> Option<Step> {
    if authorities.len() < MAX_AUTHORITIES {
        return None;
    }
    let may_go: &[AuthorityState] = match (kind, is_urgent) {
        (AuthorityKind::X509Intermediate, _) => &[
            AuthorityState::Revoked,
            AuthorityState::Tainted,
            AuthorityState::Old,
        ],
        (AuthorityKind::X509Root | AuthorityKind::Jwt, true) => &[
            AuthorityState::Revoked,
            AuthorityState::Tainted,
            AuthorityState::Old,
        ],
        (AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::Peer, _) => {
            &[AuthorityState::Revoked]
        }
    };
    let mut states = may_go.iter();
    let leaving = states.find_map(|state| oldest(authorities, *state))?;
    Some(Step::Remove(leaving.id.clone()))
}

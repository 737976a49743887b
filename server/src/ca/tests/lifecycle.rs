//! The lifecycle as a function: which step is next.

use std::{sync::Arc, time::Duration};

use identity::clock::UnixTime;
use raft_store::{AuthorityKind, AuthorityRecord, AuthorityState, Sealed};

use crate::ca::lifecycle::{Above, Step, next_step, next_step_of_former_roots};

const HOUR: i64 = 3600;

fn at(hours: i64) -> UnixTime {
    UnixTime::from_secs(hours * HOUR)
}

/// An authority made at hour `made` that lives for a day.
fn authority(id: &str, state: AuthorityState, made: i64) -> AuthorityRecord {
    AuthorityRecord {
        kind: AuthorityKind::Jwt,
        id: id.into(),
        state,
        issuer_id: None,
        certificate: None,
        public_key: Vec::new(),
        issued_at: at(made),
        not_after: at(made).saturating_add(Duration::from_secs(24 * 3600)),
        sealed_key: Some(Sealed {
            key_id: 1,
            nonce: [0; 12],
            ciphertext: Vec::new(),
        }),
        upstream_chain: None,
    }
}

fn below(root: &str, id: &str, state: AuthorityState, made: i64) -> AuthorityRecord {
    AuthorityRecord {
        issuer_id: Some(root.into()),
        ..authority(id, state, made)
    }
}

fn next(kind: AuthorityKind, all: Vec<AuthorityRecord>, now: i64) -> Option<Step> {
    let root = authority("root", AuthorityState::Active, 0);
    let all: Vec<_> = all.into_iter().map(Arc::new).collect();
    next_step(kind, &all, Above::Root(&root), at(now))
}

fn jwt(all: Vec<AuthorityRecord>, now: i64) -> Option<Step> {
    next(AuthorityKind::Jwt, all, now)
}

fn intermediate(all: Vec<AuthorityRecord>, now: i64) -> Option<Step> {
    next(AuthorityKind::X509Intermediate, all, now)
}

#[test]
fn first_authority_is_prepared_published_and_activated() {
    assert_eq!(jwt(vec![], 0), Some(Step::Prepare));
    let prepared = authority("a", AuthorityState::Prepared, 0);
    assert_eq!(jwt(vec![prepared], 0), Some(Step::Publish("a".into())));
    let published = authority("a", AuthorityState::Published, 0);
    assert_eq!(jwt(vec![published], 0), Some(Step::Activate("a".into())));
    let active = authority("a", AuthorityState::Active, 0);
    assert_eq!(jwt(vec![active], 0), None);
}

#[test]
fn successor_is_prepared_at_half_and_takes_over_at_five_sixths() {
    let active = || authority("a", AuthorityState::Active, 0);
    assert_eq!(jwt(vec![active()], 11), None);
    assert_eq!(jwt(vec![active()], 12), Some(Step::Prepare));
    let next = || authority("b", AuthorityState::Published, 12);
    assert_eq!(jwt(vec![active(), next()], 19), None);
    let over = Some(Step::Activate("b".into()));
    assert_eq!(jwt(vec![active(), next()], 20), over);
}

#[test]
fn what_a_clock_ahead_has_made_is_replaced_but_a_root() {
    let future = || authority("f", AuthorityState::Active, 72);
    let next = || authority("n", AuthorityState::Published, 1);
    let over = Some(Step::Activate("n".into()));
    assert_eq!(jwt(vec![future()], 1), Some(Step::Prepare));
    assert_eq!(jwt(vec![future(), next()], 1), over);
    let full = || {
        vec![
            future(),
            authority("a", AuthorityState::Old, 71),
            authority("b", AuthorityState::Old, 70),
        ]
    };
    assert_eq!(jwt(full(), 1), Some(Step::Remove("b".into())));
    let intermediate_ahead = AuthorityRecord {
        kind: AuthorityKind::X509Intermediate,
        ..below("root", "f", AuthorityState::Active, 72)
    };
    assert_eq!(
        intermediate(vec![intermediate_ahead], 1),
        Some(Step::Prepare)
    );
    let root_ahead = AuthorityRecord {
        kind: AuthorityKind::X509Root,
        ..future()
    };
    let roots = [Arc::new(root_ahead)];
    let step = next_step(AuthorityKind::X509Root, &roots, Above::Nobody, at(1));
    assert_eq!(step, None);
}

#[test]
fn what_an_operator_prepared_early_is_left_alone_until_its_time() {
    let active = || authority("a", AuthorityState::Active, 0);
    let early = || authority("b", AuthorityState::Published, 1);
    assert_eq!(jwt(vec![active(), early()], 1), None);
    assert_eq!(jwt(vec![active(), early()], 19), None);
    let over = Some(Step::Activate("b".into()));
    assert_eq!(jwt(vec![active(), early()], 20), over);
}

#[test]
fn tainted_and_revoked_authorities_are_left_alone_until_their_end() {
    for state in [AuthorityState::Tainted, AuthorityState::Revoked] {
        let left = || authority("a", state, 0);
        let active = || authority("b", AuthorityState::Active, 20);
        assert_eq!(jwt(vec![left(), active()], 24), None, "{state:?}");
        let gone = Some(Step::Remove("a".into()));
        assert_eq!(jwt(vec![left(), active()], 25), gone, "{state:?}");
    }
}

#[test]
fn place_is_made_by_who_is_believed_least_and_old_ones_stay_while_there_is_time() {
    let all = |a, b| {
        vec![
            authority("a", a, 0),
            authority("b", b, 0),
            authority("c", AuthorityState::Active, 1),
        ]
    };
    let (old, tainted) = (AuthorityState::Old, AuthorityState::Tainted);
    let revoked = AuthorityState::Revoked;
    // The active one is due for a successor at 13 hours, and urgently at 21.
    let a_goes = Some(Step::Remove("a".into()));
    let b_goes = Some(Step::Remove("b".into()));
    assert_eq!(jwt(all(old, revoked), 13), b_goes);
    assert_eq!(jwt(all(old, tainted), 13), None);
    assert_eq!(jwt(all(old, old), 13), None);
    assert_eq!(jwt(all(old, tainted), 21), b_goes);
    assert_eq!(jwt(all(old, old), 21), a_goes);
}

#[test]
fn intermediate_on_its_way_below_another_root_goes() {
    let active = || below("root", "a", AuthorityState::Active, 0);
    for state in [AuthorityState::Prepared, AuthorityState::Published] {
        let astray = below("former", "b", state, 0);
        let gone = Some(Step::Remove("b".into()));
        assert_eq!(intermediate(vec![active(), astray], 1), gone, "{state:?}");
    }
    let expected = below("root", "b", AuthorityState::Published, 0);
    assert_eq!(intermediate(vec![active(), expected], 1), None);
}

#[test]
fn active_intermediate_below_another_root_is_replaced_at_once() {
    let active = || below("former", "a", AuthorityState::Active, 0);
    assert_eq!(intermediate(vec![active()], 1), Some(Step::Prepare));
    let next = below("root", "b", AuthorityState::Published, 1);
    let over = Some(Step::Activate("b".into()));
    assert_eq!(intermediate(vec![active(), next], 1), over);
}

#[test]
fn old_intermediate_that_is_one_too_many_goes_at_once() {
    let old = |id| below("former", id, AuthorityState::Old, 0);
    let mut all = vec![old("a"), old("b"), old("c")];
    all.push(below("root", "d", AuthorityState::Active, 1));
    assert_eq!(intermediate(all, 1), Some(Step::Remove("a".into())));
    // Roots never come to that: nobody adds a fourth.
    let roots = ["a", "b", "c", "d"].map(|id| authority(id, AuthorityState::Old, 0));
    let mut roots = roots.to_vec();
    roots.push(authority("e", AuthorityState::Active, 0));
    assert_eq!(next(AuthorityKind::X509Root, roots, 1), None);
}

fn from_upstream(id: &str, state: AuthorityState, made: i64) -> AuthorityRecord {
    AuthorityRecord {
        upstream_chain: Some(Vec::new()),
        ..below("upstream", id, state, made)
    }
}

fn below_upstream(all: Vec<AuthorityRecord>, now: i64) -> Option<Step> {
    let all: Vec<_> = all.into_iter().map(Arc::new).collect();
    let kind = AuthorityKind::X509Intermediate;
    next_step(kind, &all, Above::Upstream, at(now))
}

#[test]
fn intermediate_of_an_upstream_needs_no_root_and_lives_like_others() {
    assert_eq!(below_upstream(vec![], 0), Some(Step::Prepare));
    let active = || from_upstream("a", AuthorityState::Active, 0);
    assert_eq!(below_upstream(vec![active()], 11), None);
    assert_eq!(below_upstream(vec![active()], 12), Some(Step::Prepare));
    let next = || from_upstream("b", AuthorityState::Published, 12);
    assert_eq!(below_upstream(vec![active(), next()], 19), None);
    let over = Some(Step::Activate("b".into()));
    assert_eq!(below_upstream(vec![active(), next()], 20), over);
}

#[test]
fn intermediate_of_an_own_root_gives_way_to_an_upstream_and_back() {
    let own = || below("root", "a", AuthorityState::Active, 0);
    assert_eq!(below_upstream(vec![own()], 1), Some(Step::Prepare));
    let next = || from_upstream("b", AuthorityState::Published, 1);
    let over = Some(Step::Activate("b".into()));
    assert_eq!(below_upstream(vec![own(), next()], 1), over);
    let astray = below("root", "c", AuthorityState::Published, 1);
    let gone = Some(Step::Remove("c".into()));
    let active = from_upstream("b", AuthorityState::Active, 1);
    assert_eq!(below_upstream(vec![active, astray], 1), gone);

    let active = || from_upstream("b", AuthorityState::Active, 0);
    assert_eq!(intermediate(vec![active()], 1), Some(Step::Prepare));
    let next = below("root", "c", AuthorityState::Published, 1);
    let over = Some(Step::Activate("c".into()));
    assert_eq!(intermediate(vec![active(), next], 1), over);
}

#[test]
fn former_root_goes_once_nothing_is_left_that_it_signed() {
    let root = |state| [Arc::new(authority("root", state, 0))];
    let old = [Arc::new(below("root", "a", AuthorityState::Old, 0))];
    let others = [Arc::new(from_upstream("b", AuthorityState::Active, 0))];
    let next = |state, intermediates| next_step_of_former_roots(&root(state), intermediates);
    assert_eq!(next(AuthorityState::Old, &old), None);
    let gone = Some(Step::Remove("root".into()));
    assert_eq!(next(AuthorityState::Old, &others), gone);
    // Until the upstream's first intermediate takes over.
    assert_eq!(next(AuthorityState::Active, &[]), None);
}

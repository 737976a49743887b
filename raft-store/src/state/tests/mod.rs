//! Scenarios over the state: each script in `scripts/` is a list of commands with what they
//! answered. `REWRITE=1` records the answers anew; the diff is what is reviewed.

mod golden;
mod memory;
mod script;

use identity::clock::UnixTime;

use self::script::check;
use crate::command::{DeleteEntries, Envelope, RequestId, SetSetting};
use crate::state::{Loader, State, TableId};

#[test]
fn entries() {
    check("entries.txt", include_str!("scripts/entries.txt"));
}

#[test]
fn agents_and_join_tokens() {
    check("agents.txt", include_str!("scripts/agents.txt"));
}

#[test]
fn bundles() {
    check("bundles.txt", include_str!("scripts/bundles.txt"));
}

#[test]
fn relationships() {
    check("federation.txt", include_str!("scripts/federation.txt"));
}

#[test]
fn authorities() {
    check("authorities.txt", include_str!("scripts/authorities.txt"));
}

#[test]
fn rotation_by_hand() {
    check("rotation.txt", include_str!("scripts/rotation.txt"));
}

#[test]
fn below_an_upstream() {
    check("upstream.txt", include_str!("scripts/upstream.txt"));
}

#[test]
fn what_an_acme_server_gave() {
    check("acme.txt", include_str!("scripts/acme.txt"));
}

#[test]
fn members() {
    check("members.txt", include_str!("scripts/members.txt"));
}

#[test]
fn data_keys() {
    check("data_keys.txt", include_str!("scripts/data_keys.txt"));
}

#[test]
fn a_new_epoch() {
    check("epoch.txt", include_str!("scripts/epoch.txt"));
}

fn setting(number: u64, at: i64) -> Envelope {
    Envelope {
        request_id: RequestId::from_bytes(u128::from(number).to_be_bytes()),
        at: UnixTime::from_secs(at),
        command: SetSetting {
            key: format!("key {}", number % 7).into(),
            value: number.to_be_bytes().to_vec(),
            only_if_absent: false,
        }
        .into(),
    }
}

#[test]
fn the_hash_is_that_of_the_rows_and_loading_them_makes_the_same_state() {
    let mut state = State::default();
    let mut rows = std::collections::BTreeMap::new();
    for number in 0..500 {
        for row in state.apply(1, &setting(number, 0)).rows {
            match row.value {
                Some(value) => rows.insert(row.key, value),
                None => rows.remove(&row.key),
            };
        }
    }
    let (revision, sequence, hash) = state.position();
    let position = crate::codec::wire::Position {
        revision: revision.as_u64(),
        sequence: sequence.as_u64(),
        state_hash: hash.as_bytes().to_vec(),
        ..Default::default()
    };
    rows.insert(
        TableId::Position.row_key(&[]),
        prost::Message::encode_to_vec(&position),
    );
    let load = |rows: &std::collections::BTreeMap<Box<[u8]>, Vec<u8>>| {
        let mut loader = Loader::default();
        for (key, value) in rows {
            loader.row(key, value).unwrap();
        }
        loader.finish()
    };
    let mut loaded = load(&rows).unwrap();
    assert_eq!(loaded.position(), state.position());
    // Both go on alike.
    state.apply(1, &setting(500, 0));
    loaded.apply(1, &setting(500, 0));
    assert_eq!(loaded.position(), state.position());

    rows.pop_last();
    assert!(matches!(
        load(&rows),
        Err(crate::state::LoadError::Hash { .. })
    ));
}

#[test]
fn a_request_is_remembered_for_ten_minutes_and_then_forgotten() {
    let mut state = State::default();
    state.apply(1, &setting(1, 0));
    state.apply(1, &setting(2, 600));
    assert!(state.apply(1, &setting(1, 600)).rows.is_empty());
    state.apply(1, &setting(3, 601));
    assert!(!state.apply(1, &setting(1, 601)).rows.is_empty());
}

#[test]
fn a_request_id_of_another_command_is_refused_and_changes_nothing() {
    let mut state = State::default();
    state.apply(1, &setting(1, 0));
    let before = state.position();
    let other = Envelope {
        command: DeleteEntries { ids: Vec::new() }.into(),
        ..setting(1, 0)
    };
    let applied = state.apply(1, &other);
    assert_eq!(applied.outcome, crate::command::Outcome::RequestReused);
    assert_eq!(state.position(), before);
}

//! Decoders of stored and received bytes, for the fuzz targets.
//!
//! Each says whether it took the bytes, and checks what must hold of those that it took: read again they
//! mean the same, a command has the same effect everywhere, and rows are the state that wrote them.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;

use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::entry::RegistrationEntry;
use identity::federation::FederationRelationship;

use crate::codec::{Frame, Record, decode_envelope, encode_envelope, wire};
use crate::command::Envelope;
use crate::record::{
    AcmeSecret, AgentRecord, AuthorityRecord, ClusterRecord, DataKey, InviteRecord,
    JoinTokenRecord, MemberRecord, SettingRecord,
};
use crate::state::{Loader, RequestRecord, State, StateHash, TableId};
use crate::storage::snapshot::Snapshot;
use crate::storage::transfer::Receiver;

pub use crate::backup::fuzzing::backup_of;
pub use crate::raft::fuzzing::{identity, log_record, request, response, vote};

/// A row's key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A command as it stands in the log.
pub fn envelope(bytes: &[u8]) -> bool {
    let Ok(envelope) = decode_envelope(bytes) else {
        return false;
    };
    let again = decode_envelope(&encode_envelope(&envelope));
    assert_eq!(again.ok().as_ref(), Some(&envelope));
    true
}

/// The record of a row in the table that `table` numbers.
pub fn record(table: u8, bytes: &[u8]) -> bool {
    match TableId::of(table) {
        Some(TableId::Entry) => survives::<RegistrationEntry>(bytes),
        Some(TableId::Agent) => survives::<AgentRecord>(bytes),
        Some(TableId::Bundle) => survives::<Bundle>(bytes),
        Some(TableId::Authority) => survives::<AuthorityRecord>(bytes),
        Some(TableId::JoinToken) => survives::<JoinTokenRecord>(bytes),
        Some(TableId::Setting) => survives::<SettingRecord>(bytes),
        Some(TableId::DataKey) => survives::<DataKey>(bytes),
        Some(TableId::Request) => survives::<RequestRecord>(bytes),
        Some(TableId::Member) => survives::<MemberRecord>(bytes),
        Some(TableId::Invite) => survives::<InviteRecord>(bytes),
        Some(TableId::Cluster) => survives::<ClusterRecord>(bytes),
        Some(TableId::Relationship) => survives::<FederationRelationship>(bytes),
        Some(TableId::AcmeSecret) => survives::<AcmeSecret>(bytes),
        Some(TableId::Position) | None => false,
    }
}

fn survives<R: Record>(bytes: &[u8]) -> bool {
    let Ok(record) = R::from_bytes(bytes) else {
        return false;
    };
    let stored = record.to_bytes();
    let again = R::from_bytes(&stored).map(|record| record.to_bytes());
    assert_eq!(again.ok(), Some(stored));
    true
}

/// Applies those of `commands` that can be read to the state that `rows` make, or to an empty one if they
/// make none; how many there were.
pub fn apply(rows: &[Row], commands: &[&[u8]]) -> usize {
    let envelopes: Vec<Envelope> = commands
        .iter()
        .filter_map(|bytes| decode_envelope(bytes).ok())
        .collect();
    let (state, stored) = applied(rows, &envelopes);
    let (other, _) = applied(rows, &envelopes);
    assert_eq!(state.state_hash(), other.state_hash());
    assert_eq!(state.revision(), other.revision());
    let loaded = load(&stored.into_iter().collect::<Vec<_>>(), state.position().1);
    let loaded = loaded.expect("what a state wrote is a state");
    assert_eq!(loaded.state_hash(), state.state_hash());
    envelopes.len()
}

/// The state after `envelopes`, and its rows. The last command is repeated, as after a lost answer.
fn applied(rows: &[Row], envelopes: &[Envelope]) -> (State, BTreeMap<Vec<u8>, Vec<u8>>) {
    let is_old = |(key, _): &Row| {
        let sequence = key.get(1..).and_then(|key| <[u8; 8]>::try_from(key).ok());
        sequence.is_none_or(|sequence| u64::from_be_bytes(sequence) < SEQUENCE)
    };
    let begun = rows
        .iter()
        .all(is_old)
        .then(|| load(rows, crate::record::Sequence::new(SEQUENCE)))
        .flatten();
    let mut stored: BTreeMap<Vec<u8>, Vec<u8>> = match begun {
        Some(_) => rows.iter().cloned().collect(),
        None => BTreeMap::new(),
    };
    let mut state = begun.unwrap_or_default();
    for (index, envelope) in (1..).zip(envelopes) {
        for row in state.apply(index, envelope).rows {
            match row.value {
                Some(value) => stored.insert(row.key.into_vec(), value),
                None => stored.remove(&*row.key),
            };
        }
        let (revision, hash) = (state.revision(), state.state_hash());
        assert!(state.apply(index + 1, envelope).rows.is_empty());
        assert_eq!((state.revision(), state.state_hash()), (revision, hash));
    }
    (state, stored)
}

/// The last sequence of a state that rows make: behind that of every row that a target gives.
const SEQUENCE: u64 = 1 << 20;

/// The state of `rows`, with the position that fits them; `None` if they are none.
pub(crate) fn load(rows: &[Row], sequence: crate::record::Sequence) -> Option<State> {
    let mut loader = Loader::default();
    let mut hash = StateHash::default();
    let distinct: BTreeMap<&[u8], &[u8]> = rows
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_slice()))
        .collect();
    for (key, value) in distinct {
        loader.row(key, value).ok()?;
        hash = hash.plus(StateHash::of_row(key, value));
    }
    let (key, value) = position(sequence, hash);
    loader.row(&key, &value).ok()?;
    loader.finish().ok()
}

pub(crate) fn position(sequence: crate::record::Sequence, hash: StateHash) -> Row {
    let position = wire::Position {
        revision: 1,
        sequence: sequence.as_u64(),
        state_hash: hash.as_bytes().to_vec(),
        ..wire::Position::default()
    };
    let key = TableId::Position.row_key(&[]).into_vec();
    (key, position.encode_to_vec())
}

/// Whether rows that come as they are make a state.
pub fn rows(rows: &[Row]) -> bool {
    let mut loader = Loader::default();
    let taken = rows
        .iter()
        .all(|(key, value)| loader.row(key, value).is_ok());
    taken && loader.finish().is_ok()
}

/// A snapshot that a peer sends into `directory`: the manifest, then parts of its files.
pub fn snapshot(directory: &Path, manifest: &[u8], parts: &[&[u8]]) -> bool {
    let Ok(manifest) = wire::SnapshotManifest::decode(manifest) else {
        return false;
    };
    let Ok(mut receiver) = Receiver::begin(directory, manifest) else {
        return false;
    };
    for part in parts {
        let Ok(data) = wire::SnapshotData::decode(*part) else {
            return false;
        };
        if receiver.accept(&data).is_err() {
            return false;
        }
    }
    let Ok(received) = receiver.finish() else {
        return false;
    };
    let opened = Snapshot::open(&received.path).expect("what was received is there");
    assert_eq!(opened.manifest, received.manifest);
    opened.verify().expect("what was received is whole");
    true
}

/// A manifest that stands in a file of `directory`, and what it says of the files beside it.
pub fn snapshot_in(directory: &Path) -> bool {
    Snapshot::open(directory).is_ok_and(|snapshot| snapshot.verify().is_ok())
}

/// A stored message behind its frame.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&[Frame::VERSION], message].concat()
}

/// The rows that `commands` lead to from nothing, for seeds.
pub fn rows_after(commands: &[&[u8]]) -> Vec<Row> {
    let envelopes: Vec<Envelope> = commands
        .iter()
        .filter_map(|bytes| decode_envelope(bytes).ok())
        .collect();
    applied(&[], &envelopes).1.into_iter().collect()
}

/// When everything here happens.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

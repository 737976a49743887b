//! What the log and a snapshot of format 1 look like, byte by byte. See the golden test of the state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use identity::hex;
use openraft::entry::RaftEntry as _;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::{EntryPayload, Membership};

use super::convert::{
    entry_bytes, entry_from_bytes, membership, position, vote_bytes, vote_from_bytes,
};
use super::{CommandBytes, Entry, LogId, Peer, Vote};
use crate::codec::wire;
use crate::storage::snapshot::{Snapshot, write_manifest};

const FORMAT_1: &str = include_str!("golden/format_1.txt");

fn log_id(index: u64) -> LogId {
    let leader = LeaderId {
        term: 3,
        node_id: 1,
    };
    LogId::new(leader, index)
}

fn two_members() -> Membership<u64, Peer> {
    let peer = |address: &str| Peer {
        address: address.to_owned(),
    };
    let voters = vec![BTreeSet::from([1]), BTreeSet::from([1, 21])];
    let members = BTreeMap::from([(1, peer("h1:8083")), (21, peer("h2:8083"))]);
    Membership::new(voters, members).unwrap()
}

fn log() -> Vec<Entry> {
    let command = CommandBytes(Bytes::from_static(b"a framed envelope"));
    vec![
        Entry::new(log_id(1), EntryPayload::Blank),
        Entry::new(log_id(2), EntryPayload::Normal(command)),
        Entry::new(log_id(3), EntryPayload::Membership(two_members())),
    ]
}

fn manifest() -> wire::SnapshotManifest {
    wire::SnapshotManifest {
        format_version: 1,
        cluster_id: vec![7; 16],
        last_applied: Some(position(&log_id(3))),
        membership: Some(membership(Some(&log_id(3)), &two_members())),
        revision: 2,
        state_hash: vec![9; 16],
        files: vec![wire::SnapshotFile {
            name: "000010.sst".to_owned(),
            len_bytes: 100,
            sha256: vec![8; 32],
        }],
    }
}

fn manifest_bytes(directory: &std::path::Path) -> Vec<u8> {
    write_manifest(directory, &manifest()).unwrap();
    std::fs::read(directory.join("snapshot.manifest")).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn golden(name: &str) -> Vec<Vec<u8>> {
    let lines = FORMAT_1.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(found, _)| *found == name)
        .map(|(_, bytes)| unhex(bytes))
        .collect()
}

#[test]
fn log_and_snapshot_of_format_1_have_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let vote = Vote::new_committed(3, 1);
    if std::env::var_os("REWRITE").is_some() {
        let mut text = String::from("# Format 1: a log, a vote and a snapshot manifest.\n");
        for entry in log() {
            writeln!(text, "log {}", hex::lower(&entry_bytes(&entry))).unwrap();
        }
        writeln!(text, "vote {}", hex::lower(&vote_bytes(&vote))).unwrap();
        writeln!(
            text,
            "manifest {}",
            hex::lower(&manifest_bytes(directory.path()))
        )
        .unwrap();
        let path = "src/raft/golden/format_1.txt";
        std::fs::write(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
        return;
    }
    let entries: Vec<Vec<u8>> = log().iter().map(entry_bytes).collect();
    assert_eq!(golden("log"), entries);
    let read = golden("log");
    let read = read.iter().map(|bytes| entry_from_bytes(bytes).unwrap());
    assert_eq!(read.collect::<Vec<_>>(), log());
    assert_eq!(golden("vote"), [vote_bytes(&vote)]);
    assert_eq!(vote_from_bytes(&golden("vote")[0]).unwrap(), vote);
    assert_eq!(golden("manifest"), [manifest_bytes(directory.path())]);
    let read = Snapshot::open(directory.path()).unwrap();
    assert_eq!(read.manifest, manifest());
}

#[test]
fn snapshot_of_a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let newer = wire::SnapshotManifest {
        format_version: crate::command::NEWEST_FORMAT + 1,
        ..manifest()
    };
    write_manifest(directory.path(), &newer).unwrap();
    let error = Snapshot::open(directory.path()).unwrap_err();
    assert!(
        matches!(
            error,
            crate::storage::StorageError::Unreadable {
                source: crate::codec::DecodeError::NewerFormat { .. },
                ..
            }
        ),
        "{error}"
    );
}

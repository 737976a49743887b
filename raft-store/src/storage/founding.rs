//! The files of a new cluster of one whose state is that of an old cluster, as a restore and a
//! recovery make them.
//!
//! They gather beside what is there and take its place in one step at the end. The state's first
//! command in the new cluster is applied to it before its log begins, and the log begins behind it:
//! whoever joins gets a snapshot, never an entry of the old cluster.

use std::path::PathBuf;
use std::sync::Arc;

use identity::clock::UnixTime;
use prost::Message as _;

use super::data_dir::{DataDir, create_dir, remove_dir, sync_dir, write_atomically};
use super::log_db::{LogDb, Meta};
use super::snapshot::Snapshot;
use super::state_db::StateDb;
use super::{Memory, StorageError};
use crate::codec::{Frame, wire};
use crate::command::{BeginEpoch, Envelope, FORMATS, RequestId};
use crate::record::{MemberProfile, MemberRecord};
use crate::state::{RowWrite, State};

/// Files in the making. Dropped unfinished, they are removed at the next start.
pub(crate) struct Founding {
    dir: Arc<DataDir>,
    memory: Memory,
    path: PathBuf,
}

/// Where the new cluster's one member is found, and what it runs.
#[derive(Clone, Debug)]
pub struct NewHome {
    /// Host and port where it listens for members; empty if it does not.
    pub peer_address: Box<str>,
    /// Host and port where it listens for agents.
    pub api_address: Box<str>,
    /// What it runs.
    pub program_version: Box<str>,
}

/// A new cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restored {
    /// Its id.
    pub cluster_id: [u8; 16],
    /// Id of its one member.
    pub member_id: u64,
    /// Store version that it begins with.
    pub revision: crate::record::Revision,
}

impl Founding {
    pub(crate) fn begin(dir: Arc<DataDir>) -> Result<Self, StorageError> {
        let path = dir.new_cluster()?;
        create_dir(&path.join("state"))?;
        create_dir(&path.join("snapshots"))?;
        Ok(Self {
            memory: Memory::new(Arc::clone(&dir)),
            dir,
            path,
        })
    }

    /// Where the state goes; nothing is there.
    pub(crate) fn state_path(&self) -> PathBuf {
        self.path.join("state/1")
    }

    pub(crate) const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Ends with a new cluster that begins with `state`, whose rows stand in `db`. `last` is the
    /// last entry of the old cluster's log that is known of.
    pub(crate) fn finish(
        self,
        db: StateDb,
        mut state: State,
        last: wire::LogPosition,
        home: &NewHome,
        now: UnixTime,
    ) -> Result<Restored, StorageError> {
        let first = wire::LogPosition {
            index: last.index + 1,
            ..last
        };
        let cluster_id = *uuid::Uuid::new_v4().as_bytes();
        let rows = begin_epoch(&mut state, cluster_id, first.index, home, now);
        let membership = wire::Membership {
            position: Some(first),
            voters: vec![wire::VoterSet {
                ids: vec![first.index],
            }],
            members: vec![wire::Member {
                id: first.index,
                address: home.peer_address.to_string(),
            }],
        };
        let position = position(&state, &cluster_id, first, &membership);
        db.write(rows, &position.encode_to_vec())?;
        db.flush()?;
        self.write_snapshot(&db, &state, cluster_id, first, membership)?;
        drop(db);
        self.write_log(cluster_id, first)?;
        write_atomically(&self.path.join("state/CURRENT"), b"1\n")?;
        sync_dir(&self.path.join("state"))?;
        self.dir.replace_by_new(&cluster_id)?;
        Ok(Restored {
            cluster_id,
            member_id: first.index,
            revision: state.revision(),
        })
    }

    /// A snapshot for those who join, so that none has to be made first.
    fn write_snapshot(
        &self,
        db: &StateDb,
        state: &State,
        cluster_id: [u8; 16],
        first: wire::LogPosition,
        membership: wire::Membership,
    ) -> Result<(), StorageError> {
        let snapshots = self.path.join("snapshots");
        let checkpoint = snapshots.join("checkpoint.tmp");
        db.checkpoint(&checkpoint)?;
        let manifest = wire::SnapshotManifest {
            format_version: state.cluster_version(),
            cluster_id: cluster_id.to_vec(),
            last_applied: Some(first),
            membership: Some(membership),
            revision: state.revision().as_u64(),
            state_hash: state.state_hash().as_bytes().to_vec(),
            files: Vec::new(),
        };
        Snapshot::seal(&checkpoint, manifest, &snapshots).map(|_| ())
    }

    /// A log that begins behind the epoch.
    fn write_log(
        &self,
        cluster_id: [u8; 16],
        first: wire::LogPosition,
    ) -> Result<(), StorageError> {
        let log = LogDb::open(&self.path.join("raft"), &self.memory)?;
        let identity = wire::Identity {
            cluster_id: cluster_id.to_vec(),
            member_id: first.index,
        };
        // The vote that the last entry was written under; the first election leads to a later term.
        let vote = wire::Vote {
            term: first.term,
            candidate: first.leader,
            committed: true,
        };
        let first = first.encode_to_vec();
        log.set_identity(&Frame::wrap(&identity))?;
        log.set_meta(Meta::Vote, &Frame::wrap(&vote))?;
        log.set_meta(Meta::Committed, &first)?;
        log.set_meta(Meta::Purged, &first)?;
        log.sync()
    }
}

impl Drop for Founding {
    fn drop(&mut self) {
        // What could not be removed now is at the next start.
        remove_dir(&self.path).ok();
    }
}

fn begin_epoch(
    state: &mut State,
    cluster_id: [u8; 16],
    index: u64,
    home: &NewHome,
    now: UnixTime,
) -> Vec<RowWrite> {
    let epoch = BeginEpoch {
        epoch_id: cluster_id,
        revision_jump: REVISION_JUMP,
        sequence_jump: SEQUENCE_JUMP,
        survivor: MemberRecord {
            id: index,
            profile: MemberProfile {
                peer_address: home.peer_address.clone(),
                api_address: home.api_address.clone(),
                program_version: home.program_version.clone(),
                formats: FORMATS,
            },
            admitted_at: now,
            is_removed: false,
        },
    };
    let envelope = Envelope {
        request_id: RequestId::random(),
        at: now,
        command: epoch.into(),
    };
    state.apply(index, &envelope).rows
}

/// The row that says where `state` stands.
pub(crate) fn position(
    state: &State,
    cluster_id: &[u8; 16],
    applied: wire::LogPosition,
    membership: &wire::Membership,
) -> wire::Position {
    let (revision, sequence, hash) = state.position();
    wire::Position {
        revision: revision.as_u64(),
        sequence: sequence.as_u64(),
        state_hash: hash.as_bytes().to_vec(),
        applied: applied.encode_to_vec(),
        membership: membership.encode_to_vec(),
        cluster_id: cluster_id.to_vec(),
    }
}

/// What the revision grows by: more than any cluster writes between a backup and its loss.
const REVISION_JUMP: u64 = 1_000_000_000;

/// What the sequence of the own bundle grows by.
const SEQUENCE_JUMP: u64 = 1_000_000;

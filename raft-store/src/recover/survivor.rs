//! What one member of a cluster has on disk, with its whole log applied to a copy.

use std::path::Path;
use std::sync::Arc;

use identity::clock::UnixTime;
use prost::Message as _;
use wire::log_record::Payload;

use super::{MAX_LISTED, Plan, Undecided};
use crate::backup::{NewHome, RestoreError, Restored};
use crate::codec::{DecodeError, Frame, decode_envelope, wire};
use crate::record::MemberRecord;
use crate::seal::{KeyRing, SealError, SealProvider};
use crate::state::{RowWrite, State};
use crate::storage::data_dir::DataDir;
use crate::storage::founding::{Founding, position};
use crate::storage::log_db::{LogDb, Meta};
use crate::storage::snapshot::Snapshot;
use crate::storage::state_db::StateDb;
use crate::storage::{OpenGuard, StorageError};

pub(super) struct Survivor {
    // Dropped in this order: the copy is closed before its directory goes.
    db: StateDb,
    founding: Founding,
    pub(super) state: State,
    last: wire::LogPosition,
    pub(super) plan: Plan,
}

/// The log of a member that does not run.
struct Log {
    db: LogDb,
    identity: wire::Identity,
    purged: u64,
    last: wire::LogPosition,
    committed: u64,
}

impl Survivor {
    pub(super) fn open(path: &Path, seal: &dyn SealProvider) -> Result<Self, RestoreError> {
        let no_store = || RestoreError::NoStore {
            path: path.to_owned(),
        };
        if DataDir::is_empty(path)? {
            return Err(no_store());
        }
        let (guard, _closed) = OpenGuard::new();
        let dir = DataDir::lock(path, guard).map_err(RestoreError::locking(path))?;
        let dir = Arc::new(dir);
        let founding = Founding::begin(Arc::clone(&dir))?;
        let log = Log::open(&dir, &founding)?.ok_or_else(no_store)?;
        let gap = || RestoreError::LogGap {
            path: path.to_owned(),
        };
        let db = copy_state(&dir, &founding, &log)?.ok_or_else(gap)?;
        let (mut state, stored) = db.load()?;
        let applied = applied(stored.as_deref())?;
        let mut plan = log.plan();
        let last = if applied.index > log.last.index {
            applied
        } else {
            log.replay(applied.index, &mut state, &db, &mut plan)?
                .ok_or_else(gap)?
        };
        open_keys(&state, seal)?;
        plan.fill(&state, last);
        Ok(Self {
            db,
            founding,
            state,
            last,
            plan,
        })
    }

    pub(super) fn found(self, home: &NewHome, now: UnixTime) -> Result<Restored, StorageError> {
        self.founding
            .finish(self.db, self.state, self.last, home, now)
    }
}

/// A copy of the state to go on with, or `None` when neither the state nor a snapshot of it reaches
/// to where the log begins.
fn copy_state(
    dir: &DataDir,
    founding: &Founding,
    log: &Log,
) -> Result<Option<StateDb>, StorageError> {
    let copy = founding.state_path();
    if let Some(path) = dir.current_state()? {
        let db = StateDb::open(&path, founding.memory())?;
        if applied(db.position()?.as_deref())?.index >= log.purged {
            db.checkpoint(&copy)?;
            return StateDb::open(&copy, founding.memory()).map(Some);
        }
    }
    let Some(snapshot) = Snapshot::newest(&dir.snapshots())? else {
        return Ok(None);
    };
    snapshot.ensure_of(&log.identity.cluster_id)?;
    let end = snapshot.manifest.last_applied;
    if end.map_or(0, |end| end.index) < log.purged {
        return Ok(None);
    }
    snapshot.verify()?;
    snapshot.unpack(&copy)?;
    StateDb::open(&copy, founding.memory()).map(Some)
}

/// The entry that a stored position stands behind; index 0 before the first.
fn applied(stored: Option<&[u8]>) -> Result<wire::LogPosition, StorageError> {
    let read = |stored: &[u8]| -> Result<_, DecodeError> {
        let position = wire::Position::decode(stored).map_err(DecodeError::Malformed)?;
        wire::LogPosition::decode(position.applied.as_slice()).map_err(DecodeError::Malformed)
    };
    stored
        .map_or_else(|| Ok(wire::LogPosition::default()), read)
        .map_err(StorageError::unreadable("the state's position"))
}

fn open_keys(state: &State, seal: &dyn SealProvider) -> Result<(), RestoreError> {
    let mut ring = KeyRing::new(0);
    for key in state.data_keys() {
        let id = key.id;
        ring.add(key, seal)
            .map_err(|source| RestoreError::Keys(SealError::Provider { id, source }))?;
    }
    Ok(())
}

impl Log {
    /// The log, or `None` if there never was one.
    fn open(dir: &DataDir, founding: &Founding) -> Result<Option<Self>, StorageError> {
        if !dir.raft().is_dir() {
            return Ok(None);
        }
        let db = LogDb::open(&dir.raft(), founding.memory())?;
        let Some(identity) = db.meta(Meta::Identity)? else {
            return Ok(None);
        };
        let identity = Frame::unwrap(&identity);
        let meta = |name, what| -> Result<wire::LogPosition, StorageError> {
            let bytes = db.meta(name)?.unwrap_or_default();
            let position = wire::LogPosition::decode(bytes.as_slice());
            position
                .map_err(DecodeError::Malformed)
                .map_err(StorageError::unreadable(what))
        };
        let purged = meta(Meta::Purged, "the log's start")?;
        let committed = meta(Meta::Committed, "the log's end")?;
        let last = match db.last()? {
            Some(record) => read(&record)?.0,
            None => purged,
        };
        Ok(Some(Self {
            identity: identity.map_err(StorageError::unreadable("the identity"))?,
            purged: purged.index,
            last,
            committed: committed.index,
            db,
        }))
    }

    fn plan(&self) -> Plan {
        let cluster_id = self.identity.cluster_id.as_slice().try_into();
        Plan {
            cluster_id: cluster_id.unwrap_or_default(),
            member_id: self.identity.member_id,
            last_term: self.last.term,
            last_index: self.last.index,
            committed_index: self.committed,
            last_change_at: None,
            revision: crate::record::Revision::default(),
            state_hash: crate::state::StateHash::default(),
            entries: 0,
            agents: 0,
            members: Vec::new(),
            undecided: Vec::new(),
            undecided_count: 0,
        }
    }

    /// Applies what stands behind `applied`; the answer is the last entry, or `None` when one is
    /// missing.
    fn replay(
        &self,
        applied: u64,
        state: &mut State,
        db: &StateDb,
        plan: &mut Plan,
    ) -> Result<Option<wire::LogPosition>, StorageError> {
        // The first entry of a log has the index 0 and is never a command.
        let mut next = applied + 1;
        let mut at = self.last;
        while next <= self.last.index {
            let end = (next + BATCH).min(self.last.index + 1);
            let records = self.db.read(next, end)?;
            let mut rows = Vec::new();
            for record in &records {
                let (position, payload) = read(record)?;
                if position.index != next {
                    return Ok(None);
                }
                rows.extend(self.replay_one(next, &payload, state, plan)?);
                at = position;
                next += 1;
            }
            if next != end {
                return Ok(None);
            }
            let none = wire::Membership::default();
            let position = position(state, &plan.cluster_id, at, &none);
            db.write(rows, &position.encode_to_vec())?;
        }
        Ok(Some(at))
    }

    fn replay_one(
        &self,
        index: u64,
        payload: &Payload,
        state: &mut State,
        plan: &mut Plan,
    ) -> Result<Vec<RowWrite>, StorageError> {
        let Payload::Command(bytes) = payload else {
            return Ok(Vec::new());
        };
        let envelope = decode_envelope(bytes).map_err(StorageError::unreadable("a log record"))?;
        plan.last_change_at = Some(envelope.at);
        if index > self.committed {
            plan.undecided_count += 1;
            if plan.undecided.len() < MAX_LISTED {
                plan.undecided.push(Undecided {
                    index,
                    command: envelope.command.name(),
                    at: envelope.at,
                });
            }
        }
        Ok(state.apply(index, &envelope).rows)
    }
}

impl Plan {
    fn fill(&mut self, state: &State, last: wire::LogPosition) {
        let present = state.members().filter(|member| !member.is_removed);
        self.members = present.map(|member| MemberRecord::clone(member)).collect();
        self.last_index = last.index;
        self.last_term = last.term;
        self.revision = state.revision();
        self.state_hash = state.state_hash();
        self.entries = u64::try_from(state.entry_count()).unwrap_or(u64::MAX);
        self.agents = u64::try_from(state.agent_count()).unwrap_or(u64::MAX);
    }
}

fn read(record: &[u8]) -> Result<(wire::LogPosition, Payload), StorageError> {
    let read = || -> Result<_, DecodeError> {
        let record: wire::LogRecord = Frame::unwrap(record)?;
        let position = record.position.ok_or(DecodeError::Field("position"))?;
        let payload = record.payload.ok_or(DecodeError::Field("payload"))?;
        Ok((position, payload))
    };
    read().map_err(StorageError::unreadable("a log record"))
}

/// Entries that are applied in one step.
const BATCH: u64 = 256;

//! The state machine as the library wants it: applies entries to the read model and to the state
//! database, builds snapshots and installs them.
//!
//! Must hold: rows and position of a command reach the database in one batch, and the read model
//! shows a command before its proposer is answered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use futures_util::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use super::convert::{
    log_id, log_id_from_bytes, position, position_bytes, stored_membership, stored_membership_from,
};
use super::hashes::Hashes;
use super::log_store::payload_len_bytes;
use super::waiters::Waiters;
use super::{CommandBytes, LogId, StoredMembership, Types};
use crate::change::Change;
use crate::codec::{DecodeError, decode_envelope, wire};
use crate::command::Envelope;
use crate::feed::Feed;
use crate::record::Revision;
use crate::state::{RowWrite, State, StateHash};
use crate::storage::data_dir::{DataDir, remove_dir};
use crate::storage::snapshot::Snapshot;
use crate::storage::state_db::StateDb;
use crate::storage::{Memory, StorageError, crash};

/// What readers see: the state and its changes.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) state: RwLock<State>,
    pub(crate) feed: Arc<Feed>,
    /// Why a committed command could not be applied: it is of a newer version.
    pub(crate) refused: OnceLock<DecodeError>,
    /// Who waits for which command.
    pub(super) waiters: Waiters,
    /// The state's hashes behind certain entries.
    pub(super) hashes: Hashes,
    /// How far readers see.
    applied: watch::Sender<Applied>,
}

/// How far readers see: to be told without a look at the state, for which others may be waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    /// Index of the last entry.
    pub(super) index: u64,
    pub(super) revision: Revision,
    pub(super) state_hash: StateHash,
}

impl Applied {
    fn of(last: Option<LogId>, state: &State) -> Self {
        Self {
            index: last.map_or(0, |last| last.index()),
            revision: state.revision(),
            state_hash: state.state_hash(),
        }
    }
}

impl Model {
    /// How far readers see.
    pub(super) fn applied(&self) -> Applied {
        *self.applied.borrow()
    }

    /// Waits until readers see this entry. Cancel-safe.
    pub(super) async fn applied_at_least(&self, index: u64) {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| applied.index >= index).await;
        reached.expect("this model holds the sender");
    }
}

/// Applies what was committed.
pub(super) struct Machine {
    dir: Arc<DataDir>,
    memory: Memory,
    cluster_id: Vec<u8>,
    model: Arc<Model>,
    db: Arc<StateDb>,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Arc<Mutex<Option<Snapshot>>>,
}

impl Machine {
    /// Opens the state, or makes an empty one. The answer's second part is the read model.
    pub(super) fn open(
        dir: Arc<DataDir>,
        memory: Memory,
        cluster_id: Vec<u8>,
        feed_capacity: usize,
    ) -> Result<(Self, Arc<Model>), StorageError> {
        let path = match dir.current_state()? {
            Some(path) => path,
            None => dir.next_state()?,
        };
        let db = StateDb::open(&path, &memory)?;
        dir.switch_state(&path)?;
        let (state, position) = db.load()?;
        let (applied, membership) = read_position(position.as_deref(), &cluster_id)?;
        let feed = Arc::new(Feed::new(state.revision(), feed_capacity));
        let model = Arc::new(Model {
            applied: watch::Sender::new(Applied::of(applied, &state)),
            state: RwLock::new(state),
            feed,
            refused: OnceLock::new(),
            waiters: Waiters::default(),
            hashes: Hashes::default(),
        });
        let snapshot = Snapshot::newest(&dir.snapshots())?;
        if let Some(snapshot) = &snapshot {
            // The library would make it the state if it reaches further.
            snapshot.ensure_of(&cluster_id)?;
        }
        let machine = Self {
            dir,
            memory,
            cluster_id,
            model: Arc::clone(&model),
            db: Arc::new(db),
            applied,
            membership,
            snapshot: Arc::new(Mutex::new(snapshot)),
        };
        Ok((machine, model))
    }

    pub(super) const fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The rows, to be read while more are written.
    pub(super) fn rows(&self) -> BoxFuture<'static, Arc<StateDb>> {
        Box::pin(std::future::ready(Arc::clone(&self.db)))
    }

    pub(super) fn voter_count(&self) -> usize {
        self.membership.voter_ids().count()
    }

    /// The last entry that the newest snapshot holds.
    pub(super) fn snapshot_end(&self) -> Option<LogId> {
        let snapshot = self.snapshot.lock();
        snapshot.as_ref()?.manifest.last_applied.map(log_id)
    }

    /// Makes the state durable, so that the next start has less of the log to apply again.
    pub(super) fn flush(&self) -> BoxFuture<'static, io::Result<()>> {
        let db = Arc::clone(&self.db);
        Box::pin(run_blocking(move || db.flush()))
    }

    /// Applies entries that were committed together: one lock, one batch.
    fn apply_group(&mut self, group: Vec<EntryResponder<Types>>) -> io::Result<()> {
        let mut effects = Effects::default();
        let mut responders = Vec::with_capacity(group.len());
        let mut outcomes = Vec::with_capacity(group.len());
        let applied = {
            let mut state = self.model.state.write();
            for (entry, responder) in group {
                match &entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Normal(command) => {
                        let envelope = self.decode(command)?;
                        let applied = state.apply(entry.log_id.index(), &envelope);
                        effects.rows.extend(applied.rows);
                        effects.changes.extend(applied.changes);
                        outcomes.push((envelope.request_id, applied.outcome));
                    }
                    EntryPayload::Membership(change) => {
                        let at = Some(entry.log_id);
                        self.membership = StoredMembership::new(at, change.clone());
                    }
                }
                self.applied = Some(entry.log_id);
                if Hashes::is_due(entry.log_id.index()) {
                    let hash = state.state_hash();
                    self.model.hashes.note(entry.log_id.index(), hash);
                }
                responders.extend(responder);
            }
            effects.position = self.position_bytes(&state);
            Applied::of(self.applied, &state)
        };
        self.model.feed.publish(effects.changes, applied.revision);
        // First: whoever has its outcome listens to no responder any more.
        for responder in responders {
            responder.send(());
        }
        for (request_id, outcome) in outcomes {
            self.model.waiters.tell(request_id, outcome);
        }
        self.model.applied.send_replace(applied);
        // Last: nobody waits for it. The rows are durable no sooner than at the next flush; until then the log, where the
        // commands are, leads here again.
        crash::point("apply.before_write");
        self.db.write(effects.rows, &effects.position)?;
        crash::point("apply.after_write");
        Ok(())
    }

    /// A command that this program does not know stops it: a member that skips one differs.
    fn decode(&self, command: &CommandBytes) -> io::Result<Envelope> {
        decode_envelope(&command.0).map_err(|error| {
            let text = format!("committed command refused: {error}");
            self.model.refused.get_or_init(|| error);
            io::Error::other(text)
        })
    }

    /// Stores rows that a test applied to the model by itself.
    #[cfg(test)]
    pub(super) fn write_for_tests(&self, rows: Vec<RowWrite>) -> Result<(), StorageError> {
        let position = self.position_bytes(&self.model.state.read());
        self.db.write(rows, &position)
    }

    fn position_bytes(&self, state: &State) -> Vec<u8> {
        let (revision, sequence, hash) = state.position();
        let position = wire::Position {
            revision: revision.as_u64(),
            sequence: sequence.as_u64(),
            state_hash: hash.as_bytes().to_vec(),
            applied: position_bytes(self.applied.as_ref()),
            membership: stored_membership(&self.membership).encode_to_vec(),
            cluster_id: self.cluster_id.clone(),
        };
        position.encode_to_vec()
    }

    /// A checkpoint of this very moment, on its way to be a snapshot.
    async fn checkpoint(&self) -> io::Result<Checkpoint> {
        let index = self.applied.map_or(0, |applied| applied.index());
        let path = self.dir.snapshots().join(format!("{index:020}.tmp"));
        let (format_version, (revision, _, hash)) = {
            let state = self.model.state.read();
            (state.cluster_version(), state.position())
        };
        let manifest = wire::SnapshotManifest {
            format_version,
            cluster_id: self.cluster_id.clone(),
            last_applied: self.applied.as_ref().map(position),
            membership: Some(stored_membership(&self.membership)),
            revision: revision.as_u64(),
            state_hash: hash.as_bytes().to_vec(),
            files: Vec::new(),
        };
        let db = Arc::clone(&self.db);
        let target = path.clone();
        run_blocking(move || {
            remove_dir(&target)?;
            crash::point("snapshot.before_checkpoint");
            db.checkpoint(&target)?;
            crash::point("snapshot.after_checkpoint");
            Ok(())
        })
        .await?;
        Ok(Checkpoint { path, manifest })
    }

    /// Replaces the state by a snapshot's, verified. After a crash there is the old one or the new.
    pub(super) async fn install(&mut self, snapshot: Snapshot) -> io::Result<()> {
        let dir = Arc::clone(&self.dir);
        let memory = self.memory.clone();
        let source = snapshot.clone();
        let (db, state) = run_blocking(move || {
            source.verify()?;
            crash::point("install.before_unpack");
            let path = dir.next_state()?;
            source.unpack(&path)?;
            crash::point("install.after_unpack");
            let db = StateDb::open(&path, &memory)?;
            let (state, _) = db.load()?;
            if state.state_hash().as_bytes().as_slice() != source.manifest.state_hash {
                return Err(StorageError::Corrupt {
                    what: format!("snapshot {}", source.path.display()),
                });
            }
            db.flush()?;
            crash::point("install.before_switch");
            dir.switch_state(&path)?;
            Ok((db, state))
        })
        .await?;
        let manifest = &snapshot.manifest;
        self.applied = manifest.last_applied.map(log_id);
        let membership = manifest.membership.clone().unwrap_or_default();
        self.membership = stored_membership_from(membership).map_err(io::Error::other)?;
        let applied = Applied::of(self.applied, &state);
        let old_db = std::mem::replace(&mut self.db, Arc::new(db));
        let old_state = std::mem::replace(&mut *self.model.state.write(), state);
        self.model.feed.reset(applied.revision);
        self.model.applied.send_replace(applied);
        let dir = Arc::clone(&self.dir);
        let newest = Arc::clone(&self.snapshot);
        run_blocking(move || {
            // To free a million records takes long: no reader waits for it, nor what runs beside.
            drop((old_state, old_db));
            dir.remove_old_states()?;
            keep(snapshot, &dir.snapshots(), &newest)
        })
        .await?;
        crash::point("install.done");
        Ok(())
    }
}

/// Makes an installed snapshot the newest of those below `snapshots`.
fn keep(
    snapshot: Snapshot,
    snapshots: &Path,
    newest: &Mutex<Option<Snapshot>>,
) -> Result<(), StorageError> {
    let is_in_place =
        snapshot.path.parent() == Some(snapshots) && snapshot.path.extension().is_none();
    let snapshot = if is_in_place {
        snapshot
    } else {
        Snapshot::publish(&snapshot.path, snapshot.manifest, snapshots)?
    };
    *newest.lock() = Some(snapshot);
    Snapshot::remove_old(snapshots)
}

#[derive(Default)]
struct Effects {
    rows: Vec<RowWrite>,
    changes: Vec<Arc<Change>>,
    position: Vec<u8>,
}

fn read_position(
    bytes: Option<&[u8]>,
    cluster_id: &[u8],
) -> Result<(Option<LogId>, StoredMembership), StorageError> {
    let Some(bytes) = bytes else {
        return Ok((None, StoredMembership::default()));
    };
    let read = || -> Result<_, DecodeError> {
        let position = wire::Position::decode(bytes).map_err(DecodeError::Malformed)?;
        let applied = log_id_from_bytes(&position.applied)?;
        let membership = wire::Membership::decode(position.membership.as_slice())
            .map_err(DecodeError::Malformed)?;
        let membership = stored_membership_from(membership)?;
        Ok((applied, membership, position.cluster_id))
    };
    let unreadable = StorageError::unreadable("the state's position");
    let (applied, membership, home) = read().map_err(unreadable)?;
    // A state of before this was kept says nothing.
    if !home.is_empty() && home != cluster_id {
        return Err(StorageError::Foreign {
            what: "the state below state/",
        });
    }
    Ok((applied, membership))
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> io::Result<T> {
    let result = tokio::task::spawn_blocking(work).await;
    Ok(result.map_err(io::Error::other)??)
}

/// Applies so many bytes. Many take long: others on this thread, signs of life among them, go on meanwhile.
fn beside_others<T>(len_bytes: usize, apply: impl FnOnce() -> T) -> T {
    let can_move = || Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if len_bytes > MAX_INLINE_LEN_BYTES && can_move() {
        tokio::task::block_in_place(apply)
    } else {
        apply()
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let (mut group, mut len_bytes) = (Vec::new(), 0);
        while let Some((entry, responder)) = entries.try_next().await? {
            len_bytes += payload_len_bytes(&entry);
            group.push((entry, responder));
            if group.len() == MAX_GROUP || len_bytes >= MAX_GROUP_LEN_BYTES {
                let group = std::mem::take(&mut group);
                beside_others(len_bytes, || self.apply_group(group))?;
                len_bytes = 0;
            }
        }
        if group.is_empty() {
            return Ok(());
        }
        beside_others(len_bytes, || self.apply_group(group))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            checkpoint: Some(self.checkpoint().await),
            dir: Arc::clone(&self.dir),
            newest: Arc::clone(&self.snapshot),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<Types>,
        snapshot: Snapshot,
    ) -> io::Result<()> {
        self.install(snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Snapshot>>> {
        let snapshot = self.snapshot.lock().clone();
        snapshot.map(described).transpose()
    }
}

/// Makes a snapshot of a checkpoint while apply goes on.
pub(super) struct Builder {
    /// Taken once.
    checkpoint: Option<io::Result<Checkpoint>>,
    /// Stays locked while files are written, though nobody waits for them any more.
    dir: Arc<DataDir>,
    newest: Arc<Mutex<Option<Snapshot>>>,
}

struct Checkpoint {
    path: PathBuf,
    manifest: wire::SnapshotManifest,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Snapshot>> {
        let used = || io::Error::other("a snapshot builder builds once");
        let checkpoint = self.checkpoint.take().ok_or_else(used)??;
        let dir = Arc::clone(&self.dir);
        let snapshot = run_blocking(move || {
            let snapshots = dir.snapshots();
            let snapshot = Snapshot::seal(&checkpoint.path, checkpoint.manifest, &snapshots)?;
            Snapshot::remove_old(&snapshots)?;
            Ok(snapshot)
        })
        .await?;
        *self.newest.lock() = Some(snapshot.clone());
        described(snapshot)
    }
}

/// A snapshot with what the library wants to know about it.
pub(super) fn described(snapshot: Snapshot) -> io::Result<SnapshotOf<Types, Snapshot>> {
    let manifest = &snapshot.manifest;
    let membership = manifest.membership.clone().unwrap_or_default();
    let meta = SnapshotMetaOf::<Types> {
        last_log_id: manifest.last_applied.map(log_id),
        last_membership: stored_membership_from(membership).map_err(io::Error::other)?,
    };
    Ok(SnapshotOf::<Types, Snapshot> { meta, snapshot })
}

/// Commands applied under one lock at most: readers wait for no more than these.
const MAX_GROUP: usize = 256;

/// Their size, but for the last of them.
const MAX_GROUP_LEN_BYTES: usize = 4 << 20;

/// What is applied in a few milliseconds: to make room for others costs more than they wait.
const MAX_INLINE_LEN_BYTES: usize = 64 << 10;

//! This member of the cluster: who it is, how it starts, and what it can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Raft, ReadPolicy, ServerState};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::config;
use super::log_store::LogStore;
use super::machine::{Machine, Model};
use super::network::Network;
use super::serve::{AnswerError, Answering};
use super::{CommandBytes, Peer, Response, Types};
use crate::codec::{Frame, wire};
use crate::peer::PeerConnector;
use crate::storage::data_dir::DataDir;
use crate::storage::log_db::{LogDb, Meta};
use crate::storage::{Memory, StorageError};

/// What a member needs to start.
pub(crate) struct StartOptions {
    pub(crate) dir: Arc<DataDir>,
    pub(crate) memory: Memory,
    pub(crate) connector: Arc<dyn PeerConnector>,
    pub(crate) snapshot_every: u64,
    pub(crate) feed_capacity: usize,
    pub(crate) deadline: Duration,
}

/// Why a member did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    Storage(StorageError),
    /// There is a state, but the log that led to it is gone, or part of it.
    LogMissing,
    /// There is a log, but neither the state it starts from nor a snapshot of it.
    StateMissing,
    /// The consensus library stopped.
    Raft(Stopped),
    /// No leader was found in time.
    NoLeader,
    /// The log has a command that this program does not know.
    Newer(Stopped),
}

impl From<StorageError> for StartError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Why consensus has stopped on this member, for good.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Stopped {
    pub(crate) reason: String,
    /// Whether it was asked to.
    pub(crate) is_orderly: bool,
}

impl Stopped {
    fn because(error: &dyn std::error::Error) -> Self {
        Self {
            reason: chain(error),
            is_orderly: false,
        }
    }
}

impl From<Fatal<Types>> for Stopped {
    fn from(fatal: Fatal<Types>) -> Self {
        Self {
            is_orderly: matches!(fatal, Fatal::Stopped),
            ..Self::because(&fatal)
        }
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many of the library's errors repeat their cause in their own text.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Why a command was not applied, as far as is known.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Not appended: another member leads.
    NotLeader(Option<u64>),
    /// Appended, then maybe discarded.
    Undecided,
    Stopped(Stopped),
}

/// Why a read could not be made sure of.
#[derive(Debug)]
pub(crate) enum ConfirmError {
    NotLeader(Option<u64>),
    NoQuorum,
    Stopped(Stopped),
}

/// A glance at this member.
#[derive(Clone, Debug)]
pub(crate) struct MemberStatus {
    pub(crate) member_id: u64,
    pub(crate) is_leader: bool,
    pub(crate) leader: Option<u64>,
    pub(crate) snapshot_index: Option<u64>,
    pub(crate) purged_index: Option<u64>,
    pub(crate) last_index: Option<u64>,
    pub(crate) wal_syncs: u64,
    pub(crate) appended_entries: u64,
}

/// A started member.
pub(crate) struct Member {
    raft: Raft<Types, Machine>,
    db: Arc<LogDb>,
    answering: Answering,
}

impl Member {
    /// Starts from what is on disk. Returns when this member leads or follows and has applied all
    /// that it had acknowledged. The answer's second part is the read model.
    pub(crate) async fn start(options: StartOptions) -> Result<(Self, Arc<Model>), StartError> {
        let deadline = Instant::now() + options.deadline;
        let dir = options.dir;
        let db = Arc::new(LogDb::open(&dir.raft(), &options.memory)?);
        let identity = identity(&db, &dir)?;
        let (machine, model) = Machine::open(
            Arc::clone(&dir),
            options.memory,
            identity.cluster_id.to_vec(),
            options.feed_capacity,
        )?;
        let log = LogStore::open(Arc::clone(&db))?;
        check_log(&machine, &log)?;
        let config = config(options.snapshot_every)
            .map_err(|error| StartError::Raft(Stopped::because(&error)))?;
        let network = Network::new(options.connector, identity.cluster_id);
        let raft = Raft::new(identity.member_id, config, network, log, machine)
            .await
            .map_err(|fatal| start_error(StartError::Raft(fatal.into()), &model))?;
        let answering = Answering {
            raft: raft.clone(),
            dir,
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            incoming: Mutex::new(None),
        };
        let member = Self {
            raft,
            db,
            answering,
        };
        match member.take_part(identity.member_id, deadline).await {
            Ok(()) => Ok((member, model)),
            Err(error) => {
                // Already failing, and the log has everything: how the end went changes nothing.
                drop(member.shut_down().await);
                Err(start_error(error, &model))
            }
        }
    }

    /// Appends a command and waits until it is applied here.
    pub(crate) async fn write(&self, command: Bytes) -> Result<Response, WriteError> {
        match self.raft.client_write(CommandBytes(command)).await {
            Ok(response) => Ok(response.data),
            Err(RaftError::Fatal(fatal)) => Err(WriteError::Stopped(fatal.into())),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(WriteError::NotLeader(forward.leader_id))
            }
            // Only membership changes and conditions can be refused otherwise, and a command is
            // neither; were it one day, its fate would be unknown.
            Err(RaftError::APIError(_)) => Err(WriteError::Undecided),
        }
    }

    /// Makes sure that this member has applied everything that was acknowledged anywhere before.
    pub(crate) async fn confirm(&self) -> Result<(), ConfirmError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(ConfirmError::Stopped(fatal.into())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ConfirmError::NotLeader(forward.leader_id))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ConfirmError::NoQuorum)
            }
        }
    }

    /// Waits until consensus stops.
    pub(crate) async fn stopped(&self) -> Stopped {
        let mut metrics = self.raft.metrics();
        loop {
            let state = metrics.borrow_and_update().running_state.clone();
            if let Err(fatal) = state {
                return fatal.into();
            }
            if metrics.changed().await.is_err() {
                return Fatal::Stopped.into();
            }
        }
    }

    /// Starts a snapshot now.
    pub(crate) async fn snapshot(&self) -> Result<(), Stopped> {
        Ok(self.raft.trigger().snapshot().await?)
    }

    /// Ends consensus; the state is flushed so that the next start is quick.
    pub(crate) async fn shut_down(&self) -> Result<(), Stopped> {
        let flushed = self
            .raft
            .with_state_machine(|machine| machine.flush())
            .await;
        if let Err(error) = self.raft.shutdown().await {
            return Err(Stopped::because(&error));
        }
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Stopped::because(&error)),
            Err(fatal) => Err(fatal.into()),
        }
    }

    pub(crate) const fn cluster_id(&self) -> &[u8; 16] {
        &self.answering.cluster_id
    }

    /// Answers another member's request.
    pub(crate) async fn answer(&self, request: &[u8]) -> Result<Vec<u8>, AnswerError> {
        self.answering.answer(request).await
    }

    pub(crate) fn status(&self) -> MemberStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        MemberStatus {
            member_id: metrics.id,
            is_leader: metrics.state == ServerState::Leader,
            leader: metrics.current_leader,
            snapshot_index: metrics.snapshot.as_ref().map(|id| id.index()),
            purged_index: metrics.purged.as_ref().map(|id| id.index()),
            last_index: metrics.last_log_index,
            wal_syncs: self.db.sync_count(),
            appended_entries: self.db.appended_count(),
        }
    }

    async fn take_part(&self, member_id: u64, deadline: Instant) -> Result<(), StartError> {
        self.join_or_lead(member_id).await?;
        self.wait_until_ready(deadline).await
    }

    async fn join_or_lead(&self, member_id: u64) -> Result<(), StartError> {
        let is_initialized = self.raft.is_initialized().await;
        if !is_initialized.map_err(|fatal| StartError::Raft(fatal.into()))? {
            let members = BTreeMap::from([(member_id, Peer::default())]);
            let initialized = self.raft.initialize(members).await;
            return initialized.map_err(|error| StartError::Raft(Stopped::because(&error)));
        }
        let voters: Vec<u64> = self.raft.voter_ids().collect();
        if voters == [member_id] {
            // Nobody else could lead: no reason to wait for an election timeout.
            let elected = self.raft.trigger().elect(false).await;
            elected.map_err(|fatal| StartError::Raft(fatal.into()))?;
        }
        Ok(())
    }

    async fn wait_until_ready(&self, deadline: Instant) -> Result<(), StartError> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let recovered = self.raft.wait_for_recovery(Some(remaining)).await;
        if recovered.is_err() {
            let state = self.raft.metrics().borrow_watched().running_state.clone();
            return Err(match state {
                Err(fatal) => StartError::Raft(fatal.into()),
                Ok(()) => StartError::NoLeader,
            });
        }
        // A leader serves once its first entry is committed.
        loop {
            match self.confirm().await {
                Ok(()) => return Ok(()),
                Err(ConfirmError::Stopped(stopped)) => return Err(StartError::Raft(stopped)),
                Err(_) if Instant::now() >= deadline => return Err(StartError::NoLeader),
                Err(ConfirmError::NotLeader(_) | ConfirmError::NoQuorum) => {
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Why consensus stopped, if the read model knows better.
fn start_error(error: StartError, model: &Model) -> StartError {
    match (error, model.refused.get()) {
        (StartError::Raft(stopped), Some(_)) => StartError::Newer(stopped),
        (error, _) => error,
    }
}

struct Identity {
    cluster_id: [u8; 16],
    member_id: u64,
}

/// Reads who this member is, or makes it the first of a new cluster.
fn identity(db: &LogDb, dir: &DataDir) -> Result<Identity, StartError> {
    if let Some(bytes) = db.meta(Meta::Identity)? {
        let unreadable = StorageError::unreadable("the identity");
        let identity: wire::Identity = Frame::unwrap(&bytes).map_err(unreadable)?;
        let corrupt = || StorageError::Corrupt {
            what: "the identity".to_owned(),
        };
        return Ok(Identity {
            cluster_id: identity.cluster_id.try_into().ok().ok_or_else(corrupt)?,
            member_id: identity.member_id,
        });
    }
    if dir.has_state()? {
        return Err(StartError::LogMissing);
    }
    let identity = Identity {
        cluster_id: *uuid::Uuid::new_v4().as_bytes(),
        member_id: FIRST_MEMBER,
    };
    let message = wire::Identity {
        cluster_id: identity.cluster_id.to_vec(),
        member_id: identity.member_id,
    };
    db.set_meta(Meta::Identity, &Frame::wrap(&message))?;
    db.sync()?;
    Ok(identity)
}

/// Refuses a log that does not lead to the state, rather than forgetting what was acknowledged.
fn check_log(machine: &Machine, log: &LogStore) -> Result<(), StartError> {
    let applied = machine.applied();
    if applied.is_some() && log.vote().is_none() {
        return Err(StartError::LogMissing);
    }
    // A follower may have applied what its own disk had not synced yet; a single member cannot.
    if machine.voter_count() == 1 && applied > log.last() {
        return Err(StartError::LogMissing);
    }
    if log.purged() > applied.max(machine.snapshot_end()) {
        return Err(StartError::StateMissing);
    }
    Ok(())
}

/// The first member's id. Later ids are indexes of the log entries that admit the members; entry 0
/// is the first membership and entry 1 always the first leader's own, so none is 1 again.
const FIRST_MEMBER: u64 = 1;

/// Pause between two looks whether a new leader serves yet.
const RETRY: Duration = Duration::from_millis(2);

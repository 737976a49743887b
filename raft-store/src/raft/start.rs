//! How a member starts: who it is, whether its files fit together, and what it takes part in.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::clock::Clock;
use openraft::Raft;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::config::config;
use super::links::Links;
use super::log_store::LogStore;
use super::machine::{Machine, Model};
use super::member::{Member, Parts, Stopped};
use super::network::Network;
use super::{Peer, Types};
use crate::codec::{Frame, wire};
use crate::peer::PeerConnector;
use crate::storage::data_dir::DataDir;
use crate::storage::log_db::{LogDb, Meta};
use crate::storage::{Memory, StorageError};
use crate::store::{Identity, Start};

/// What a member needs to start.
pub(crate) struct StartOptions {
    pub(crate) dir: Arc<DataDir>,
    pub(crate) memory: Memory,
    pub(crate) connector: Arc<dyn PeerConnector>,
    pub(crate) snapshot_every: u64,
    pub(crate) snapshot_every_len_bytes: u64,
    pub(crate) feed_capacity: usize,
    pub(crate) start: Start,
    /// Where all that a member does runs.
    pub(crate) runtime: Handle,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Why a member did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    Storage(StorageError),
    /// There is a state, but the log that led to it is gone, or part of it.
    LogMissing,
    /// There is a log, but neither the state it starts from nor a snapshot of it.
    StateMissing,
    /// The files are another member's.
    OtherMember(Identity),
    /// The files are a removed member's.
    Removed,
    /// The files are of a cluster of several, and this member is to listen to none of them.
    NotAlone,
    /// Another process runs as this member: the files are a copy.
    RunsElsewhere {
        /// Where it listens.
        address: Box<str>,
    },
    /// The consensus library stopped.
    Raft(Stopped),
    /// The log has a command that this program does not know.
    Newer(Stopped),
}

impl From<StorageError> for StartError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Member {
    /// Starts from what is on disk. Returns once consensus runs and what is known to be committed
    /// is applied; waits for no leader. The answer's second part is the read model.
    pub(crate) async fn start(
        options: StartOptions,
    ) -> Result<(Arc<Self>, Arc<Model>), StartError> {
        let runtime = options.runtime.clone();
        let mut starting = JoinSet::new();
        starting.spawn_on(start(options), &runtime);
        let ended = starting.join_next().await;
        let lost = || StartError::Raft(Stopped::runtime_gone());
        match ended {
            Some(Ok(started)) => started,
            Some(Err(_)) | None => Err(lost()),
        }
    }
}

async fn start(options: StartOptions) -> Result<(Arc<Member>, Arc<Model>), StartError> {
    let dir = options.dir;
    let db = Arc::new(LogDb::open(&dir.raft(), &options.memory)?);
    let identity = identity(&db, &dir, &options.start)?;
    let (machine, model) = Machine::open(
        Arc::clone(&dir),
        options.memory,
        identity.cluster_id.to_vec(),
        options.feed_capacity,
    )?;
    let log = LogStore::open(Arc::clone(&db))?;
    check_log(&machine, &log)?;
    let stall = log.stall();
    let config = config(options.snapshot_every)
        .map_err(|error| StartError::Raft(Stopped::because(&error)))?;
    let (links, lost) = Links::new(
        options.connector,
        identity.cluster_id,
        options.runtime.clone(),
    );
    let links = Arc::new(links);
    if let Some(address) = twin(&links, &model, identity.member_id, &options.start).await {
        return Err(StartError::RunsElsewhere { address });
    }
    let network = Network::new(Arc::clone(&links));
    let raft = Raft::new(identity.member_id, config, network, log, machine)
        .await
        .map_err(|fatal| start_error(fatal.into(), &model))?;
    let known = known_members(&raft).await;
    let known = known.map_err(|stopped| start_error(stopped, &model))?;
    if let Some(error) = misplaced(&known, &model, identity.member_id, &options.start) {
        drop(raft.shutdown().await);
        return Err(error);
    }
    if let Err(stopped) = join_or_lead(&raft, identity.member_id, &options.start).await {
        // Already failing, and the log has everything: how the end went changes nothing.
        drop(raft.shutdown().await);
        return Err(start_error(stopped, &model));
    }
    let member = Member::new(Parts {
        raft,
        db,
        dir,
        identity,
        links,
        lost,
        stall,
        model: Arc::clone(&model),
        runtime: options.runtime,
        clock: options.clock,
        snapshot_every_len_bytes: options.snapshot_every_len_bytes,
    });
    Ok((member, model))
}

/// Where another process listens as this member, if one does. Two of one name could vote for two leaders; who moves
/// has left its old address, so whoever proves to be this member there is another process.
async fn twin(links: &Links, model: &Model, member_id: u64, start: &Start) -> Option<Box<str>> {
    let Start::Member { address } = start else {
        return None;
    };
    let known = {
        let state = model.state.read();
        state.member(member_id)?.profile.peer_address.clone()
    };
    if known.is_empty() || *known == **address {
        return None;
    }
    links.probe(member_id, &known).await.ok()?;
    Some(known)
}

/// Who takes part, as far as the own files tell. What the library tells of itself may not be there yet.
async fn known_members(raft: &Raft<Types, Machine>) -> Result<Vec<u64>, Stopped> {
    let known = raft.with_raft_state(|state| {
        let membership = state.membership_state.effective().membership();
        membership.nodes().map(|(id, _)| *id).collect()
    });
    Ok(known.await?)
}

/// Why this member should not even try, as far as its own files tell.
fn misplaced(known: &[u64], model: &Model, member_id: u64, start: &Start) -> Option<StartError> {
    let state = model.state.read();
    let is_removed = state
        .member(member_id)
        .is_some_and(|member| member.is_removed);
    // Who knows of nobody has heard nothing yet: only the first member does not wait to be told.
    let is_alone = match known {
        [] => member_id == FIRST_MEMBER,
        known => known.iter().all(|id| *id == member_id),
    };
    match start {
        // As long as its own log has it among the others, they may need its vote: they say so or send it away.
        _ if is_removed && !known.contains(&member_id) => Some(StartError::Removed),
        Start::Alone if !is_alone => Some(StartError::NotAlone),
        Start::Alone | Start::Member { .. } | Start::Joined { .. } => None,
    }
}

/// The first member makes the cluster; a lone voter leads at once; all others wait to be told.
async fn join_or_lead(
    raft: &Raft<Types, Machine>,
    member_id: u64,
    start: &Start,
) -> Result<(), Stopped> {
    if !raft.is_initialized().await? {
        // Admitted, and killed before it heard anything: what it made here would be a second cluster of the same name.
        if member_id != FIRST_MEMBER {
            return Ok(());
        }
        let address = match start {
            Start::Alone => String::new(),
            Start::Member { address } => address.clone(),
            Start::Joined { .. } => return Ok(()),
        };
        let members = BTreeMap::from([(member_id, Peer { address })]);
        let initialized = raft.initialize(members).await;
        return initialized.map_err(|error| Stopped::because(&error));
    }
    let voters: Vec<u64> = raft.voter_ids().collect();
    if voters == [member_id] {
        // Nobody else could lead: no reason to wait for an election timeout.
        raft.trigger().elect(false).await?;
    }
    Ok(())
}

/// Why consensus stopped, if the read model knows better.
pub(super) fn start_error(stopped: Stopped, model: &Model) -> StartError {
    match model.refused.get() {
        Some(_) => StartError::Newer(stopped),
        None => StartError::Raft(stopped),
    }
}

/// Who this directory belongs to, without opening it; `None` if nobody.
pub(crate) fn identity_in(raft_dir: &std::path::Path) -> Result<Option<Identity>, StorageError> {
    let identity = LogDb::identity_at(raft_dir)?;
    identity.as_deref().map(decode_identity).transpose()
}

pub(super) fn decode_identity(bytes: &[u8]) -> Result<Identity, StorageError> {
    let unreadable = StorageError::unreadable("the identity");
    let identity: wire::Identity = Frame::unwrap(bytes).map_err(unreadable)?;
    let corrupt = || StorageError::Corrupt {
        what: "the identity".to_owned(),
    };
    Ok(Identity {
        cluster_id: identity.cluster_id.try_into().ok().ok_or_else(corrupt)?,
        member_id: identity.member_id,
    })
}

/// Reads who this member is, or makes it who it is to be.
fn identity(db: &LogDb, dir: &DataDir, start: &Start) -> Result<Identity, StartError> {
    let admitted = match start {
        Start::Alone | Start::Member { .. } => None,
        Start::Joined {
            cluster_id,
            member_id,
            ..
        } => Some(Identity {
            cluster_id: *cluster_id,
            member_id: *member_id,
        }),
    };
    let told = identity_in(&dir.raft())?;
    if let Some(bytes) = db.meta(Meta::Identity)? {
        let found = decode_identity(&bytes)?;
        if admitted.is_some_and(|admitted| admitted != found) {
            return Err(StartError::OtherMember(found));
        }
        if told != Some(found) {
            db.set_identity(&bytes)?;
        }
        return Ok(found);
    }
    if told.is_some() || dir.has_state()? {
        return Err(StartError::LogMissing);
    }
    let identity = admitted.unwrap_or_else(|| Identity {
        cluster_id: *uuid::Uuid::new_v4().as_bytes(),
        member_id: FIRST_MEMBER,
    });
    let message = wire::Identity {
        cluster_id: identity.cluster_id.to_vec(),
        member_id: identity.member_id,
    };
    db.set_identity(&Frame::wrap(&message))?;
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

//! This member of the cluster, and what it can be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use identity::clock::Clock;
use openraft::Raft;
use openraft::errors::Fatal;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::change::Refusal;
use super::clocks::{ClockVerdict, Clocks};
use super::disk::{self, Disk};
use super::forward::{Forwarder, address_of};
use super::freshness::{self, Freshness};
use super::leadership::{self, Leadership};
use super::links::Links;
use super::machine::{Machine, Model};
use super::propose::{ConfirmError, WriteError};
use super::removals::Removals;
use super::serve::{AnswerError, Answering};
use super::start::start_error;
use super::status::ClusterStatus;
use super::{Types, Vote};
use super::{compare, departure, failover, log_size, membership, pulse};
use crate::codec::encode_envelope;
use crate::command::{AnnounceMember, AnnounceOutcome, Command, Envelope, Outcome, RequestId};
use crate::storage::data_dir::DataDir;
use crate::storage::flusher::Stall;
use crate::storage::log_db::LogDb;
use crate::storage::state_db::StateDb;
use crate::store::Identity;

/// Why consensus has stopped on this member, for good.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Stopped {
    pub(crate) reason: String,
    /// Whether it was asked to.
    pub(crate) is_orderly: bool,
}

impl Stopped {
    pub(super) fn because(error: &dyn std::error::Error) -> Self {
        Self {
            reason: chain(error),
            is_orderly: false,
        }
    }

    pub(super) fn removed() -> Self {
        Self {
            reason: "this member was removed from its cluster; to take part again, empty its data directory and join with a new invitation".to_owned(),
            is_orderly: false,
        }
    }

    pub(super) fn files_gone() -> Self {
        Self {
            reason: "its data directory was removed or replaced while it ran: what it wrote since is lost with it; put the directory back, or join as a new member".to_owned(),
            is_orderly: false,
        }
    }

    pub(super) fn differs(index: u64) -> Self {
        Self {
            reason: format!(
                "the state of this member differs from that of a majority at log entry {index}: it must not serve. Remove the member, empty its data directory and let it join again"
            ),
            is_orderly: false,
        }
    }

    pub(super) fn runtime_gone() -> Self {
        Self {
            reason: "the runtime of the store has ended".to_owned(),
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

/// A glance at this member.
#[derive(Clone, Debug)]
pub(crate) struct Glance {
    pub(crate) member_id: u64,
    pub(crate) is_leader: bool,
    pub(crate) leader: Option<u64>,
    pub(crate) snapshot_index: Option<u64>,
    pub(crate) purged_index: Option<u64>,
    pub(crate) last_index: Option<u64>,
    pub(crate) wal_syncs: u64,
    pub(crate) appended_entries: u64,
}

/// What a started member is made of.
pub(super) struct Parts {
    pub(super) raft: Raft<Types, Machine>,
    pub(super) db: Arc<LogDb>,
    pub(super) dir: Arc<DataDir>,
    pub(super) identity: Identity,
    pub(super) links: Arc<Links>,
    pub(super) model: Arc<Model>,
    /// Tells of members whose connections broke.
    pub(super) lost: mpsc::Receiver<u64>,
    pub(super) stall: Stall,
    pub(super) runtime: Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) snapshot_every_len_bytes: u64,
}

/// A started member.
pub(crate) struct Member {
    shared: Arc<Shared>,
    answering: Answering,
    /// Ended with the member.
    tasks: Mutex<JoinSet<()>>,
}

/// What a member's tasks share.
pub(super) struct Shared {
    pub(super) raft: Raft<Types, Machine>,
    pub(super) db: Arc<LogDb>,
    pub(super) identity: Identity,
    pub(super) links: Arc<Links>,
    pub(super) model: Arc<Model>,
    pub(super) forwarder: Forwarder,
    pub(super) freshness: Freshness,
    pub(super) disk: Disk,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) clocks: Clocks,
    pub(super) removals: Removals,
    /// Whether this member, though it leads, shows itself to nobody: a read would, too, and confirms nothing.
    pub(super) is_silent: AtomicBool,
    /// Whether this member can serve: it may vote from then on.
    pub(super) is_ready: AtomicBool,
    leadership: watch::Receiver<Leadership>,
    /// Why this member ends itself.
    ended: watch::Sender<Option<Stopped>>,
}

impl Member {
    /// Starts what a member does beside the library's own work.
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let raft = parts.raft;
        let (told, leadership) = watch::channel(Leadership::of(&raft));
        let (forwarder, forwarding) = Forwarder::new(raft.clone(), Arc::clone(&parts.links));
        let shared = Arc::new(Shared {
            raft: raft.clone(),
            db: parts.db,
            identity: parts.identity,
            links: parts.links,
            model: parts.model,
            forwarder,
            freshness: Freshness::default(),
            disk: Disk::new(parts.stall, Arc::clone(&parts.dir)),
            clock: parts.clock,
            clocks: Clocks::default(),
            removals: Removals::default(),
            is_silent: AtomicBool::new(false),
            is_ready: AtomicBool::new(false),
            leadership,
            ended: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn_on(
            failover::watch(Arc::clone(&shared), parts.lost),
            &parts.runtime,
        );
        tasks.spawn_on(
            leadership::follow(raft, Arc::clone(&shared.links), told),
            &parts.runtime,
        );
        tasks.spawn_on(forwarding, &parts.runtime);
        tasks.spawn_on(freshness::renew(Arc::clone(&shared)), &parts.runtime);
        tasks.spawn_on(membership::tend(Arc::clone(&shared)), &parts.runtime);
        tasks.spawn_on(compare::watch(Arc::clone(&shared)), &parts.runtime);
        tasks.spawn_on(disk::watch(Arc::clone(&shared)), &parts.runtime);
        tasks.spawn_on(departure::watch(Arc::clone(&shared)), &parts.runtime);
        tasks.spawn_on(pulse::beat(Arc::clone(&shared)), &parts.runtime);
        tasks.spawn_on(
            log_size::watch(Arc::clone(&shared), parts.snapshot_every_len_bytes),
            &parts.runtime,
        );
        tasks.spawn_on(note_end(Arc::clone(&shared)), &parts.runtime);
        Arc::new(Self {
            answering: Answering::new(Arc::clone(&shared), parts.dir),
            shared,
            tasks: Mutex::new(tasks),
        })
    }

    /// Proposes a command and waits until it is applied here.
    pub(crate) async fn propose(
        &self,
        request_id: RequestId,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Outcome, WriteError> {
        self.shared.propose(request_id, command, deadline).await
    }

    /// Makes sure that this member has applied everything that was acknowledged anywhere before.
    pub(crate) async fn confirm(&self, deadline: Instant) -> Result<(), ConfirmError> {
        self.shared.confirm(deadline).await
    }

    /// Tells the others what this member is, unless they know.
    pub(crate) async fn announce(
        &self,
        announcement: AnnounceMember,
        deadline: Instant,
    ) -> Result<AnnounceOutcome, WriteError> {
        self.shared.announce(announcement, deadline).await
    }

    /// Has the leader record that this member is removed, unless that must not be.
    pub(crate) async fn ask_removal(&self, id: u64, deadline: Instant) -> Result<(), Refusal> {
        self.shared.ask_removal(id, deadline).await
    }

    /// Waits until this member is known here to be removed, and tells whether it came to that.
    pub(crate) async fn recorded_as_removed(&self, id: u64, deadline: Instant) -> bool {
        self.shared.recorded_as_removed(id, deadline).await
    }

    /// Waits until consensus has no such member any more, and tells whether it came to that.
    pub(crate) async fn gone(&self, id: u64, deadline: Instant) -> bool {
        self.shared.gone(id, deadline).await
    }

    /// Hands over the lead and tells who leads then.
    pub(crate) async fn transfer(
        &self,
        to: Option<u64>,
        deadline: Instant,
    ) -> Result<u64, Refusal> {
        self.shared.transfer(to, deadline).await
    }

    /// What all members tell about themselves.
    pub(crate) async fn cluster_status(&self, deadline: Instant) -> ClusterStatus {
        self.shared.cluster_status(deadline).await
    }

    /// Waits until this member has applied everything that was acknowledged before.
    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), ReadyError> {
        let confirmed = tokio::select! {
            confirmed = self.shared.confirm(deadline) => confirmed,
            stopped = self.stopped() => Err(ConfirmError::Stopped(stopped)),
        };
        confirmed.map_err(|error| match error {
            ConfirmError::NoQuorum => ReadyError::NoLeader,
            ConfirmError::Stopped(stopped) => {
                ReadyError::Stopped(start_error(stopped, &self.shared.model))
            }
        })
    }

    /// From now on this member can serve, and vote.
    pub(crate) fn note_ready(&self) {
        self.shared.is_ready.store(true, Ordering::Relaxed);
    }

    /// Waits until consensus stops.
    pub(crate) async fn stopped(&self) -> Stopped {
        self.shared.stopped().await
    }

    /// Starts a snapshot now.
    pub(crate) async fn snapshot(&self) -> Result<(), Stopped> {
        Ok(self.shared.raft.trigger().snapshot().await?)
    }

    /// The rows of the state, to be read while more are written.
    pub(crate) async fn rows(&self) -> Result<Arc<StateDb>, Stopped> {
        let raft = &self.shared.raft;
        let rows = raft.with_state_machine(|machine| machine.rows()).await;
        rows.map_err(Stopped::from)
    }

    /// Ends consensus; the state is flushed so that the next start is quick.
    pub(crate) async fn shut_down(&self) -> Result<(), Stopped> {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        let raft = &self.shared.raft;
        let flushed = raft.with_state_machine(|machine| machine.flush()).await;
        let stopped = raft.shutdown().await;
        // The task that would tell so has ended before.
        self.shared.end(self.shared.consensus_stopped().await);
        if let Err(error) = stopped {
            return Err(Stopped::because(&error));
        }
        if let Err(error) = self.shared.db.write_committed() {
            return Err(Stopped::because(&error));
        }
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Stopped::because(&error)),
            Err(fatal) => Err(fatal.into()),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// Who leads, as it changes.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership()
    }

    /// How old this member's knowledge of a quorum is; `None` if it never had any.
    pub(crate) fn freshness(&self) -> Option<Duration> {
        self.shared.freshness.age()
    }

    /// What the other voters' clocks say about this member's, as of the last comparison.
    pub(crate) fn clock(&self) -> ClockVerdict {
        self.shared.clocks.verdict()
    }

    /// Compares the clocks now.
    pub(crate) async fn compare_clocks(&self) -> ClockVerdict {
        self.shared.compare_clocks().await
    }

    /// A connection from this member ended: if it leads, it may be gone.
    pub(crate) fn peer_lost(&self, member_id: u64) {
        self.shared.links.note_lost(member_id);
    }

    /// Answers another member's request.
    pub(crate) async fn answer(&self, from: u64, request: &[u8]) -> Result<Vec<u8>, AnswerError> {
        self.answering.answer(from, request).await
    }

    pub(crate) fn status(&self) -> Glance {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leadership = *self.shared.leadership.borrow();
        Glance {
            member_id: metrics.id,
            is_leader: leadership.is_leader,
            leader: leadership.leader,
            snapshot_index: metrics.snapshot.as_ref().map(|id| id.index()),
            purged_index: metrics.purged.as_ref().map(|id| id.index()),
            last_index: metrics.last_log_index,
            wal_syncs: self.shared.db.sync_count(),
            appended_entries: self.shared.db.appended_count(),
        }
    }
}

/// Many wait for the end of consensus: one looks for all.
async fn note_end(shared: Arc<Shared>) {
    let stopped = shared.consensus_stopped().await;
    shared.end(stopped);
}

/// Why a member does not serve yet.
#[derive(Debug)]
pub(crate) enum ReadyError {
    NoLeader,
    Stopped(super::start::StartError),
}

impl Shared {
    /// Who leads, as it changes.
    pub(super) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Waits until consensus stops, or this member ends itself.
    pub(super) async fn stopped(&self) -> Stopped {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await;
        match ended.map(|ended| ended.clone()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(_) => Fatal::Stopped.into(),
        }
    }

    async fn consensus_stopped(&self) -> Stopped {
        // These change seldom, and end with consensus; the others change with every entry.
        let mut changes = self.raft.server_metrics();
        loop {
            let has_ended = changes.changed().await.is_err();
            let state = self.raft.metrics().borrow_watched().running_state.clone();
            match state {
                Err(fatal) => return fatal.into(),
                Ok(()) if has_ended => return Fatal::Stopped.into(),
                Ok(()) => {}
            }
        }
    }
}

impl Shared {
    /// Ends this member. The first reason is the one that counts.
    pub(super) fn end(&self, reason: Stopped) {
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(reason);
            is_first
        });
    }

    /// The vote that this member has given, or knows of.
    pub(super) fn known_vote(&self) -> Vote {
        let metrics = self.raft.server_metrics();
        metrics.borrow_watched().vote
    }

    /// Whether the record of a member says that it was removed.
    pub(super) fn is_recorded_as_removed(&self, member_id: u64) -> bool {
        let state = self.model.state.read();
        let member = state.member(member_id);
        member.is_some_and(|member| member.is_removed)
    }

    /// Whether the record of a member says that it belongs.
    pub(super) fn is_present(&self, member_id: u64) -> bool {
        let state = self.model.state.read();
        let member = state.member(member_id);
        member.is_some_and(|member| !member.is_removed)
    }

    /// Whether this is a member, by its record or by consensus.
    pub(super) fn is_known(&self, member_id: u64) -> bool {
        let is_recorded = self.is_present(member_id);
        is_recorded || address_of(&self.raft, member_id).is_some()
    }

    async fn announce(
        &self,
        announcement: AnnounceMember,
        deadline: Instant,
    ) -> Result<AnnounceOutcome, WriteError> {
        let is_known = {
            let state = self.model.state.read();
            let member = state.member(announcement.id);
            member
                .is_some_and(|member| !member.is_removed && member.profile == announcement.profile)
        };
        if is_known {
            return Ok(AnnounceOutcome::Unchanged);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = self.propose_own(Command::AnnounceMember(announcement), left);
        let Outcome::AnnounceMember(outcome) = outcome.await? else {
            // A fresh request id names no other command.
            return Err(WriteError::Undecided);
        };
        // Whoever is alone starts with the newest format instead of refusing its commands at first.
        if self.leadership().borrow().is_leader {
            membership::raise_version(self).await;
        }
        Ok(outcome)
    }

    /// Proposes a command of this module's own.
    pub(super) async fn propose_own(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Outcome, WriteError> {
        let envelope = self.envelope(command);
        let bytes = Bytes::from(encode_envelope(&envelope));
        let deadline = Instant::now() + within;
        self.propose(envelope.request_id, bytes, deadline).await
    }

    /// A command of this member's own, meant once.
    pub(super) fn envelope(&self, command: Command) -> Envelope {
        Envelope {
            request_id: RequestId::random(),
            at: self.clock.now(),
            command,
        }
    }
}

//! What members tell about themselves, asked of all of them at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::time::Instant;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::forward::address_of;
use super::member::Shared;
use super::pending::MembershipChange;
use super::serve::AnswerError;
use crate::codec::wire;
use crate::peer::Lane;
use crate::record::{MemberRecord, Revision};

/// What is known about a cluster at one moment.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// Id of the cluster.
    pub cluster_id: [u8; 16],
    /// The newest command format in use.
    pub cluster_version: u32,
    /// Who leads, if known.
    pub leader: Option<u64>,
    /// How many times a leader was sought.
    pub term: u64,
    /// All members, by id.
    pub members: Vec<MemberStatus>,
    /// A change of who belongs that is under way, as the member that was asked knows it.
    pub change: Option<MembershipChange>,
}

/// What is known about a member. What only it can tell is zero or empty if it did not answer.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Its part.
    pub role: Role,
    /// Host and port where it listens for members.
    pub peer_address: Box<str>,
    /// Host and port where it listens for agents.
    pub api_address: Box<str>,
    /// What it runs.
    pub program_version: Box<str>,
    /// Command formats that it understands.
    pub formats: std::ops::RangeInclusive<u32>,
    /// Whether it answered.
    pub is_reachable: bool,
    /// How long ago it answered the member that was asked, if ever since that one's start.
    pub last_contact: Option<Duration>,
    /// The last log entry that it has applied.
    pub applied_index: u64,
    /// Log entries that it is behind.
    pub log_lag: u64,
    /// Its store version.
    pub revision: Revision,
    /// Hash of its state; equal on members at the same version.
    pub state_hash: Vec<u8>,
    /// Age of its knowledge of a quorum, if it ever had any.
    pub freshness: Option<Duration>,
    /// Its disk.
    pub disk: DiskState,
    /// The last log entry in its newest snapshot.
    pub snapshot_index: Option<u64>,
    /// By how many seconds its clock is ahead of that of the member that was asked; behind, if negative. Right within
    /// two. Unknown of a member that does not answer.
    pub clock_ahead_secs: Option<i64>,
}

/// The part of a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes.
    Voter,
    /// Catches up before it votes.
    Learner,
    /// Has not begun to catch up.
    Admitted,
}

/// How a member's disk does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskState {
    /// Writes are made durable.
    Healthy,
    /// A write has been waiting.
    Stalled {
        /// So long.
        waiting: Duration,
    },
    /// There is no room.
    Full,
}

impl Shared {
    /// What this member tells about itself.
    pub(super) fn own_status(&self, with_hashes: bool) -> wire::StatusResponse {
        let leadership = *self.leadership().borrow();
        let (last_index, snapshot_index) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let snapshot = metrics.snapshot.as_ref().map(|id| id.index());
            (metrics.last_log_index.unwrap_or(0), snapshot.unwrap_or(0))
        };
        let applied = self.model.applied();
        let hashes = if with_hashes {
            self.model.hashes.all()
        } else {
            Vec::new()
        };
        wire::StatusResponse {
            member_id: self.identity.member_id,
            term: leadership.term,
            leader: leadership.leader.unwrap_or(0),
            last_index,
            applied_index: applied.index,
            snapshot_index,
            revision: applied.revision.as_u64(),
            state_hash: applied.state_hash.as_bytes().to_vec(),
            freshness_ms: self.freshness.age().map(millis),
            disk_stall_ms: self.disk.stalled_for().map_or(0, millis),
            is_disk_full: self.disk.is_full(),
            hashes: hashes
                .into_iter()
                .map(|(index, hash)| wire::IndexedHash {
                    index,
                    hash: hash.as_bytes().to_vec(),
                })
                .collect(),
            unix_secs: Some(self.clock.now().as_secs()),
            is_ready: Some(self.is_ready.load(Ordering::Relaxed)),
        }
    }

    /// What another member tells about itself.
    pub(super) async fn ask_status(
        &self,
        member_id: u64,
        address: &str,
        with_hashes: bool,
        deadline: Duration,
    ) -> Option<wire::StatusResponse> {
        let request = Request::Status(wire::StatusRequest { with_hashes });
        let lane = Lane::Heartbeat;
        let asked = self.links.ask(member_id, address, lane, request, deadline);
        match asked.await {
            Ok(Response::Status(status)) => Some(status),
            Ok(_) | Err(_) => None,
        }
    }

    /// What the other voters tell about themselves, as far as they answer in time.
    pub(super) async fn ask_other_voters(
        &self,
        with_hashes: bool,
        deadline: Duration,
    ) -> Vec<wire::StatusResponse> {
        let own_id = self.identity.member_id;
        let others = self.raft.voter_ids().filter(|id| *id != own_id);
        self.ask_members(others.collect(), with_hashes, deadline)
            .await
    }

    /// What these members tell about themselves, as far as they answer in time.
    pub(super) async fn ask_members(
        &self,
        ids: Vec<u64>,
        with_hashes: bool,
        deadline: Duration,
    ) -> Vec<wire::StatusResponse> {
        let asked = ids.into_iter().map(|id| async move {
            let address = address_of(&self.raft, id)?;
            self.ask_status(id, &address, with_hashes, deadline).await
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Asks all members, each for a second at most.
    pub(super) async fn cluster_status(self: &Arc<Self>, deadline: Instant) -> ClusterStatus {
        let (records, cluster_version) = {
            let state = self.model.state.read();
            let present = state.members().filter(|member| !member.is_removed);
            let present: Vec<Arc<MemberRecord>> = present.cloned().collect();
            (present, state.cluster_version())
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let each = left.min(MAX_WAIT);
        let own_id = self.identity.member_id;
        let asked = records.iter().map(|record| async move {
            if record.id == own_id {
                return Some(self.own_status(false));
            }
            let address = record.profile.peer_address.as_ref();
            self.ask_status(record.id, address, false, each).await
        });
        let answers = join_all(asked).await;
        // Of one term, who knows its leader knows more than who has not heard of it.
        let newest = answers.iter().flatten();
        let newest = newest.max_by_key(|answer| (answer.term, answer.leader != 0));
        let leader = newest.map_or(0, |answer| answer.leader);
        let term = newest.map_or(0, |answer| answer.term);
        let last = answers.iter().flatten().map(|answer| answer.last_index);
        let last = last.max().unwrap_or(0);
        let change = self.membership_change(|id| {
            let mut of_members = records.iter().zip(&answers);
            let (_, answer) = of_members.find(|(record, _)| record.id == id)?;
            answer.as_ref().map(|answer| answer.last_index)
        });
        let members = records.iter().zip(answers);
        ClusterStatus {
            cluster_id: self.identity.cluster_id,
            cluster_version,
            leader: (leader != 0).then_some(leader),
            term,
            members: members
                .map(|(record, answer)| self.member_status(record, answer, leader, last))
                .collect(),
            change,
        }
    }

    fn member_status(
        &self,
        record: &MemberRecord,
        answer: Option<wire::StatusResponse>,
        leader: u64,
        last_index: u64,
    ) -> MemberStatus {
        let is_reachable = answer.is_some();
        let answer = answer.unwrap_or_default();
        let last_contact = if record.id == self.identity.member_id {
            Some(Duration::ZERO)
        } else {
            self.links.last_contact(record.id).map(|at| at.elapsed())
        };
        let own_secs = self.clock.now().as_secs();
        let clock_ahead = |secs: i64| secs.saturating_sub(own_secs);
        let lag = last_index.saturating_sub(answer.last_index);
        MemberStatus {
            id: record.id,
            role: self.role(record.id, leader),
            peer_address: record.profile.peer_address.clone(),
            api_address: record.profile.api_address.clone(),
            program_version: record.profile.program_version.clone(),
            formats: record.profile.formats.clone(),
            is_reachable,
            last_contact,
            applied_index: answer.applied_index,
            log_lag: if is_reachable { lag } else { 0 },
            revision: Revision::new(answer.revision),
            disk: disk_state(&answer),
            freshness: answer.freshness_ms.map(Duration::from_millis),
            snapshot_index: (answer.snapshot_index > 0).then_some(answer.snapshot_index),
            state_hash: answer.state_hash,
            clock_ahead_secs: answer.unix_secs.map(clock_ahead),
        }
    }

    fn role(&self, member_id: u64, leader: u64) -> Role {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        // Half-way through a change, the new voters do not count on their own yet.
        let membership = metrics.committed_membership_config.membership();
        let configs = membership.get_joint_config();
        let votes = configs.iter().all(|voters| voters.contains(&member_id));
        if member_id == leader {
            Role::Leader
        } else if votes && !configs.is_empty() {
            Role::Voter
        } else if membership.get_node(&member_id).is_some() {
            Role::Learner
        } else {
            Role::Admitted
        }
    }
}

impl Shared {
    /// Refuses a member that was removed. While consensus still has it, it is listened to: it may
    /// be the leader whose last act is its own removal.
    pub(super) fn admit(&self, from: u64) -> Result<(), AnswerError> {
        if from == self.identity.member_id {
            return Err(AnswerError::NotAMember { from });
        }
        // First, and without a look at the state: a sign of life waits for no reader of that.
        if address_of(&self.raft, from).is_some() {
            return Ok(());
        }
        if self.is_recorded_as_removed(from) {
            return Err(AnswerError::NotAMember { from });
        }
        Ok(())
    }
}

const fn disk_state(answer: &wire::StatusResponse) -> DiskState {
    if answer.is_disk_full {
        DiskState::Full
    } else if answer.disk_stall_ms >= STALL_MS {
        DiskState::Stalled {
            waiting: Duration::from_millis(answer.disk_stall_ms),
        }
    } else {
        DiskState::Healthy
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long one member may take to answer.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// From when on a waiting write is worth telling.
const STALL_MS: u64 = 500;

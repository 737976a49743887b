//! Owns the cluster service of the Unix socket.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use identity::hex;
use proto::conclave::cluster::v1 as wire;
use proto::conclave::cluster::v1::cluster_server::Cluster;
use proto::conclave::cluster::v1::member_status::{Disk, Role};
use raft_store::backup::BackupReader;
use raft_store::{ClusterStatus, DiskState, MemberStatus, Membership, MembershipChange};
use tonic::{Request, Response, Status};

use crate::api::status_cluster as status;
use crate::cluster::{ClusterControl, cluster_id_text};
use crate::endpoints::{Gate, Waiting};

/// The cluster service.
#[derive(Clone, Debug)]
pub struct ClusterApi {
    control: ClusterControl,
    gate: Gate,
}

impl ClusterApi {
    /// The service that hands what operators ask to `control`, and says whether calls pass `gate`.
    pub fn new(control: ClusterControl, gate: Gate) -> Self {
        Self { control, gate }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterApi {
    async fn status(
        &self,
        _request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let told = self.control.status().await;
        let told = told.map_err(|error| status::no_status(&error))?;
        let answered_by = self.control.own_id().unwrap_or(0);
        let waiting = self.gate.waiting();
        Ok(Response::new(status_to_wire(&told, answered_by, waiting)))
    }

    async fn create_invite(
        &self,
        request: Request<wire::CreateInviteRequest>,
    ) -> Result<Response<wire::CreateInviteResponse>, Status> {
        let ttl = Duration::from_secs(request.into_inner().ttl_s.into());
        let issued = self.control.invite(ttl).await;
        let issued = issued.map_err(|error| status::no_invite(&error))?;
        Ok(Response::new(wire::CreateInviteResponse {
            invite: issued.text.to_string(),
            expires_at: issued.expires_at.as_secs(),
        }))
    }

    async fn remove_member(
        &self,
        request: Request<wire::RemoveMemberRequest>,
    ) -> Result<Response<wire::RemoveMemberResponse>, Status> {
        let id = request.into_inner().id;
        let removed = self.control.remove(id).await;
        removed.map_err(|error| status::not_removed(&error))?;
        Ok(Response::new(wire::RemoveMemberResponse {}))
    }

    async fn leave(
        &self,
        _request: Request<wire::LeaveRequest>,
    ) -> Result<Response<wire::LeaveResponse>, Status> {
        let left = self.control.leave().await;
        let id = left.map_err(|error| status::not_left(&error))?;
        Ok(Response::new(wire::LeaveResponse { id }))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        let to = Some(request.into_inner().to).filter(|to| *to != 0);
        let transferred = self.control.transfer(to).await;
        let leader = transferred.map_err(|error| status::not_transferred(&error))?;
        Ok(Response::new(wire::TransferResponse { leader }))
    }

    async fn rotate_seal(
        &self,
        _request: Request<wire::RotateSealRequest>,
    ) -> Result<Response<wire::RotateSealResponse>, Status> {
        let rotated = self.control.rotate_seal().await;
        let rotation = rotated.map_err(|error| status::not_rotated(&error))?;
        Ok(Response::new(wire::RotateSealResponse {
            data_key: rotation.data_key,
            resealed: rotation.resealed,
            removed_data_keys: rotation.removed,
            kept_data_keys: rotation.kept,
        }))
    }

    type BackupStream = Pin<Box<dyn Stream<Item = Result<wire::BackupResponse, Status>> + Send>>;

    async fn backup(
        &self,
        _request: Request<wire::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let reader = self.control.backup().await;
        let reader = reader.map_err(|error| status::no_backup(&error))?;
        let header = wire::BackupHeader {
            seal_key_path: self.control.seal_key_path().display().to_string(),
        };
        Ok(Response::new(Box::pin(backup_parts(header, reader))))
    }
}

/// The header, then the chunks as the client takes them.
fn backup_parts(
    header: wire::BackupHeader,
    reader: BackupReader,
) -> impl Stream<Item = Result<wire::BackupResponse, Status>> + Send {
    use wire::backup_response::Part;
    let part = |part| wire::BackupResponse { part: Some(part) };
    let first = Ok(part(Part::Header(header)));
    let rest = futures_util::stream::unfold(reader, move |mut reader| async move {
        let chunk = reader.next().await?;
        let chunk = chunk.map(|bytes| part(Part::Chunk(bytes.to_vec())));
        Some((chunk.map_err(|error| status::no_backup(&error)), reader))
    });
    futures_util::stream::once(async { first }).chain(rest)
}

fn status_to_wire(
    status: &ClusterStatus,
    answered_by: u64,
    waiting: Option<Waiting>,
) -> wire::StatusResponse {
    let votes = |member: &&MemberStatus| {
        matches!(
            member.role,
            raft_store::Role::Leader | raft_store::Role::Voter
        )
    };
    let change = status.change.as_ref();
    let voters = match change.map(|change| change.pending.as_ref().unwrap_or(&change.committed)) {
        Some(newest) => newest.voters.len().max(newest.outgoing_voters.len()),
        None => status.members.iter().filter(votes).count(),
    };
    wire::StatusResponse {
        cluster_id: cluster_id_text(&status.cluster_id),
        cluster_version: status.cluster_version,
        answered_by,
        leader: status.leader.unwrap_or(0),
        term: status.term,
        members: status.members.iter().map(member_to_wire).collect(),
        quorum: count(voters / 2 + 1),
        waiting: waiting.map_or_else(String::new, |waiting| waiting.to_string()),
        change: change.map(change_to_wire),
    }
}

fn change_to_wire(change: &MembershipChange) -> wire::MembershipChange {
    let missing = change.missing.iter();
    wire::MembershipChange {
        committed: Some(membership_to_wire(&change.committed)),
        pending: change.pending.as_ref().map(membership_to_wire),
        index: change.index,
        waits_for: missing
            .map(|missing| wire::MissingVoters {
                count: count(missing.count),
                members: missing.members.iter().copied().collect(),
            })
            .collect(),
    }
}

fn membership_to_wire(membership: &Membership) -> wire::Membership {
    wire::Membership {
        voters: membership.voters.iter().copied().collect(),
        outgoing_voters: membership.outgoing_voters.iter().copied().collect(),
        learners: membership.learners.iter().copied().collect(),
    }
}

/// At most as many as the wire can say.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn member_to_wire(member: &MemberStatus) -> wire::MemberStatus {
    let role = match member.role {
        raft_store::Role::Leader => Role::Leader,
        raft_store::Role::Voter => Role::Voter,
        raft_store::Role::Learner => Role::Learner,
        raft_store::Role::Admitted => Role::Admitted,
    };
    let (disk, stalled) = match member.disk {
        _ if !member.is_reachable => (Disk::Unseen, Duration::ZERO),
        DiskState::Healthy => (Disk::Healthy, Duration::ZERO),
        DiskState::Stalled { waiting } => (Disk::Stalled, waiting),
        DiskState::Full => (Disk::Full, Duration::ZERO),
    };
    wire::MemberStatus {
        id: member.id,
        role: role.into(),
        peer_address: member.peer_address.to_string(),
        api_address: member.api_address.to_string(),
        program_version: member.program_version.to_string(),
        formats_from: *member.formats.start(),
        formats_to: *member.formats.end(),
        is_reachable: member.is_reachable,
        last_contact_ms: member.last_contact.map(milliseconds),
        applied_index: member.applied_index,
        log_lag: member.log_lag,
        revision: member.revision.as_u64(),
        state_hash: hex::lower(&member.state_hash),
        freshness_age_ms: member.freshness.map(milliseconds),
        disk: disk.into(),
        disk_stalled_ms: milliseconds(stalled),
        snapshot_index: member.snapshot_index,
        clock_ahead_s: member.clock_ahead_secs,
    }
}

/// Whole milliseconds, at most as many as the wire can say.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

//! Owns what an operator asks of the cluster through one of its members: how it is, who leads, who goes, new seals,
//! backups. How members come in is [`peers`](crate::peers)' matter.
//!
//! What must hold: nothing here waits longer than an operator would, and a member that has left stops by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::clock::Clock;
use raft_store::backup::{BackupError, BackupReader};
use raft_store::{
    ClusterStatus, MembershipError, Proposal, RotateError, Rotation, StoppedError, Store,
};

use crate::peers::{InvitationError, Invitations, IssuedInvite};

/// The cluster in the hands of an operator.
#[derive(Clone, Debug)]
pub struct ClusterControl {
    /// This member's store.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes invitations; `None` for a server that no other can reach.
    pub invitations: Option<Invitations>,
    /// Where the key lies that seals the data keys.
    pub seal_key_path: PathBuf,
    /// Ends this member's process.
    pub server: Shutdown,
}

impl ClusterControl {
    /// Where the key lies that backups can be opened with.
    pub fn seal_key_path(&self) -> &Path {
        &self.seal_key_path
    }

    /// Makes an invitation for one further member.
    ///
    /// # Errors
    ///
    /// See [`InviteError`].
    pub async fn invite(&self, ttl: Duration) -> Result<IssuedInvite, InviteError> {
        let invitations = self.invitations.as_ref().ok_or(InviteError::Alone)?;
        Ok(invitations.issue(ttl).await?)
    }

    /// How each member is, as far as it answers in time.
    ///
    /// # Errors
    ///
    /// This member's store has stopped.
    pub async fn status(&self) -> Result<ClusterStatus, StoppedError> {
        self.store.cluster_status(STATUS_WITHIN).await
    }

    /// Id of this member; `None` once its store has stopped.
    pub fn own_id(&self) -> Option<u64> {
        self.store.status().map(|status| status.member_id)
    }

    /// Takes a member out for good.
    ///
    /// # Errors
    ///
    /// See [`MembershipError`].
    pub async fn remove(&self, id: u64) -> Result<(), MembershipError> {
        let proposal = Proposal::new(self.clock.now());
        self.store.remove_member(id, proposal).await?;
        tracing::info!(member = id, "removed a member");
        Ok(())
    }

    /// Takes this member out for good, tells its id, and has its process end.
    ///
    /// # Errors
    ///
    /// See [`MembershipError`]; the process goes on then.
    pub async fn leave(&self) -> Result<u64, MembershipError> {
        let id = self.own_id().ok_or(MembershipError::NotFound { id: 0 })?;
        self.remove(id).await?;
        tracing::info!(member = id, "left the cluster, stopping");
        self.server.request();
        Ok(id)
    }

    /// Hands the lead over and tells who has it then.
    ///
    /// # Errors
    ///
    /// See [`MembershipError`].
    pub async fn transfer(&self, to: Option<u64>) -> Result<u64, MembershipError> {
        self.store.transfer_leadership(to, TRANSFER_WITHIN).await
    }

    /// Seals every secret with a new data key.
    ///
    /// # Errors
    ///
    /// See [`RotateError`].
    pub async fn rotate_seal(&self) -> Result<Rotation, RotateError> {
        self.store.rotate_data_key(self.clock.now()).await
    }

    /// A backup of now.
    ///
    /// # Errors
    ///
    /// See [`BackupError`].
    pub async fn backup(&self) -> Result<BackupReader, BackupError> {
        self.store.backup(self.clock.now()).await
    }
}

/// Why there is no invitation.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// This server is none that another could join.
    #[error(
        "this server listens to no other members: add a cluster block with a peer_address to its config and restart it"
    )]
    Alone,
    /// It could not be made.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
}

/// A cluster's id as it is shown: 32 hex digits.
pub fn cluster_id_text(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

const STATUS_WITHIN: Duration = Duration::from_secs(1);
const TRANSFER_WITHIN: Duration = Duration::from_secs(5);

//! Changes of the cluster itself, from any member.

use std::time::Duration;

use tokio::time::Instant;

use super::{Proposal, ProposeError, StoppedError, Store};
use crate::command::{RemoveMember, RemoveOutcome};
use crate::raft::{ClusterStatus, Refusal};

/// Why the cluster was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// There is no such member.
    #[error("there is no member {id}")]
    NotFound {
        /// Who was to go, or to lead.
        id: u64,
    },
    /// Too few are in touch with the leader of the voters that there are, or of those that would be left.
    #[error(
        "of the {voters} voting members that a majority is needed of, only {reachable} can be reached; bring them back first, or recover the cluster from what is left"
    )]
    WouldLoseQuorum {
        /// Voters that there are, or would be left.
        voters: u32,
        /// Of them, in touch.
        reachable: u32,
    },
    /// The removal is recorded, and consensus needs the member's vote until a majority has agreed to go on without it.
    #[error(
        "member {id} is removed, but a majority has not agreed yet to go on without its vote: keep it running until `cluster status` shows no change under way, and bring back who is away"
    )]
    Unfinished {
        /// Who is to go.
        id: u64,
    },
    /// The only voting member cannot go, and nobody else can lead.
    #[error("this is the only voting member of the cluster; stop it instead")]
    LastMember,
    /// The member does not vote, or does not answer, so it cannot lead.
    #[error("that member cannot lead: it does not vote, or does not answer")]
    NotAble,
    /// No leader decided before the deadline. Nothing changed, as far as is known.
    #[error("no leader before the deadline")]
    NoLeader,
    /// The change could not be written.
    #[error("the change was not written")]
    Propose(#[source] ProposeError),
    /// This member's store has stopped.
    #[error("store stopped")]
    Stopped(#[source] StoppedError),
}

impl MembershipError {
    fn refused(refusal: Refusal, id: u64) -> Self {
        match refusal {
            Refusal::NotFound => Self::NotFound { id },
            Refusal::LastMember => Self::LastMember,
            Refusal::WouldLoseQuorum { voters, reachable } => {
                Self::WouldLoseQuorum { voters, reachable }
            }
            Refusal::NotAble => Self::NotAble,
            Refusal::NoLeader => Self::NoLeader,
        }
    }
}

impl Store {
    /// Removes a member for good; a leader hands over first. Returns once it has no vote any more. A member that removes itself stops about a second later: its driver ends
    /// with an error that says so.
    ///
    /// # Errors
    /// The member stays, but after [`MembershipError::Propose`] with an undecided outcome, and after
    /// [`MembershipError::Unfinished`].
    pub async fn remove_member(&self, id: u64, proposal: Proposal) -> Result<(), MembershipError> {
        let deadline = Instant::now() + proposal.deadline;
        let member = self.member().map_err(MembershipError::Stopped)?;
        let asked = member.ask_removal(id, deadline).await;
        asked.map_err(|refusal| MembershipError::refused(refusal, id))?;
        // A leader of an earlier version only says that it may be.
        let soon = deadline.min(Instant::now() + RECORDED_WITHIN);
        if !member.recorded_as_removed(id, soon).await {
            let proposal = Proposal {
                deadline: deadline.saturating_duration_since(Instant::now()),
                ..proposal
            };
            let removed = self.propose(RemoveMember { id }, proposal).await;
            match removed.map_err(MembershipError::Propose)? {
                RemoveOutcome::Removed | RemoveOutcome::AlreadyRemoved => {}
                RemoveOutcome::NotFound => return Err(MembershipError::NotFound { id }),
            }
        }
        if member.gone(id, deadline).await {
            Ok(())
        } else {
            Err(MembershipError::Unfinished { id })
        }
    }

    /// Hands the lead to this member, or to the one with most of the log. Answers with the new
    /// leader.
    ///
    /// # Errors
    /// Whoever leads goes on, or another was elected meanwhile.
    pub async fn transfer_leadership(
        &self,
        to: Option<u64>,
        deadline: Duration,
    ) -> Result<u64, MembershipError> {
        let member = self.member().map_err(MembershipError::Stopped)?;
        let transferred = member.transfer(to, Instant::now() + deadline).await;
        transferred.map_err(|refusal| MembershipError::refused(refusal, to.unwrap_or(0)))
    }

    /// What every member tells about itself, asked of all at once, each for a second at most.
    ///
    /// # Errors
    /// This member's store has stopped.
    pub async fn cluster_status(&self, deadline: Duration) -> Result<ClusterStatus, StoppedError> {
        let member = self.member()?;
        Ok(member.cluster_status(Instant::now() + deadline).await)
    }
}

/// How long this member may take to hear what the leader has recorded.
const RECORDED_WITHIN: Duration = Duration::from_millis(500);

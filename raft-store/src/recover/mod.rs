//! A cluster from the last survivor, when the majority is gone for good.
//!
//! The survivor's whole log is applied: what its majority acknowledged may be in it, whether it had
//! heard of that or not. What others acknowledged without it is lost, and nobody can say what that
//! was; the plan says what is known. The new cluster has an id of its own, so members of the old one
//! that come back are refused.

mod survivor;

#[cfg(test)]
mod tests;

use std::path::Path;

use identity::clock::UnixTime;

use self::survivor::Survivor;
use crate::backup::{NewHome, RestoreError, Restored};
use crate::record::{MemberRecord, Revision};
use crate::seal::SealProvider;
use crate::state::{State, StateHash};

/// What a recovery would make a cluster of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The old cluster.
    pub cluster_id: [u8; 16],
    /// The survivor.
    pub member_id: u64,
    /// Term of the last entry in its log. Of several survivors, the one with the highest term is
    /// to be recovered, and of several of those the one with the highest index.
    pub last_term: u64,
    /// Last entry of its log.
    pub last_index: u64,
    /// Last entry that it knew to be acknowledged.
    pub committed_index: u64,
    /// When its last change was proposed.
    pub last_change_at: Option<UnixTime>,
    /// Store version with its whole log.
    pub revision: Revision,
    /// Hash of the state at that version.
    pub state_hash: StateHash,
    /// Registration entries.
    pub entries: u64,
    /// Agents.
    pub agents: u64,
    /// The members of the old cluster, removed ones left out.
    pub members: Vec<MemberRecord>,
    /// Changes in its log of which it does not know whether they were acknowledged, the first
    /// [`MAX_LISTED`]. A recovery takes them over.
    pub undecided: Vec<Undecided>,
    /// How many there are.
    pub undecided_count: u64,
}

/// A change of which the survivor does not know whether it was acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Undecided {
    /// Its place in the log.
    pub index: u64,
    /// What kind of change.
    pub command: &'static str,
    /// When it was proposed.
    pub at: UnixTime,
}

/// What a recovery needs.
#[derive(Debug)]
pub struct Recovery<'a> {
    /// The survivor's data directory. What is in it is kept aside, below `replaced-by-<id>`.
    pub data_dir: &'a Path,
    /// Who holds the key-encryption key.
    pub seal: &'a dyn SealProvider,
    /// Where the new cluster's one member is found.
    pub home: NewHome,
    /// The time.
    pub now: UnixTime,
}

impl Plan {
    /// What may be lost, a sentence each.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let mut losses = vec![format!(
            "changes that other members acknowledged without this one, after index {}",
            self.last_index,
        )];
        if self.undecided_count > 0 {
            losses.push(format!(
                "{} changes after index {} may never have been acknowledged; they are taken over",
                self.undecided_count, self.committed_index,
            ));
        }
        let others = self
            .members
            .iter()
            .filter(|member| member.id != self.member_id);
        for member in others {
            losses.push(format!(
                "member {} at {:?} is forgotten: with a new invitation it comes back as a new one",
                member.id, member.profile.peer_address,
            ));
        }
        losses.push("unused join tokens and invitations: make new ones".to_owned());
        losses
    }
}

/// Looks what a recovery would do, and does none of it. Blocks.
///
/// # Errors
/// See [`RestoreError`].
pub fn plan(data_dir: &Path, seal: &dyn SealProvider) -> Result<Plan, RestoreError> {
    plan_and_read(data_dir, seal, |_| ()).map(|(plan, ())| plan)
}

/// As [`plan`], and reads from the state that a recovery would take over.
///
/// # Errors
/// See [`RestoreError`].
pub fn plan_and_read<T>(
    data_dir: &Path,
    seal: &dyn SealProvider,
    read: impl FnOnce(&State) -> T,
) -> Result<(Plan, T), RestoreError> {
    let survivor = Survivor::open(data_dir, seal)?;
    let read = read(&survivor.state);
    Ok((survivor.plan, read))
}

/// Makes a new cluster of one of what a member has. Blocks. After a crash there is the old member
/// or the new cluster, nothing between.
///
/// # Errors
/// See [`RestoreError`]. Nothing was changed.
pub fn apply(recovery: Recovery<'_>) -> Result<Restored, RestoreError> {
    let survivor = Survivor::open(recovery.data_dir, recovery.seal)?;
    Ok(survivor.found(&recovery.home, recovery.now)?)
}

/// Changes that a plan lists at most.
pub const MAX_LISTED: usize = 100;

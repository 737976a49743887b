//! Commands on members: who is invited, comes, goes, and what all of them understand.

use identity::clock::UnixTime;

use crate::record::{InviteId, InviteRecord, MemberProfile, MemberRecord};

/// Lets a host join, once.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateInvite {
    /// The invitation. Its verifier is sealed with a data key that is in the ring.
    pub invite: InviteRecord,
}

/// Deletes invitations whose time is over.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneInvites {
    /// Invitations with an end before this go.
    pub expired_before: UnixTime,
    /// At most so many.
    pub limit: u32,
}

/// Uses up an invitation and makes its bearer a member, whose id is the index of this very log
/// entry.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmitMember {
    /// The invitation.
    pub invite: InviteId,
    /// What it says of itself.
    pub profile: MemberProfile,
}

/// What became of an admission. Unless admitted or expired, the invitation is as good as before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AdmitOutcome {
    /// It is a member.
    Admitted {
        /// With this id.
        member_id: u64,
    },
    /// There is no such invitation: never made, or used.
    NoSuchInvite,
    /// The invitation was too old; it is gone now.
    Expired,
    /// Another member has this peer address. If that one is gone for good, remove it first.
    AddressTaken {
        /// Which.
        by: u64,
    },
    /// It does not understand the commands that the cluster uses.
    FormatUnsupported {
        /// What it would have to understand.
        cluster_version: u32,
    },
}

/// A member tells what it is now; also makes the record of the first member.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnounceMember {
    /// The member.
    pub id: u64,
    /// What it says of itself.
    pub profile: MemberProfile,
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnnounceOutcome {
    /// The record changed.
    Stored,
    /// The record said so already.
    Unchanged,
    /// It is no member, or no longer.
    Removed,
    /// Another member has this peer address.
    AddressTaken {
        /// Which.
        by: u64,
    },
}

/// Sends a member away, for good. Whether enough remain is for the proposer to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RemoveMember {
    /// The member.
    pub id: u64,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RemoveOutcome {
    /// It is gone.
    Removed,
    /// There never was such a member, or it is forgotten.
    NotFound,
    /// It had gone before.
    AlreadyRemoved,
}

/// Lets commands of a newer format be proposed, once every member understands them.
#[derive(Clone, Debug, PartialEq)]
pub struct SetClusterVersion {
    /// The format.
    pub version: u32,
    /// Who votes, as the proposer knows it: each must have a record.
    pub voters: Vec<u64>,
}

/// What became of a new version. It never goes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetVersionOutcome {
    /// Commands of this format may be proposed.
    Set,
    /// A member does not understand it.
    NotReady {
        /// Which.
        by: u64,
    },
    /// The cluster is there already, or further.
    Unchanged,
}

/// Makes a new cluster of an old one's state: nothing of the old one is heard from now on, and
/// whoever saw a later state of it sees time go forward nevertheless.
///
/// Forgotten are members, invitations, join tokens (one may have been used after the state was
/// saved) and the authority of members. Proposed by nobody: a restore applies it.
#[derive(Clone, Debug, PartialEq)]
pub struct BeginEpoch {
    /// The new cluster id.
    pub epoch_id: [u8; 16],
    /// What the revision grows by.
    pub revision_jump: u64,
    /// What the sequence of bundles grows by that hold an own authority. Others keep the sequence
    /// that their owner gave them.
    pub sequence_jump: u64,
    /// The one member of the new cluster.
    pub survivor: MemberRecord,
}

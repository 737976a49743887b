//! Members of the cluster, the invitations that admit them, and what they have agreed on.

use std::ops::RangeInclusive;

use identity::clock::UnixTime;

use super::Sealed;

/// What a member says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberProfile {
    /// Host and port where it listens for members; empty if it does not.
    pub peer_address: Box<str>,
    /// Host and port where it listens for agents.
    pub api_address: Box<str>,
    /// What it runs.
    pub program_version: Box<str>,
    /// Command formats that it understands.
    pub formats: RangeInclusive<u32>,
}

/// A member of the cluster, present or past. A removed one is kept for a while, so that it can be
/// told why nobody listens to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberRecord {
    /// Index of the log entry that admitted it, 1 for the first: never reused.
    pub id: u64,
    /// What it last said of itself.
    pub profile: MemberProfile,
    /// When it came.
    pub admitted_at: UnixTime,
    /// Whether it was sent away.
    pub is_removed: bool,
}

/// Names an invitation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InviteId([u8; 16]);

impl InviteId {
    /// A fresh id, random.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for InviteId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// An invitation that was not used.
#[derive(Clone, Debug, PartialEq)]
pub struct InviteRecord {
    /// Its name.
    pub id: InviteId,
    /// What proves that a joiner has the secret, sealed as `invite <id>`.
    pub verifier: Sealed,
    /// Its end.
    pub expires_at: UnixTime,
}

/// What the cluster has agreed on about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClusterRecord {
    /// Newest command format that may be proposed.
    pub(crate) version: u32,
    /// Cluster id since the last restore or recovery, if there was one.
    pub(crate) epoch_id: Option<[u8; 16]>,
}

impl Default for ClusterRecord {
    fn default() -> Self {
        Self {
            version: 1,
            epoch_id: None,
        }
    }
}

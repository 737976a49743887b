//! Members, invitations, and the commands on them.

use super::field::time;
use super::{DecodeError, Stored, wire};
use crate::command::{
    AdmitMember, AnnounceMember, BeginEpoch, CreateInvite, NEWEST_FORMAT, PruneInvites,
    RemoveMember, SetClusterVersion,
};
use crate::record::{ClusterRecord, InviteId, InviteRecord, MemberProfile, MemberRecord};

fn invite_id(bytes: &[u8]) -> Result<InviteId, DecodeError> {
    let bytes = bytes.try_into().ok();
    bytes
        .map(InviteId::from_bytes)
        .ok_or(DecodeError::Field("invite id"))
}

fn cluster_id(bytes: &[u8]) -> Result<[u8; 16], DecodeError> {
    bytes
        .try_into()
        .ok()
        .ok_or(DecodeError::Field("cluster id"))
}

impl Stored for MemberProfile {
    type Message = wire::MemberProfile;

    fn to_message(&self) -> wire::MemberProfile {
        wire::MemberProfile {
            peer_address: self.peer_address.to_string(),
            api_address: self.api_address.to_string(),
            program_version: self.program_version.to_string(),
            oldest_format: *self.formats.start(),
            newest_format: *self.formats.end(),
        }
    }

    fn from_message(profile: wire::MemberProfile) -> Result<Self, DecodeError> {
        let formats = profile.oldest_format..=profile.newest_format;
        if *formats.start() == 0 || formats.is_empty() {
            return Err(DecodeError::Field("format range"));
        }
        Ok(Self {
            peer_address: profile.peer_address.into(),
            api_address: profile.api_address.into(),
            program_version: profile.program_version.into(),
            formats,
        })
    }
}

impl Stored for MemberRecord {
    type Message = wire::MemberRecord;

    fn to_message(&self) -> wire::MemberRecord {
        // Its fields stand beside the others: records are older than profiles.
        let profile = self.profile.to_message();
        wire::MemberRecord {
            id: self.id,
            peer_address: profile.peer_address,
            api_address: profile.api_address,
            program_version: profile.program_version,
            oldest_format: profile.oldest_format,
            newest_format: profile.newest_format,
            admitted_at: self.admitted_at.as_secs(),
            is_removed: self.is_removed,
        }
    }

    fn from_message(member: wire::MemberRecord) -> Result<Self, DecodeError> {
        Ok(Self {
            id: member.id,
            profile: Stored::from_message(wire::MemberProfile {
                peer_address: member.peer_address,
                api_address: member.api_address,
                program_version: member.program_version,
                oldest_format: member.oldest_format,
                newest_format: member.newest_format,
            })?,
            admitted_at: time(member.admitted_at),
            is_removed: member.is_removed,
        })
    }
}

impl Stored for InviteRecord {
    type Message = wire::Invite;

    fn to_message(&self) -> wire::Invite {
        wire::Invite {
            id: self.id.as_bytes().to_vec(),
            verifier: Some(self.verifier.to_message()),
            expires_at: self.expires_at.as_secs(),
        }
    }

    fn from_message(invite: wire::Invite) -> Result<Self, DecodeError> {
        let verifier = invite.verifier.ok_or(DecodeError::Field("verifier"))?;
        Ok(Self {
            id: invite_id(&invite.id)?,
            verifier: Stored::from_message(verifier)?,
            expires_at: time(invite.expires_at),
        })
    }
}

impl Stored for ClusterRecord {
    type Message = wire::ClusterRecord;

    fn to_message(&self) -> wire::ClusterRecord {
        wire::ClusterRecord {
            version: self.version,
            epoch_id: self.epoch_id.map_or_else(Vec::new, |id| id.to_vec()),
        }
    }

    fn from_message(cluster: wire::ClusterRecord) -> Result<Self, DecodeError> {
        let epoch_id = match cluster.epoch_id.as_slice() {
            [] => None,
            bytes => Some(cluster_id(bytes)?),
        };
        Ok(Self {
            version: cluster.version.max(1),
            epoch_id,
        })
    }
}

impl Stored for CreateInvite {
    type Message = wire::CreateInvite;

    fn to_message(&self) -> wire::CreateInvite {
        wire::CreateInvite {
            invite: Some(self.invite.to_message()),
        }
    }

    fn from_message(command: wire::CreateInvite) -> Result<Self, DecodeError> {
        let invite = command.invite.ok_or(DecodeError::Field("invite"))?;
        Ok(Self {
            invite: Stored::from_message(invite)?,
        })
    }
}

impl Stored for PruneInvites {
    type Message = wire::PruneInvites;

    fn to_message(&self) -> wire::PruneInvites {
        wire::PruneInvites {
            expired_before: self.expired_before.as_secs(),
            limit: self.limit,
        }
    }

    fn from_message(command: wire::PruneInvites) -> Result<Self, DecodeError> {
        Ok(Self {
            expired_before: time(command.expired_before),
            limit: command.limit,
        })
    }
}

impl Stored for AdmitMember {
    type Message = wire::AdmitMember;

    fn to_message(&self) -> wire::AdmitMember {
        wire::AdmitMember {
            invite_id: self.invite.as_bytes().to_vec(),
            profile: Some(self.profile.to_message()),
        }
    }

    fn from_message(command: wire::AdmitMember) -> Result<Self, DecodeError> {
        let profile = command.profile.ok_or(DecodeError::Field("profile"))?;
        Ok(Self {
            invite: invite_id(&command.invite_id)?,
            profile: Stored::from_message(profile)?,
        })
    }
}

impl Stored for AnnounceMember {
    type Message = wire::AnnounceMember;

    fn to_message(&self) -> wire::AnnounceMember {
        wire::AnnounceMember {
            id: self.id,
            profile: Some(self.profile.to_message()),
        }
    }

    fn from_message(command: wire::AnnounceMember) -> Result<Self, DecodeError> {
        let profile = command.profile.ok_or(DecodeError::Field("profile"))?;
        Ok(Self {
            id: command.id,
            profile: Stored::from_message(profile)?,
        })
    }
}

impl Stored for RemoveMember {
    type Message = wire::RemoveMember;

    fn to_message(&self) -> wire::RemoveMember {
        wire::RemoveMember { id: self.id }
    }

    fn from_message(command: wire::RemoveMember) -> Result<Self, DecodeError> {
        Ok(Self { id: command.id })
    }
}

impl Stored for SetClusterVersion {
    type Message = wire::SetClusterVersion;

    fn to_message(&self) -> wire::SetClusterVersion {
        wire::SetClusterVersion {
            version: self.version,
            voters: self.voters.clone(),
        }
    }

    fn from_message(command: wire::SetClusterVersion) -> Result<Self, DecodeError> {
        // A program that followed it could not read at its next start what it had written.
        if command.version > NEWEST_FORMAT {
            return Err(DecodeError::NewerFormat {
                found: command.version,
                known: NEWEST_FORMAT,
            });
        }
        Ok(Self {
            version: command.version,
            voters: command.voters,
        })
    }
}

impl Stored for BeginEpoch {
    type Message = wire::BeginEpoch;

    fn to_message(&self) -> wire::BeginEpoch {
        wire::BeginEpoch {
            epoch_id: self.epoch_id.to_vec(),
            revision_jump: self.revision_jump,
            sequence_jump: self.sequence_jump,
            survivor: Some(self.survivor.to_message()),
        }
    }

    fn from_message(command: wire::BeginEpoch) -> Result<Self, DecodeError> {
        let survivor = command.survivor.ok_or(DecodeError::Field("survivor"))?;
        Ok(Self {
            epoch_id: cluster_id(&command.epoch_id)?,
            revision_jump: command.revision_jump,
            sequence_jump: command.sequence_jump,
            survivor: Stored::from_message(survivor)?,
        })
    }
}

//! Commands about invitations, members and the cluster as a whole.

use super::line::Line;
use crate::command::*;
use crate::record::{InviteId, InviteRecord, MemberRecord};

pub(super) fn command(line: &Line<'_>) -> Option<Command> {
    let number = || line.word(1).parse().unwrap();
    let invite = || {
        let mut bytes = [0; 16];
        bytes[..line.word(1).len()].copy_from_slice(line.word(1).as_bytes());
        InviteId::from_bytes(bytes)
    };
    Some(match line.word(0) {
        "invite" => CreateInvite {
            invite: InviteRecord {
                id: invite(),
                verifier: line.sealed(),
                expires_at: line.time("expires"),
            },
        }
        .into(),
        "prune-invites" => PruneInvites {
            expired_before: line.time("before"),
            limit: 10,
        }
        .into(),
        "admit" => AdmitMember {
            invite: invite(),
            profile: line.profile(),
        }
        .into(),
        "announce" => AnnounceMember {
            id: number(),
            profile: line.profile(),
        }
        .into(),
        "remove-member" => RemoveMember { id: number() }.into(),
        "cluster-version" => SetClusterVersion {
            version: line.word(1).parse().unwrap(),
            voters: line
                .list("voters")
                .iter()
                .map(|id| id.parse().unwrap())
                .collect(),
        }
        .into(),
        "epoch" => BeginEpoch {
            epoch_id: [line.word(1).as_bytes()[0]; 16],
            revision_jump: 1000,
            sequence_jump: 500,
            survivor: MemberRecord {
                id: line.unsigned("survivor").unwrap(),
                profile: line.profile(),
                admitted_at: line.time("at"),
                is_removed: false,
            },
        }
        .into(),
        "setting" => SetSetting {
            key: line.word(1).into(),
            value: line.word(2).into(),
            only_if_absent: line.has("if-absent"),
        }
        .into(),
        _ => return None,
    })
}

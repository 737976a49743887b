//! Commands on members and invitations, and the beginning of a new cluster.

use std::ops::RangeInclusive;
use std::sync::Arc;

use identity::clock::UnixTime;

use crate::change::ChangeKind;
use crate::command::{
    AdmitMember, AdmitOutcome, AnnounceMember, AnnounceOutcome, CreateInvite, PruneInvites,
    RemoveMember, RemoveOutcome, SetClusterVersion, SetVersionOutcome,
};
use crate::record::{ClusterRecord, InviteId, MemberRecord};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn create_invite(&mut self, command: &CreateInvite, journal: &mut Journal) -> bool {
        let invite = &command.invite;
        let is_openable = self.data_keys.record(&invite.verifier.key_id).is_some();
        if !is_openable || self.invites.record(&invite.id).is_some() {
            return false;
        }
        self.invites
            .put(invite.id, Arc::new(invite.clone()), journal);
        true
    }

    pub(super) fn prune_invites(&mut self, command: &PruneInvites, journal: &mut Journal) -> u64 {
        let limit = usize::try_from(command.limit).unwrap_or(usize::MAX);
        let due: Vec<InviteId> = self
            .invites
            .iter()
            .filter(|(_, invite)| invite.expires_at < command.expired_before)
            .take(limit)
            .map(|(id, _)| *id)
            .collect();
        for id in &due {
            self.invites.remove(id, journal);
        }
        u64::try_from(due.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn admit_member(
        &mut self,
        command: &AdmitMember,
        index: u64,
        at: UnixTime,
        journal: &mut Journal,
    ) -> AdmitOutcome {
        let Some(invite) = self.invites.record(&command.invite) else {
            return AdmitOutcome::NoSuchInvite;
        };
        if at >= invite.expires_at {
            self.invites.remove(&command.invite, journal);
            return AdmitOutcome::Expired;
        }
        if let Some(by) = self.member_at(&command.profile.peer_address, index) {
            return AdmitOutcome::AddressTaken { by };
        }
        let cluster_version = self.cluster_version();
        if !command.profile.formats.contains(&cluster_version) {
            return AdmitOutcome::FormatUnsupported { cluster_version };
        }
        self.invites.remove(&command.invite, journal);
        let member = MemberRecord {
            id: index,
            profile: command.profile.clone(),
            admitted_at: at,
            is_removed: false,
        };
        self.put_member(member, journal);
        AdmitOutcome::Admitted { member_id: index }
    }

    pub(super) fn announce_member(
        &mut self,
        command: &AnnounceMember,
        at: UnixTime,
        journal: &mut Journal,
    ) -> AnnounceOutcome {
        let present = self.members.record(&command.id);
        let admitted_at = match present {
            Some(present) if present.is_removed => return AnnounceOutcome::Removed,
            Some(present) => present.admitted_at,
            // Nobody admits the first member.
            None if self.members.len() == 0 => at,
            None => return AnnounceOutcome::Removed,
        };
        let member = MemberRecord {
            id: command.id,
            profile: command.profile.clone(),
            admitted_at,
            is_removed: false,
        };
        if present.is_some_and(|present| **present == member) {
            return AnnounceOutcome::Unchanged;
        }
        if let Some(by) = self.member_at(&command.profile.peer_address, command.id) {
            return AnnounceOutcome::AddressTaken { by };
        }
        self.put_member(member, journal);
        AnnounceOutcome::Stored
    }

    pub(super) fn remove_member(
        &mut self,
        command: RemoveMember,
        journal: &mut Journal,
    ) -> RemoveOutcome {
        let Some(member) = self.members.record(&command.id) else {
            return RemoveOutcome::NotFound;
        };
        if member.is_removed {
            return RemoveOutcome::AlreadyRemoved;
        }
        let member = MemberRecord {
            is_removed: true,
            ..MemberRecord::clone(member)
        };
        self.put_member(member, journal);
        self.forget_removed(journal);
        RemoveOutcome::Removed
    }

    pub(super) fn set_cluster_version(
        &mut self,
        command: &SetClusterVersion,
        journal: &mut Journal,
    ) -> SetVersionOutcome {
        if command.version <= self.cluster_version() {
            return SetVersionOutcome::Unchanged;
        }
        let understands = |formats: &RangeInclusive<u32>| formats.contains(&command.version);
        let unready = self
            .members()
            .find(|member| !member.is_removed && !understands(&member.profile.formats));
        if let Some(member) = unready {
            return SetVersionOutcome::NotReady { by: member.id };
        }
        // A voter without a record has not said what it understands.
        let unknown = command
            .voters
            .iter()
            .find(|voter| self.members.record(voter).is_none());
        if let Some(&by) = unknown {
            return SetVersionOutcome::NotReady { by };
        }
        let cluster = ClusterRecord {
            version: command.version,
            epoch_id: self.epoch_id(),
        };
        self.cluster.put((), Arc::new(cluster), journal);
        journal.change(ChangeKind::ClusterVersion);
        SetVersionOutcome::Set
    }

    pub(super) fn put_member(&mut self, member: MemberRecord, journal: &mut Journal) {
        let member = Arc::new(member);
        let before = self.members.put(member.id, Arc::clone(&member), journal);
        journal.change(ChangeKind::Member {
            before,
            after: Some(member),
        });
    }

    pub(super) fn forget_member(&mut self, id: u64, journal: &mut Journal) {
        let before = self.members.remove(&id, journal);
        journal.change(ChangeKind::Member {
            before,
            after: None,
        });
    }

    /// Another member that listens for members at this address.
    fn member_at(&self, peer_address: &str, except: u64) -> Option<u64> {
        let mut others = self
            .members()
            .filter(|member| !member.is_removed && member.id != except);
        let taken = others.find(|member| &*member.profile.peer_address == peer_address);
        taken
            .filter(|_| !peer_address.is_empty())
            .map(|member| member.id)
    }

    fn forget_removed(&mut self, journal: &mut Journal) {
        let mut removed = self.members().filter(|member| member.is_removed);
        let oldest = removed.next().map(|member| member.id);
        if removed.count() >= MAX_REMOVED
            && let Some(id) = oldest
        {
            self.forget_member(id, journal);
        }
    }
}

/// Removed members that are remembered.
const MAX_REMOVED: usize = 128;

//! The replicated state: what it holds and how it is asked.
//!
//! Pure: no I/O, clock or randomness. `apply` alone changes it, the same on every member.

mod agents;
mod apply;
mod authorities;
mod bundles;
mod chunks;
mod entries;
mod journal;
mod load;
mod relationships;
mod replay;
mod requests;
mod rows;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::entry::{EntryId, RegistrationEntry};
use identity::federation::FederationRelationship;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

pub use self::load::LoadError;
pub(crate) use self::load::Loader;
pub(crate) use self::requests::RequestRecord;
pub use self::rows::StateHash;
pub(crate) use self::rows::{RowKey, RowWrite, TableId};

use self::agents::Agents;
use self::authorities::Authorities;
use self::bundles::Bundles;
use self::entries::Entries;
use self::relationships::Relationships;
use self::requests::Requests;
use self::table::Table;
use crate::command::NEWEST_FORMAT;
use crate::record::{
    AcmeSecret, AcmeSecretKind, AgentRecord, AuthorityKind, AuthorityRecord, ClusterRecord,
    DataKey, InviteId, InviteRecord, JoinTokenHash, JoinTokenRecord, MemberRecord, Revision,
    Sequence, SettingRecord,
};

/// All replicated records, in memory, with their indexes.
#[derive(Debug, Default)]
pub struct State {
    revision: Revision,
    /// Last sequence given to a record.
    sequence: Sequence,
    hash: StateHash,
    entries: Entries,
    agents: Agents,
    bundles: Bundles,
    authorities: Authorities,
    join_tokens: Table<JoinTokenRecord>,
    settings: Table<SettingRecord>,
    data_keys: Table<DataKey>,
    requests: Requests,
    members: Table<MemberRecord>,
    invites: Table<InviteRecord>,
    cluster: Table<ClusterRecord>,
    relationships: Relationships,
    acme_secrets: Table<AcmeSecret>,
}

impl State {
    /// How many commands have changed something.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Hash of all rows: equal on members that applied the same commands.
    #[must_use]
    pub const fn state_hash(&self) -> StateHash {
        self.hash
    }

    /// The entry with this id.
    #[must_use]
    pub fn entry(&self, id: &EntryId) -> Option<&Arc<RegistrationEntry>> {
        self.entries.find(id).map(|(_, entry)| entry)
    }

    /// Number of entries.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Entries created after `sequence`, or all, in order of creation.
    pub fn entries_after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<RegistrationEntry>)> {
        self.entries.after(sequence)
    }

    /// Entries with this parent, created after `sequence`, or all, in order of creation.
    pub fn entries_by_parent<'a>(
        &'a self,
        parent: &SpiffeId,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &'a Arc<RegistrationEntry>)> + use<'a> {
        self.entries.by_parent(parent, sequence)
    }

    /// Entries with this SPIFFE ID, created after `sequence`, or all, in order of creation.
    pub fn entries_by_spiffe_id<'a>(
        &'a self,
        spiffe_id: &SpiffeId,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &'a Arc<RegistrationEntry>)> + use<'a> {
        self.entries.by_spiffe_id(spiffe_id, sequence)
    }

    /// Entries that federate with this trust domain, in order of creation.
    pub fn entries_federating_with(
        &self,
        trust_domain: &TrustDomain,
    ) -> impl Iterator<Item = &Arc<RegistrationEntry>> {
        self.entries
            .federating_with(trust_domain)
            .map(|(_, entry)| entry)
    }

    /// The agent with this name.
    #[must_use]
    pub fn agent(&self, spiffe_id: &SpiffeId) -> Option<&Arc<AgentRecord>> {
        self.agents.find(spiffe_id).map(|(_, agent)| agent)
    }

    /// Number of agents, banned ones included.
    #[must_use]
    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// Agents created after `sequence`, or all, in order of creation.
    pub fn agents_after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<AgentRecord>)> {
        self.agents.after(sequence)
    }

    /// The bundle of this trust domain.
    #[must_use]
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Arc<Bundle>> {
        self.bundles.find(trust_domain).map(|(_, bundle)| bundle)
    }

    /// Number of bundles, the own one included.
    #[must_use]
    pub fn bundle_count(&self) -> usize {
        self.bundles.len()
    }

    /// All bundles, in order of creation.
    pub fn bundles(&self) -> impl Iterator<Item = (Sequence, &Arc<Bundle>)> {
        self.bundles.after(None)
    }

    /// Bundles created after `sequence`, or all, in order of creation.
    pub fn bundles_after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<Bundle>)> {
        self.bundles.after(sequence)
    }

    /// The federation relationship with this trust domain.
    #[must_use]
    pub fn relationship(&self, trust_domain: &TrustDomain) -> Option<&Arc<FederationRelationship>> {
        self.relationships
            .find(trust_domain)
            .map(|(_, relationship)| relationship)
    }

    /// Federation relationships created after `sequence`, or all, in order of creation.
    pub fn relationships_after(
        &self,
        sequence: Option<Sequence>,
    ) -> impl Iterator<Item = (Sequence, &Arc<FederationRelationship>)> {
        self.relationships.after(sequence)
    }

    /// Number of join tokens that were not used.
    #[must_use]
    pub fn join_token_count(&self) -> usize {
        self.join_tokens.len()
    }

    /// When this join token ends, if it was not used.
    #[must_use]
    pub fn join_token_end(&self, hash: &JoinTokenHash) -> Option<identity::clock::UnixTime> {
        self.join_tokens.record(hash).map(|token| token.expires_at)
    }

    /// Authorities of this kind, in order of creation.
    pub fn authorities(&self, kind: AuthorityKind) -> impl Iterator<Item = &Arc<AuthorityRecord>> {
        self.authorities
            .of_kind(kind)
            .map(|(_, authority)| authority)
    }

    /// The authority with this id.
    #[must_use]
    pub fn authority(&self, kind: AuthorityKind, id: &str) -> Option<&Arc<AuthorityRecord>> {
        self.authorities
            .find(kind, id)
            .map(|(_, authority)| authority)
    }

    /// A setting's value.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&[u8]> {
        let setting = self.settings.record(&Box::from(key))?;
        Some(&setting.value)
    }

    /// What an ACME server gave, if it did.
    #[must_use]
    pub fn acme_secret(&self, kind: AcmeSecretKind) -> Option<&Arc<AcmeSecret>> {
        self.acme_secrets.record(&kind)
    }

    /// Members, removed ones included, by id.
    pub fn members(&self) -> impl Iterator<Item = &Arc<MemberRecord>> {
        self.members.iter().map(|(_, member)| member)
    }

    /// The member with this id, also if it was removed.
    #[must_use]
    pub fn member(&self, id: u64) -> Option<&Arc<MemberRecord>> {
        self.members.record(&id)
    }

    /// The invitation with this id, if it was not used.
    #[must_use]
    pub fn invite(&self, id: &InviteId) -> Option<&Arc<InviteRecord>> {
        self.invites.record(id)
    }

    /// Invitations that were not used, also those whose time is over.
    pub fn invites(&self) -> impl Iterator<Item = &Arc<InviteRecord>> {
        self.invites.iter().map(|(_, invite)| invite)
    }

    /// Number of invitations that were not used.
    #[must_use]
    pub fn invite_count(&self) -> usize {
        self.invites.len()
    }

    /// The newest command format that may be proposed.
    #[must_use]
    pub fn cluster_version(&self) -> u32 {
        self.cluster
            .record(&())
            .map_or(1, |cluster| cluster.version)
    }

    /// The newest command format that every member understands, if it is newer than the one in
    /// use. Proposing it as the cluster's version is for the leader.
    #[must_use]
    pub fn next_cluster_version(&self) -> Option<u32> {
        let mut present = self
            .members()
            .filter(|member| !member.is_removed)
            .peekable();
        present.peek()?;
        let newest = present.try_fold(NEWEST_FORMAT, |newest, member| {
            let formats = &member.profile.formats;
            formats
                .contains(&self.cluster_version())
                .then(|| newest.min(*formats.end()))
        })?;
        (newest > self.cluster_version()).then_some(newest)
    }

    /// The cluster id since the last restore or recovery, if there was one.
    #[must_use]
    pub fn epoch_id(&self) -> Option<[u8; 16]> {
        self.cluster.record(&())?.epoch_id
    }

    /// The wrapped data keys, oldest first.
    pub(crate) fn data_keys(&self) -> impl DoubleEndedIterator<Item = &Arc<DataKey>> {
        self.data_keys.iter().map(|(_, key)| key)
    }

    /// All that an ACME server gave.
    pub(crate) fn acme_secrets(&self) -> impl Iterator<Item = &Arc<AcmeSecret>> {
        self.acme_secrets.iter().map(|(_, secret)| secret)
    }

    /// Whether a record's secret is sealed with this data key.
    pub(crate) fn is_sealed_with(&self, id: u32) -> bool {
        let mut authorities = AuthorityKind::ALL
            .into_iter()
            .flat_map(|kind| self.authorities(kind));
        let mut invites = self.invites();
        authorities.any(|authority| {
            authority
                .sealed_key
                .as_ref()
                .is_some_and(|key| key.key_id == id)
        }) || invites.any(|invite| invite.verifier.key_id == id)
            || self.acme_secrets().any(|one| one.sealed_key.key_id == id)
    }
}

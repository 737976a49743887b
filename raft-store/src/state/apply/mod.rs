//! The one way to change the state: a total, deterministic function of state and command.

mod acme;
mod agent;
mod authority;
mod bundle;
mod entry;
mod epoch;
mod federation;
mod join_token;
mod member;
mod rotation;
mod setting;
mod upstream;

use std::sync::Arc;

use crate::change::Change;
use crate::codec::outcome_to_bytes;
use crate::command::{Command, Envelope, Outcome, Outcome as Done};
use crate::record::{Revision, Sequence};
use crate::state::journal::Journal;
use crate::state::{RequestRecord, RowWrite, State, StateHash};

/// What applying one command did.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) outcome: Outcome,
    pub(crate) changes: Vec<Arc<Change>>,
    pub(crate) rows: Vec<RowWrite>,
}

impl State {
    /// Applies the command at `index` of the log. A request that was applied before answers what it
    /// answered then, and changes nothing.
    pub(crate) fn apply(&mut self, index: u64, envelope: &Envelope) -> Applied {
        if let Some(outcome) = self.replay(envelope) {
            return Applied {
                outcome,
                changes: Vec::new(),
                rows: Vec::new(),
            };
        }
        let mut journal = Journal::default();
        let outcome = self.dispatch(index, envelope, &mut journal);
        if !journal.rows.is_empty() {
            self.revision = self.revision.next();
        }
        let request = RequestRecord {
            id: envelope.request_id,
            at: envelope.at,
            outcome: outcome_to_bytes(&outcome),
        };
        self.requests.push(request, &mut journal);
        self.hash = self.hash.plus(journal.hash);
        self.applied(outcome, journal)
    }

    fn applied(&self, outcome: Outcome, journal: Journal) -> Applied {
        let revision = self.revision;
        let change = |kind| Arc::new(Change { revision, kind });
        Applied {
            outcome,
            changes: journal.changes.into_iter().map(change).collect(),
            rows: journal.rows,
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "every command, and none by default: a new one cannot be overlooked"
    )]
    fn dispatch(&mut self, index: u64, envelope: &Envelope, journal: &mut Journal) -> Outcome {
        let at = envelope.at;
        match &envelope.command {
            Command::CreateEntries(c) => Done::CreateEntries(self.create_entries(c, journal)),
            Command::UpdateEntries(c) => Done::UpdateEntries(self.update_entries(c, journal)),
            Command::DeleteEntries(c) => Done::DeleteEntries(self.delete_entries(c, journal)),
            Command::PruneEntries(c) => Done::PruneEntries(self.prune_entries(c, journal)),
            Command::AttestAgent(c) => Done::AttestAgent(self.attest_agent(c, at, journal)),
            Command::RedeemJoinToken(c) => {
                Done::RedeemJoinToken(self.redeem_join_token(c, at, journal))
            }
            Command::RenewAgent(c) => Done::RenewAgent(self.renew_agent(c, journal)),
            Command::PromoteAgentSerial(c) => {
                Done::PromoteAgentSerial(self.promote_agent_serial(c, journal))
            }
            Command::BanAgent(c) => Done::BanAgent(self.ban_agent(c, journal)),
            Command::DeleteAgent(c) => Done::DeleteAgent(self.delete_agent(c, journal)),
            Command::SetAgentVersion(c) => {
                Done::SetAgentVersion(self.set_agent_version(c, journal))
            }
            Command::PruneAgents(c) => Done::PruneAgents(self.prune_agents(c, journal)),
            Command::CreateJoinToken(c) => {
                Done::CreateJoinToken(self.create_join_token(c, journal))
            }
            Command::DiscardJoinToken(c) => {
                Done::DiscardJoinToken(self.discard_join_token(c, journal))
            }
            Command::PruneJoinTokens(c) => {
                Done::PruneJoinTokens(self.prune_join_tokens(c, journal))
            }
            Command::AppendAuthorities(c) => {
                Done::AppendAuthorities(self.append_authorities(c, journal))
            }
            Command::SetFederatedBundle(_)
            | Command::UpdateFederatedBundle(_)
            | Command::DeleteFederatedBundle(_)
            | Command::CreateRelationship(_)
            | Command::UpdateRelationship(_)
            | Command::DeleteRelationship(_) => self.federate(&envelope.command, journal),
            Command::PruneBundle(c) => Done::PruneBundle(self.prune_bundle(c, journal)),
            Command::PrepareAuthority(_)
            | Command::PublishAuthority(_)
            | Command::ActivateAuthority(_)
            | Command::RemoveAuthority(_)
            | Command::PrepareSuccessor(_)
            | Command::ActivateRoot(_)
            | Command::TaintAuthority(_)
            | Command::RevokeAuthority(_)
            | Command::PrepareBelowUpstream(_)
            | Command::SyncUpstreamBundle(_)
            | Command::TaintUpstreamAuthority(_)
            | Command::RevokeUpstreamAuthority(_) => {
                self.move_authority(&envelope.command, journal)
            }
            Command::AddDataKey(c) => Done::AddDataKey(self.add_data_key(c, journal)),
            Command::SetSetting(c) => Done::SetSetting(self.set_setting(c, journal)),
            Command::RemoveDataKey(c) => Done::RemoveDataKey(self.remove_data_key(*c, journal)),
            Command::ResealAuthority(c) => Done::ResealAuthority(self.reseal_authority(c, journal)),
            Command::KeepAcmeSecret(c) => Done::KeepAcmeSecret(self.keep_acme_secret(c, journal)),
            Command::CreateInvite(c) => Done::CreateInvite(self.create_invite(c, journal)),
            Command::PruneInvites(c) => Done::PruneInvites(self.prune_invites(c, journal)),
            Command::AdmitMember(c) => Done::AdmitMember(self.admit_member(c, index, at, journal)),
            Command::AnnounceMember(c) => {
                Done::AnnounceMember(self.announce_member(c, at, journal))
            }
            Command::RemoveMember(c) => Done::RemoveMember(self.remove_member(*c, journal)),
            Command::SetClusterVersion(c) => {
                Done::SetClusterVersion(self.set_cluster_version(c, journal))
            }
            #[cfg(feature = "next-format")]
            Command::SetNote(c) => Done::SetNote(self.set_note(c, journal)),
            Command::BeginEpoch(c) => {
                self.begin_epoch(c, journal);
                Done::BeginEpoch(())
            }
        }
    }

    /// What concerns other trust domains.
    fn federate(&mut self, command: &Command, journal: &mut Journal) -> Outcome {
        match command {
            Command::SetFederatedBundle(c) => {
                Done::SetFederatedBundle(self.set_federated_bundle(c, journal))
            }
            Command::UpdateFederatedBundle(c) => {
                Done::UpdateFederatedBundle(self.update_federated_bundle(c, journal))
            }
            Command::DeleteFederatedBundle(c) => {
                Done::DeleteFederatedBundle(self.delete_federated_bundle(c, journal))
            }
            Command::CreateRelationship(c) => {
                Done::CreateRelationship(self.create_relationship(c, journal))
            }
            Command::UpdateRelationship(c) => {
                Done::UpdateRelationship(self.update_relationship(c, journal))
            }
            Command::DeleteRelationship(c) => {
                Done::DeleteRelationship(self.delete_relationship(c, journal))
            }
            _ => Done::RequestReused,
        }
    }

    /// A step in the life of an authority.
    fn move_authority(&mut self, command: &Command, journal: &mut Journal) -> Outcome {
        match command {
            Command::PrepareAuthority(c) => {
                Done::PrepareAuthority(self.prepare_authority(c, journal))
            }
            Command::PublishAuthority(c) => {
                Done::PublishAuthority(self.publish_authority(c, journal))
            }
            Command::ActivateAuthority(c) => {
                Done::ActivateAuthority(self.activate_authority(c, journal))
            }
            Command::RemoveAuthority(c) => Done::RemoveAuthority(self.remove_authority(c, journal)),
            Command::PrepareSuccessor(c) => {
                Done::PrepareSuccessor(self.prepare_successor(c, journal))
            }
            Command::ActivateRoot(c) => Done::ActivateRoot(self.activate_root(c, journal)),
            Command::TaintAuthority(c) => Done::TaintAuthority(self.taint_authority(c, journal)),
            Command::RevokeAuthority(c) => Done::RevokeAuthority(self.revoke_authority(c, journal)),
            Command::PrepareBelowUpstream(c) => {
                Done::PrepareBelowUpstream(self.prepare_below_upstream(c, journal))
            }
            Command::SyncUpstreamBundle(c) => {
                Done::SyncUpstreamBundle(self.sync_upstream_bundle(c, journal))
            }
            Command::TaintUpstreamAuthority(c) => {
                Done::TaintUpstreamAuthority(self.taint_upstream_authority(c, journal))
            }
            Command::RevokeUpstreamAuthority(c) => {
                Done::RevokeUpstreamAuthority(self.revoke_upstream_authority(c, journal))
            }
            _ => Done::RequestReused,
        }
    }

    fn next_sequence(&mut self) -> Sequence {
        self.sequence = Sequence::new(self.sequence.as_u64() + 1);
        self.sequence
    }

    /// The counters and the hash, for the row that moves with every batch.
    pub(crate) const fn position(&self) -> (Revision, Sequence, StateHash) {
        (self.revision, self.sequence, self.hash)
    }
}

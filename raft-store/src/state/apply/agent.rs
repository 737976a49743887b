//! Commands on agents.

use identity::clock::UnixTime;
use identity::spiffe_id::SpiffeId;

use crate::command::{
    AttestAgent, AttestOutcome, BanAgent, DeleteAgent, PromoteAgentSerial, PromoteOutcome,
    PruneAgents, RedeemJoinToken, RenewAgent, RenewOutcome, SetAgentVersion,
};
use crate::record::{Admission, AgentRecord, Sequence};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn attest_agent(
        &mut self,
        command: &AttestAgent,
        at: UnixTime,
        journal: &mut Journal,
    ) -> AttestOutcome {
        if let Some(hash) = &command.redeem {
            // Removed even when expired: a token is tried once.
            match self.join_tokens.remove(hash, journal) {
                None => return AttestOutcome::TokenNotRedeemable,
                Some(token) if token.expires_at < at => return AttestOutcome::TokenExpired,
                Some(_) => {}
            }
        }
        self.admit_agent(command, None, journal)
    }

    pub(super) fn redeem_join_token(
        &mut self,
        command: &RedeemJoinToken,
        at: UnixTime,
        journal: &mut Journal,
    ) -> AttestOutcome {
        let Some(token) = self.join_tokens.remove(&command.token, journal) else {
            return self.repeat_admission(command, at, journal);
        };
        if token.expires_at < at {
            return AttestOutcome::TokenExpired;
        }
        let attestation = AttestAgent {
            spiffe_id: command.spiffe_id.clone(),
            attestation_type: JOIN_TOKEN.into(),
            serial: command.serial.clone(),
            not_after: command.not_after,
            can_reattest: false,
            selectors: command.selectors.clone(),
            redeem: None,
        };
        let admission = Admission {
            public_key: command.public_key,
            repeatable_until: token.expires_at,
        };
        self.admit_agent(&attestation, Some(Box::new(admission)), journal)
    }

    /// The token is used up. By an attempt of the same agent that had no answer?
    fn repeat_admission(
        &mut self,
        command: &RedeemJoinToken,
        at: UnixTime,
        journal: &mut Journal,
    ) -> AttestOutcome {
        let Some((sequence, agent)) = self.agents.find(&command.spiffe_id) else {
            return AttestOutcome::TokenNotRedeemable;
        };
        let admission = agent.admission.as_deref();
        if !admission.is_some_and(|admission| admission.may_repeat(command.public_key, at)) {
            return AttestOutcome::TokenNotRedeemable;
        }
        if agent.is_banned() {
            return AttestOutcome::Banned;
        }
        let agent = with_next_certificate(agent, &command.serial, command.not_after);
        self.agents.put(sequence, agent, journal);
        AttestOutcome::Attested
    }

    fn admit_agent(
        &mut self,
        command: &AttestAgent,
        admission: Option<Box<Admission>>,
        journal: &mut Journal,
    ) -> AttestOutcome {
        let known = self.agents.find(&command.spiffe_id);
        if known.is_some_and(|(_, agent)| agent.is_banned()) {
            return AttestOutcome::Banned;
        }
        let (sequence, attestation_type, agent_version) = match known {
            Some((sequence, agent)) => (
                Some(sequence),
                agent.attestation_type.clone(),
                agent.agent_version.clone(),
            ),
            None => (None, command.attestation_type.clone(), Box::default()),
        };
        let sequence = sequence.unwrap_or_else(|| self.next_sequence());
        let agent = AgentRecord {
            spiffe_id: command.spiffe_id.clone(),
            attestation_type,
            serial: command.serial.clone(),
            not_after: command.not_after,
            new_serial: Box::default(),
            new_not_after: None,
            can_reattest: command.can_reattest,
            agent_version,
            selectors: command.selectors.clone(),
            admission,
        };
        self.agents.put(sequence, agent, journal);
        AttestOutcome::Attested
    }

    pub(super) fn renew_agent(
        &mut self,
        command: &RenewAgent,
        journal: &mut Journal,
    ) -> RenewOutcome {
        let Some((sequence, agent)) = self.agents.find(&command.spiffe_id) else {
            return RenewOutcome::NotFound;
        };
        if agent.is_banned() {
            return RenewOutcome::Banned;
        }
        let agent = AgentRecord {
            admission: None,
            ..with_next_certificate(agent, &command.new_serial, command.new_not_after)
        };
        self.agents.put(sequence, agent, journal);
        RenewOutcome::Renewed
    }

    pub(super) fn promote_agent_serial(
        &mut self,
        command: &PromoteAgentSerial,
        journal: &mut Journal,
    ) -> PromoteOutcome {
        let Some((sequence, agent)) = self.agents.find(&command.spiffe_id) else {
            return PromoteOutcome::Stale;
        };
        // Empty is no serial: it would promote a banned agent's.
        if command.serial.is_empty() {
            return PromoteOutcome::Stale;
        }
        if agent.serial == command.serial {
            return PromoteOutcome::Promoted;
        }
        if agent.new_serial != command.serial {
            return PromoteOutcome::Stale;
        }
        let agent = AgentRecord {
            serial: agent.new_serial.clone(),
            not_after: agent.new_not_after.unwrap_or(agent.not_after),
            new_serial: Box::default(),
            new_not_after: None,
            admission: None,
            ..AgentRecord::clone(agent)
        };
        self.agents.put(sequence, agent, journal);
        PromoteOutcome::Promoted
    }

    pub(super) fn ban_agent(&mut self, command: &BanAgent, journal: &mut Journal) -> bool {
        let Some((sequence, agent)) = self.agents.find(&command.spiffe_id) else {
            return false;
        };
        let agent = AgentRecord {
            serial: Box::default(),
            new_serial: Box::default(),
            ..AgentRecord::clone(agent)
        };
        self.agents.put(sequence, agent, journal);
        true
    }

    pub(super) fn delete_agent(&mut self, command: &DeleteAgent, journal: &mut Journal) -> bool {
        let Some((sequence, _)) = self.agents.find(&command.spiffe_id) else {
            return false;
        };
        self.forget_agent(sequence, &command.spiffe_id, journal);
        true
    }

    pub(super) fn set_agent_version(
        &mut self,
        command: &SetAgentVersion,
        journal: &mut Journal,
    ) -> bool {
        let Some((sequence, agent)) = self.agents.find(&command.spiffe_id) else {
            return false;
        };
        if agent.agent_version == command.version {
            return true;
        }
        let agent = AgentRecord {
            agent_version: command.version.clone(),
            ..AgentRecord::clone(agent)
        };
        self.agents.put(sequence, agent, journal);
        true
    }

    pub(super) fn prune_agents(
        &mut self,
        command: &PruneAgents,
        journal: &mut Journal,
    ) -> Vec<SpiffeId> {
        let limit = usize::try_from(command.limit).unwrap_or(usize::MAX);
        let due: Vec<_> = self
            .agents
            .after(None)
            .filter(|(_, agent)| {
                !agent.is_banned()
                    && agent.not_after < command.expired_before
                    && (agent.can_reattest || command.include_non_reattestable)
            })
            .take(limit)
            .map(|(sequence, agent)| (sequence, agent.spiffe_id.clone()))
            .collect();
        for (sequence, spiffe_id) in &due {
            self.forget_agent(*sequence, spiffe_id, journal);
        }
        due.into_iter().map(|(_, spiffe_id)| spiffe_id).collect()
    }

    fn forget_agent(&mut self, sequence: Sequence, spiffe_id: &SpiffeId, journal: &mut Journal) {
        let by_token = self
            .agents
            .find(spiffe_id)
            .is_some_and(|(_, agent)| &*agent.attestation_type == JOIN_TOKEN);
        self.agents.remove(sequence, journal);
        if !by_token {
            return;
        }
        let aliases: Vec<Sequence> = self
            .entries
            .by_parent(spiffe_id, None)
            .filter(|(_, entry)| {
                let mut selectors = entry.selectors.iter();
                selectors.next().is_some_and(|only| {
                    only.kind() == "spiffe_id" && only.value() == spiffe_id.as_str()
                }) && selectors.next().is_none()
            })
            .map(|(sequence, _)| sequence)
            .collect();
        for alias in aliases {
            self.entries.remove(alias, journal);
        }
    }
}

/// Attestation type whose agents may have an alias entry of their own making.
const JOIN_TOKEN: &str = "join_token";

/// The record of an agent that was given another certificate: it counts from when the agent shows it.
fn with_next_certificate(agent: &AgentRecord, serial: &str, not_after: UnixTime) -> AgentRecord {
    AgentRecord {
        new_serial: serial.into(),
        new_not_after: Some(not_after),
        ..agent.clone()
    }
}

//! Agents, join tokens, and the commands on them.

use identity::clock::UnixTime;

use super::field::{public_key_hash, selectors, selectors_to_wire, spiffe_id, time, token_hash};
use super::{DecodeError, Stored, wire};
use crate::command::{
    AttestAgent, BanAgent, CreateJoinToken, DeleteAgent, DiscardJoinToken, PromoteAgentSerial,
    PruneAgents, PruneJoinTokens, RedeemJoinToken, RenewAgent, SetAgentVersion,
};
use crate::record::{Admission, AgentRecord, JoinTokenRecord};

impl Stored for AgentRecord {
    type Message = wire::Agent;

    fn to_message(&self) -> wire::Agent {
        wire::Agent {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            attestation_type: self.attestation_type.to_string(),
            serial: self.serial.to_string(),
            not_after: self.not_after.as_secs(),
            new_serial: self.new_serial.to_string(),
            new_not_after: self.new_not_after.map(UnixTime::as_secs),
            can_reattest: self.can_reattest,
            agent_version: self.agent_version.to_string(),
            selectors: selectors_to_wire(&self.selectors),
            admission: self.admission.as_deref().map(Stored::to_message),
        }
    }

    fn from_message(agent: wire::Agent) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&agent.spiffe_id)?,
            attestation_type: agent.attestation_type.into(),
            serial: agent.serial.into(),
            not_after: time(agent.not_after),
            new_serial: agent.new_serial.into(),
            new_not_after: agent.new_not_after.map(time),
            can_reattest: agent.can_reattest,
            agent_version: agent.agent_version.into(),
            selectors: selectors(&agent.selectors)?,
            admission: agent
                .admission
                .map(|admission| Stored::from_message(admission).map(Box::new))
                .transpose()?,
        })
    }
}

impl Stored for Admission {
    type Message = wire::Admission;

    fn to_message(&self) -> wire::Admission {
        wire::Admission {
            public_key: self.public_key.as_bytes().to_vec(),
            repeatable_until: self.repeatable_until.as_secs(),
        }
    }

    fn from_message(admission: wire::Admission) -> Result<Self, DecodeError> {
        Ok(Self {
            public_key: public_key_hash(&admission.public_key)?,
            repeatable_until: time(admission.repeatable_until),
        })
    }
}

impl Stored for JoinTokenRecord {
    type Message = wire::JoinToken;

    fn to_message(&self) -> wire::JoinToken {
        wire::JoinToken {
            hash: self.hash.as_bytes().to_vec(),
            expires_at: self.expires_at.as_secs(),
        }
    }

    fn from_message(token: wire::JoinToken) -> Result<Self, DecodeError> {
        Ok(Self {
            hash: token_hash(&token.hash)?,
            expires_at: time(token.expires_at),
        })
    }
}

impl Stored for AttestAgent {
    type Message = wire::AttestAgent;

    fn to_message(&self) -> wire::AttestAgent {
        wire::AttestAgent {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            attestation_type: self.attestation_type.to_string(),
            serial: self.serial.to_string(),
            not_after: self.not_after.as_secs(),
            can_reattest: self.can_reattest,
            selectors: selectors_to_wire(&self.selectors),
            redeem: self.redeem.map(|hash| hash.as_bytes().to_vec()),
        }
    }

    fn from_message(command: wire::AttestAgent) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
            attestation_type: command.attestation_type.into(),
            serial: command.serial.into(),
            not_after: time(command.not_after),
            can_reattest: command.can_reattest,
            selectors: selectors(&command.selectors)?,
            redeem: command.redeem.as_deref().map(token_hash).transpose()?,
        })
    }
}

impl Stored for RedeemJoinToken {
    type Message = wire::RedeemJoinToken;

    fn to_message(&self) -> wire::RedeemJoinToken {
        wire::RedeemJoinToken {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            serial: self.serial.to_string(),
            not_after: self.not_after.as_secs(),
            selectors: selectors_to_wire(&self.selectors),
            token: self.token.as_bytes().to_vec(),
            public_key: self.public_key.as_bytes().to_vec(),
        }
    }

    fn from_message(command: wire::RedeemJoinToken) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
            serial: command.serial.into(),
            not_after: time(command.not_after),
            selectors: selectors(&command.selectors)?,
            token: token_hash(&command.token)?,
            public_key: public_key_hash(&command.public_key)?,
        })
    }
}

impl Stored for RenewAgent {
    type Message = wire::RenewAgent;

    fn to_message(&self) -> wire::RenewAgent {
        wire::RenewAgent {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            new_serial: self.new_serial.to_string(),
            new_not_after: self.new_not_after.as_secs(),
        }
    }

    fn from_message(command: wire::RenewAgent) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
            new_serial: command.new_serial.into(),
            new_not_after: time(command.new_not_after),
        })
    }
}

impl Stored for PromoteAgentSerial {
    type Message = wire::PromoteAgentSerial;

    fn to_message(&self) -> wire::PromoteAgentSerial {
        wire::PromoteAgentSerial {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            serial: self.serial.to_string(),
        }
    }

    fn from_message(command: wire::PromoteAgentSerial) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
            serial: command.serial.into(),
        })
    }
}

impl Stored for BanAgent {
    type Message = wire::BanAgent;

    fn to_message(&self) -> wire::BanAgent {
        wire::BanAgent {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::BanAgent) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
        })
    }
}

impl Stored for DeleteAgent {
    type Message = wire::DeleteAgent;

    fn to_message(&self) -> wire::DeleteAgent {
        wire::DeleteAgent {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::DeleteAgent) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
        })
    }
}

impl Stored for SetAgentVersion {
    type Message = wire::SetAgentVersion;

    fn to_message(&self) -> wire::SetAgentVersion {
        wire::SetAgentVersion {
            spiffe_id: self.spiffe_id.as_str().to_owned(),
            version: self.version.to_string(),
        }
    }

    fn from_message(command: wire::SetAgentVersion) -> Result<Self, DecodeError> {
        Ok(Self {
            spiffe_id: spiffe_id(&command.spiffe_id)?,
            version: command.version.into(),
        })
    }
}

impl Stored for PruneAgents {
    type Message = wire::PruneAgents;

    fn to_message(&self) -> wire::PruneAgents {
        wire::PruneAgents {
            expired_before: self.expired_before.as_secs(),
            include_non_reattestable: self.include_non_reattestable,
            limit: self.limit,
        }
    }

    fn from_message(command: wire::PruneAgents) -> Result<Self, DecodeError> {
        Ok(Self {
            expired_before: time(command.expired_before),
            include_non_reattestable: command.include_non_reattestable,
            limit: command.limit,
        })
    }
}

impl Stored for CreateJoinToken {
    type Message = wire::CreateJoinToken;

    fn to_message(&self) -> wire::CreateJoinToken {
        wire::CreateJoinToken {
            hash: self.hash.as_bytes().to_vec(),
            expires_at: self.expires_at.as_secs(),
            alias: self.alias.as_deref().map(Stored::to_message),
        }
    }

    fn from_message(command: wire::CreateJoinToken) -> Result<Self, DecodeError> {
        Ok(Self {
            hash: token_hash(&command.hash)?,
            expires_at: time(command.expires_at),
            alias: command
                .alias
                .map(|alias| Stored::from_message(alias).map(Box::new))
                .transpose()?,
        })
    }
}

impl Stored for DiscardJoinToken {
    type Message = wire::DiscardJoinToken;

    fn to_message(&self) -> wire::DiscardJoinToken {
        wire::DiscardJoinToken {
            hash: self.hash.as_bytes().to_vec(),
        }
    }

    fn from_message(command: wire::DiscardJoinToken) -> Result<Self, DecodeError> {
        Ok(Self {
            hash: token_hash(&command.hash)?,
        })
    }
}

impl Stored for PruneJoinTokens {
    type Message = wire::PruneJoinTokens;

    fn to_message(&self) -> wire::PruneJoinTokens {
        wire::PruneJoinTokens {
            expired_before: self.expired_before.as_secs(),
            limit: self.limit,
        }
    }

    fn from_message(command: wire::PruneJoinTokens) -> Result<Self, DecodeError> {
        Ok(Self {
            expired_before: time(command.expired_before),
            limit: command.limit,
        })
    }
}

//! The commands of a rotation by hand.

use super::authority::{kind_from_wire, kind_to_wire};
use super::field::trust_domain;
use super::{DecodeError, Stored, wire};
use crate::command::{ActivateRoot, PrepareSuccessor, RevokeAuthority, TaintAuthority};

impl Stored for PrepareSuccessor {
    type Message = wire::PrepareSuccessor;

    fn to_message(&self) -> wire::PrepareSuccessor {
        wire::PrepareSuccessor {
            authority: Some(self.authority.to_message()),
            trust_domain: self.trust_domain.as_str().to_owned(),
            at_most: self.at_most,
        }
    }

    fn from_message(command: wire::PrepareSuccessor) -> Result<Self, DecodeError> {
        let authority = command.authority.ok_or(DecodeError::Field("authority"))?;
        Ok(Self {
            authority: Stored::from_message(authority)?,
            trust_domain: trust_domain(&command.trust_domain)?,
            at_most: command.at_most,
        })
    }
}

impl Stored for ActivateRoot {
    type Message = wire::ActivateRoot;

    fn to_message(&self) -> wire::ActivateRoot {
        wire::ActivateRoot {
            id: self.id.to_string(),
            intermediate: Some(self.intermediate.to_message()),
        }
    }

    fn from_message(command: wire::ActivateRoot) -> Result<Self, DecodeError> {
        let intermediate = command.intermediate;
        let intermediate = intermediate.ok_or(DecodeError::Field("intermediate"))?;
        Ok(Self {
            id: command.id.into(),
            intermediate: Stored::from_message(intermediate)?,
        })
    }
}

impl Stored for TaintAuthority {
    type Message = wire::TaintAuthority;

    fn to_message(&self) -> wire::TaintAuthority {
        wire::TaintAuthority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
            trust_domain: self.trust_domain.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::TaintAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: kind_from_wire(command.kind)?,
            id: command.id.into(),
            trust_domain: trust_domain(&command.trust_domain)?,
        })
    }
}

impl Stored for RevokeAuthority {
    type Message = wire::RevokeAuthority;

    fn to_message(&self) -> wire::RevokeAuthority {
        wire::RevokeAuthority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
            trust_domain: self.trust_domain.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::RevokeAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: kind_from_wire(command.kind)?,
            id: command.id.into(),
            trust_domain: trust_domain(&command.trust_domain)?,
        })
    }
}

//! Authorities and the commands on them.

use rustls_pki_types::CertificateDer;

use super::field::{time, trust_domain};
use super::{DecodeError, Stored, wire};
use crate::command::{
    ActivateAuthority, PrepareAuthority, PublishAuthority, RemoveAuthority, ResealAuthority,
};
use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState, Sealed};

impl From<AuthorityKind> for wire::AuthorityKind {
    fn from(kind: AuthorityKind) -> Self {
        match kind {
            AuthorityKind::X509Root => Self::X509Root,
            AuthorityKind::X509Intermediate => Self::X509Intermediate,
            AuthorityKind::Jwt => Self::Jwt,
            AuthorityKind::Peer => Self::Peer,
        }
    }
}

pub(super) fn kind_to_wire(kind: AuthorityKind) -> i32 {
    wire::AuthorityKind::from(kind).into()
}

pub(super) fn kind_from_wire(kind: i32) -> Result<AuthorityKind, DecodeError> {
    match wire::AuthorityKind::try_from(kind) {
        Ok(wire::AuthorityKind::X509Root) => Ok(AuthorityKind::X509Root),
        Ok(wire::AuthorityKind::X509Intermediate) => Ok(AuthorityKind::X509Intermediate),
        Ok(wire::AuthorityKind::Jwt) => Ok(AuthorityKind::Jwt),
        Ok(wire::AuthorityKind::Peer) => Ok(AuthorityKind::Peer),
        Ok(wire::AuthorityKind::Unspecified) | Err(_) => Err(DecodeError::Field("authority kind")),
    }
}

impl From<AuthorityState> for wire::AuthorityState {
    fn from(state: AuthorityState) -> Self {
        match state {
            AuthorityState::Prepared => Self::Prepared,
            AuthorityState::Published => Self::Published,
            AuthorityState::Active => Self::Active,
            AuthorityState::Old => Self::Old,
            AuthorityState::Tainted => Self::Tainted,
            AuthorityState::Revoked => Self::Revoked,
        }
    }
}

/// The state with this number.
pub(super) fn state_from_wire(state: i32) -> Result<AuthorityState, DecodeError> {
    match wire::AuthorityState::try_from(state) {
        Ok(wire::AuthorityState::Prepared) => Ok(AuthorityState::Prepared),
        Ok(wire::AuthorityState::Published) => Ok(AuthorityState::Published),
        Ok(wire::AuthorityState::Active) => Ok(AuthorityState::Active),
        Ok(wire::AuthorityState::Old) => Ok(AuthorityState::Old),
        Ok(wire::AuthorityState::Tainted) => Ok(AuthorityState::Tainted),
        Ok(wire::AuthorityState::Revoked) => Ok(AuthorityState::Revoked),
        Ok(wire::AuthorityState::Unspecified) | Err(_) => {
            Err(DecodeError::Field("authority state"))
        }
    }
}

impl Stored for Sealed {
    type Message = wire::Sealed;

    fn to_message(&self) -> wire::Sealed {
        wire::Sealed {
            key_id: self.key_id,
            nonce: self.nonce.to_vec(),
            ciphertext: self.ciphertext.clone(),
        }
    }

    fn from_message(sealed: wire::Sealed) -> Result<Self, DecodeError> {
        let nonce = <[u8; 12]>::try_from(sealed.nonce);
        Ok(Self {
            key_id: sealed.key_id,
            nonce: nonce.ok().ok_or(DecodeError::Field("nonce"))?,
            ciphertext: sealed.ciphertext,
        })
    }
}

impl Stored for AuthorityRecord {
    type Message = wire::Authority;

    fn to_message(&self) -> wire::Authority {
        wire::Authority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
            state: wire::AuthorityState::from(self.state).into(),
            issuer_id: self.issuer_id.as_deref().map(str::to_owned),
            certificate: self.certificate.as_ref().map(|der| der.to_vec()),
            public_key: self.public_key.clone(),
            issued_at: self.issued_at.as_secs(),
            not_after: self.not_after.as_secs(),
            sealed_key: self.sealed_key.as_ref().map(Stored::to_message),
            upstream_chain: self
                .upstream_chain
                .as_ref()
                .map(|chain| wire::UpstreamChain {
                    certificates: chain.iter().map(|der| der.to_vec()).collect(),
                }),
        }
    }

    fn from_message(authority: wire::Authority) -> Result<Self, DecodeError> {
        let sealed_key = authority.sealed_key.map(Stored::from_message).transpose()?;
        Ok(Self {
            kind: kind_from_wire(authority.kind)?,
            id: authority.id.into(),
            state: state_from_wire(authority.state)?,
            issuer_id: authority.issuer_id.map(Into::into),
            certificate: authority.certificate.map(CertificateDer::from),
            public_key: authority.public_key,
            issued_at: time(authority.issued_at),
            not_after: time(authority.not_after),
            sealed_key,
            upstream_chain: authority.upstream_chain.map(|chain| {
                let certificates = chain.certificates.into_iter();
                certificates.map(CertificateDer::from).collect()
            }),
        })
    }
}

impl Stored for PrepareAuthority {
    type Message = wire::PrepareAuthority;

    fn to_message(&self) -> wire::PrepareAuthority {
        wire::PrepareAuthority {
            authority: Some(self.authority.to_message()),
        }
    }

    fn from_message(command: wire::PrepareAuthority) -> Result<Self, DecodeError> {
        let authority = command.authority.ok_or(DecodeError::Field("authority"))?;
        Ok(Self {
            authority: Stored::from_message(authority)?,
        })
    }
}

impl Stored for PublishAuthority {
    type Message = wire::PublishAuthority;

    fn to_message(&self) -> wire::PublishAuthority {
        wire::PublishAuthority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
            trust_domain: self.trust_domain.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::PublishAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: kind_from_wire(command.kind)?,
            id: command.id.into(),
            trust_domain: trust_domain(&command.trust_domain)?,
        })
    }
}

impl Stored for ActivateAuthority {
    type Message = wire::ActivateAuthority;

    fn to_message(&self) -> wire::ActivateAuthority {
        wire::ActivateAuthority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
        }
    }

    fn from_message(command: wire::ActivateAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: kind_from_wire(command.kind)?,
            id: command.id.into(),
        })
    }
}

impl Stored for RemoveAuthority {
    type Message = wire::RemoveAuthority;

    fn to_message(&self) -> wire::RemoveAuthority {
        wire::RemoveAuthority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
            trust_domain: self.trust_domain.as_str().to_owned(),
        }
    }

    fn from_message(command: wire::RemoveAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: kind_from_wire(command.kind)?,
            id: command.id.into(),
            trust_domain: trust_domain(&command.trust_domain)?,
        })
    }
}

impl Stored for ResealAuthority {
    type Message = wire::ResealAuthority;

    fn to_message(&self) -> wire::ResealAuthority {
        wire::ResealAuthority {
            kind: kind_to_wire(self.kind),
            id: self.id.to_string(),
            sealed_key: Some(self.sealed_key.to_message()),
        }
    }

    fn from_message(command: wire::ResealAuthority) -> Result<Self, DecodeError> {
        let sealed_key = command.sealed_key.ok_or(DecodeError::Field("sealed key"))?;
        Ok(Self {
            kind: kind_from_wire(command.kind)?,
            id: command.id.into(),
            sealed_key: Stored::from_message(sealed_key)?,
        })
    }
}

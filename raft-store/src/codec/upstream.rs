//! The commands of a server that has an upstream.

use rustls_pki_types::CertificateDer;

use super::bundle::{from_wire, to_wire};
use super::field::trust_domain;
use super::{DecodeError, Stored, wire};
use crate::command::{
    PrepareBelowUpstream, RevokeUpstreamAuthority, SyncUpstreamBundle, TaintUpstreamAuthority,
};

impl Stored for PrepareBelowUpstream {
    type Message = wire::PrepareBelowUpstream;

    fn to_message(&self) -> wire::PrepareBelowUpstream {
        wire::PrepareBelowUpstream {
            authority: Some(self.authority.to_message()),
            roots: to_wire(&self.roots),
            trust_domain: self.trust_domain.as_str().to_owned(),
            at_most: self.at_most,
            only_if_none_is_coming: self.only_if_none_is_coming,
        }
    }

    fn from_message(command: wire::PrepareBelowUpstream) -> Result<Self, DecodeError> {
        let authority = command.authority.ok_or(DecodeError::Field("authority"))?;
        Ok(Self {
            authority: Stored::from_message(authority)?,
            roots: from_wire(command.roots)?,
            trust_domain: trust_domain(&command.trust_domain)?,
            at_most: command.at_most,
            only_if_none_is_coming: command.only_if_none_is_coming,
        })
    }
}

impl Stored for SyncUpstreamBundle {
    type Message = wire::SyncUpstreamBundle;

    fn to_message(&self) -> wire::SyncUpstreamBundle {
        wire::SyncUpstreamBundle {
            trust_domain: self.trust_domain.as_str().to_owned(),
            x509: to_wire(&self.x509),
            jwt: to_wire(&self.jwt),
        }
    }

    fn from_message(command: wire::SyncUpstreamBundle) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            x509: from_wire(command.x509)?,
            jwt: from_wire(command.jwt)?,
        })
    }
}

impl Stored for TaintUpstreamAuthority {
    type Message = wire::TaintUpstreamAuthority;

    fn to_message(&self) -> wire::TaintUpstreamAuthority {
        wire::TaintUpstreamAuthority {
            trust_domain: self.trust_domain.as_str().to_owned(),
            subject_key_id: self.subject_key_id.to_string(),
            certificates: bytes(&self.certificates),
        }
    }

    fn from_message(command: wire::TaintUpstreamAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            subject_key_id: command.subject_key_id.into(),
            certificates: certificates(command.certificates),
        })
    }
}

impl Stored for RevokeUpstreamAuthority {
    type Message = wire::RevokeUpstreamAuthority;

    fn to_message(&self) -> wire::RevokeUpstreamAuthority {
        wire::RevokeUpstreamAuthority {
            trust_domain: self.trust_domain.as_str().to_owned(),
            subject_key_id: self.subject_key_id.to_string(),
            certificates: bytes(&self.certificates),
        }
    }

    fn from_message(command: wire::RevokeUpstreamAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            subject_key_id: command.subject_key_id.into(),
            certificates: certificates(command.certificates),
        })
    }
}

fn bytes(certificates: &[CertificateDer<'static>]) -> Vec<Vec<u8>> {
    certificates.iter().map(|der| der.to_vec()).collect()
}

fn certificates(bytes: Vec<Vec<u8>>) -> Vec<CertificateDer<'static>> {
    bytes.into_iter().map(CertificateDer::from).collect()
}

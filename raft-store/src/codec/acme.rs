//! What an ACME server gave, and the command on it.

use rustls_pki_types::CertificateDer;

use super::{DecodeError, Stored, wire};
use crate::command::KeepAcmeSecret;
use crate::record::{AcmeSecret, AcmeSecretKind};
use crate::state::RowKey;

impl Stored for AcmeSecret {
    type Message = wire::AcmeSecret;

    fn to_message(&self) -> wire::AcmeSecret {
        wire::AcmeSecret {
            kind: kind_to_wire(self.kind).into(),
            directory_url: self.directory_url.to_string(),
            name: self.name.to_string(),
            chain: self.chain.iter().map(|der| der.to_vec()).collect(),
            sealed_key: Some(self.sealed_key.to_message()),
        }
    }

    fn from_message(secret: wire::AcmeSecret) -> Result<Self, DecodeError> {
        let sealed_key = secret.sealed_key.ok_or(DecodeError::Field("sealed key"))?;
        Ok(Self {
            kind: kind_from_wire(secret.kind)?,
            directory_url: secret.directory_url.into(),
            name: secret.name.into(),
            chain: secret.chain.into_iter().map(CertificateDer::from).collect(),
            sealed_key: Stored::from_message(sealed_key)?,
        })
    }
}

impl Stored for KeepAcmeSecret {
    type Message = wire::KeepAcmeSecret;

    fn to_message(&self) -> wire::KeepAcmeSecret {
        wire::KeepAcmeSecret {
            secret: Some(self.secret.to_message()),
            in_place_of: self.in_place_of.map(|nonce| nonce.to_vec()),
        }
    }

    fn from_message(command: wire::KeepAcmeSecret) -> Result<Self, DecodeError> {
        let secret = command.secret.ok_or(DecodeError::Field("secret"))?;
        let nonce = |bytes: Vec<u8>| bytes.try_into().ok().ok_or(DecodeError::Field("nonce"));
        Ok(Self {
            secret: Stored::from_message(secret)?,
            in_place_of: command.in_place_of.map(nonce).transpose()?,
        })
    }
}

/// The number of the kind.
impl RowKey for AcmeSecretKind {
    fn to_bytes(&self) -> Vec<u8> {
        i32::from(kind_to_wire(*self)).to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        kind_from_wire(i32::from_be_bytes(bytes.try_into().ok()?)).ok()
    }
}

const fn kind_to_wire(kind: AcmeSecretKind) -> wire::AcmeSecretKind {
    match kind {
        AcmeSecretKind::Account => wire::AcmeSecretKind::Account,
        AcmeSecretKind::Certificate => wire::AcmeSecretKind::Certificate,
    }
}

fn kind_from_wire(kind: i32) -> Result<AcmeSecretKind, DecodeError> {
    match wire::AcmeSecretKind::try_from(kind) {
        Ok(wire::AcmeSecretKind::Account) => Ok(AcmeSecretKind::Account),
        Ok(wire::AcmeSecretKind::Certificate) => Ok(AcmeSecretKind::Certificate),
        Ok(wire::AcmeSecretKind::Unspecified) | Err(_) => {
            Err(DecodeError::Field("kind of ACME secret"))
        }
    }
}

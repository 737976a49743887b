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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sealed;

    fn secret() -> AcmeSecret {
        AcmeSecret {
            kind: AcmeSecretKind::Account,
            directory_url: "https://ca.test/".into(),
            name: "https://ca.test/account/1".into(),
            chain: vec![CertificateDer::from(vec![1, 2])],
            sealed_key: Sealed {
                key_id: 1,
                nonce: [2; 12],
                ciphertext: vec![3; 48],
            },
        }
    }

    fn field<T: std::fmt::Debug>(refused: Result<T, DecodeError>) -> &'static str {
        match refused.unwrap_err() {
            DecodeError::Field(name) => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_of_no_known_kind_or_without_its_key_is_refused() {
        let told = secret().to_message();
        assert_eq!(AcmeSecret::from_message(told.clone()).unwrap(), secret());
        for kind in [0, 3, -1] {
            let unknown = wire::AcmeSecret {
                kind,
                ..told.clone()
            };
            let refused = AcmeSecret::from_message(unknown);
            assert_eq!(field(refused), "kind of ACME secret", "{kind}");
            assert_eq!(AcmeSecretKind::from_bytes(&kind.to_be_bytes()), None);
        }
        let keyless = wire::AcmeSecret {
            sealed_key: None,
            ..told
        };
        assert_eq!(field(AcmeSecret::from_message(keyless)), "sealed key");
        for kind in AcmeSecretKind::ALL {
            assert_eq!(AcmeSecretKind::from_bytes(&kind.to_bytes()), Some(kind));
        }
    }

    #[test]
    fn a_command_replaces_by_a_whole_nonce_or_not_at_all() {
        let command = |nonce: Option<[u8; 12]>| KeepAcmeSecret {
            secret: secret(),
            in_place_of: nonce,
        };
        for nonce in [None, Some([9; 12])] {
            let told = command(nonce).to_message();
            assert_eq!(KeepAcmeSecret::from_message(told).unwrap(), command(nonce));
        }
        for len in [0, 11, 13] {
            let broken = wire::KeepAcmeSecret {
                in_place_of: Some(vec![9; len]),
                ..command(None).to_message()
            };
            assert_eq!(field(KeepAcmeSecret::from_message(broken)), "nonce");
        }
        let empty = wire::KeepAcmeSecret::default();
        assert_eq!(field(KeepAcmeSecret::from_message(empty)), "secret");
    }
}

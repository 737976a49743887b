//! Bundles and the commands on them.

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use rustls_pki_types::CertificateDer;

use super::field::{time, trust_domain};
use super::{DecodeError, Stored, wire};
use crate::command::{
    AppendAuthorities, BundleChange, DeleteBundleMode, DeleteFederatedBundle, PruneBundle,
    SetBundleMode, SetFederatedBundle, UpdateFederatedBundle,
};

impl Stored for X509Authority {
    type Message = wire::X509Authority;

    fn to_message(&self) -> wire::X509Authority {
        wire::X509Authority {
            certificate: self.certificate.to_vec(),
            tainted: self.tainted,
        }
    }

    fn from_message(authority: wire::X509Authority) -> Result<Self, DecodeError> {
        Ok(Self {
            certificate: CertificateDer::from(authority.certificate),
            tainted: authority.tainted,
        })
    }
}

impl Stored for JwtAuthority {
    type Message = wire::JwtAuthority;

    fn to_message(&self) -> wire::JwtAuthority {
        wire::JwtAuthority {
            key_id: self.key_id.to_string(),
            public_key: self.public_key.clone(),
            expires_at: self.expires_at.map(UnixTime::as_secs),
            tainted: self.tainted,
        }
    }

    fn from_message(authority: wire::JwtAuthority) -> Result<Self, DecodeError> {
        Ok(Self {
            key_id: authority.key_id.into(),
            public_key: authority.public_key,
            expires_at: authority.expires_at.map(time),
            tainted: authority.tainted,
        })
    }
}

pub(super) fn to_wire<T: Stored>(authorities: &[T]) -> Vec<T::Message> {
    authorities.iter().map(Stored::to_message).collect()
}

pub(super) fn from_wire<T: Stored>(authorities: Vec<T::Message>) -> Result<Vec<T>, DecodeError> {
    authorities.into_iter().map(Stored::from_message).collect()
}

impl Stored for Bundle {
    type Message = wire::Bundle;

    fn to_message(&self) -> wire::Bundle {
        wire::Bundle {
            trust_domain: self.trust_domain.as_str().to_owned(),
            x509_authorities: to_wire(&self.x509_authorities),
            jwt_authorities: to_wire(&self.jwt_authorities),
            refresh_hint_s: self.refresh_hint_s,
            sequence: self.sequence,
        }
    }

    fn from_message(bundle: wire::Bundle) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&bundle.trust_domain)?,
            x509_authorities: from_wire(bundle.x509_authorities)?,
            jwt_authorities: from_wire(bundle.jwt_authorities)?,
            refresh_hint_s: bundle.refresh_hint_s,
            sequence: bundle.sequence,
        })
    }
}

impl Stored for AppendAuthorities {
    type Message = wire::AppendAuthorities;

    fn to_message(&self) -> wire::AppendAuthorities {
        wire::AppendAuthorities {
            trust_domain: self.trust_domain.as_str().to_owned(),
            x509: to_wire(&self.x509),
            jwt: to_wire(&self.jwt),
        }
    }

    fn from_message(command: wire::AppendAuthorities) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            x509: from_wire(command.x509)?,
            jwt: from_wire(command.jwt)?,
        })
    }
}

impl Stored for SetFederatedBundle {
    type Message = wire::SetFederatedBundle;

    fn to_message(&self) -> wire::SetFederatedBundle {
        wire::SetFederatedBundle {
            bundle: Some(self.bundle.to_message()),
            create: self.mode == SetBundleMode::Create,
        }
    }

    fn from_message(command: wire::SetFederatedBundle) -> Result<Self, DecodeError> {
        let bundle = command.bundle.ok_or(DecodeError::Field("bundle"))?;
        Ok(Self {
            bundle: Stored::from_message(bundle)?,
            mode: if command.create {
                SetBundleMode::Create
            } else {
                SetBundleMode::Set
            },
        })
    }
}

impl Stored for UpdateFederatedBundle {
    type Message = wire::UpdateFederatedBundle;

    fn to_message(&self) -> wire::UpdateFederatedBundle {
        let change = &self.change;
        let x509 = change.x509_authorities.as_deref();
        let jwt = change.jwt_authorities.as_deref();
        wire::UpdateFederatedBundle {
            trust_domain: self.trust_domain.as_str().to_owned(),
            x509_authorities: x509.map(|authorities| wire::X509AuthoritiesChange {
                values: to_wire(authorities),
            }),
            jwt_authorities: jwt.map(|authorities| wire::JwtAuthoritiesChange {
                values: to_wire(authorities),
            }),
            refresh_hint_s: change.refresh_hint_s,
            sequence: change.sequence,
        }
    }

    fn from_message(command: wire::UpdateFederatedBundle) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            change: BundleChange {
                x509_authorities: command
                    .x509_authorities
                    .map(|change| from_wire(change.values))
                    .transpose()?,
                jwt_authorities: command
                    .jwt_authorities
                    .map(|change| from_wire(change.values))
                    .transpose()?,
                refresh_hint_s: command.refresh_hint_s,
                sequence: command.sequence,
            },
        })
    }
}

impl Stored for DeleteFederatedBundle {
    type Message = wire::DeleteFederatedBundle;

    fn to_message(&self) -> wire::DeleteFederatedBundle {
        let mode = match self.mode {
            DeleteBundleMode::Restrict => wire::DeleteBundleMode::Restrict,
            DeleteBundleMode::Dissociate => wire::DeleteBundleMode::Dissociate,
            DeleteBundleMode::Delete => wire::DeleteBundleMode::Delete,
        };
        wire::DeleteFederatedBundle {
            trust_domain: self.trust_domain.as_str().to_owned(),
            mode: mode.into(),
        }
    }

    fn from_message(command: wire::DeleteFederatedBundle) -> Result<Self, DecodeError> {
        let mode = match wire::DeleteBundleMode::try_from(command.mode) {
            Ok(wire::DeleteBundleMode::Restrict) => DeleteBundleMode::Restrict,
            Ok(wire::DeleteBundleMode::Dissociate) => DeleteBundleMode::Dissociate,
            Ok(wire::DeleteBundleMode::Delete) => DeleteBundleMode::Delete,
            Ok(wire::DeleteBundleMode::Unspecified) | Err(_) => {
                return Err(DecodeError::Field("mode"));
            }
        };
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            mode,
        })
    }
}

impl Stored for PruneBundle {
    type Message = wire::PruneBundle;

    fn to_message(&self) -> wire::PruneBundle {
        wire::PruneBundle {
            trust_domain: self.trust_domain.as_str().to_owned(),
            expired_before: self.expired_before.as_secs(),
        }
    }

    fn from_message(command: wire::PruneBundle) -> Result<Self, DecodeError> {
        Ok(Self {
            trust_domain: trust_domain(&command.trust_domain)?,
            expired_before: time(command.expired_before),
        })
    }
}

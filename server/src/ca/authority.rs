//! How a new authority is made: its key, its id and, for X.509, its certificate.
//!
//! What is made here exists nowhere else until its record, with the key sealed, is in the store.

use std::time::Duration;

use identity::{
    clock::UnixTime,
    hex,
    secret::{KeyError, KeyType, PrivateKey},
    trust_domain::TrustDomain,
    x509::subject_key_id,
};
use raft_store::{AuthorityKind, AuthorityRecord, AuthorityState, Sealed};
use rustls_pki_types::CertificateDer;

use crate::ca::{
    minted::Checked,
    name::DistinguishedName,
    policy::{PEER_AUTHORITY_TTL, Policy},
    signer::{self, AuthorityRequest, IssuedAuthority, SignError, X509Issuer},
};

/// A new authority that the store does not know yet.
pub(super) struct NewAuthority {
    kind: AuthorityKind,
    id: Box<str>,
    issuer_id: Option<Box<str>>,
    certificate: Option<CertificateDer<'static>>,
    key: PrivateKey,
    issued_at: UnixTime,
    not_after: UnixTime,
    upstream_chain: Option<Vec<CertificateDer<'static>>>,
}

/// The authority under which a new intermediate is made.
pub(super) struct Root {
    /// Its id.
    pub(super) id: Box<str>,
    /// Itself, ready to sign.
    pub(super) issuer: X509Issuer,
}

impl NewAuthority {
    /// Makes a root. Takes seconds with an RSA key.
    pub(super) fn root(policy: &Policy, now: UnixTime) -> Result<Self, MakeError> {
        let key = PrivateKey::generate(policy.ca_key_type)?;
        let request = Self::request(&key, policy, policy.root_ttl());
        let issued = signer::sign_root(&key, &request, now)?;
        Self::x509(AuthorityKind::X509Root, key, issued, None, now)
    }

    /// Makes an intermediate under `root`. Takes seconds with an RSA key.
    pub(super) fn intermediate(
        policy: &Policy,
        root: Root,
        now: UnixTime,
    ) -> Result<Self, MakeError> {
        let key = PrivateKey::generate(policy.ca_key_type)?;
        let request = Self::request(&key, policy, policy.ca_ttl);
        let issued = root.issuer.sign_authority(&request, now)?;
        Self::x509(
            AuthorityKind::X509Intermediate,
            key,
            issued,
            Some(root.id),
            now,
        )
    }

    /// The intermediate that an upstream signed for `key`.
    pub(super) fn below_upstream(key: PrivateKey, checked: Checked, now: UnixTime) -> Self {
        Self {
            kind: AuthorityKind::X509Intermediate,
            id: checked.id,
            issuer_id: Some(checked.issuer_id),
            certificate: Some(checked.certificate),
            key,
            issued_at: now,
            not_after: checked.not_after,
            upstream_chain: Some(checked.chain),
        }
    }

    /// Makes a JWT key. Takes seconds with an RSA key.
    pub(super) fn jwt(policy: &Policy, now: UnixTime) -> Result<Self, MakeError> {
        Ok(Self {
            kind: AuthorityKind::Jwt,
            id: signer::random_key_id()?,
            issuer_id: None,
            certificate: None,
            key: PrivateKey::generate(policy.jwt_key_type)?,
            issued_at: now,
            not_after: now.saturating_add(policy.ca_ttl),
            upstream_chain: None,
        })
    }

    /// Makes an authority for the members of a cluster, all of them in `trust_domain`.
    pub(super) fn peer(trust_domain: &TrustDomain, now: UnixTime) -> Result<Self, MakeError> {
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let request = AuthorityRequest {
            public_key_der: key.public_key_der(),
            subject: DistinguishedName::new(&[], &["Conclave".to_owned()], "peer authority"),
            trust_domain,
            ttl: PEER_AUTHORITY_TTL,
        };
        let issued = signer::sign_root(&key, &request, now)?;
        Self::x509(AuthorityKind::Peer, key, issued, None, now)
    }

    /// Its kind.
    pub(super) fn kind(&self) -> AuthorityKind {
        self.kind
    }

    /// Its id: the subject key id in lower-case hex, or the JWT key id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Its key, to be sealed.
    pub(super) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Its record, with the key as it was sealed.
    pub(super) fn into_record(self, sealed_key: Sealed) -> AuthorityRecord {
        AuthorityRecord {
            kind: self.kind,
            id: self.id,
            state: AuthorityState::Prepared,
            issuer_id: self.issuer_id,
            certificate: self.certificate,
            public_key: self.key.public_key_der().to_vec(),
            issued_at: self.issued_at,
            not_after: self.not_after,
            sealed_key: Some(sealed_key),
            upstream_chain: self.upstream_chain,
        }
    }

    fn request<'a>(key: &'a PrivateKey, policy: &'a Policy, ttl: Duration) -> AuthorityRequest<'a> {
        AuthorityRequest {
            public_key_der: key.public_key_der(),
            subject: policy.ca_subject.clone(),
            trust_domain: &policy.trust_domain,
            ttl,
        }
    }

    fn x509(
        kind: AuthorityKind,
        key: PrivateKey,
        issued: IssuedAuthority,
        issuer_id: Option<Box<str>>,
        now: UnixTime,
    ) -> Result<Self, MakeError> {
        let key_id = subject_key_id(key.public_key_der()).map_err(SignError::PublicKey)?;
        Ok(Self {
            kind,
            id: hex::lower(&key_id).into(),
            issuer_id,
            certificate: Some(issued.certificate),
            key,
            issued_at: now,
            not_after: issued.validity.not_after,
            upstream_chain: None,
        })
    }
}

/// Why no authority was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The key could not be made.
    #[error("key could not be made")]
    Key(#[from] KeyError),
    /// The certificate could not be signed.
    #[error("certificate could not be signed")]
    Sign(#[from] SignError),
}

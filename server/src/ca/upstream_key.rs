//! The key of an upstream that is at hand: signs the intermediates of this server and nothing else.

use std::time::Duration;

use identity::{
    bundle::X509Authority,
    clock::UnixTime,
    secret::{KeyError, KeyType, PrivateKey},
    trust_domain::TrustDomain,
    x509::{Csr, X509Error},
};
use rustls_pki_types::CertificateDer;

use crate::ca::{
    minted::{self, MintedError},
    name::{DistinguishedName, NameError},
    signer::{AuthorityRequest, SignError, X509Issuer},
    validation::ValidationError,
};

/// A key with its certificate.
#[derive(Debug)]
pub struct UpstreamKey(X509Issuer);

impl UpstreamKey {
    /// The key of `certificate`.
    ///
    /// # Errors
    /// It is not, or the certificate is none that signs others.
    pub fn new(
        certificate: CertificateDer<'static>,
        key: PrivateKey,
    ) -> Result<Self, UpstreamKeyError> {
        let issuer = X509Issuer::new("upstream".into(), certificate, key);
        issuer.map(Self).map_err(|error| match error {
            SignError::Refused(ValidationError::Profile(OTHER_KEY)) => UpstreamKeyError::OtherKey,
            other => UpstreamKeyError::Sign(other),
        })
    }

    /// Whether what this key signs leads over `chain`, of which the first is its own certificate, to
    /// one of `roots`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        roots: &[X509Authority],
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<(), UpstreamKeyError> {
        minted::verify_signer(&self.0, chain, roots, trust_domain, now)?;
        Ok(())
    }

    /// Signs the certificate that a request of this server asks for, with its name and key. It lives
    /// for `ttl`, and no longer than the upstream's own.
    ///
    /// # Errors
    /// The request is not one for the authority of `trust_domain`, or the certificate of the key is
    /// over.
    pub fn sign_request(
        &self,
        csr: &[u8],
        trust_domain: &TrustDomain,
        ttl: Duration,
        now: UnixTime,
    ) -> Result<CertificateDer<'static>, UpstreamKeyError> {
        let csr = Csr::parse(csr).map_err(UpstreamKeyError::Csr)?;
        csr.verify_signature().map_err(UpstreamKeyError::Csr)?;
        match csr.uri_sans() {
            [uri] if *uri == trust_domain.id_string() => {}
            [uri] => return Err(UpstreamKeyError::CsrName(uri.clone())),
            uris => return Err(UpstreamKeyError::CsrNames(uris.len())),
        }
        let request = AuthorityRequest {
            public_key_der: csr.spki_der(),
            subject: DistinguishedName::from_request(&csr).map_err(UpstreamKeyError::Subject)?,
            trust_domain,
            ttl,
        };
        let issued = self.0.sign_authority(&request, now);
        Ok(issued.map_err(UpstreamKeyError::Sign)?.certificate)
    }
}

/// A key that signs nothing that lasts.
pub(super) fn throwaway_key() -> Result<PrivateKey, KeyError> {
    PrivateKey::generate(KeyType::EcP256)
}

/// A signing request as this server sends it to an upstream.
#[cfg(test)]
pub(crate) fn signed_request(key: &PrivateKey, trust_domain: &TrustDomain) -> Vec<u8> {
    let subject = DistinguishedName::new(&["US".to_owned()], &["SPIFFE".to_owned()], "");
    crate::ca::signer::sign_request(key, &subject, trust_domain).unwrap()
}

/// What [`X509Issuer::new`] says of a key that is not that of its certificate.
pub(super) const OTHER_KEY: &str = "key is not that of the certificate";

/// Why an upstream's key cannot be used, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamKeyError {
    /// It is the key of another certificate.
    #[error("key is not that of the certificate")]
    OtherKey,
    /// The certificate cannot be used, or nothing was signed.
    #[error("could not be signed")]
    Sign(#[source] SignError),
    /// The certificate does not lead to a root.
    #[error(transparent)]
    Unverified(#[from] MintedError),
    /// The signing request cannot be read, or is not signed with its key.
    #[error("signing request cannot be used")]
    Csr(#[source] X509Error),
    /// The signing request has no or several URI names.
    #[error("CSR must have exactly one URI SAN, not {0}")]
    CsrNames(usize),
    /// The signing request is for somebody else.
    #[error("CSR with SPIFFE ID {0:?} is invalid: must be that of the trust domain")]
    CsrName(String),
    /// The name in the signing request cannot be read.
    #[error("subject of the signing request cannot be read")]
    Subject(#[source] NameError),
}

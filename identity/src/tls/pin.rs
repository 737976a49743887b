//! Believing a server by the key of its authority alone: for the first connection of a joiner, who
//! was told nothing else.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::Error;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime as PathTime};
use webpki::KeyUsage;

use crate::bundle::{Bundle, X509Authority};
use crate::tls::peer::verify_chain;
use crate::tls::signatures::handshake_signatures;
use crate::tls::verifier::{domain_time, tls_error};
use crate::tls::{PeerError, TlsMaterial};
use crate::trust_domain::TrustDomain;
use crate::x509::CertificateInfo;

/// An authority, known by its key, and the trust domain that it speaks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorityPin {
    /// Whom the authority speaks for.
    pub trust_domain: TrustDomain,
    /// SHA-256 of its SubjectPublicKeyInfo in DER.
    pub spki_sha256: [u8; 32],
}

impl AuthorityPin {
    /// The pin of the authority with this public key, SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, spki_der: &[u8]) -> Self {
        let mut spki_sha256 = [0; 32];
        spki_sha256.copy_from_slice(digest(&SHA256, spki_der).as_ref());
        Self {
            trust_domain,
            spki_sha256,
        }
    }

    /// Believes the chain if the pinned authority stands in it and it leads to that one.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: PathTime,
    ) -> Result<(), PeerError> {
        let authority = others.iter().find(|certificate| self.is_of(certificate));
        let authority = authority.ok_or(PeerError::NotPinned)?;
        let bundle = Bundle {
            x509_authorities: vec![X509Authority {
                certificate: authority.clone().into_owned(),
                tainted: false,
            }],
            ..Bundle::empty(self.trust_domain.clone())
        };
        // Only a key can be refused, and there is none.
        let material = TlsMaterial::new(None, [Arc::new(bundle)])
            .map_err(|_no_key_to_refuse| PeerError::NotPinned)?;
        let usage = KeyUsage::server_auth();
        // Only the pinned domain has a bundle, so the leaf is of that one.
        verify_chain(leaf, others, &material, domain_time(now), usage)?;
        Ok(())
    }

    fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        CertificateInfo::parse(certificate)
            .is_ok_and(|info| digest(&SHA256, &info.public_key_der).as_ref() == self.spki_sha256)
    }
}

/// Believes whoever shows a chain to the pinned authority.
#[derive(Debug)]
pub(super) struct PinnedVerifier {
    pub(super) pin: AuthorityPin,
    pub(super) signatures: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: PathTime,
    ) -> Result<ServerCertVerified, Error> {
        self.pin
            .verify(leaf, intermediates, now)
            .map_err(tls_error)?;
        Ok(ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

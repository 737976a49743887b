//! rustls' questions about certificates, answered from the current material.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime as PathTime};
use webpki::KeyUsage;

use crate::clock::UnixTime;
use crate::spiffe_id::SpiffeId;
use crate::tls::peer::verify_chain;
use crate::tls::signatures::handshake_signatures;
use crate::tls::{PeerError, PeerIdentity, SharedTlsMaterial, peer_identity};
use crate::trust_domain::TrustDomain;

/// Whose certificates a server accepts.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// Everybody in this trust domain is accepted.
    pub trust_domain: TrustDomain,
    /// In other trust domains only these are.
    pub foreign_ids: BTreeSet<SpiffeId>,
}

impl ClientPolicy {
    fn check(&self, id: &SpiffeId) -> Result<(), PeerError> {
        if *id.trust_domain() == self.trust_domain || self.foreign_ids.contains(id) {
            Ok(())
        } else {
            Err(PeerError::ForeignTrustDomain(id.clone()))
        }
    }
}

/// Shows our SVID.
#[derive(Debug)]
pub(super) struct SvidResolver(pub(super) SharedTlsMaterial);

impl ResolvesServerCert for SvidResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().certified().cloned()
    }
}

impl ResolvesClientCert for SvidResolver {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.load().certified().cloned()
    }

    fn has_certs(&self) -> bool {
        self.0.load().certified().is_some()
    }
}

/// Whether a client may come without a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ClientCertificate {
    /// It may: agents attest themselves without one.
    Optional,
    /// It may not.
    Required,
}

/// Believes clients by a [`ClientPolicy`].
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) material: SharedTlsMaterial,
    pub(super) policy: ClientPolicy,
    pub(super) certificate: ClientCertificate,
    pub(super) signatures: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.certificate == ClientCertificate::Required
    }

    /// Empty, so that clients show what they have, whoever issued it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: PathTime,
    ) -> Result<ClientCertVerified, Error> {
        let material = self.material.load();
        let usage = KeyUsage::client_auth();
        // Whoever kept the leaf alone, as suffices where the root signs it, has the issuer of most.
        let own = material.svid().map_or(&[][..], |svid| &svid.chain()[1..]);
        let intermediates = match intermediates.is_empty() {
            true => own,
            false => intermediates,
        };
        peer_identity(std::slice::from_ref(leaf))
            .and_then(|identity| self.policy.check(&identity.spiffe_id))
            .and_then(|()| verify_chain(leaf, intermediates, &material, domain_time(now), usage))
            .map_err(tls_error)?;
        Ok(ClientCertVerified::assertion())
    }

    handshake_signatures!();
}

/// Believes one server, by its id; its host name does not matter.
pub(super) struct ServerVerifier {
    /// `None` takes the server's word for who it is.
    pub(super) material: Option<SharedTlsMaterial>,
    pub(super) expected: SpiffeId,
    pub(super) signatures: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: PathTime,
    ) -> Result<(), PeerError> {
        let usage = KeyUsage::server_auth();
        // The id first: that it is another server says more than that its root is unknown.
        let presented = peer_identity(std::slice::from_ref(leaf))?.spiffe_id;
        if presented != self.expected {
            return Err(PeerError::UnexpectedId {
                presented,
                expected: self.expected.clone(),
            });
        }
        if let Some(material) = &self.material {
            let material = material.load();
            let _identity: PeerIdentity =
                verify_chain(leaf, intermediates, &material, domain_time(now), usage)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier")
            .field("expected", &self.expected)
            .field("verifies_chain", &self.material.is_some())
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: PathTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, now).map_err(tls_error)?;
        Ok(ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

/// Chooses rustls' error, and with it the alert that the peer sees.
pub(super) fn tls_error(error: PeerError) -> Error {
    let kind = match error {
        PeerError::Path(webpki::Error::CertExpired { .. }) => CertificateError::Expired,
        PeerError::Path(webpki::Error::CertNotValidYet { .. }) => CertificateError::NotValidYet,
        PeerError::Path(webpki::Error::UnknownIssuer)
        | PeerError::Path(webpki::Error::InvalidSignatureForPublicKey) => {
            CertificateError::UnknownIssuer
        }
        PeerError::Certificate(_) => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(kind)
}

pub(super) fn domain_time(time: PathTime) -> UnixTime {
    UnixTime::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

//! Who a chain of certificates speaks for, and whether to believe it.

use std::error::Error;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use crate::clock::UnixTime;
use crate::spiffe_id::SpiffeId;
use crate::tls::TlsMaterial;
use crate::trust_domain::TrustDomain;
use crate::x509::{CertificateInfo, X509Error, path_time};
use crate::x509_svid::{MAX_CHAIN_LEN, SvidError, check_leaf};

/// The identity that a peer proved in a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerIdentity {
    /// Who it is.
    pub spiffe_id: SpiffeId,
    /// The serial number of its certificate in decimal.
    pub serial: String,
    /// When its certificate ends.
    pub not_after: UnixTime,
}

/// Reads the identity from the certificates of a finished handshake, leaf first.
///
/// It verifies nothing: call it only with what a configuration of this module let through.
///
/// # Errors
/// There is no leaf, or it is not an X.509-SVID.
pub fn peer_identity(certificates: &[CertificateDer<'_>]) -> Result<PeerIdentity, PeerError> {
    let leaf = certificates.first().ok_or(PeerError::NoCertificate)?;
    let leaf = CertificateInfo::parse(leaf).map_err(PeerError::Certificate)?;
    Ok(PeerIdentity {
        spiffe_id: check_leaf(&leaf).map_err(PeerError::Leaf)?,
        serial: leaf.serial,
        not_after: leaf.not_after,
    })
}

/// Verifies a chain, leaf first, as an X.509-SVID (X509-SVID §5): the leaf is one, and the chain
/// leads to a root in the bundle of the leaf's own trust domain.
///
/// # Errors
/// The first rule that is broken.
pub fn verify_svid_chain(
    certificates: &[CertificateDer<'_>],
    material: &TlsMaterial,
    now: UnixTime,
) -> Result<PeerIdentity, PeerError> {
    let (leaf, intermediates) = certificates.split_first().ok_or(PeerError::NoCertificate)?;
    verify_chain(leaf, intermediates, material, now, KeyUsage::client_auth())
}

pub(super) fn verify_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    material: &TlsMaterial,
    now: UnixTime,
    usage: KeyUsage,
) -> Result<PeerIdentity, PeerError> {
    if intermediates.len() >= MAX_CHAIN_LEN {
        return Err(PeerError::TooManyCertificates);
    }
    let identity = peer_identity(std::slice::from_ref(leaf))?;
    let trust_domain = identity.spiffe_id.trust_domain();
    let anchors = material
        .anchors_at(trust_domain, now)
        .ok_or_else(|| PeerError::NoBundle(trust_domain.clone()))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(PeerError::Path)?;
    let path = leaf
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            intermediates,
            path_time(now),
            usage,
            None,
            None,
        )
        .map_err(PeerError::Path)?;
    for intermediate in path.intermediate_certificates() {
        check_issuer(&intermediate.der())?;
    }
    Ok(identity)
}

/// A certificate that signs others must say so (X509-SVID §4.3); path building looks at the CA flag
/// only.
fn check_issuer(certificate: &CertificateDer<'_>) -> Result<(), PeerError> {
    let info = CertificateInfo::parse(certificate).map_err(PeerError::Certificate)?;
    let signs = info.key_usage.is_some_and(|usage| usage.key_cert_sign);
    (info.is_ca && signs).then_some(()).ok_or(PeerError::Issuer)
}

/// The cause of a failed handshake in words: rustls shows only the names of types for what a
/// verifier of this module found.
pub fn handshake_failure(error: &(dyn Error + 'static)) -> String {
    let last = last_cause(error);
    let Some(found) = found_by_verifier(last) else {
        return last.to_string();
    };
    let causes = std::iter::successors(Some(found), |error| (*error).source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// Why a handshake failed, if it was that a verifier of this module did not believe the peer.
pub fn unbelieved_peer<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a PeerError> {
    found_by_verifier(last_cause(error))?.downcast_ref()
}

fn last_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let causes = std::iter::successors(Some(error), |error| next_cause(*error));
    causes.last().unwrap_or(error)
}

fn found_by_verifier<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(found)) => Some(&*found.0),
        _ => None,
    }
}

/// The error inside of another, also of an I/O error, which shows the texts of both as one.
fn next_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        let inner = io.get_ref()?;
        return Some(inner);
    }
    error.source()
}

/// Why a peer is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The peer showed no certificate.
    #[error("no certificate")]
    NoCertificate,
    /// The peer showed more certificates than [`MAX_CHAIN_LEN`].
    #[error("more than {MAX_CHAIN_LEN} certificates")]
    TooManyCertificates,
    /// A certificate cannot be read.
    #[error("unreadable certificate")]
    Certificate(#[source] X509Error),
    /// The leaf is not an X.509-SVID.
    #[error("not an X509-SVID")]
    Leaf(#[source] SvidError),
    /// There is no bundle for the trust domain of the peer.
    #[error("no X.509 bundle for trust domain \"{0}\"")]
    NoBundle(TrustDomain),
    /// The trust domain of the peer is not accepted here.
    #[error("unexpected trust domain of {0}")]
    ForeignTrustDomain(SpiffeId),
    /// The peer is another one than the one that was asked for.
    #[error("unexpected ID {presented}, expected {expected}")]
    UnexpectedId {
        /// Who the peer is.
        presented: SpiffeId,
        /// Who was asked for.
        expected: SpiffeId,
    },
    /// The chain does not lead to a root, or is not valid now.
    #[error("chain does not verify: {0}")]
    Path(webpki::Error),
    /// The peer shows no authority with the pinned key.
    #[error("no authority with the pinned key: another cluster, or its authority was replaced")]
    NotPinned,
    /// A certificate in the chain signed another without the right to.
    #[error("issuer lacks the CA flag or keyCertSign key usage")]
    Issuer,
}

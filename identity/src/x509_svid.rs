//! X.509-SVIDs with their private keys.

use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::clock::UnixTime;
use crate::secret::PrivateKey;
use crate::spiffe_id::SpiffeId;
use crate::x509::{CertificateInfo, X509Error};

/// The most certificates that a chain may have.
pub const MAX_CHAIN_LEN: usize = 16;

/// An X.509-SVID: a chain, leaf first, and the key of the leaf.
///
/// Invariant: the leaf has exactly one URI SAN, a SPIFFE ID with a path; it is not a CA, signs
/// handshakes and nothing else (X509-SVID §4), and its public key is that of the private key.
/// Whether the chain leads to a root is for the verifier to say.
#[derive(Clone)]
pub struct X509Svid {
    spiffe_id: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    leaf: CertificateInfo,
}

impl X509Svid {
    /// Joins a chain, leaf first, and its key.
    ///
    /// # Errors
    /// The leaf is not an X.509-SVID, or the key is another's.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Self, SvidError> {
        if chain.len() > MAX_CHAIN_LEN {
            return Err(SvidError::TooManyCertificates);
        }
        let leaf = chain.first().ok_or(SvidError::NoCertificate)?;
        let leaf = CertificateInfo::parse(leaf).map_err(SvidError::Certificate)?;
        let spiffe_id = check_leaf(&leaf)?;
        if leaf.public_key_der != key.public_key_der() {
            return Err(SvidError::KeyMismatch);
        }
        Ok(Self {
            spiffe_id,
            chain,
            key,
            leaf,
        })
    }

    /// Whose it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The certificates, leaf first, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key of the leaf.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// What the leaf says.
    pub fn leaf(&self) -> &CertificateInfo {
        &self.leaf
    }

    /// First second of validity.
    pub fn not_before(&self) -> UnixTime {
        self.leaf.not_before
    }

    /// Last second of validity.
    pub fn not_after(&self) -> UnixTime {
        self.leaf.not_after
    }

    /// The serial number in decimal.
    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("serial", &self.leaf.serial)
            .field("not_after", &self.leaf.not_after)
            .finish_non_exhaustive()
    }
}

/// Checks that a certificate may stand first in a chain (X509-SVID §5.2) and tells whose it is.
///
/// # Errors
/// The first rule that is broken.
pub fn check_leaf(leaf: &CertificateInfo) -> Result<SpiffeId, SvidError> {
    let spiffe_id = leaf.spiffe_id().map_err(SvidError::Certificate)?;
    if spiffe_id.path().is_empty() {
        return Err(SvidError::NoPath(spiffe_id));
    }
    if leaf.is_ca {
        return Err(SvidError::Ca);
    }
    match leaf.key_usage {
        Some(usage) if usage.key_cert_sign || usage.crl_sign => Err(SvidError::SigningKeyUsage),
        Some(usage) if usage.digital_signature => Ok(spiffe_id),
        _ => Err(SvidError::NoDigitalSignature),
    }
}

/// Why certificates and a key are not an X.509-SVID.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// The chain is empty.
    #[error("no certificate")]
    NoCertificate,
    /// The chain has more than [`MAX_CHAIN_LEN`] certificates.
    #[error("more than {MAX_CHAIN_LEN} certificates")]
    TooManyCertificates,
    /// The leaf cannot be read, or its name is wrong.
    #[error(transparent)]
    Certificate(X509Error),
    /// The id names a trust domain and nothing in it.
    #[error("leaf certificate has the SPIFFE ID of a trust domain: {0}")]
    NoPath(SpiffeId),
    /// The leaf is a CA.
    #[error("leaf certificate has the CA flag set")]
    Ca,
    /// The leaf may sign certificates or revocation lists.
    #[error("leaf certificate has keyCertSign or cRLSign key usage")]
    SigningKeyUsage,
    /// The leaf may not sign handshakes.
    #[error("leaf certificate lacks digitalSignature key usage")]
    NoDigitalSignature,
    /// The key belongs to another certificate.
    #[error("leaf certificate does not match the private key")]
    KeyMismatch,
}

#[cfg(test)]
mod tests {
    use rcgen::{IsCa, KeyUsagePurpose};

    use super::*;
    use crate::secret::KeyType;

    fn make(uri: &str, is_ca: IsCa, usages: &[KeyUsagePurpose]) -> Result<X509Svid, SvidError> {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
        params.is_ca = is_ca;
        params.key_usages = usages.to_vec();
        let leaf = params.self_signed(&key).unwrap();
        X509Svid::new(vec![leaf.der().clone()], key)
    }

    #[test]
    fn a_proper_leaf_is_accepted() {
        let svid = make(
            "spiffe://td/w",
            IsCa::ExplicitNoCa,
            &[KeyUsagePurpose::DigitalSignature],
        );
        let svid = svid.unwrap();
        assert_eq!(svid.spiffe_id().as_str(), "spiffe://td/w");
        assert_eq!(svid.leaf().public_key_der, svid.key().public_key_der());
        let shown = format!("{svid:?}");
        assert!(
            shown.starts_with("X509Svid { spiffe_id: \"spiffe://td/w\""),
            "{shown}"
        );
        assert!(!shown.contains("key"), "{shown}");
    }

    #[test]
    fn improper_leafs_are_refused() {
        let check = |uri, is_ca, usages: &[KeyUsagePurpose], expected: &str| {
            assert_eq!(make(uri, is_ca, usages).unwrap_err().to_string(), expected);
        };
        let sign = [KeyUsagePurpose::DigitalSignature];
        let ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        check(
            "spiffe://td/w",
            ca,
            &sign,
            "leaf certificate has the CA flag set",
        );
        check(
            "spiffe://td",
            IsCa::ExplicitNoCa,
            &sign,
            "leaf certificate has the SPIFFE ID of a trust domain: spiffe://td",
        );
        check(
            "https://td/w",
            IsCa::ExplicitNoCa,
            &sign,
            "URI SAN is not a SPIFFE ID: scheme is missing or invalid",
        );
        for usages in [&[][..], &[KeyUsagePurpose::KeyEncipherment]] {
            check(
                "spiffe://td/w",
                IsCa::ExplicitNoCa,
                usages,
                "leaf certificate lacks digitalSignature key usage",
            );
        }
        for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
            check(
                "spiffe://td/w",
                IsCa::ExplicitNoCa,
                &[KeyUsagePurpose::DigitalSignature, usage],
                "leaf certificate has keyCertSign or cRLSign key usage",
            );
        }
    }

    #[test]
    fn another_key_is_refused() {
        let svid = make(
            "spiffe://td/w",
            IsCa::ExplicitNoCa,
            &[KeyUsagePurpose::DigitalSignature],
        );
        let chain = svid.unwrap().chain().to_vec();
        let other = PrivateKey::generate(KeyType::EcP256).unwrap();
        let error = |chain| X509Svid::new(chain, other.clone()).unwrap_err().to_string();
        assert_eq!(
            error(chain.clone()),
            "leaf certificate does not match the private key"
        );
        assert_eq!(error(Vec::new()), "no certificate");
        let long = vec![chain[0].clone(); 17];
        assert_eq!(error(long), "more than 16 certificates");
    }
}

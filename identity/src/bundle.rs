//! Bundles: the public authorities of a trust domain.

use rustls_pki_types::CertificateDer;

use crate::clock::UnixTime;
use crate::trust_domain::TrustDomain;

/// Everything that is needed to verify SVIDs of one trust domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bundle {
    /// Whose authorities these are.
    pub trust_domain: TrustDomain,
    /// Root certificates, oldest first.
    pub x509_authorities: Vec<X509Authority>,
    /// Keys that sign JWT-SVIDs, oldest first.
    pub jwt_authorities: Vec<JwtAuthority>,
    /// How often a consumer should look for a newer bundle, in seconds; 0 says nothing.
    pub refresh_hint_s: i64,
    /// Rises with every change of the authorities.
    pub sequence: u64,
}

impl Bundle {
    /// A bundle without authorities.
    pub fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
            refresh_hint_s: 0,
            sequence: 0,
        }
    }
}

/// A root certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct X509Authority {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Whether SVIDs signed by it should be replaced at once; they still verify.
    pub tainted: bool,
}

/// A public key that verifies JWT-SVIDs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtAuthority {
    /// The `kid` of the tokens that it verifies.
    pub key_id: Box<str>,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// When it leaves the bundle; `None` says nothing.
    pub expires_at: Option<UnixTime>,
    /// Whether tokens signed by it should be replaced at once; they still verify.
    pub tainted: bool,
}

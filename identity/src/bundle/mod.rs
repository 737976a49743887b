//! Bundles: the public authorities of a trust domain.

mod jwk;
mod jwks;
mod openid;

use rustls_pki_types::CertificateDer;

pub use jwks::{JwksError, MAX_JWKS_LEN_BYTES};
pub use openid::{KeyUse, jwt_authorities_from_jwks, openid_jwks};

use crate::clock::UnixTime;
use crate::pem::{self, PemError};
use crate::trust_domain::TrustDomain;
use crate::x509::{CertificateInfo, X509Error};

/// The most authorities that a document may bring.
pub const MAX_AUTHORITIES: usize = 1024;

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

    /// The JWT authority of a `kid`.
    pub fn jwt_authority(&self, key_id: &str) -> Option<&JwtAuthority> {
        self.jwt_authorities
            .iter()
            .find(|authority| &*authority.key_id == key_id)
    }

    /// The root certificates in PEM.
    pub fn to_pem(&self) -> String {
        pem::encode_certificates(self.x509_authorities.iter().map(|root| &root.certificate))
    }

    /// Reads root certificates in PEM, at least one.
    ///
    /// # Errors
    /// The text is malformed, has no certificate or too many, or one that cannot be read.
    pub fn from_pem(trust_domain: &TrustDomain, text: &[u8]) -> Result<Self, BundlePemError> {
        let certificates = pem::decode_certificates(text).map_err(BundlePemError::Pem)?;
        if certificates.len() > MAX_AUTHORITIES {
            return Err(BundlePemError::TooMany);
        }
        let x509_authorities = certificates
            .into_iter()
            .map(X509Authority::new)
            .collect::<Result<_, _>>()
            .map_err(BundlePemError::Certificate)?;
        Ok(Self {
            x509_authorities,
            ..Self::empty(trust_domain.clone())
        })
    }
}

/// Why root certificates in PEM are refused.
#[derive(Debug, thiserror::Error)]
pub enum BundlePemError {
    /// The text is malformed or has no certificate.
    #[error(transparent)]
    Pem(PemError),
    /// There are more than [`MAX_AUTHORITIES`].
    #[error("more than {MAX_AUTHORITIES} certificates")]
    TooMany,
    /// A certificate cannot be read.
    #[error("unusable certificate")]
    Certificate(#[source] X509Error),
}

/// A root certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct X509Authority {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Whether SVIDs signed by it should be replaced at once; they still verify.
    pub tainted: bool,
}

impl X509Authority {
    /// An authority that is not tainted.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn new(certificate: CertificateDer<'static>) -> Result<Self, X509Error> {
        CertificateInfo::parse(&certificate)?;
        Ok(Self {
            certificate,
            tainted: false,
        })
    }

    /// The subject key identifier, which names the authority; `None` if it has none or cannot be
    /// read.
    pub fn subject_key_id(&self) -> Option<Vec<u8>> {
        CertificateInfo::parse(&self.certificate)
            .ok()?
            .subject_key_id
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    #[test]
    fn roots_survive_pem() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let root = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let trust_domain = TrustDomain::parse("td").unwrap();
        let bundle = Bundle {
            x509_authorities: vec![X509Authority::new(root.der().clone()).unwrap()],
            ..Bundle::empty(trust_domain.clone())
        };
        let text = bundle.to_pem();
        assert_eq!(
            Bundle::from_pem(&trust_domain, text.as_bytes()).unwrap(),
            bundle
        );
        assert!(matches!(
            Bundle::from_pem(&trust_domain, b"nothing"),
            Err(BundlePemError::Pem(PemError::NoCertificate))
        ));
        let no_certificate = pem::encode_certificates(&[vec![7; 10].into()]);
        assert!(matches!(
            Bundle::from_pem(&trust_domain, no_certificate.as_bytes()),
            Err(BundlePemError::Certificate(_))
        ));
    }
}

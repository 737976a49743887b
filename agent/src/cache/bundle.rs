//! A bundle in the forms in which workloads get it.

use bytes::Bytes;
use identity::bundle::Bundle;

/// A bundle, and its wire forms, made once for all workloads.
#[derive(Debug)]
pub struct TrustBundle {
    bundle: Bundle,
    trust_domain_id: String,
    x509_der: Bytes,
    x509_pem: String,
    jwt_jwks: Bytes,
}

impl TrustBundle {
    pub(super) fn new(bundle: Bundle) -> Self {
        Self {
            trust_domain_id: bundle.trust_domain.id_string(),
            x509_der: bundle
                .x509_authorities
                .iter()
                .flat_map(|authority| authority.certificate.iter().copied())
                .collect(),
            x509_pem: bundle.to_pem(),
            jwt_jwks: bundle.jwt_jwks().into(),
            bundle,
        }
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// `spiffe://` and the name.
    pub fn trust_domain_id(&self) -> &str {
        &self.trust_domain_id
    }

    /// The X.509 authorities, one DER after the other.
    pub fn x509_der(&self) -> &Bytes {
        &self.x509_der
    }

    /// The X.509 authorities in PEM.
    pub fn x509_pem(&self) -> &str {
        &self.x509_pem
    }

    /// The JWT authorities as a plain JWK set.
    pub fn jwt_jwks(&self) -> &Bytes {
        &self.jwt_jwks
    }
}

//! SVIDs and bundles as Envoy's secrets.

use identity::pem;
use prost::Name;
use prost_types::Any;
use proto::envoy::config::core::v3::data_source::Specifier;
use proto::envoy::config::core::v3::{DataSource, TypedExtensionConfig};
use proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use proto::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
};

use crate::cache::{CachedSvid, TrustBundle};

/// Envoy finds the extension by the type of its configuration; the name is for people.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

/// A certificate with its chain and key under `name`.
pub(super) fn tls_certificate(name: &str, svid: &CachedSvid) -> Any {
    let certificates: Vec<_> = svid.certificates().collect();
    let chain = pem::encode_certificates(&certificates);
    let key = pem::encode_pkcs8(svid.key_pkcs8());
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(chain.into_bytes())),
        private_key: Some(inline(key.expose().to_vec())),
    };
    secret(name, Type::TlsCertificate(certificate))
}

/// The certificates of one bundle as what vouches for peers of any name.
pub(super) fn trusted_ca(name: &str, bundle: &TrustBundle) -> Any {
    let context = CertificateValidationContext {
        trusted_ca: Some(pem_source(bundle)),
        custom_validator_config: None,
    };
    secret(name, Type::ValidationContext(context))
}

/// Bundles, in the order of their trust domains, each of which vouches for its own.
pub(super) fn spiffe_validator<'a>(
    name: &str,
    bundles: impl IntoIterator<Item = &'a TrustBundle>,
) -> Any {
    let trust_domains = bundles.into_iter().map(|bundle| TrustDomain {
        name: bundle.bundle().trust_domain.as_str().to_owned(),
        trust_bundle: Some(pem_source(bundle)),
    });
    let config = SpiffeCertValidatorConfig {
        trust_domains: trust_domains.collect(),
    };
    let context = CertificateValidationContext {
        trusted_ca: None,
        custom_validator_config: Some(TypedExtensionConfig {
            name: SPIFFE_VALIDATOR.to_owned(),
            typed_config: Some(any(&config)),
        }),
    };
    secret(name, Type::ValidationContext(context))
}

fn secret(name: &str, content: Type) -> Any {
    any(&Secret {
        name: name.to_owned(),
        r#type: Some(content),
    })
}

fn pem_source(bundle: &TrustBundle) -> DataSource {
    inline(bundle.x509_pem().as_bytes().to_vec())
}

fn inline(bytes: Vec<u8>) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(bytes)),
    }
}

fn any<M: Name>(message: &M) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: message.encode_to_vec(),
    }
}

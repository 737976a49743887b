//! The authority of the ACME server.

use std::{sync::Arc, time::Duration};

use identity::{
    clock::{Clock as _, SystemClock, UnixTime},
    pem::encode_certificates,
    secret::{KeyType, PrivateKey},
    x509::Csr,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::Vice;

pub(super) struct Issuer(CertifiedIssuer<'static, PrivateKey>);

impl Issuer {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "ACME test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("a root"))
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// TLS of the ACME server itself, which answers as `localhost`.
    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        let key = key();
        let leaf = self.sign("localhost", &key, (-3600, 86_400));
        let document = PrivatePkcs8KeyDer::from(key.pkcs8().expose().to_vec());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf], document.into());
        Arc::new(config.expect("a pair"))
    }

    /// A chain in PEM for the request, which must be for `domain` alone.
    pub(super) fn issue(
        &self,
        request: &[u8],
        domain: &str,
        life: Duration,
        vice: Option<Vice>,
    ) -> Option<String> {
        let request = Csr::parse(request).ok()?;
        request.verify_signature().ok()?;
        if request.dns_names() != [domain] {
            return None;
        }
        let asked = Point(request.spki_der().get(26..)?.to_vec());
        let life_s = i64::try_from(life.as_secs()).ok()?;
        let leaf = match vice {
            Some(Vice::OtherKey) => self.sign(domain, &key(), (0, life_s)),
            Some(Vice::OtherName) => self.sign("other.test", &asked, (0, life_s)),
            Some(Vice::Over) => self.sign(domain, &asked, (-7200, -3600)),
            _ => self.sign(domain, &asked, (0, life_s)),
        };
        Some(match vice {
            Some(Vice::NoChain) => "-----BEGIN CERTIFICATE-----\n?".to_owned(),
            _ => encode_certificates([&leaf, &self.root()]),
        })
    }

    /// Valid from and to so many seconds from now.
    fn sign(
        &self,
        name: &str,
        key: &impl PublicKeyData,
        (from, to): (i64, i64),
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        let now = SystemClock.now().as_secs();
        let at = |offset: i64| std::time::SystemTime::from(UnixTime::from_secs(now + offset));
        params.not_before = at(from).into();
        params.not_after = at(to).into();
        let signed = params.signed_by(key, &self.0);
        signed.expect("a certificate").der().clone()
    }
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).expect("a key")
}

/// A point on P-256.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

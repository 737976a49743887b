//! The proof that a domain is served here (TLS-ALPN-01, RFC 8737): a certificate that only a handshake for
//! the protocol `acme-tls/1` sees.

use std::{future::Future, pin::Pin, sync::Arc};

use daemon::{
    supervisor::chain,
    web::{Handshake, Handshakes, Hello},
};
use identity::secret::{KeyError, KeyType, PrivateKey};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    server::{NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tracing::warn;

/// The protocol of the handshakes by which an ACME server looks (RFC 8737 §6.2).
pub const PROTOCOL: &[u8] = b"acme-tls/1";

/// SHA-256 of the key authorization that a challenge asks for. No secret: whoever asks is shown it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProofDigest([u8; 32]);

impl ProofDigest {
    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Knows which proofs are to be shown.
pub trait Proofs: Send + Sync + 'static {
    /// The proof for `domain`, if one is asked for. It may wait, but not for long: a handshake does.
    fn proof(&self, domain: &str) -> impl Future<Output = Option<ProofDigest>> + Send;
}

impl<P: Proofs> Proofs for Arc<P> {
    fn proof(&self, domain: &str) -> impl Future<Output = Option<ProofDigest>> + Send {
        P::proof(self, domain)
    }
}

/// Shows proofs to those who look for them, and serves everybody else.
pub struct ProvingHandshakes<P> {
    usual: Arc<ServerConfig>,
    proofs: P,
}

impl<P: Proofs> ProvingHandshakes<P> {
    /// Handshakes under `usual`, and with `proofs` for those who ask for nothing else.
    pub const fn new(usual: Arc<ServerConfig>, proofs: P) -> Self {
        Self { usual, proofs }
    }

    async fn choice(&self, hello: Hello) -> Handshake {
        let usual = Handshake::Serve(Arc::clone(&self.usual));
        let asks_for_proof = hello.protocols.iter().map(|p| &**p).eq([PROTOCOL]);
        let Some(domain) = hello.server_name.filter(|_| asks_for_proof) else {
            return usual;
        };
        // Under the usual one the handshake fails: it has no such protocol.
        let Some(proof) = self.proofs.proof(&domain).await else {
            return usual;
        };
        match proving_config(&domain, proof) {
            Ok(config) => Handshake::End(config),
            Err(error) => {
                warn!(error = %chain(&error), domain, "proof of a domain cannot be shown");
                usual
            }
        }
    }
}

impl<P: Proofs> Handshakes for ProvingHandshakes<P> {
    fn choose(&self, hello: Hello) -> Pin<Box<dyn Future<Output = Handshake> + Send + '_>> {
        Box::pin(self.choice(hello))
    }
}

/// TLS that shows the proof for `domain` (RFC 8737 §3).
fn proving_config(domain: &str, proof: ProofDigest) -> Result<Arc<ServerConfig>, ProofError> {
    let key = PrivateKey::generate(KeyType::EcP256).map_err(ProofError::Key)?;
    let mut params =
        CertificateParams::new([domain.to_owned()]).map_err(ProofError::Certificate)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(proof.as_bytes())];
    let signed = params.self_signed(&key).map_err(ProofError::Certificate)?;
    let document = PrivatePkcs8KeyDer::from(key.pkcs8().expose());
    let signing = any_supported_type(&document.into()).map_err(ProofError::Tls)?;
    let shown = CertifiedKey::new(vec![signed.der().clone()], signing);
    server_config(Arc::new(SingleCertAndKey::from(shown)), PROTOCOL).map_err(ProofError::Tls)
}

/// TLS that shows what `resolver` chooses and speaks `protocol`.
fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Why a proof cannot be shown.
#[derive(Debug, thiserror::Error)]
enum ProofError {
    #[error("no key for the proof")]
    Key(#[source] KeyError),
    #[error("no certificate for the proof")]
    Certificate(#[source] rcgen::Error),
    #[error("TLS does not take the proof")]
    Tls(#[source] rustls::Error),
}

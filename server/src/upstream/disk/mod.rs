//! An upstream whose key is in files: `UpstreamAuthority "disk"`.
//!
//! The files are read anew for each intermediate, so that an operator replaces them under the running
//! server. What cannot be used then leaves the ones before in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::bounded_file;
use daemon::command_line::path_error_text;
use daemon::supervisor::chain;
use futures_util::future::BoxFuture;
use identity::bundle::{Bundle, JwtAuthority, MAX_AUTHORITIES, X509Authority};
use identity::clock::Clock;
use identity::pem::{MAX_PEM_LEN_BYTES, decode_certificates, decode_private_key};
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tracing::warn;
use zeroize::Zeroizing;

use super::{MintRequest, Minted, UpstreamAuthority, UpstreamError};
use crate::ca::{UpstreamKey, UpstreamKeyError};

/// Where the key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DiskFiles {
    /// Certificates in PEM: that of the key, then those up to but without a root.
    pub certificates: PathBuf,
    /// The key in PEM, not encrypted.
    pub key: PathBuf,
    /// Roots in PEM; without them the one certificate is a root.
    pub bundle: Option<PathBuf>,
}

/// An upstream in files.
#[derive(Debug)]
pub struct Disk {
    files: DiskFiles,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    held: Mutex<Arc<Loaded>>,
}

/// What the files said.
#[derive(Debug)]
struct Loaded {
    key: UpstreamKey,
    /// What goes behind an intermediate.
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<X509Authority>,
}

impl Disk {
    /// The upstream in `files`.
    ///
    /// # Errors
    /// They cannot be used.
    pub async fn open(
        files: DiskFiles,
        trust_domain: TrustDomain,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DiskError> {
        let loaded = load(&files, &trust_domain, &*clock).await?;
        Ok(Self {
            files,
            trust_domain,
            clock,
            held: Mutex::new(Arc::new(loaded)),
        })
    }

    async fn current(&self) -> Arc<Loaded> {
        match load(&self.files, &self.trust_domain, &*self.clock).await {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                *self.held.lock() = Arc::clone(&loaded);
                loaded
            }
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "files of the upstream authority cannot be used; the ones before stay in force"
                );
                Arc::clone(&self.held.lock())
            }
        }
    }

    async fn sign(&self, request: &MintRequest) -> Result<Minted, DiskError> {
        let loaded = self.current().await;
        let now = self.clock.now();
        let (csr, ttl) = (request.csr.clone(), ttl(request));
        let trust_domain = self.trust_domain.clone();
        let signing = {
            let loaded = Arc::clone(&loaded);
            move || loaded.key.sign_request(&csr, &trust_domain, ttl, now)
        };
        // An RSA key takes milliseconds.
        let signed = tokio::task::spawn_blocking(signing).await;
        let certificate = signed.map_err(DiskError::Interrupted)?;
        let certificate = certificate.map_err(DiskError::Sign)?;
        let chain = std::iter::once(certificate).chain(loaded.chain.iter().cloned());
        Ok(Minted {
            chain: chain.collect(),
            roots: loaded.roots.clone(),
        })
    }
}

impl UpstreamAuthority for Disk {
    fn name(&self) -> &str {
        "disk"
    }

    fn mint<'a>(
        &'a self,
        request: &'a MintRequest,
    ) -> BoxFuture<'a, Result<Minted, UpstreamError>> {
        Box::pin(async { Ok(self.sign(request).await?) })
    }

    fn publish_jwt_key<'a>(
        &'a self,
        _key: &'a JwtAuthority,
    ) -> BoxFuture<'a, Result<Vec<JwtAuthority>, UpstreamError>> {
        Box::pin(std::future::ready(Err(UpstreamError::Unsupported)))
    }

    fn bundle(&self) -> BoxFuture<'_, Result<Bundle, UpstreamError>> {
        Box::pin(std::future::ready(Err(UpstreamError::Unsupported)))
    }
}

/// An hour unless told, as in SPIRE.
fn ttl(request: &MintRequest) -> Duration {
    match request.preferred_ttl {
        Duration::ZERO => DEFAULT_TTL,
        ttl => ttl,
    }
}

const DEFAULT_TTL: Duration = Duration::from_secs(3600);

async fn load(
    files: &DiskFiles,
    trust_domain: &TrustDomain,
    clock: &dyn Clock,
) -> Result<Loaded, DiskError> {
    let text = read(&files.key).await.map_err(DiskError::Key)?;
    let key = decode_private_key(&text).map_err(|error| DiskError::Key(chain(&error)))?;
    let certificates = read(&files.certificates).await;
    let certificates = certificates.and_then(|text| certificates_of(&text));
    let certificates = certificates.map_err(DiskError::Certificate)?;
    let (chain, roots) = match &files.bundle {
        None if certificates.len() != 1 => return Err(DiskError::NotSelfSigned),
        None => (Vec::new(), certificates.clone()),
        Some(path) => {
            let roots = read(path).await.and_then(|text| certificates_of(&text));
            (certificates.clone(), roots.map_err(DiskError::Bundle)?)
        }
    };
    let certificate = certificates[0].clone();
    let key = UpstreamKey::new(certificate, key).map_err(|error| match error {
        UpstreamKeyError::OtherKey => DiskError::Mismatch,
        other => DiskError::Certificate(daemon::supervisor::chain(&other)),
    })?;
    let roots: Result<Vec<_>, _> = roots.into_iter().map(X509Authority::new).collect();
    let roots = roots.map_err(|error| DiskError::Bundle(error.to_string()))?;
    key.verify(&certificates, &roots, trust_domain, clock.now())
        .map_err(DiskError::NotBelowBundle)?;
    Ok(Loaded { key, chain, roots })
}

fn certificates_of(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = decode_certificates(text).map_err(|error| chain(&error))?;
    if certificates.len() > MAX_AUTHORITIES {
        return Err(format!("more than {MAX_AUTHORITIES} certificates"));
    }
    Ok(certificates)
}

async fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = bounded_file::read_waiting(path, MAX_PEM_LEN_BYTES).await;
    read.map_err(|error| path_error_text("open", path, &error))
}

/// Why files cannot be used, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The key cannot be read.
    #[error("unable to load upstream CA key: {0}")]
    Key(String),
    /// The certificate cannot be read.
    #[error("unable to load upstream CA cert: {0}")]
    Certificate(String),
    /// The roots cannot be read.
    #[error("unable to load upstream CA bundle: {0}")]
    Bundle(String),
    /// There are intermediates and no roots above them.
    #[error("with no bundle_file_path configured only self-signed CAs are supported")]
    NotSelfSigned,
    /// The key is that of another certificate.
    #[error("unable to load upstream CA: certificate and private key do not match")]
    Mismatch,
    /// What is signed with the key does not lead to a root.
    #[error(
        "unable to load upstream CA: certificate cannot be validated with the provided bundle or is \
         not self-signed"
    )]
    NotBelowBundle(#[source] UpstreamKeyError),
    /// An intermediate was not signed.
    #[error("unable to sign CSR")]
    Sign(#[source] UpstreamKeyError),
    /// The thread that signs did not finish.
    #[error("signing was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

#[cfg(test)]
mod tests;

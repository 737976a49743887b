//! A certificate chain and its key from files, read again when the files change.
//!
//! What was loaded last stays in use while the files are unreadable or do not fit each other.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tracing::{error, info};
use zeroize::Zeroizing;

use crate::{bounded_file, duration, supervisor::Shutdown, supervisor::chain};

/// A certificate and key from two files in PEM.
#[derive(Debug)]
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// Of the files that were loaded first.
    loaded: [Stamp; 2],
    current: ArcSwap<CertifiedKey>,
}

impl CertificateFiles {
    /// Loads both files.
    ///
    /// # Errors
    /// [`CertificateFilesError`], which names the file.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, CertificateFilesError> {
        // Stamped before they are read: a file that changes meanwhile is read once more.
        let loaded = stamps(&certificate, &key)?;
        let current = load(&certificate, &key)?;
        Ok(Arc::new(Self {
            certificate,
            key,
            loaded,
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// Looks at the files every `interval` until `shutdown` and loads them again when one has changed.
    ///
    /// # Errors
    /// None: what goes wrong is logged, and the files are looked at again.
    pub async fn follow(
        self: Arc<Self>,
        interval: Duration,
        shutdown: Shutdown,
    ) -> Result<(), Infallible> {
        info!(
            interval = duration::format_go(interval),
            "Started watching certificate files"
        );
        let mut seen = self.loaded;
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = shutdown.requested() => {
                    info!("Stopping file watcher");
                    return Ok(());
                }
            }
            match stamps(&self.certificate, &self.key) {
                Ok(found) if found == seen => {}
                Ok(found) => {
                    if self.reload() {
                        seen = found;
                    }
                }
                Err(error) => error!(error = %chain(&error), "Failed to get file info"),
            }
        }
    }

    fn reload(&self) -> bool {
        info!("File change detected, reloading certificate and key...");
        match load(&self.certificate, &self.key) {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
                info!("Loaded provided certificate with success");
                true
            }
            Err(error) => {
                error!(error = %chain(&error), "Failed to load certificate");
                false
            }
        }
    }

    /// Reads the files again, whether they have changed or not; returns whether they could be used.
    #[cfg(feature = "fuzzing")]
    #[doc(hidden)]
    pub fn reloaded(&self) -> bool {
        self.reload()
    }

    /// What is shown to whoever comes.
    #[cfg(feature = "fuzzing")]
    #[doc(hidden)]
    pub fn shown(&self) -> Arc<CertifiedKey> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for CertificateFiles {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// TLS for a web server that shows what `certificates` chooses and asks for none.
///
/// # Errors
/// rustls refused the configuration.
pub fn server_config(
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    server_config_with(Arc::new(provider()), certificates)
}

/// The same with what `provider` knows of cryptography.
///
/// # Errors
/// rustls refused the configuration.
pub fn server_config_with(
    provider: Arc<CryptoProvider>,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFilesError {
    /// A file could not be read, or is longer than any certificate chain or key.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A file has no certificate or no private key in PEM.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong with the text.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The key is of an unknown kind, or not that of the certificate.
    #[error("{} and {} are not a certificate and its key", certificate.display(), key.display())]
    NoPair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        #[source]
        source: rustls::Error,
    },
}

/// What tells that a file was written or replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    modified_s: i64,
    modified_ns: i64,
    len_bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, CertificateFilesError> {
        let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        Ok(Self {
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            len_bytes: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

const MAX_FILE_LEN_BYTES: usize = 1024 * 1024;

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn stamps(certificate: &Path, key: &Path) -> Result<[Stamp; 2], CertificateFilesError> {
    Ok([Stamp::of(certificate)?, Stamp::of(key)?])
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateFilesError> {
    let pem = read(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.and_then(|chain| match chain.is_empty() {
        true => Err(rustls_pki_types::pem::Error::NoItemsFound),
        false => Ok(chain),
    });
    let chain = chain.map_err(|source| CertificateFilesError::Pem {
        path: certificate.to_owned(),
        what: "certificate",
        source,
    })?;
    let pem = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem);
    let private = private.map_err(|source| CertificateFilesError::Pem {
        path: key.to_owned(),
        what: "private key",
        source,
    })?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|source| {
        CertificateFilesError::NoPair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        }
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateFilesError> {
    bounded_file::read(path, MAX_FILE_LEN_BYTES).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> CertificateFilesError {
    CertificateFilesError::Read {
        path: path.to_owned(),
        source,
    }
}

//! Whose certificates are taken: authorities in files that may change at any time, or those of the
//! own trust domain.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::bounded_file;
use daemon::command_line::path_error_text;
use daemon::supervisor::chain;
use identity::pem::{MAX_PEM_LEN_BYTES, decode_certificates};
use identity::trust_domain::TrustDomain;
use identity::x509::CertificateInfo;
use parking_lot::Mutex;
use raft_store::Store;
use rustls_pki_types::CertificateDer;

type Certificates = Arc<[CertificateDer<'static>]>;

/// The authorities of the certificates of nodes.
pub(super) enum Authorities {
    /// In files.
    Files {
        paths: Vec<PathBuf>,
        held: Mutex<Held>,
    },
    /// In the own bundle.
    Bundle {
        store: Store,
        trust_domain: TrustDomain,
    },
}

/// What was read last, and from which files.
#[derive(Clone)]
pub(super) struct Held {
    stamps: Vec<Stamp>,
    certificates: Certificates,
}

/// Tells one content of a file from another without reading it.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    len_bytes: u64,
    changed_at: (i64, i64),
}

impl Authorities {
    /// The authorities in files, each of which must have one.
    pub(super) async fn in_files(paths: &[PathBuf]) -> Result<Self, AuthoritiesError> {
        let held = read(paths).await?;
        Ok(Self::Files {
            paths: paths.to_vec(),
            held: Mutex::new(held),
        })
    }

    /// The X.509 authorities of `trust_domain` as `store` has them.
    pub(super) fn of_bundle(store: Store, trust_domain: TrustDomain) -> Self {
        Self::Bundle {
            store,
            trust_domain,
        }
    }

    /// The authorities of now. Where files have changed and cannot be used, those of before stay
    /// in force, and the log says so.
    pub(super) async fn current(&self) -> Certificates {
        match self {
            Self::Files { paths, held } => {
                let before = held.lock().clone();
                if let Ok(stamps) = stamps(paths).await
                    && stamps == before.stamps
                {
                    return before.certificates;
                }
                match read(paths).await {
                    Ok(read) => {
                        tracing::info!(
                            authorities = read.certificates.len(),
                            subsystem_name = SUBSYSTEM,
                            "Reloaded trust bundle"
                        );
                        *held.lock() = read.clone();
                        read.certificates
                    }
                    Err(error) => {
                        let error = chain(&error);
                        tracing::error!(
                            error,
                            subsystem_name = SUBSYSTEM,
                            "Failed to reload trust bundle; the one read before stays in force"
                        );
                        before.certificates
                    }
                }
            }
            Self::Bundle {
                store,
                trust_domain,
            } => {
                let bundle = store.read(|state| state.bundle(trust_domain).cloned());
                let authorities = bundle.iter().flat_map(|bundle| &bundle.x509_authorities);
                authorities.map(|one| one.certificate.clone()).collect()
            }
        }
    }
}

const SUBSYSTEM: &str = "built-in_plugin.x509pop";

/// Reads all files. What they are now is looked at first: a change while they are read is seen the
/// next time.
async fn read(paths: &[PathBuf]) -> Result<Held, AuthoritiesError> {
    let stamps = stamps(paths).await?;
    let mut certificates = Vec::new();
    for path in paths {
        let text = bounded_file::read_waiting(path, MAX_PEM_LEN_BYTES).await;
        let text = text.map_err(|error| AuthoritiesError::read(path, &error))?;
        certificates.extend(parse(path, &text)?);
    }
    Ok(Held {
        stamps,
        certificates: certificates.into(),
    })
}

async fn stamps(paths: &[PathBuf]) -> Result<Vec<Stamp>, AuthoritiesError> {
    let mut stamps = Vec::with_capacity(paths.len());
    for path in paths {
        let metadata = tokio::fs::metadata(path).await;
        let metadata = metadata.map_err(|error| AuthoritiesError::read(path, &error))?;
        stamps.push(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            len_bytes: metadata.len(),
            changed_at: (metadata.ctime(), metadata.ctime_nsec()),
        });
    }
    Ok(stamps)
}

/// The certificates in a file, at least one.
///
/// # Errors
/// It cannot be read, or has something else in it.
pub fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, AuthoritiesError> {
    let text = bounded_file::read(path, MAX_PEM_LEN_BYTES);
    let text = text.map_err(|error| AuthoritiesError::read(path, &error))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, AuthoritiesError> {
    let unusable = |cause: String| AuthoritiesError {
        path: path.to_owned(),
        cause,
    };
    let certificates = decode_certificates(text).map_err(|error| unusable(chain(&error)))?;
    for (number, certificate) in certificates.iter().enumerate() {
        CertificateInfo::parse(certificate).map_err(|error| {
            unusable(format!(
                "unable to parse certificate in block {number}: {error}"
            ))
        })?;
    }
    Ok(certificates)
}

/// Why the authorities of a file cannot be had, in SPIRE's words.
#[derive(Debug, thiserror::Error)]
#[error("unable to load trust bundle {path:?}: {cause}")]
pub struct AuthoritiesError {
    path: PathBuf,
    cause: String,
}

impl AuthoritiesError {
    fn read(path: &Path, error: &io::Error) -> Self {
        Self {
            path: path.to_owned(),
            cause: path_error_text("open", path, error),
        }
    }
}

//! How the first server is believed: where the bundle comes from that vouches for it.
//!
//! It is asked for at each attempt to attest, since whoever tells it may do so later or differently;
//! once the agent has attested, it is the server that tells the bundle.

mod again;
mod parameters;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::bounded_file;
use daemon::https::{self, Document, GetError, Limits, NoRoots};
use http::StatusCode;
use identity::bundle::{Bundle, BundlePemError, JwksError, X509Authority};
use identity::trust_domain::TrustDomain;
use identity::x509::{X509Error, split_certificates};

use crate::client::{ServerAddress, first_x509_bundle};
use crate::config::{Bootstrap, BundleFormat};

pub use again::{NotReattestable, Rebootstrapper, Verdict};
pub use parameters::Occasion;
pub(crate) use parameters::rfc3339;

/// The longest bundle that is read.
const MAX_LEN_BYTES: usize = 4 << 20;

/// The time for a download, and for an answer of another Workload API.
const WITHIN: Duration = Duration::from_secs(60);

/// Where the bundle of the own trust domain comes from before a server told it.
#[derive(Clone, Debug)]
pub struct TrustSource {
    /// The source.
    pub bootstrap: Bootstrap,
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// The server that the agent wants to reach; whoever is asked for the bundle is told.
    pub server: ServerAddress,
}

impl TrustSource {
    /// The bundle, as told now; `None` where whoever has the right name is to be believed.
    ///
    /// # Errors
    /// It cannot be had, or is none.
    pub async fn bundle(&self, occasion: &Occasion) -> Result<Option<Bundle>, TrustSourceError> {
        match &self.bootstrap {
            Bootstrap::BundleFile { path, format } => self.read(path, *format).await.map(Some),
            Bootstrap::BundleUrl { url, format } => {
                let tls = https::web_client_config()?;
                let document = https::get(url, tls, LIMITS).await?;
                self.downloaded(&document, *format).map(Some)
            }
            Bootstrap::BundleSocket {
                socket,
                url,
                format,
            } => {
                let url = occasion.annotate(url, &self.server, &self.trust_domain);
                let document = https::get_from_socket(&url, socket, LIMITS).await?;
                self.downloaded(&document, *format).map(Some)
            }
            Bootstrap::WorkloadApi { socket } => self.ask(socket).await.map(Some),
            Bootstrap::Insecure => Ok(None),
        }
    }

    async fn read(&self, path: &Path, format: BundleFormat) -> Result<Bundle, TrustSourceError> {
        let failed = |source| TrustSourceError::File {
            path: path.to_owned(),
            source,
        };
        let bytes = bounded_file::read_waiting(path, MAX_LEN_BYTES).await;
        let bytes = bytes.map_err(failed)?;
        let parsed = self.parse(&bytes, format);
        parsed.map_err(|source| TrustSourceError::Content {
            place: path.display().to_string(),
            source,
        })
    }

    fn downloaded(
        &self,
        document: &Document,
        format: BundleFormat,
    ) -> Result<Bundle, TrustSourceError> {
        if document.status != StatusCode::OK {
            return Err(TrustSourceError::Status(document.status));
        }
        let parsed = self.parse(&document.body, format);
        parsed.map_err(|source| TrustSourceError::Content {
            place: "trust bundle URL".to_owned(),
            source,
        })
    }

    fn parse(&self, bytes: &[u8], format: BundleFormat) -> Result<Bundle, ContentError> {
        let bundle = match format {
            BundleFormat::Pem => Bundle::from_pem(&self.trust_domain, bytes)?,
            BundleFormat::Spiffe => Bundle::from_spiffe_jwks(&self.trust_domain, bytes)?,
        };
        self.not_empty(bundle)
    }

    fn not_empty(&self, bundle: Bundle) -> Result<Bundle, ContentError> {
        match bundle.x509_authorities.is_empty() {
            true => Err(ContentError::Empty),
            false => Ok(bundle),
        }
    }

    /// What another Workload API has for the trust domain.
    async fn ask(&self, socket: &Path) -> Result<Bundle, TrustSourceError> {
        let failed = |problem| TrustSourceError::WorkloadApi {
            socket: socket.to_owned(),
            problem,
        };
        let answer =
            tokio::time::timeout(WITHIN, first_x509_bundle(socket, &self.trust_domain)).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err(format!("no answer within {WITHIN:?}")));
        let authorities = split_certificates(&answer.map_err(failed)?)
            .and_then(|certificates| certificates.into_iter().map(X509Authority::new).collect())
            .map_err(ContentError::Certificate);
        let bundle = authorities.and_then(|x509_authorities| {
            self.not_empty(Bundle {
                x509_authorities,
                ..Bundle::empty(self.trust_domain.clone())
            })
        });
        bundle.map_err(|source| TrustSourceError::Content {
            place: format!("SPIFFE Workload API {}", socket.display()),
            source,
        })
    }
}

const LIMITS: Limits = Limits {
    max_len_bytes: MAX_LEN_BYTES,
    within: WITHIN,
};

/// Why there is no bundle to believe the first server by.
#[derive(Debug, thiserror::Error)]
pub enum TrustSourceError {
    /// The file cannot be read.
    #[error("trust bundle {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was told is no bundle.
    #[error("could not parse trust bundle of {place}")]
    Content {
        /// Who told it.
        place: String,
        /// What is wrong with it.
        #[source]
        source: ContentError,
    },
    /// There is nobody to believe on the web.
    #[error("unable to fetch trust bundle URL")]
    Roots(#[from] NoRoots),
    /// The download failed.
    #[error("unable to fetch trust bundle URL")]
    Download(#[from] GetError),
    /// There is no bundle there.
    #[error("error downloading trust bundle: {0}")]
    Status(StatusCode),
    /// The other Workload API tells none.
    #[error("unable to fetch trust bundle from SPIFFE Workload API {socket}: {problem}")]
    WorkloadApi {
        /// Its socket.
        socket: PathBuf,
        /// Why not.
        problem: String,
    },
}

impl TrustSourceError {
    /// Whether it is for the operator to mend.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::File { .. } | Self::Roots(_) => true,
            Self::Content { .. }
            | Self::Download(_)
            | Self::Status(_)
            | Self::WorkloadApi { .. } => false,
        }
    }
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It is no PEM bundle.
    #[error(transparent)]
    Pem(#[from] BundlePemError),
    /// It is no SPIFFE bundle.
    #[error("unable to parse SPIFFE trust bundle")]
    Spiffe(#[from] JwksError),
    /// A certificate of it cannot be read.
    #[error("unusable certificate")]
    Certificate(#[source] X509Error),
    /// It vouches for nobody.
    #[error("no certificates found in trust bundle")]
    Empty,
}

//! What stands above this server: whoever signs its intermediates instead of a root of its own.
//!
//! An upstream is asked and never believed: what it hands out is verified by [`ca`](crate::ca) before
//! anything of it is stored. Every question has a deadline.

mod disk;
mod error;
mod external;
mod settings;
mod spire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::Clock;
use identity::trust_domain::TrustDomain;
use plugin_host::Plugins;
use rustls_pki_types::CertificateDer;
use tracing::warn;

pub use disk::{Disk, DiskError, DiskFiles};
pub use error::UpstreamError;
pub use external::External;
pub use settings::{SpireSettings, UpstreamSettings};
pub use spire::{Spire, SpireError};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use spire::is_identity;

/// Signs the intermediates of this server, and may publish its JWT keys to others.
pub trait UpstreamAuthority: fmt::Debug + Send + Sync {
    /// Its name in the config.
    fn name(&self) -> &str;

    /// Signs a new intermediate.
    fn mint<'a>(&'a self, request: &'a MintRequest)
    -> BoxFuture<'a, Result<Minted, UpstreamError>>;

    /// Publishes a JWT key; the answer is all JWT keys that it knows.
    ///
    /// Fails with [`UpstreamError::Unsupported`] where keys stay in the own bundle.
    fn publish_jwt_key<'a>(
        &'a self,
        key: &'a JwtAuthority,
    ) -> BoxFuture<'a, Result<Vec<JwtAuthority>, UpstreamError>>;

    /// Its bundle of the own trust domain as it is now.
    ///
    /// Fails with [`UpstreamError::Unsupported`] where roots come with intermediates only.
    fn bundle(&self) -> BoxFuture<'_, Result<Bundle, UpstreamError>>;

    /// Lets go of connections: it is another member that asks from now on.
    fn rest(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What an intermediate shall be.
#[derive(Clone, Debug)]
pub struct MintRequest {
    /// A signing request (RFC 2986) in DER: name, key and `spiffe://<trust domain>`.
    pub csr: Vec<u8>,
    /// How long it shall live; whoever signs may cut that.
    pub preferred_ttl: Duration,
}

/// What an upstream signed.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The intermediate, then the certificates up to but without a root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The upstream's roots.
    pub roots: Vec<X509Authority>,
}

/// The upstream of this server, if it has one. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Upstream(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    authority: Box<dyn UpstreamAuthority>,
    /// Whether it was told that JWT keys stay here.
    has_warned: AtomicBool,
}

impl Upstream {
    /// No upstream: this server is its own root.
    pub fn none() -> Self {
        Self::default()
    }

    /// This one.
    pub fn new(authority: Box<dyn UpstreamAuthority>) -> Self {
        Self(Some(Arc::new(Held {
            authority,
            has_warned: AtomicBool::new(false),
        })))
    }

    /// The one that the config names, for `trust_domain`; one that is a program belongs to `plugins`.
    ///
    /// # Errors
    /// Its files cannot be used.
    pub async fn open(
        settings: Option<&UpstreamSettings>,
        trust_domain: &TrustDomain,
        clock: Arc<dyn Clock>,
        plugins: &mut Plugins,
    ) -> Result<Self, UpstreamError> {
        Ok(match settings {
            None => Self::none(),
            Some(UpstreamSettings::Disk(files)) => {
                let disk = Disk::open(files.clone(), trust_domain.clone(), clock).await?;
                Self::new(Box::new(disk))
            }
            Some(UpstreamSettings::Plugin(settings)) => {
                let plugin = plugins.load(settings).await?;
                Self::new(Box::new(External::new(plugin, trust_domain.clone())))
            }
            Some(UpstreamSettings::Spire(settings)) => {
                let spire = Spire::new(settings.clone(), trust_domain.clone(), clock);
                Self::new(Box::new(spire))
            }
        })
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |held| held.authority.name())
    }

    /// Asks for a new intermediate.
    ///
    /// # Errors
    /// There is no upstream, or it did not sign.
    pub async fn mint(&self, request: &MintRequest) -> Result<Minted, UpstreamError> {
        let held = self.0.as_ref().ok_or(UpstreamError::Unsupported)?;
        within(MINT_WITHIN, held.authority.mint(request)).await
    }

    /// Publishes a JWT key, and returns those that the own bundle should hold besides it: none if
    /// there is no upstream, or it takes no keys.
    ///
    /// # Errors
    /// It did not take the key, which must not sign then.
    pub async fn publish_jwt_key(
        &self,
        key: &JwtAuthority,
    ) -> Result<Vec<JwtAuthority>, UpstreamError> {
        let Some(held) = &self.0 else {
            return Ok(Vec::new());
        };
        match within(JWT_KEY_WITHIN, held.authority.publish_jwt_key(key)).await {
            Err(UpstreamError::Unsupported) => {
                if !held.has_warned.swap(true, Ordering::Relaxed) {
                    warn!(
                        plugin_name = held.authority.name(),
                        "UpstreamAuthority plugin does not support JWT-SVIDs. Workloads managed by \
                         this server may have trouble communicating with workloads outside this \
                         cluster when using JWT-SVIDs."
                    );
                }
                Ok(Vec::new())
            }
            published => published,
        }
    }

    /// Its bundle; `None` if it has none to tell.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn bundle(&self) -> Result<Option<Bundle>, UpstreamError> {
        let Some(held) = &self.0 else {
            return Ok(None);
        };
        match within(BUNDLE_WITHIN, held.authority.bundle()).await {
            Ok(bundle) => Ok(Some(bundle)),
            Err(UpstreamError::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets go of connections until the next question.
    pub async fn rest(&self) {
        if let Some(held) = &self.0 {
            held.authority.rest().await;
        }
    }
}

async fn within<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(UpstreamError::Late(deadline)),
    }
}

/// How long an intermediate may take: somebody may have to make a connection and sign with a slow key.
const MINT_WITHIN: Duration = Duration::from_secs(30);

/// How long the publication of a key may take, as in SPIRE.
const JWT_KEY_WITHIN: Duration = Duration::from_secs(5);

/// How long a look at the bundle may take.
const BUNDLE_WITHIN: Duration = Duration::from_secs(10);

//! Finds a server that answers: addresses, TCP, TLS.
//!
//! One dialer serves one kind of credentials. A channel that loses its connection dials again by
//! itself, at whichever server answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use identity::clock::Clock;
use identity::spiffe_id::SpiffeId;
use identity::tls::{self, SharedTlsMaterial, TlsError};
use identity::trust_domain::TrustDomain;
use parking_lot::Mutex;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// How long one address may take for TCP, and again for TLS.
const STEP_DEADLINE: Duration = Duration::from_secs(5);

/// Where a server listens; a name may stand for several servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerAddress {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The servers of a trust domain.
#[derive(Clone, Debug)]
pub struct Servers {
    /// Where they listen; at least one.
    pub addresses: Vec<ServerAddress>,
    /// Whose they are.
    pub trust_domain: TrustDomain,
    /// Tells whether a certificate is valid.
    pub clock: Arc<dyn Clock>,
}

/// How the server is recognised, and what the agent shows of itself.
#[derive(Clone, Debug)]
pub enum TlsMode {
    /// By the bundle in the material, with the SVID in it if there is one.
    Verified(SharedTlsMaterial),
    /// By the name in its certificate only, whoever signed it, and without showing an SVID.
    Insecure,
}

/// Connects to one of several servers.
#[derive(Clone)]
pub struct Dialer(Arc<Inner>);

struct Inner {
    addresses: Vec<ServerAddress>,
    config: Arc<ClientConfig>,
    preferred: AtomicUsize,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dialer").field(&self.0.addresses).finish()
    }
}

impl Dialer {
    /// A dialer for `servers`.
    ///
    /// # Errors
    /// The TLS library refuses the configuration.
    pub fn new(servers: &Servers, mode: TlsMode) -> Result<Self, TlsError> {
        let server_id = SpiffeId::server(&servers.trust_domain);
        let clock = Arc::clone(&servers.clock);
        let config = match mode {
            TlsMode::Verified(material) => tls::client_config(material, server_id, clock),
            TlsMode::Insecure => tls::insecure_bootstrap_client_config(server_id, clock),
        };
        Ok(Self(Arc::new(Inner {
            addresses: servers.addresses.clone(),
            config: Arc::new(config?),
            preferred: AtomicUsize::new(0),
        })))
    }

    /// A channel whose connection stands.
    ///
    /// # Errors
    /// What the last address failed with; [`DialError::Untrusted`] only if every one did.
    pub async fn connect(&self) -> Result<Channel, DialError> {
        let first = Mutex::new(Some(self.dial().await?));
        let dialer = self.clone();
        let connector = tower::service_fn(move |_uri| {
            let first = first.lock().take();
            let dialer = dialer.clone();
            async move {
                match first {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => dialer.dial().await.map(TokioIo::new),
                }
            }
        });
        // The name is not looked up: the connector knows where to go.
        Endpoint::from_static("http://spire-server")
            .connect_with_connector(connector)
            .await
            .map_err(DialError::Http2)
    }

    /// Makes the next connection start with another server.
    pub(super) fn prefer_next(&self) {
        self.0.preferred.fetch_add(1, Ordering::Relaxed);
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let mut targets = self.resolve().await?;
        let preferred = self.0.preferred.load(Ordering::Relaxed) % targets.len();
        targets.rotate_left(preferred);
        let mut failure: Option<DialError> = None;
        for target in targets {
            match self.0.open(&target).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let worse = |held: &DialError| held.is_untrusted_server();
                    if failure.as_ref().is_none_or(worse) || !error.is_untrusted_server() {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.expect("invariant: there is at least one target"))
    }

    /// Every socket address of every server, at least one.
    async fn resolve(&self) -> Result<Vec<Target>, DialError> {
        let mut targets = Vec::new();
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in &self.0.addresses {
            let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
            match tokio::time::timeout(STEP_DEADLINE, lookup).await {
                Ok(Ok(found)) => targets.extend(found.map(|socket| Target {
                    host: address.host.clone(),
                    socket,
                })),
                Ok(Err(error)) => failure = error,
                Err(_elapsed) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        if targets.is_empty() {
            return Err(DialError::Resolve(failure));
        }
        Ok(targets)
    }
}

struct Target {
    host: String,
    socket: SocketAddr,
}

impl Inner {
    async fn open(&self, target: &Target) -> Result<TlsStream<TcpStream>, DialError> {
        let address = target.socket;
        let connect = TcpStream::connect(address);
        let tcp = within_step(connect).await;
        let tcp = tcp
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|source| DialError::Connect { address, source })?;
        let name = ServerName::try_from(target.host.clone())
            .unwrap_or_else(|_not_a_name| ServerName::IpAddress(address.ip().into()));
        let handshake = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp);
        within_step(handshake)
            .await
            .map_err(|source| DialError::from_tls(address, source))
    }
}

async fn within_step<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(STEP_DEADLINE, step).await {
        Ok(result) => result,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Why no server was reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address could be looked up.
    #[error("cannot look up the server's address")]
    Resolve(#[source] io::Error),
    /// Nobody listens there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server's certificate does not chain to the bundle.
    #[error("server at {address} has a certificate signed by unknown authority")]
    Untrusted {
        /// Where.
        address: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed in another way.
    #[error("TLS handshake with {address} failed")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server does not speak HTTP/2.
    #[error("HTTP/2 handshake failed")]
    Http2(#[source] tonic::transport::Error),
}

impl DialError {
    fn from_tls(address: SocketAddr, source: io::Error) -> Self {
        let cause = source.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            // A root of another cluster may have the same name; then its signature is what is wrong.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Self::Untrusted { address, source },
            Some(_) | None => Self::Tls { address, source },
        }
    }

    /// Whether the server's certificate does not chain to the bundle.
    pub fn is_untrusted_server(&self) -> bool {
        matches!(self, Self::Untrusted { .. })
    }
}

//! Finds a server that answers: addresses, TCP, TLS.
//!
//! One dialer serves one kind of credentials. It begins with a server picked at random, so that
//! agents spread over the servers, and does not wait for one that is slow to answer: the next is
//! tried beside it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use identity::clock::{Clock, UnixTime};
use identity::spiffe_id::SpiffeId;
use identity::tls::{self, ALPN_CONCLAVE, KeyExchange, SharedTlsMaterial, TlsError};
use identity::trust_domain::TrustDomain;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use super::link::{Link, Stream};
use crate::jitter::jitter;

/// How long one address may take for TCP, and again for TLS.
const STEP_DEADLINE: Duration = Duration::from_secs(5);

/// How long a name may take to be looked up.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(3);

/// What one address has ahead of the next one.
const HEAD_START: Duration = Duration::from_millis(300);

/// Addresses that are tried at most; a name may stand for any number.
const MAX_TARGETS: usize = 32;

/// How long sent bytes may stay unacknowledged. Servers that take pings are found dead sooner.
const USER_TIMEOUT_MS: u32 = 3_000;

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
    /// How keys are agreed on with them.
    pub key_exchange: KeyExchange,
}

/// How the server is recognised, and what the agent shows of itself.
#[derive(Clone, Debug)]
pub enum TlsMode {
    /// By the bundle in the material, with the SVID in it if there is one.
    Verified(SharedTlsMaterial),
    /// By the name in its certificate only, whoever signed it, and without showing an SVID.
    Insecure,
}

/// Which servers to connect to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<'a> {
    /// None of these.
    pub(super) except: &'a [SocketAddr],
    /// This one only if no other answers.
    pub(super) last: Option<SocketAddr>,
}

/// Connects to one of several servers.
#[derive(Clone)]
pub struct Dialer(Arc<Inner>);

struct Inner {
    addresses: Vec<ServerAddress>,
    config: Arc<ClientConfig>,
    material: Option<SharedTlsMaterial>,
    clock: Arc<dyn Clock>,
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
        let material = match mode {
            TlsMode::Verified(material) => Some(material),
            TlsMode::Insecure => None,
        };
        let key_exchange = servers.key_exchange;
        let config = match material.clone() {
            Some(material) => tls::client_config(material, server_id, key_exchange, clock),
            None => tls::insecure_bootstrap_client_config(server_id, key_exchange, clock),
        };
        Ok(Self(Arc::new(Inner {
            addresses: servers.addresses.clone(),
            config: Arc::new(config?),
            material,
            clock: Arc::clone(&servers.clock),
        })))
    }

    /// A channel whose connection stands. It fails for good with the connection.
    ///
    /// # Errors
    /// What an address failed with; [`DialError::Untrusted`] only if every one did.
    pub async fn connect(&self) -> Result<Channel, DialError> {
        Ok(self.open(Choice::default()).await?.channel())
    }

    /// A connection to the first server that answers. Cancel-safe.
    ///
    /// # Errors
    /// What an address failed with; [`DialError::Untrusted`] only if every one did.
    pub(super) async fn open(&self, choice: Choice<'_>) -> Result<Link, DialError> {
        self.0.check_svid()?;
        let mut targets = self.0.resolve().await?;
        targets.retain(|target| !choice.except.contains(&target.socket));
        shuffle(&mut targets);
        targets.sort_by_key(|target| Some(target.socket) == choice.last);
        targets.truncate(MAX_TARGETS);
        self.0.race(targets).await
    }
}

struct Target {
    host: String,
    socket: SocketAddr,
}

impl Inner {
    /// A server would refuse an SVID that has ended, and an agent that keeps on trying.
    fn check_svid(&self) -> Result<(), DialError> {
        let material = self.material.as_ref().map(SharedTlsMaterial::load);
        let not_after = material.and_then(|material| material.svid().map(|svid| svid.not_after()));
        match not_after {
            Some(not_after) if self.clock.now() > not_after => {
                Err(DialError::SvidExpired { not_after })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Every socket address of every server, at least one.
    async fn resolve(&self) -> Result<Vec<Target>, DialError> {
        let lookups = self.addresses.iter().map(|address| async {
            let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
            let found = within(LOOKUP_DEADLINE, lookup).await?;
            Ok(targets(address, found))
        });
        let mut targets: Vec<Target> = Vec::new();
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for found in join_all(lookups).await {
            match found {
                Ok(found) => targets.extend(found),
                Err(error) => failure = error,
            }
        }
        targets.sort_by_key(|target| target.socket);
        targets.dedup_by_key(|target| target.socket);
        if targets.is_empty() {
            return Err(DialError::Resolve(failure));
        }
        Ok(targets)
    }

    /// Tries the targets in their order, each beside those before it that have not answered yet.
    async fn race(&self, targets: Vec<Target>) -> Result<Link, DialError> {
        let mut waiting = targets.into_iter();
        let mut trying = FuturesUnordered::new();
        let mut failure: Option<DialError> = None;
        loop {
            if let Some(target) = waiting.next() {
                trying.push(self.open(target));
            } else if trying.is_empty() {
                return Err(failure.unwrap_or(DialError::NoOther));
            }
            let has_more = !waiting.as_slice().is_empty();
            tokio::select! {
                Some(result) = trying.next() => match result {
                    Ok(link) => return Ok(link),
                    Err(error) => {
                        let worse = |held: &DialError| held.is_untrusted_server();
                        if failure.as_ref().is_none_or(worse) || !error.is_untrusted_server() {
                            failure = Some(error);
                        }
                    }
                },
                () = tokio::time::sleep(HEAD_START), if has_more => {}
            }
        }
    }

    async fn open(&self, target: Target) -> Result<Link, DialError> {
        let address = target.socket;
        let tcp = within(STEP_DEADLINE, TcpStream::connect(address)).await;
        let tcp = tcp
            .and_then(|tcp| tune(&tcp).map(|()| tcp))
            .map_err(|source| DialError::Connect { address, source })?;
        let name = ServerName::try_from(target.host)
            .unwrap_or_else(|_not_a_name| ServerName::IpAddress(address.ip().into()));
        let handshake = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp);
        let tls = within(STEP_DEADLINE, handshake)
            .await
            .map_err(|source| DialError::from_tls(address, source))?;
        let takes_pings = tls.get_ref().1.alpn_protocol() == Some(ALPN_CONCLAVE);
        let stream = Stream {
            tls,
            address,
            takes_pings,
        };
        Link::new(stream).await.map_err(DialError::Http2)
    }
}

/// A name may stand for several servers: each of its addresses is one.
fn targets(address: &ServerAddress, found: impl Iterator<Item = SocketAddr>) -> Vec<Target> {
    let target = |socket| Target {
        host: address.host.clone(),
        socket,
    };
    found.map(target).collect()
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(tcp, USER_TIMEOUT_MS)?;
    Ok(())
}

async fn within<T>(deadline: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(deadline, step).await {
        Ok(result) => result,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn shuffle(targets: &mut Vec<Target>) {
    let mut drawn: Vec<(f64, Target)> = targets.drain(..).map(|one| (jitter(), one)).collect();
    drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    targets.extend(drawn.into_iter().map(|(_, target)| target));
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
    /// There is no server but those that were asked already.
    #[error("there is no other server")]
    NoOther,
    /// No server would let this agent in.
    #[error("the agent's SVID ended at {} and no server would take it", .not_after.as_secs())]
    SvidExpired {
        /// The last second of the SVID.
        not_after: UnixTime,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_name_is_a_target() {
        let name = ServerAddress {
            host: "servers.test".to_owned(),
            port: 8081,
        };
        let sockets = ["192.0.2.1:8081", "[2001:db8::1]:8081", "192.0.2.2:8081"];
        let sockets = sockets.map(|text| text.parse().unwrap());
        let targets = targets(&name, sockets.into_iter());
        let found: Vec<_> = targets.iter().map(|target| target.socket).collect();
        assert_eq!(found, sockets);
        assert!(targets.iter().all(|target| target.host == name.host));
    }
}

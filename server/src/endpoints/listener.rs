//! Owns the two listeners: TLS over TCP for agents and remote administrators, and the Unix socket
//! for local ones.
//!
//! The number of connections is bounded, a handshake has a deadline, and one that fails costs
//! nobody else anything.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use daemon::unix;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected as _;

use crate::endpoints::connection::{self, Allowance, ConnectionAge, Terms};
use crate::endpoints::router::{ConnectionService, Router};
use crate::endpoints::{Caller, TrustedProxies};

/// The TLS listener, bound.
pub(crate) struct TlsListener {
    listener: TcpListener,
    door: Door,
}

/// What a TCP connection passes on its way in.
#[derive(Clone)]
struct Door {
    proxies: TrustedProxies,
    acceptor: TlsAcceptor,
    /// Places for peers without a certificate, so that they leave some to those with one.
    strangers: Arc<Semaphore>,
}

impl Door {
    /// The stream inside of TLS, and where it comes from.
    async fn admit(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<(TlsStream<TcpStream>, SocketAddr)> {
        stream.set_nodelay(true)?;
        let address = self.proxies.origin(&mut stream, peer).await?;
        Ok((self.acceptor.accept(stream).await?, address))
    }
}

impl TlsListener {
    /// Binds a host (an address or a name) and a port.
    pub(crate) async fn bind(
        address: (&str, u16),
        tls: Arc<ServerConfig>,
        proxies: TrustedProxies,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            door: Door {
                proxies,
                acceptor: TlsAcceptor::from(tls),
                strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            },
        })
    }

    /// Where it listens; tells the port if 0 was asked for.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until `shutdown`, then lets the connections finish.
    pub(crate) async fn serve(self, router: Arc<Router>, shutdown: Shutdown) {
        let mut connections = Connections::new();
        loop {
            let permit = tokio::select! {
                permit = connections.slot() => permit,
                () = shutdown.requested() => break,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.requested() => break,
            };
            match accepted {
                Ok(accepted) => {
                    let door = self.door.clone();
                    let serving = serve_tls(accepted, door, Arc::clone(&router), shutdown.clone());
                    connections.start(permit, serving);
                }
                Err(error) => pause_after(&error).await,
            }
        }
        drop(self.listener);
        connections.finish().await;
    }
}

async fn serve_tls(
    (stream, peer): (TcpStream, SocketAddr),
    door: Door,
    router: Arc<Router>,
    shutdown: Shutdown,
) {
    let shaken = tokio::time::timeout(HANDSHAKE_WITHIN, door.admit(stream, peer)).await;
    let (stream, address) = match shaken {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "tls handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "tls handshake took too long");
            return;
        }
    };
    let identity = match stream.get_ref().1.peer_certificates() {
        None => None,
        Some(certificates) => match identity::tls::peer_identity(certificates) {
            Ok(identity) => Some(Arc::new(identity)),
            Err(error) => {
                // The handshake verified the same certificate, so this is no ordinary caller.
                tracing::error!(%address, %error, "client certificate has a malformed SPIFFE ID");
                return;
            }
        },
    };
    let (allowance, _place) = match identity {
        Some(_) => (Allowance::Known, None),
        None => match door.strangers.try_acquire_owned() {
            Ok(place) => (Allowance::Stranger, Some(place)),
            Err(_full) => {
                tracing::debug!(%address, "too many callers without a certificate");
                return;
            }
        },
    };
    let terms = Terms {
        age: age_of(address),
        allowance,
    };
    let caller = Caller::Tls { address, identity };
    let service = ConnectionService::new(router, caller, shutdown.clone());
    connection::serve(stream, service, terms, shutdown).await;
}

/// Three minutes, give or take a tenth that depends on the peer's port, so that connections made
/// in one moment do not come back in one moment.
fn age_of(address: SocketAddr) -> ConnectionAge {
    let spread = u64::from(address.port()) * 36_000 / u64::from(u16::MAX);
    ConnectionAge::Limited(Duration::from_millis(162_000 + spread))
}

/// The Unix socket, bound.
pub(crate) struct UnixListener {
    listener: unix::Listener,
}

impl UnixListener {
    /// Binds the socket at `path`, which only its owner's group may use.
    pub(crate) async fn bind(path: &Path) -> Result<Self, unix::BindError> {
        let options = unix::BindOptions {
            socket_mode: 0o770,
            directory_mode: 0o750,
        };
        Ok(Self {
            listener: unix::bind(path, options).await?,
        })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Accepts until `shutdown`, then lets the connections finish.
    pub(crate) async fn serve(self, router: Arc<Router>, shutdown: Shutdown) {
        let mut connections = Connections::new();
        loop {
            let permit = tokio::select! {
                permit = connections.slot() => permit,
                () = shutdown.requested() => break,
            };
            let connection = tokio::select! {
                connection = self.listener.accept() => connection,
                () = shutdown.requested() => break,
            };
            let caller = Caller::Local(Arc::new(connection.connect_info()));
            let service = ConnectionService::new(Arc::clone(&router), caller, shutdown.clone());
            let terms = Terms {
                age: ConnectionAge::Unlimited,
                allowance: Allowance::Known,
            };
            let serving = connection::serve(connection, service, terms, shutdown.clone());
            connections.start(permit, serving);
        }
        drop(self.listener);
        connections.finish().await;
    }
}

/// The connections of a listener.
struct Connections {
    slots: Arc<Semaphore>,
    running: JoinSet<()>,
}

impl Connections {
    fn new() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            running: JoinSet::new(),
        }
    }

    /// Waits for a free place, and clears away the connections that ended.
    async fn slot(&mut self) -> OwnedSemaphorePermit {
        while self.running.try_join_next().is_some() {}
        Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    fn start(
        &mut self,
        permit: OwnedSemaphorePermit,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.spawn(async move {
            serving.await;
            drop(permit);
        });
    }

    async fn finish(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    // Out of file descriptors, most likely: accepting again at once would only spin.
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections a listener holds at once; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 16_384;

/// How many of them may be without a certificate.
const MAX_STRANGERS: usize = MAX_CONNECTIONS / 4;

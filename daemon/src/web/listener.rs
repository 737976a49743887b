//! Where documents are served, and how connections are bounded.

use std::{convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, request::Parts};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{
    Answer,
    handshake::{Handshakes, Unvarying, shake_hands},
};
use crate::{
    supervisor::Shutdown,
    unix::{Connection, Listener as UnixListener},
};

/// What is served.
pub trait Documents: Send + Sync + 'static {
    /// Answers one request by its head; from memory, for it must not wait.
    fn answer(&self, request: &Parts, origin: Origin) -> Answer;
}

/// How a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The address of the other end; a Unix socket has none.
    pub remote: Option<SocketAddr>,
    /// Whether the connection is under TLS.
    pub is_tls: bool,
}

/// A bound listener.
pub struct Listener(Kind);

enum Kind {
    Plain(TcpListener),
    Tls(TcpListener, Arc<dyn Handshakes>),
    Unix(UnixListener),
}

impl Listener {
    /// Binds a TCP address, `HOST:PORT`, for HTTP in the clear; without a host every address of the machine.
    ///
    /// # Errors
    /// [`BindError`] with the address.
    pub async fn plain(address: &str) -> Result<Self, BindError> {
        bind(address).await.map(Kind::Plain).map(Self)
    }

    /// As [`Listener::plain`], for HTTPS.
    ///
    /// # Errors
    /// [`BindError`] with the address.
    pub async fn tls(address: &str, config: Arc<rustls::ServerConfig>) -> Result<Self, BindError> {
        Self::tls_by_hello(address, Arc::new(Unvarying(config))).await
    }

    /// As [`Listener::tls`], with what `handshakes` chooses for each connection.
    ///
    /// # Errors
    /// [`BindError`] with the address.
    pub async fn tls_by_hello(
        address: &str,
        handshakes: Arc<dyn Handshakes>,
    ) -> Result<Self, BindError> {
        let listener = bind(address).await?;
        Ok(Self(Kind::Tls(listener, handshakes)))
    }

    /// For HTTP in the clear over a bound Unix socket.
    #[must_use]
    pub fn unix(listener: UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }

    /// The TCP address listened on; `None` for a Unix socket.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.0 {
            Kind::Plain(listener) | Kind::Tls(listener, _) => listener.local_addr().map(Some),
            Kind::Unix(_) => Ok(None),
        }
    }

    /// Serves until `shutdown`; connections open then are dropped.
    ///
    /// # Errors
    /// None: a failed accept is logged and tried again.
    pub async fn serve(
        self,
        documents: Arc<dyn Documents>,
        shutdown: Shutdown,
    ) -> Result<(), Infallible> {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // Whoever comes while all places are taken waits in the kernel's queue.
            let next = async {
                let slot = slots.clone().acquire_owned().await;
                let slot = slot.expect("invariant: the semaphore is never closed");
                (slot, self.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                next = next => next,
                Some(_) = connections.join_next() => continue,
                () = shutdown.requested() => return Ok(()),
            };
            let documents = Arc::clone(&documents);
            connections.spawn(async move {
                accepted.serve(documents).await;
                drop(slot);
            });
        }
    }

    async fn accept(&self) -> Accepted {
        match &self.0 {
            Kind::Plain(listener) => {
                let (stream, remote) = accept_tcp(listener).await;
                Accepted::Plain(stream, remote)
            }
            Kind::Tls(listener, handshakes) => {
                let (stream, remote) = accept_tcp(listener).await;
                Accepted::Tls(stream, remote, Arc::clone(handshakes))
            }
            Kind::Unix(listener) => Accepted::Unix(Box::new(listener.accept().await)),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Plain(_) => "plain",
            Kind::Tls(..) => "tls",
            Kind::Unix(_) => "unix",
        };
        formatter.debug_tuple("Listener").field(&kind).finish()
    }
}

/// The listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address:?}")]
pub struct BindError {
    address: String,
    #[source]
    source: io::Error,
}

enum Accepted {
    Plain(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, Arc<dyn Handshakes>),
    Unix(Box<Connection>),
}

impl Accepted {
    async fn serve(self, documents: Arc<dyn Documents>) {
        match self {
            Self::Plain(stream, remote) => {
                let origin = Origin {
                    remote: Some(remote),
                    is_tls: false,
                };
                answer(stream, origin, documents).await;
            }
            Self::Tls(stream, remote, handshakes) => {
                let handshake = shake_hands(stream, &*handshakes);
                let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(Some(stream))) => stream,
                    Ok(Ok(None)) => return,
                    Ok(Err(error)) => {
                        debug!(%error, %remote, "TLS handshake failed");
                        return;
                    }
                    Err(_) => {
                        debug!(%remote, "TLS handshake took too long");
                        return;
                    }
                };
                let origin = Origin {
                    remote: Some(remote),
                    is_tls: true,
                };
                answer(stream, origin, documents).await;
            }
            Self::Unix(connection) => {
                let origin = Origin {
                    remote: None,
                    is_tls: false,
                };
                answer(connection, origin, documents).await;
            }
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    origin: Origin,
    documents: Arc<dyn Documents>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (head, _body) = request.into_parts();
        let answer = documents.answer(&head, origin);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_LEN_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(CONNECTION_LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(HEAD_TIMEOUT, connection).await {
                Ok(ended) => ended,
                Err(_) => return debug!("HTTP connection hung up: its answer is not taken"),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "HTTP connection broke off");
    }
}

/// What a caller who says `said` is told.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub async fn told(said: &[u8], origin: Origin, documents: Arc<dyn Documents>) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (near, far) = tokio::io::duplex(MAX_HEAD_LEN_BYTES);
    let (mut reader, mut writer) = tokio::io::split(near);
    let mut told = Vec::new();
    let speaking = async {
        writer.write_all(said).await.ok();
        writer.shutdown().await.ok();
    };
    tokio::join!(answer(far, origin, documents), speaking, async {
        reader.read_to_end(&mut told).await.ok()
    });
    told
}

async fn accept_tcp(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn bind(address: &str) -> Result<TcpListener, BindError> {
    let bound = match address.strip_prefix(':') {
        // IPv6's wildcard takes IPv4 too, where the machine has IPv6.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
        None => TcpListener::bind(address).await,
    };
    bound.map_err(|source| BindError {
        address: address.to_owned(),
        source,
    })
}

const MAX_CONNECTIONS: usize = 1024;
const MAX_HEAD_LEN_BYTES: usize = 32 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For one head, and for a connection that is kept open without a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A caller that asks again and again, or takes no answer, would keep its place from others for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);
/// After a failed accept (out of file descriptors, mostly), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::web::plain_text;

    struct Long;

    impl Documents for Long {
        fn answer(&self, _request: &Parts, _origin: Origin) -> Answer {
            plain_text(StatusCode::OK, &"a".repeat(4096))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_no_answer_is_hung_up_on() {
        let (mut caller, stream) = tokio::io::duplex(256);
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        caller.write_all(request).await.unwrap();
        let origin = Origin {
            remote: None,
            is_tls: false,
        };
        let started = Instant::now();
        let served = answer(stream, origin, Arc::new(Long));
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(timeout(day, served).await, Ok(()));
        assert_eq!(started.elapsed(), CONNECTION_LIFETIME + HEAD_TIMEOUT);
    }
}

//! The way to other members: TCP, TLS with the identity of this one, and the Peer service on it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, TryFutureExt as _};
use futures_util::stream::{BoxStream, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use identity::clock::Clock;
use identity::tls::SharedTlsMaterial;
use proto::conclave::cluster::v1::Frame;
use proto::conclave::cluster::v1::peer_client::PeerClient;
use raft_store::{Lane, PeerAddress, PeerConnection, PeerConnector, PeerError};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};

use crate::peers::moves::ADDRESS_KEY;
use crate::peers::{MAX_MESSAGE_LEN_BYTES, name};

/// Connects to other members as this one.
#[derive(Clone)]
pub struct Connector {
    material: SharedTlsMaterial,
    clock: Arc<dyn Clock>,
    /// Where this member listens, told to the others; `None` if it cannot be said on the wire.
    own_address: Option<AsciiMetadataValue>,
}

impl Connector {
    /// A connector that shows and believes what is in `material` at each time, of the member that
    /// listens at `own_address`.
    pub fn new(material: SharedTlsMaterial, clock: Arc<dyn Clock>, own_address: &str) -> Self {
        Self {
            material,
            clock,
            own_address: own_address.parse().ok(),
        }
    }

    /// Whether whoever listens at the address proves to be that member.
    pub(crate) async fn is_there(&self, peer: &PeerAddress) -> bool {
        self.handshake(peer).await.is_ok()
    }

    async fn handshake(&self, peer: &PeerAddress) -> io::Result<TlsStream<TcpStream>> {
        if self.material.load().svid().is_none() {
            return Err(io::Error::other("this member has no peer certificate yet"));
        }
        let expected = name::member(&peer.cluster_id, peer.member_id);
        let material = self.material.clone();
        let config = identity::tls::peer_client_config(material, expected, Arc::clone(&self.clock))
            .map_err(io::Error::other)?;
        let opened = open(&peer.address, Arc::new(config)).await;
        opened.map_err(|error| match unbelieved(&error) {
            Some(cause) => io::Error::new(error.kind(), cause),
            None => error,
        })
    }

    async fn connect(&self, peer: &PeerAddress) -> io::Result<Connection> {
        let stream = self.handshake(peer).await?;
        let http2 = Http2::over(stream).await?;
        let client = PeerClient::with_origin(http2.sender, origin())
            .max_decoding_message_size(MAX_MESSAGE_LEN_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_LEN_BYTES);
        Ok(Connection {
            peer: peer.clone(),
            client,
            own_address: self.own_address.clone(),
            _driver: http2.driver,
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl PeerConnector for Connector {
    fn connect(
        &self,
        peer: PeerAddress,
        _lane: Lane,
    ) -> BoxFuture<'static, Result<Arc<dyn PeerConnection>, PeerError>> {
        let connector = self.clone();
        // Each call opens a connection, and so each lane has its own.
        Box::pin(async move {
            match connector.connect(&peer).await {
                Ok(connection) => Ok(Arc::new(connection) as Arc<dyn PeerConnection>),
                Err(error) => Err(unreachable(&peer, error)),
            }
        })
    }
}

/// A connection to another member.
struct Connection {
    peer: PeerAddress,
    client: PeerClient<Sender>,
    own_address: Option<AsciiMetadataValue>,
    /// Ends when nobody holds the connection any more.
    _driver: JoinSet<()>,
}

impl PeerConnection for Connection {
    fn exchange(
        &self,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (mut client, peer) = (self.client.clone(), self.peer.clone());
        let request = self.request(Frame { body: request });
        Box::pin(async move {
            let answer = tokio::time::timeout(deadline, client.exchange(request)).await;
            match answer {
                Ok(Ok(response)) => Ok(response.into_inner().body),
                Ok(Err(status)) => Err(refused(&peer, status)),
                Err(_elapsed) => Err(unreachable(&peer, io::ErrorKind::TimedOut.into())),
            }
        })
    }

    fn exchange_in_order(
        &self,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        let (mut client, peer) = (self.client.clone(), self.peer.clone());
        let frames = ReceiverStream::new(requests).map(|body| Frame { body });
        let request = self.request(frames);
        let answers = async move { client.exchange_in_order(request).await };
        let answers = answers.map_ok(tonic::Response::into_inner);
        let answers = answers
            .try_flatten_stream()
            .map(move |answer| match answer {
                Ok(frame) => Ok(frame.body),
                Err(status) => Err(refused(&peer, status)),
            });
        answers.boxed()
    }
}

impl Connection {
    /// A request that says where this member listens.
    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(address) = &self.own_address {
            request.metadata_mut().insert(ADDRESS_KEY, address.clone());
        }
        request
    }
}

fn refused(peer: &PeerAddress, status: Status) -> PeerError {
    let kind = match status.code() {
        Code::PermissionDenied => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    unreachable(peer, io::Error::new(kind, status))
}

/// A client's end of an HTTP/2 connection, and the task that moves its bytes.
pub(super) struct Http2 {
    pub(super) sender: Sender,
    pub(super) driver: JoinSet<()>,
}

impl Http2 {
    /// Speaks HTTP/2 over `stream`.
    pub(super) async fn over<Io>(stream: Io) -> io::Result<Self>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        // Large, and part of every future up to the start of the server.
        let handshake = Box::pin(builder.handshake(TokioIo::new(stream)));
        let handshake = async { handshake.await.map_err(io::Error::other) };
        let (sender, connection) = within(STEP_DEADLINE, handshake).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a member ended with an error");
            }
        });
        Ok(Self {
            sender: Sender(sender),
            driver,
        })
    }
}

/// Sends requests over one connection, which is not opened anew when it ends.
#[derive(Clone)]
pub(super) struct Sender(hyper::client::conn::http2::SendRequest<Body>);

impl tower::Service<http::Request<Body>> for Sender {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Connects to `address`, host and port, and shakes hands. A name may stand for several hosts;
/// each is tried.
pub(super) async fn open(
    address: &str,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = within(STEP_DEADLINE, TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    // Certificates name members, not hosts.
    let name = ServerName::from(stream.peer_addr()?.ip());
    within(
        STEP_DEADLINE,
        TlsConnector::from(config).connect(name, stream),
    )
    .await
}

async fn within<T>(deadline: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(deadline, step).await {
        Ok(done) => done,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Why whoever listens there is not believed, in words; `None` if the handshake failed otherwise.
fn unbelieved(error: &io::Error) -> Option<String> {
    match identity::tls::unbelieved_peer(error)? {
        identity::tls::PeerError::UnexpectedId {
            presented,
            expected,
        } if presented.trust_domain() != expected.trust_domain() => Some(format!(
            "whoever listens there is a member of another cluster now: {presented} instead of {expected}"
        )),
        _ => Some(identity::tls::handshake_failure(error)),
    }
}

fn unreachable(peer: &PeerAddress, source: io::Error) -> PeerError {
    PeerError {
        member_id: peer.member_id,
        address: peer.address.clone(),
        source: Some(source),
    }
}

/// Stands where a host name would: certificates say who the peer is.
pub(super) fn origin() -> http::Uri {
    http::Uri::from_static("http://peer")
}

/// How long each of name look-up with TCP, TLS and HTTP/2 may take.
const STEP_DEADLINE: Duration = Duration::from_secs(2);

/// Appends and parts of snapshots go in one flight.
pub(super) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
pub(super) const FRAME_BYTES: u32 = 256 << 10;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

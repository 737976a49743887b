//! One connection to one server, from its handshake to its end.
//!
//! A link never dials again: when its connection is gone, every call on it fails at once, and
//! [`Link::ended`] says so to those who only wait.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint, Error};

/// A quiet connection is asked for a sign of life this often. Together with [`PING_DEADLINE`] it
/// bounds how long a server that is cut off or stopped goes unnoticed.
const PING_INTERVAL: Duration = Duration::from_millis(500);
const PING_DEADLINE: Duration = Duration::from_millis(800);

/// A server that answers on a stream of bytes.
pub(super) struct Stream {
    pub(super) tls: TlsStream<TcpStream>,
    pub(super) address: SocketAddr,
    pub(super) takes_pings: bool,
}

/// Names one connection of this process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkId(u64);

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    id: LinkId,
    address: SocketAddr,
    channel: Channel,
    ended: CancellationToken,
    has_answered: AtomicBool,
}

impl Link {
    /// Begins to speak HTTP/2.
    pub(super) async fn new(stream: Stream) -> Result<Self, Error> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let ended = CancellationToken::new();
        let io = Watched {
            tls: stream.tls,
            _end: ended.clone().drop_guard(),
        };
        let first = Mutex::new(Some(io));
        let connector = tower::service_fn(move |_uri| {
            let io = first.lock().take();
            async move {
                let gone = || io::Error::from(io::ErrorKind::NotConnected);
                io.map(TokioIo::new).ok_or_else(gone)
            }
        });
        // The name is not looked up: the connection is there.
        let mut endpoint = Endpoint::from_static("http://spire-server");
        if stream.takes_pings {
            endpoint = endpoint
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_DEADLINE)
                .keep_alive_while_idle(true);
        }
        Ok(Self {
            id: LinkId(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            address: stream.address,
            channel: endpoint.connect_with_connector(connector).await?,
            ended,
            has_answered: AtomicBool::new(false),
        })
    }

    pub(super) fn id(&self) -> LinkId {
        self.id
    }

    /// Who is at the other end.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// To make calls on.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Whether the connection is gone or is not to be used any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Returns when [`Link::has_ended`]. Cancel-safe.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes the link out of use; calls under way may finish.
    pub(super) fn retire(&self) {
        self.ended.cancel();
    }

    /// Notes that the server answered a call.
    pub(super) fn set_answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// Whether the server ever answered a call.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }
}

/// Bytes of a connection, which tell by their drop that it is gone: HTTP/2 drops them at its end.
struct Watched {
    tls: TlsStream<TcpStream>,
    _end: DropGuard,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}

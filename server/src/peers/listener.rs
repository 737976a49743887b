//! The door for other members and for those who want to become one.
//!
//! The name of the protocol in the first message of a handshake decides which of the two it is. The
//! number of connections is bounded, a handshake has a deadline, and who is refused finds the cause
//! in the log of both sides.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::supervisor::Shutdown;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use identity::clock::Clock;
use identity::tls::{ALPN_JOIN, ALPN_PEER, SharedTlsMaterial, TlsError};
use proto::conclave::cluster::v1::join_server::JoinServer;
use proto::conclave::cluster::v1::peer_server::PeerServer;
use raft_store::Store;
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;

use crate::peers::complaints::Complaints;
use crate::peers::connector::{CONNECTION_WINDOW_BYTES, FRAME_BYTES, STREAM_WINDOW_BYTES};
use crate::peers::exchange::PeerService;
use crate::peers::join::{Admission, Exporter, JoinService, MAX_JOIN_LEN_BYTES};
use crate::peers::moves::Heard;
use crate::peers::places::{Place, Places};
use crate::peers::{MAX_MESSAGE_LEN_BYTES, name};

/// The listener for peers, bound and not yet serving.
#[derive(Debug)]
pub(super) struct Listener {
    /// Bound wherever the caller runs, and handed to the runtime that serves.
    listener: std::net::TcpListener,
}

/// What a connection needs to be served.
pub(crate) struct Door {
    store: Store,
    heard: Heard,
    admission: Arc<Admission>,
    peer_tls: Arc<ServerConfig>,
    join_tls: Arc<ServerConfig>,
    connections: Semaphore,
    strangers: Places,
    complaints: Complaints,
    joiners: Places,
}

impl Door {
    /// The door of the member that shows what is in `material`.
    pub(crate) fn new(
        store: Store,
        heard: Heard,
        admission: Admission,
        material: SharedTlsMaterial,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let own = name::trust_domain(admission.cluster_id());
        let shared = || (material.clone(), Arc::clone(&clock));
        let (for_peers, peer_clock) = shared();
        let (for_joiners, join_clock) = shared();
        let peer_tls = identity::tls::peer_server_config(for_peers, own, peer_clock)?;
        let join_tls = identity::tls::join_server_config(for_joiners, join_clock)?;
        Ok(Self {
            store,
            heard,
            admission: Arc::new(admission),
            peer_tls: Arc::new(peer_tls),
            join_tls: Arc::new(join_tls),
            connections: Semaphore::new(MAX_CONNECTIONS),
            strangers: Places::new(MAX_STRANGERS, MAX_STRANGERS / 4),
            complaints: Complaints::new(),
            joiners: Places::new(MAX_JOINERS, MAX_JOINERS / 4),
        })
    }
}

impl Listener {
    /// Binds `address`, host and port: the member's own.
    ///
    /// # Errors
    /// The address is taken, not ours, or not known.
    pub(super) async fn bind(address: &str) -> anyhow::Result<Self> {
        let bound = TcpListener::bind(address).await;
        let bound = bound.and_then(TcpListener::into_std);
        let listener = bound.with_context(|| format!("cannot listen on peer_address {address}"))?;
        Ok(Self { listener })
    }

    /// Serves until `shutdown`; connections end with it. Runs on the runtime that polls it.
    ///
    /// # Errors
    /// The socket cannot be used by this runtime.
    pub(super) async fn serve(self, door: Door, shutdown: Shutdown) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        tracing::info!(address = %listener.local_addr()?, "listening for peers");
        let door = Arc::new(door);
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.requested() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let Some(place) = door.strangers.take(address.ip()) else {
                        tracing::debug!(%address, "too many handshakes at once");
                        continue;
                    };
                    let door = Arc::clone(&door);
                    running.spawn(async move { door.serve(stream, address, place).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a peer's connection");
                    // Out of file descriptors, most likely: accepting again at once would spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        running.shutdown().await;
        Ok(())
    }
}

/// Who has come.
enum Guest {
    Member(u64),
    Joiner(Exporter),
}

impl Door {
    async fn serve(&self, stream: TcpStream, address: SocketAddr, stranger: Place) {
        let handshake = self.shake_hands(stream);
        let (stream, guest) = match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
            Ok(Ok(arrived)) => arrived,
            Ok(Err(error)) => {
                if let Some(left_out) = self.complaints.allow() {
                    let cause = identity::tls::handshake_failure(&error);
                    tracing::warn!(%address, cause, left_out, "refused a connection to the peer port");
                }
                return;
            }
            Err(_elapsed) => {
                tracing::debug!(%address, "peer handshake took too long");
                return;
            }
        };
        drop(stranger);
        match guest {
            Guest::Member(from) => self.serve_member(stream, from, address).await,
            Guest::Joiner(exporter) => self.serve_joiner(stream, exporter, address).await,
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Guest), Refused> {
        stream.set_nodelay(true).map_err(Refused::Tls)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let start = start.await.map_err(Refused::Tls)?;
        if wants_to_join(&start.client_hello()) {
            let stream = start.into_stream(Arc::clone(&self.join_tls)).await;
            let stream = stream.map_err(Refused::Tls)?;
            let tls = stream.get_ref().1;
            let exporter = Exporter::of(|output, label, context| {
                tls.export_keying_material(output, label, context)
            });
            return Ok((stream, Guest::Joiner(exporter.map_err(Refused::Exporter)?)));
        }
        let stream = start.into_stream(Arc::clone(&self.peer_tls)).await;
        let stream = stream.map_err(Refused::Tls)?;
        let tls = stream.get_ref().1;
        if tls.alpn_protocol() != Some(ALPN_PEER) {
            return Err(Refused::Protocol);
        }
        let identity = identity::tls::peer_identity(tls.peer_certificates().unwrap_or_default());
        let identity = identity.map_err(Refused::Identity)?;
        let from = name::member_id(&identity.spiffe_id).ok_or(Refused::NoMember)?;
        Ok((stream, Guest::Member(from)))
    }

    async fn serve_member(&self, stream: TlsStream<TcpStream>, from: u64, address: SocketAddr) {
        let Ok(_place) = self.connections.try_acquire() else {
            tracing::warn!(%address, member_id = from, "too many connections of members");
            return;
        };
        let service = PeerService::new(self.store.clone(), from, self.heard.clone());
        let service = PeerServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_LEN_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_LEN_BYTES);
        let service = hyper::service::service_fn(move |request| service.clone().call(request));
        let connection = server(MAX_CALLS).serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%address, member_id = from, %error, "connection of a member ended");
        }
        self.store.peer_lost(from);
    }

    async fn serve_joiner(
        &self,
        stream: TlsStream<TcpStream>,
        exporter: Exporter,
        address: SocketAddr,
    ) {
        let Some(_place) = self.joiners.take(address.ip()) else {
            tracing::warn!(%address, "too many hosts want to join at once");
            return;
        };
        let service = JoinService::new(Arc::clone(&self.admission), exporter);
        let service = JoinServer::new(service).max_decoding_message_size(MAX_JOIN_LEN_BYTES);
        let service = hyper::service::service_fn(move |request| service.clone().call(request));
        let connection = server(1).serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(JOIN_WITHIN, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%address, %error, "connection of a joiner ended"),
            Err(_elapsed) => tracing::warn!(%address, "a host took too long to join"),
        }
    }
}

fn wants_to_join(hello: &ClientHello<'_>) -> bool {
    let mut protocols = hello.alpn().into_iter().flatten();
    protocols.any(|protocol| protocol == ALPN_JOIN)
}

fn server(max_calls: u32) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_calls)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// The handshake failed: no certificate, one of somebody else, or another protocol.
    #[error("tls handshake failed")]
    Tls(#[source] io::Error),
    /// The peer speaks none of our protocols.
    #[error("no protocol of members was asked for")]
    Protocol,
    /// The certificate that verified names nobody.
    #[error("certificate without an identity")]
    Identity(#[source] identity::tls::PeerError),
    /// The certificate names somebody who is no member.
    #[error("certificate of somebody who is no member")]
    NoMember,
    /// The connection has no exporter value.
    #[error("no exporter value")]
    Exporter(#[source] rustls::Error),
}

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a joiner may stay: two proposals and a look at an address.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

/// Four lanes of each member, and those that are about to end.
const MAX_CONNECTIONS: usize = 512;

/// Handshakes at once; a quarter of them from one address.
const MAX_STRANGERS: usize = 256;

/// Joiners at once; a quarter of them from one address.
const MAX_JOINERS: usize = 16;

/// Calls of one connection at once; forwarded proposals come side by side.
const MAX_CALLS: u32 = 4_096;
const MAX_HEADER_BYTES: u32 = 16 << 10;

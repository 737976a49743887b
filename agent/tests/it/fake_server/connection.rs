//! Connections to the server, and who is at the other end.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use identity::clock::SystemClock;
use identity::spiffe_id::SpiffeId;
use identity::testing::TestAuthority;
use identity::tls::{
    ClientPolicy, KeyExchange, SharedTlsMaterial, TlsMaterial, peer_identity, server_config,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{Faults, Registry};

pub(super) async fn accept(
    listener: TcpListener,
    registry: Arc<Mutex<Registry>>,
    faults: Faults,
    connections: mpsc::Sender<Result<Connection, std::io::Error>>,
) {
    let mut unanswered = Vec::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        if faults.is_frozen.load(Ordering::SeqCst) {
            unanswered.push(tcp);
            continue;
        }
        tcp.set_nodelay(true).unwrap();
        let config = tls_config(&registry.lock().authority);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        // A client that does not trust this server goes away in the middle of the handshake.
        if let Ok(tls) = acceptor.accept(tcp).await {
            let peer = tls.get_ref().1.peer_certificates().map(|certificates| {
                let peer = peer_identity(certificates).unwrap();
                Peer(Some((peer.spiffe_id, peer.serial)))
            });
            faults.connections.fetch_add(1, Ordering::SeqCst);
            let connection = Connection {
                tls,
                peer: peer.unwrap_or(Peer(None)),
                faults: faults.clone(),
            };
            connections.send(Ok(connection)).await.ok();
        }
    }
}

fn tls_config(authority: &TestAuthority) -> rustls::ServerConfig {
    let svid = authority.x509_svid("/spire/server");
    let material = TlsMaterial::new(Some(svid), [Arc::new(authority.bundle())]).unwrap();
    let policy = ClientPolicy {
        trust_domain: authority.trust_domain().clone(),
        foreign_ids: BTreeSet::new(),
    };
    let clock = Arc::new(SystemClock);
    server_config(
        SharedTlsMaterial::new(material),
        policy,
        KeyExchange::Any,
        clock,
    )
    .unwrap()
}

/// Who shows an SVID, and its serial number.
#[derive(Clone)]
pub(super) struct Peer(pub(super) Option<(SpiffeId, String)>);

pub(super) struct Connection {
    tls: TlsStream<TcpStream>,
    peer: Peer,
    faults: Faults,
}

impl Connection {
    /// Nobody wakes a frozen connection up.
    fn is_frozen(&self) -> bool {
        self.faults.is_frozen.load(Ordering::SeqCst)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.faults.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

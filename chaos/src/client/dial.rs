//! Channels to servers and agents: over a Unix socket, and over TLS with an SVID or without.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::Uri;
use hyper_util::rt::TokioIo;
use identity::{
    bundle::Bundle,
    clock::SystemClock,
    spiffe_id::SpiffeId,
    tls::{KeyExchange, SharedTlsMaterial, TlsMaterial, client_config},
    x509_svid::X509Svid,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to a Unix socket that connects again by itself.
///
/// # Errors
/// Nobody listens there now.
pub async fn unix(path: &Path) -> anyhow::Result<Channel> {
    let socket = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT);
    let channel = endpoint.connect_with_connector(connector).await;
    channel.with_context(|| format!("cannot connect to {}", path.display()))
}

/// Who calls over TLS: the bundle it believes and the SVID it shows.
#[derive(Clone)]
pub struct Caller {
    /// What the server must verify against.
    pub bundle: Arc<Bundle>,
    /// What the caller shows, if anything.
    pub svid: Option<X509Svid>,
}

impl Caller {
    /// A channel to the server at `address` that connects at its first use, and again when it must.
    ///
    /// # Errors
    /// The SVID cannot be used for TLS.
    pub fn channel(&self, address: SocketAddr) -> anyhow::Result<Channel> {
        self.channel_to(address, SpiffeId::server(&self.bundle.trust_domain))
    }

    /// As [`Caller::channel`], to a program with the identity `server`.
    ///
    /// # Errors
    /// The SVID cannot be used for TLS.
    pub fn channel_to(&self, address: SocketAddr, server: SpiffeId) -> anyhow::Result<Channel> {
        let material = TlsMaterial::new(self.svid.clone(), [Arc::clone(&self.bundle)])?;
        let config = client_config(
            SharedTlsMaterial::new(material),
            server,
            KeyExchange::Any,
            Arc::new(SystemClock),
        )?;
        Ok(tls(address, config))
    }
}

fn tls(address: SocketAddr, config: ClientConfig) -> Channel {
    let connector = TlsConnector::from(Arc::new(config));
    let dial = move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::from(address.ip());
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    };
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector_lazy(tower::service_fn(dial))
}

//! Which TLS a connection gets, by what its client asks for first.

use std::{future::Future, io, pin::Pin, sync::Arc};

use rustls::{ServerConfig, server::Acceptor};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// What a client asks for before anything is agreed on. Nothing in it is proven.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hello {
    /// The host that it wants, in lower case.
    pub server_name: Option<String>,
    /// The protocols that it offers (ALPN), the one that it likes best first.
    pub protocols: Vec<Vec<u8>>,
}

/// How a connection goes on.
#[derive(Clone, Debug)]
pub enum Handshake {
    /// Under this configuration, and then documents are served.
    Serve(Arc<ServerConfig>),
    /// Under this configuration, and then it ends: the handshake is all that the client came for.
    End(Arc<ServerConfig>),
}

/// Chooses for each connection. It may wait, within the time that a handshake has.
pub trait Handshakes: Send + Sync + 'static {
    /// The choice for a client that says `hello`.
    fn choose(&self, hello: Hello) -> Pin<Box<dyn Future<Output = Handshake> + Send + '_>>;
}

/// The same for everybody.
pub(super) struct Unvarying(pub(super) Arc<ServerConfig>);

impl Handshakes for Unvarying {
    fn choose(&self, _hello: Hello) -> Pin<Box<dyn Future<Output = Handshake> + Send + '_>> {
        Box::pin(std::future::ready(Handshake::Serve(Arc::clone(&self.0))))
    }
}

/// The connection with TLS on it, or `None` if it ended with the handshake as it should.
pub(super) async fn shake_hands(
    stream: TcpStream,
    handshakes: &dyn Handshakes,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = started.client_hello();
    let hello = Hello {
        server_name: hello.server_name().map(str::to_ascii_lowercase),
        protocols: hello
            .alpn()
            .map(|protocols| protocols.map(<[u8]>::to_vec).collect())
            .unwrap_or_default(),
    };
    match handshakes.choose(hello).await {
        Handshake::Serve(config) => started.into_stream(config).await.map(Some),
        Handshake::End(config) => {
            started.into_stream(config).await?.shutdown().await?;
            Ok(None)
        }
    }
}

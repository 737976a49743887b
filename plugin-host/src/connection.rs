//! The connection to a plugin: one for its whole life.
//!
//! It is not made again when it breaks: where the plugin listened, somebody else may listen by then.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::handshake::Address;

/// How long a plugin may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Connects to the plugin at `address`.
///
/// # Errors
/// Nobody listens there, or somebody who is no gRPC server.
pub(crate) async fn connect(address: &Address) -> Result<Channel, ConnectError> {
    match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            over(stream.map_err(ConnectError::Dial)?).await
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await;
            let stream = stream.map_err(ConnectError::Dial)?;
            stream.set_nodelay(true).map_err(ConnectError::Dial)?;
            over(stream).await
        }
    }
}

/// Speaks with a plugin at the other end of `stream`.
///
/// # Errors
/// Who is there is no gRPC server.
pub(crate) async fn over<S>(stream: S) -> Result<Channel, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut only = Some(stream);
    let connector = tower::service_fn(move |_: Uri| {
        let stream = only.take().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotConnected,
                "connection to the plugin is lost",
            )
        });
        std::future::ready(stream.map(TokioIo::new))
    });
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_WITHIN)
        .connect_with_connector(connector)
        .await
        .map_err(ConnectError::Http2)
}

/// Why there is no connection to a plugin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens where the plugin said that it does.
    #[error("dial the plugin")]
    Dial(#[source] io::Error),
    /// Whoever listens does not speak HTTP/2.
    #[error("start HTTP/2 with the plugin")]
    Http2(#[source] tonic::transport::Error),
}

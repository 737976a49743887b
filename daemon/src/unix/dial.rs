//! A gRPC channel over a Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Connects to the gRPC server on a Unix socket; the channel connects again by itself when it must.
///
/// # Errors
/// [`ConnectError::Dial`] when nobody listens there, [`ConnectError::Handshake`] when it does not speak HTTP/2.
pub async fn connect(path: &Path) -> Result<Channel, ConnectError> {
    // Dialled here and not in the connector alone, whose errors come out without the operating system's.
    let dial = |source| ConnectError::Dial {
        path: path.to_owned(),
        source,
    };
    let mut first = Some(UnixStream::connect(path).await.map_err(dial)?);
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let first = first.take();
        let path = path.clone();
        async move {
            let stream = match first {
                Some(stream) => stream,
                None => UnixStream::connect(path).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(ConnectError::Handshake)
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket could not be opened.
    #[error("dial unix {}", path.display())]
    Dial {
        /// The socket.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// Something listens that is no gRPC server.
    #[error("start HTTP/2")]
    Handshake(#[source] tonic::transport::Error),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

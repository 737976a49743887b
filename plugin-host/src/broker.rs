//! The broker: how a plugin learns where this process offers services to it.
//!
//! The plugin has the server's side of the broker's stream. It is told one address, under the number that
//! the SDK looks for, and the stream then stays open as long as the plugin lives.

use std::convert::Infallible;
use std::path::Path;

use daemon::supervisor::Shutdown;
use daemon::unix::{BindError, BindOptions, Listener};
use proto::plugin::ConnInfo;
use proto::plugin::grpc_broker_client::GrpcBrokerClient;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Server};
use tracing::debug;

use crate::host_services::HostServices;

/// The number under which the SDK looks for the services of the process.
const HOST_SERVICES: u32 = 1;

/// How many calls at once a plugin may make.
const MAX_STREAMS: u32 = 64;

/// A place for a plugin to call, known to nobody else.
pub(crate) struct Broker {
    /// Removed with its socket.
    folder: TempDir,
    listener: Listener,
}

impl Broker {
    /// Begins to listen.
    ///
    /// # Errors
    /// There is no place for a socket.
    pub(crate) async fn bind() -> Result<Self, BrokerError> {
        // Only this user may enter it.
        let folder = tempfile::Builder::new()
            .prefix("conclave-plugin-")
            .tempdir();
        let folder = folder.map_err(BrokerError::Folder)?;
        let options = BindOptions {
            socket_mode: 0o600,
            directory_mode: 0o700,
        };
        let listener = daemon::unix::bind(&folder.path().join("host.sock"), options).await?;
        Ok(Self { folder, listener })
    }

    /// Tells the plugin the address and serves there; to be run until the plugin ends.
    pub(crate) fn serve(
        self,
        channel: Channel,
        services: &HostServices,
        end: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        let Self { folder, listener } = self;
        let info = info(listener.path());
        let router = services.router();
        async move {
            let serve = Server::builder()
                .max_concurrent_streams(MAX_STREAMS)
                .serve_with_incoming_shutdown(router, listener.incoming(), end.requested());
            tokio::select! {
                served = serve => if let Err(error) = served {
                    debug!(%error, "services for the plugin failed");
                },
                never = announce(channel, info) => match never {},
            }
            drop(folder);
        }
    }
}

/// Keeps the stream of the broker open. A plugin that opens it may answer nothing ever.
async fn announce(channel: Channel, info: ConnInfo) -> Infallible {
    let (told, infos) = mpsc::channel(1);
    told.try_send(info).ok();
    let mut client = GrpcBrokerClient::new(channel);
    match client.start_stream(ReceiverStream::new(infos)).await {
        // A plugin may offer services, too; nobody wants them.
        Ok(answers) => {
            let mut answers = answers.into_inner();
            while let Some(Ok(_)) = answers.next().await {}
        }
        Err(status) => debug!(%status, "plugin has no broker"),
    }
    let pending = std::future::pending().await;
    drop(told);
    pending
}

fn info(path: &Path) -> ConnInfo {
    ConnInfo {
        service_id: HOST_SERVICES,
        network: "unix".to_owned(),
        address: path.to_string_lossy().into_owned(),
        knock: None,
    }
}

/// Why a plugin can be offered nothing.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no place for the socket.
    #[error("make a folder for the plugin's socket")]
    Folder(#[source] std::io::Error),
    /// The socket cannot be bound.
    #[error("bind the plugin's socket")]
    Bind(#[from] BindError),
}

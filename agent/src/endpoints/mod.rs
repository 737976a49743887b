//! The agent's two sockets: one for every process of the host, one for administrators and delegates.
//!
//! What must hold: nothing that a caller sends is held in memory beyond [`MAX_REQUEST_LEN_BYTES`] a
//! request, and the admin socket is never where workloads may go.

mod public;
mod rate_limit;

use std::path::Path;
use std::sync::Arc;

use daemon::supervisor::{Shutdown, Supervisor};
use daemon::unix::{BindError, BindOptions, Listener};
use identity::clock::Clock;
use tonic::Status;
use tonic::transport::Server;
use tracing::info;

use crate::admin_api::{self, About};
use crate::cache::Cache;
use crate::caller::Callers;
use crate::config::Config;
use crate::jwt::JwtSvids;
use public::serve_public;

pub use daemon::router::Router;
pub use rate_limit::{CallsPerSecond, Method, RateLimits};

/// Callers hold few streams; this many on one connection is a defect or an attack.
const MAX_STREAMS: u32 = 256;

/// The longest request. It is held in memory until all of it has come, and any process of the host
/// may send one; a token to validate has a quarter of it at most.
pub const MAX_REQUEST_LEN_BYTES: usize = 256 << 10;

/// What the services work with.
#[derive(Clone)]
pub struct Parts {
    /// What is served, and how.
    pub config: Arc<Config>,
    /// Finds out who calls.
    pub callers: Arc<Callers>,
    /// How often each may.
    pub rate_limits: Arc<RateLimits>,
    /// Holds what callers get.
    pub cache: Arc<Cache>,
    /// Gives out JWT-SVIDs.
    pub jwt_svids: Arc<JwtSvids>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The sockets, bound.
pub struct Sockets {
    public: Option<Listener>,
    admin: Option<Listener>,
}

impl Sockets {
    /// Binds what `config` asks for: a socket that every process of the host may connect to, and one
    /// for the agent's user and group.
    ///
    /// # Errors
    /// Somebody listens there already, or a path cannot be used.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let public = match config.disable_workload_api && config.disable_sds_api {
            false => Some(bind(&config.socket_path, 0o777).await?),
            true => None,
        };
        let admin = match &config.admin_socket_path {
            Some(path) => Some(bind(path, 0o770).await?),
            None => None,
        };
        Ok(Self { public, admin })
    }

    /// Begins to serve.
    pub fn start(self, parts: &Parts, about: About, supervisor: &mut Supervisor) {
        if let Some(listener) = self.admin {
            let parts = parts.clone();
            supervisor.start("admin socket", |shutdown| {
                admin_api::serve_admin(parts, about, listener, shutdown)
            });
        }
        match self.public {
            Some(listener) => supervisor.start("public socket", |shutdown| {
                serve_public(parts.clone(), listener, shutdown)
            }),
            None => info!(
                apis = "Workload and SDS APIs",
                "Skipping agent APIs because public endpoint is disabled"
            ),
        }
    }
}

async fn bind(path: &Path, socket_mode: u32) -> Result<Listener, BindError> {
    let options = BindOptions {
        socket_mode,
        directory_mode: 0o755,
    };
    daemon::unix::bind(path, options).await
}

/// Serves until `shutdown`.
///
/// # Errors
/// The server failed.
pub(crate) async fn serve(
    router: Router,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .serve_with_incoming_shutdown(router, listener.incoming(), async move {
            shutdown.requested().await;
        })
        .await
        .map_err(ServeError)
}

/// The end of a stream because the agent stops. Not CANCELLED: several clients give up for good on
/// that.
pub(crate) fn stopping() -> Status {
    Status::unavailable("agent is shutting down")
}

/// A socket could not be served.
#[derive(Debug, thiserror::Error)]
#[error("socket failed")]
pub struct ServeError(#[source] tonic::transport::Error);

//! The admin socket: what an administrator asks the agent about itself, and what delegates get for
//! workloads that cannot ask themselves.
//!
//! Whoever may connect may see and change the log level; SVIDs of others go only to delegates.

mod debug;
mod delegated;
mod logger;

use std::sync::Arc;

use daemon::log::LogControl;
use daemon::supervisor::Shutdown;
use daemon::unix::Listener;
use identity::tls::SharedTlsMaterial;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

use crate::endpoints::{Parts, Router, ServeError, serve};

/// What the agent can say of itself.
#[derive(Clone)]
pub struct About {
    /// The agent's SVID and bundle.
    pub material: SharedTlsMaterial,
    /// When the agent last learnt anything from a server.
    pub last_sync: Arc<Mutex<Option<Instant>>>,
    /// When the agent started.
    pub started: Instant,
    /// The log, whose level can be changed.
    pub log: LogControl,
}

/// The services of the admin socket, whose streams end at `shutdown`.
pub fn router(parts: Parts, about: About, shutdown: Shutdown) -> Router {
    Router::default()
        .with(logger::server(about.log.clone()))
        .with(debug::server(parts.clone(), about))
        .with(delegated::server(parts, shutdown))
}

/// Serves until `shutdown`.
pub(crate) async fn serve_admin(
    parts: Parts,
    about: About,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    info!(
        address = %listener.path().display(),
        network = "unix",
        "Starting Admin APIs"
    );
    let router = router(parts, about, shutdown.clone());
    serve(router, listener, shutdown).await
}

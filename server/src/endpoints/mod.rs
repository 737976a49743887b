//! Owns how calls come in: listeners, TLS, who the caller is, who may call what, rate limits.
//!
//! One way through: `listener` accepts and learns the [`Caller`], `connection` speaks HTTP/2,
//! `router` looks the call up in the table of [`authz`], has `authorize` admit the caller,
//! waits for the [`rate_limit`], and hands the call to a service of [`api`](crate::api).

pub mod authz;
pub mod rate_limit;

mod authorize;
mod caller;
mod connection;
mod life;
mod listener;
mod router;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::supervisor::Shutdown;
use proto::conclave::cluster::v1::cluster_server::ClusterServer;
use proto::conclave::sync::v1::sync_server::SyncServer;
use proto::grpc::health::v1::health_server::HealthServer;
use proto::spire::api::server::agent::v1::agent_server::AgentServer;
use proto::spire::api::server::bundle::v1::bundle_server::BundleServer;
use proto::spire::api::server::debug::v1::debug_server::DebugServer;
use proto::spire::api::server::entry::v1::entry_server::EntryServer;
use proto::spire::api::server::logger::v1::logger_server::LoggerServer;
use proto::spire::api::server::svid::v1::svid_server::SvidServer;
use rustls::ServerConfig;

use crate::api::agent::AgentApi;
use crate::api::bundle::BundleApi;
use crate::api::cluster::ClusterApi;
use crate::api::debug::DebugApi;
use crate::api::entry::EntryApi;
use crate::api::health::HealthApi;
use crate::api::logger::LoggerApi;
use crate::api::svid::SvidApi;
use crate::api::sync::SyncApi;

pub use authorize::{AgentRefusal, AuthorizeError, Authorizer};
pub use caller::{Caller, CallerRole};
pub use life::ConnectionLife;
pub use rate_limit::{CallLimit, RateError, RateLimitOptions, RateLimits};

use listener::{TlsListener, UnixListener};
use router::Router;

/// The services that the endpoints serve.
#[derive(Debug)]
pub struct Services {
    /// Agents: attestation, and what operators do with them.
    pub agent: AgentServer<AgentApi>,
    /// Registration entries.
    pub entry: EntryServer<EntryApi>,
    /// Own and federated bundles.
    pub bundle: BundleServer<BundleApi>,
    /// The cluster itself, for its operators.
    pub cluster: ClusterServer<ClusterApi>,
    /// What this server says of itself.
    pub debug: DebugServer<DebugApi>,
    /// gRPC health.
    pub health: HealthServer<HealthApi>,
    /// The level of the log.
    pub logger: LoggerServer<LoggerApi>,
    /// Signing.
    pub svid: SvidServer<SvidApi>,
    /// What agents are told without asking.
    pub sync: SyncServer<SyncApi>,
}

/// Where the endpoints listen.
pub struct Addresses<'a> {
    /// Host of the TLS listener, an address or a name.
    pub host: &'a str,
    /// Port of the TLS listener.
    pub port: u16,
    /// Path of the Unix socket.
    pub socket_path: &'a Path,
}

/// What endpoints are made of.
pub struct EndpointsOptions<'a> {
    /// Where they listen.
    pub addresses: Addresses<'a>,
    /// How the TLS listener shakes hands.
    pub tls: Arc<ServerConfig>,
    /// Who answers.
    pub services: Services,
    /// Who admits.
    pub authorizer: Authorizer,
    /// What is limited.
    pub limits: RateLimitOptions,
}

/// Both listeners, bound but not yet accepting.
pub struct Endpoints {
    router: Arc<Router>,
    tls: TlsListener,
    tls_address: SocketAddr,
    unix: UnixListener,
}

impl Endpoints {
    /// Binds both listeners.
    ///
    /// # Errors
    ///
    /// Names the address or path that could not be bound, and why.
    pub async fn bind(options: EndpointsOptions<'_>) -> Result<Self, EndpointsError> {
        let EndpointsOptions {
            addresses,
            tls,
            services,
            authorizer,
            limits,
        } = options;
        let bind_failed = |source| EndpointsError::Tcp {
            address: format!("{}:{}", addresses.host, addresses.port),
            source,
        };
        let tls = TlsListener::bind(addresses.host, addresses.port, tls)
            .await
            .map_err(bind_failed)?;
        let tls_address = tls.local_address().map_err(bind_failed)?;
        let unix = UnixListener::bind(addresses.socket_path)
            .await
            .map_err(|source| EndpointsError::Unix {
                path: addresses.socket_path.to_owned(),
                source,
            })?;
        let limits = Arc::new(RateLimits::new(limits));
        Ok(Self {
            router: Arc::new(Router::new(services, authorizer, limits)),
            tls,
            tls_address,
            unix,
        })
    }

    /// Where the TLS listener really listens.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address
    }

    /// Serves both listeners until `shutdown`, then gives the calls in progress a grace.
    pub async fn serve(self, shutdown: Shutdown) {
        let subsystem_name = "endpoints";
        tracing::info!(
            address = %self.tls_address,
            network = "tcp",
            subsystem_name,
            "Starting Server APIs"
        );
        tracing::info!(
            address = %self.unix.path().display(),
            network = "unix",
            subsystem_name,
            "Starting Server APIs"
        );
        let tls = self.tls.serve(Arc::clone(&self.router), shutdown.clone());
        let unix = self.unix.serve(self.router, shutdown);
        tokio::join!(tls, unix);
        tracing::info!(subsystem_name, "Stopped Server APIs");
    }
}

/// Why the endpoints cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// The TCP address is taken, not ours, or not known.
    #[error("cannot listen on {address}")]
    Tcp {
        /// The address as configured.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("cannot listen on unix socket {}", path.display())]
    Unix {
        /// Path of the socket.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: daemon::unix::BindError,
    },
}

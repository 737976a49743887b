//! Owns how calls come in: listeners, TLS, who the caller is, who may call what, rate limits.
//!
//! One way through: `listener` accepts and learns the [`Caller`], `connection` speaks HTTP/2,
//! `router` looks the call up in the table of [`authz`], has `authorize` admit the caller,
//! waits for the [`rate_limit`], and hands the call to a service of [`api`](crate::api).

pub mod audit;
pub mod authz;
pub mod rate_limit;

mod authorize;
mod caller;
mod connection;
mod gate;
mod life;
mod listener;
mod proxy_protocol;
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
use proto::spire::api::server::localauthority::v1::local_authority_server::LocalAuthorityServer;
use proto::spire::api::server::logger::v1::logger_server::LoggerServer;
use proto::spire::api::server::svid::v1::svid_server::SvidServer;
use proto::spire::api::server::trustdomain::v1::trust_domain_server::TrustDomainServer;
use rustls::ServerConfig;

use crate::api::agent::AgentApi;
use crate::api::bundle::BundleApi;
use crate::api::cluster::ClusterApi;
use crate::api::debug::DebugApi;
use crate::api::entry::EntryApi;
use crate::api::health::HealthApi;
use crate::api::local_authority::LocalAuthorityApi;
use crate::api::logger::LoggerApi;
use crate::api::svid::SvidApi;
use crate::api::sync::SyncApi;
use crate::api::trust_domain::TrustDomainApi;

pub use authorize::{AgentRefusal, AuthorizeError, Authorizer};
pub use caller::{AdminSource, Caller, CallerRole};
pub use gate::{Gate, Waiting};
pub use life::ConnectionLife;
pub use proxy_protocol::{Network, NotANetwork, TrustedProxies};
pub use rate_limit::{CallLimit, RateError, RateLimitOptions, RateLimits};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use {proxy_protocol::told_origin, router::told_timeout};

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
    /// Rotation by hand.
    pub local_authority: LocalAuthorityServer<LocalAuthorityApi>,
    /// The level of the log.
    pub logger: LoggerServer<LoggerApi>,
    /// Signing.
    pub svid: SvidServer<SvidApi>,
    /// What agents are told without asking.
    pub sync: SyncServer<SyncApi>,
    /// Federation relationships.
    pub trust_domain: TrustDomainServer<TrustDomainApi>,
}

/// What the endpoints are made of.
pub struct EndpointsOptions {
    /// Who answers.
    pub services: Services,
    /// Who admits.
    pub authorizer: Authorizer,
    /// What is limited.
    pub limits: RateLimitOptions,
    /// Whether calls are let through yet.
    pub gate: Gate,
    /// Whether calls are told to the audit log.
    pub audit: AuditLog,
}

/// Whether there is an audit log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AuditLog {
    /// There is none.
    #[default]
    Off,
    /// Every admitted call is told.
    On,
}

/// What answers behind every listener.
pub struct Endpoints(Arc<Router>);

/// The Unix socket, bound but not yet accepting.
pub struct LocalEndpoint {
    router: Arc<Router>,
    unix: UnixListener,
}

/// The TLS listener, bound but not yet accepting.
pub struct RemoteEndpoint {
    router: Arc<Router>,
    tls: TlsListener,
    address: SocketAddr,
}

impl Endpoints {
    /// Endpoints that listen nowhere yet.
    pub fn new(options: EndpointsOptions) -> Self {
        Self(Arc::new(Router::new(options)))
    }

    /// Binds the Unix socket.
    ///
    /// # Errors
    ///
    /// Names the path that could not be bound, and why.
    pub async fn bind_local(&self, path: &Path) -> Result<LocalEndpoint, EndpointsError> {
        let bind_failed = |source| EndpointsError::Unix {
            path: path.to_owned(),
            source,
        };
        Ok(LocalEndpoint {
            router: Arc::clone(&self.0),
            unix: UnixListener::bind(path).await.map_err(bind_failed)?,
        })
    }

    /// Binds the TLS listener to `host`, an address or a name, and `port`. Of `proxies` it takes
    /// where connections come from.
    ///
    /// # Errors
    ///
    /// Names the address that could not be bound, and why.
    pub async fn bind_remote(
        &self,
        host: &str,
        port: u16,
        tls: Arc<ServerConfig>,
        proxies: TrustedProxies,
    ) -> Result<RemoteEndpoint, EndpointsError> {
        let bind_failed = |source| EndpointsError::Tcp {
            address: format!("{host}:{port}"),
            source,
        };
        let tls = TlsListener::bind((host, port), tls, proxies)
            .await
            .map_err(bind_failed)?;
        let address = tls.local_address().map_err(bind_failed)?;
        Ok(RemoteEndpoint {
            router: Arc::clone(&self.0),
            tls,
            address,
        })
    }
}

impl LocalEndpoint {
    /// Serves until `shutdown`, then gives the calls in progress a grace.
    pub async fn serve(self, shutdown: Shutdown) {
        let address = self.unix.path().display();
        tracing::info!(%address, network = "unix", subsystem_name = SUBSYSTEM, "Starting Server APIs");
        self.unix.serve(self.router, shutdown).await;
    }
}

impl RemoteEndpoint {
    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then gives the calls in progress a grace.
    pub async fn serve(self, shutdown: Shutdown) {
        let address = self.address;
        tracing::info!(%address, network = "tcp", subsystem_name = SUBSYSTEM, "Starting Server APIs");
        self.tls.serve(self.router, shutdown).await;
        tracing::info!(subsystem_name = SUBSYSTEM, "Stopped Server APIs");
    }
}

const SUBSYSTEM: &str = "endpoints";

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

//! What the process offers to its plugins, as SPIRE's servers and agents do.

mod agent_store;
mod identity_provider;
mod metrics;

use std::sync::Arc;

use daemon::router::Router;
use futures_util::future::BoxFuture;
use identity::bundle::Bundle;
use identity::x509_svid::X509Svid;
use proto::spire::hostservice::common::metrics::v1::metrics_server;
use proto::spire::hostservice::server::agentstore::v1::agent_store_server;
use proto::spire::hostservice::server::identityprovider::v1::identity_provider_server;

/// Knows which agents there are.
pub trait AgentStore: Send + Sync {
    /// Whether there is an agent of this name.
    ///
    /// The error is what the plugin is told.
    fn has<'a>(&'a self, agent_id: &'a str) -> BoxFuture<'a, Result<bool, String>>;
}

/// Knows who this process is.
pub trait IdentityProvider: Send + Sync {
    /// The SVID of this process and the bundle of its trust domain; `None` while there is no SVID.
    fn identity(&self) -> Option<(X509Svid, Arc<Bundle>)>;
}

/// The services of one process.
#[derive(Clone, Default)]
pub struct HostServices {
    agents: Option<Arc<dyn AgentStore>>,
    identity: Option<Arc<dyn IdentityProvider>>,
}

impl HostServices {
    /// What agents offer: metrics.
    pub fn of_agent() -> Self {
        Self::default()
    }

    /// What servers offer: metrics, the agents and the server's identity.
    pub fn of_server(agents: Arc<dyn AgentStore>, identity: Arc<dyn IdentityProvider>) -> Self {
        Self {
            agents: Some(agents),
            identity: Some(identity),
        }
    }

    /// The full names of the services, which a plugin is told.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![metrics_server::SERVICE_NAME.to_owned()];
        if self.agents.is_some() {
            names.push(agent_store_server::SERVICE_NAME.to_owned());
        }
        if self.identity.is_some() {
            names.push(identity_provider_server::SERVICE_NAME.to_owned());
        }
        names
    }

    pub(crate) fn router(&self) -> Router {
        let mut router = Router::default().with(metrics::server());
        if let Some(agents) = &self.agents {
            router = router.with(agent_store::server(Arc::clone(agents)));
        }
        if let Some(identity) = &self.identity {
            router = router.with(identity_provider::server(Arc::clone(identity)));
        }
        router
    }
}

//! A host with one plugin.

use std::sync::Arc;
use std::time::Duration;

use daemon::config::{Findings, take_plugins};
use daemon::supervisor::{Shutdown, chain};
use futures_util::future::BoxFuture;
use identity::bundle::Bundle;
use identity::testing::TestAuthority;
use identity::trust_domain::TrustDomain;
use identity::x509_svid::X509Svid;
use plugin_host::host_services::{AgentStore, IdentityProvider};
use plugin_host::{HostServices, Kind, Plugin, Plugins, Settings, testing};
use proto::spire::plugin::agent::nodeattestor::v1::node_attestor_server as agent_node;
use proto::spire::plugin::agent::workloadattestor::v1::workload_attestor_server as workload;
use proto::spire::plugin::server::nodeattestor::v1::node_attestor_server as server_node;
use proto::spire::plugin::server::upstreamauthority::v1::upstream_authority_server as upstream;
use proto::spire::service::common::config::v1::config_server;
use tokio::task::JoinHandle;

pub(crate) const START: Duration = Duration::from_secs(20);
pub(crate) const CALL: Duration = Duration::from_secs(3);

#[tokio::test]
#[ignore = "the child of the other tests"]
async fn child() {
    testing::serve().await;
}

/// The services that the child claims to have.
pub(crate) fn services(kind: Kind) -> [&'static str; 2] {
    let own = match kind {
        Kind::AgentNodeAttestor => agent_node::SERVICE_NAME,
        Kind::ServerNodeAttestor => server_node::SERVICE_NAME,
        Kind::UpstreamAuthority => upstream::SERVICE_NAME,
        Kind::WorkloadAttestor => workload::SERVICE_NAME,
    };
    [own, config_server::SERVICE_NAME]
}

/// The settings of a plugin whose block holds `body`.
pub(crate) fn settings(kind: Kind, body: &str) -> Settings {
    let text = format!("plugins {{ {} \"mine\" {{ {body} }} }}", kind.name());
    let mut document = daemon::hcl::parse(&text).unwrap();
    let plugins = take_plugins(&mut document, &[kind.name()], &mut Findings::new()).unwrap();
    Settings::from_config(&plugins[0], kind).unwrap().unwrap()
}

/// The child as a plugin of `kind`, configured with `data`.
pub(crate) fn child_settings(kind: Kind, data: &str) -> Settings {
    let mut settings = settings(
        kind,
        &format!("plugin_cmd = \"x\" plugin_data {{ {data} }}"),
    );
    (settings.path, settings.args) = testing::program("world::child", &services(kind));
    settings
}

pub(crate) fn plugins() -> Plugins {
    let agents = Arc::new(Known("spiffe://example.org/spire/agent/mine/known"));
    let services = HostServices::of_server(agents, Arc::new(Own));
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    Plugins::new(&trust_domain, services).with_limits(START, CALL)
}

/// A running plugin.
pub(crate) struct World {
    pub(crate) plugin: Plugin,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl World {
    pub(crate) async fn with(settings: &Settings) -> Self {
        let mut plugins = plugins();
        let plugin = plugins.load(settings).await.unwrap();
        let shutdown = Shutdown::new();
        let ended = shutdown.clone();
        #[expect(clippy::disallowed_methods, reason = "waited for in `stop`")]
        let running = tokio::spawn(async move { plugins.run(ended).await.unwrap() });
        Self {
            plugin,
            shutdown,
            running,
        }
    }

    /// Ends the plugin as a host that stops does.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        tokio::time::timeout(START, self.running)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Why a plugin with these settings cannot be used.
pub(crate) async fn refusal(settings: &Settings) -> String {
    let started = plugins()
        .with_limits(Duration::from_secs(2), CALL)
        .load(settings)
        .await;
    chain(&started.unwrap_err())
}

struct Known(&'static str);

impl AgentStore for Known {
    fn has<'a>(&'a self, agent_id: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move { Ok(agent_id == self.0) })
    }
}

struct Own;

impl IdentityProvider for Own {
    fn identity(&self) -> Option<(X509Svid, Arc<Bundle>)> {
        let authority = TestAuthority::new("example.org");
        Some((
            authority.x509_svid("/spire/server"),
            Arc::new(authority.bundle()),
        ))
    }
}

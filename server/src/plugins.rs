//! The server's plugins that are programs, and what the server offers to them.

use std::sync::Arc;

use daemon::supervisor::chain;
use futures_util::future::BoxFuture;
use identity::bundle::Bundle;
use identity::clock::Clock;
use identity::spiffe_id::SpiffeId;
use identity::tls::SharedTlsMaterial;
use identity::trust_domain::TrustDomain;
use identity::x509_svid::X509Svid;
use plugin_host::host_services::{AgentStore, IdentityProvider};
use plugin_host::{HostServices, Plugins};
use raft_store::Store;

use crate::agents::Agents;
use crate::config::Config;

/// No plugins yet, for the server of `store`, which shows `material` to its clients.
pub(crate) fn of_server(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    material: &SharedTlsMaterial,
) -> Plugins {
    let trust_domain = &config.trust_domain;
    let agents = Agents::new(store.clone(), Arc::clone(clock), trust_domain.clone());
    let own = OwnIdentity {
        trust_domain: trust_domain.clone(),
        material: material.clone(),
    };
    let services = HostServices::of_server(Arc::new(KnownAgents(agents)), Arc::new(own));
    Plugins::new(trust_domain, services)
}

/// No plugins yet, for a process that is no server and only asks them about their configuration.
pub(crate) fn of_nobody(trust_domain: &TrustDomain) -> Plugins {
    let services = HostServices::of_server(Arc::new(Nobody), Arc::new(Nobody));
    Plugins::new(trust_domain, services)
}

struct Nobody;

impl AgentStore for Nobody {
    fn has<'a>(&'a self, _agent_id: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async { Err("AgentStore host service has not been initialized".to_owned()) })
    }
}

impl IdentityProvider for Nobody {
    fn identity(&self) -> Option<(X509Svid, Arc<Bundle>)> {
        None
    }
}

/// The agents, for attestors whose evidence counts once.
struct KnownAgents(Agents);

impl AgentStore for KnownAgents {
    fn has<'a>(&'a self, agent_id: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async {
            let Ok(spiffe_id) = SpiffeId::parse(agent_id) else {
                return Ok(false);
            };
            let agent = self.0.confirmed_agent(&spiffe_id).await;
            agent
                .map(|agent| agent.is_some())
                .map_err(|error| chain(&error))
        })
    }
}

/// What this server shows to its clients, once it has something to show.
struct OwnIdentity {
    trust_domain: TrustDomain,
    material: SharedTlsMaterial,
}

impl IdentityProvider for OwnIdentity {
    fn identity(&self) -> Option<(X509Svid, Arc<Bundle>)> {
        let material = self.material.load();
        let svid = material.svid()?.clone();
        let bundle = Arc::clone(material.bundle(&self.trust_domain)?);
        Some((svid, bundle))
    }
}

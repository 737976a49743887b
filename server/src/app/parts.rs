//! Owns how the services of a server are put together from what they share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::supervisor::{Shutdown, Supervisor};
use identity::clock::Clock;
use identity::tls::{ClientPolicy, SharedTlsMaterial};
use identity::trust_domain::TrustDomain;
use plugin_host::Plugins;
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
use raft_store::Store;

use crate::agents::Agents;
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
use crate::attest::{Attestation, AttestorHost, Attestors};
use crate::bundles::Bundles;
use crate::ca::{Ca, LocalAuthorities, ServerSvidTask, UpstreamTrouble};
use crate::cluster::ClusterControl;
use crate::config::Config;
use crate::endpoints::{
    Authorizer, Endpoints, EndpointsOptions, Gate, RateLimitOptions, RemoteEndpoint, Services,
};
use crate::entries::Entries;
use crate::federation::{Federation, Publisher, Refresher, serve_own_bundle};
use crate::health_checks;
use crate::peers::IdentityTask;
use crate::prune::{self, Pruning};
use crate::self_report::SelfReport;
use crate::svids::Svids;
use crate::sync::Sync;
use crate::upstream::Upstream;

/// What the services are made of.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) ca: Ca,
    pub(super) authorities: LocalAuthorities,
    pub(super) clock: Arc<dyn Clock>,
    /// Who signs this server's intermediates and publishes JWT keys to others, if anybody does.
    pub(super) upstream: Upstream,
    pub(super) attestation: Attestation,
    pub(super) cluster: ClusterControl,
    pub(super) federation: Federation,
    pub(super) sync: Sync,
    pub(super) gate: Gate,
    /// What the TLS listener shows and believes: nothing before it can be signed.
    pub(super) material: SharedTlsMaterial,
}

impl Parts {
    /// Waits until this server can sign, peers' certificates too if it has any, and has something
    /// to show to its clients.
    pub(super) async fn make_authorities(
        &self,
        supervisor: &mut Supervisor,
        identity: Option<IdentityTask>,
    ) -> anyhow::Result<()> {
        tokio::time::timeout(AUTHORITIES_WITHIN, self.ca.ready())
            .await
            .context("no authority became able to sign; the log tells why")?;
        if let Some(identity) = identity {
            tokio::time::timeout(AUTHORITIES_WITHIN, self.ca.peers_ready())
                .await
                .context("no authority of members became able to sign; the log tells why")?;
            supervisor.start("peer_identity", |shutdown| identity.run(shutdown));
        }
        let (ca, store) = (self.ca.clone(), self.store.clone());
        let clock = Arc::clone(&self.clock);
        let server_svid = ServerSvidTask::start(self.material.clone(), ca, store, clock);
        let server_svid = server_svid
            .await
            .context("cannot make the server's own SVID")?;
        supervisor.start("server_svid", |shutdown| server_svid.run(shutdown));
        Ok(())
    }

    /// Tells over HTTP how this server is, if that is wanted.
    pub(super) async fn check_health(
        &self,
        supervisor: &mut Supervisor,
        config: &Config,
        trouble: Option<UpstreamTrouble>,
    ) -> anyhow::Result<()> {
        let Some(options) = config.health_checks.clone() else {
            return Ok(());
        };
        let bundles = self.bundles(config.trust_domain.clone());
        let (ca, store) = (self.ca.clone(), self.store.clone());
        health_checks::start(supervisor, options, (bundles, ca, store), trouble).await
    }

    /// Removes what time has made useless.
    pub(super) fn prune(&self, supervisor: &mut Supervisor, config: &Config) {
        let options = prune::Options::from_config(config);
        let pruning = Pruning::new(self.store.clone(), Arc::clone(&self.clock), options);
        supervisor.start("prune", |shutdown| pruning.run(shutdown));
    }

    /// Publishes the own bundle, if that is wanted, and keeps those of others fresh.
    pub(super) async fn federate(
        &self,
        supervisor: &mut Supervisor,
        config: &Config,
    ) -> anyhow::Result<()> {
        if let Some(settings) = config.federation.bundle_endpoint.clone() {
            let publisher = Publisher {
                bundles: self.bundles(config.trust_domain.clone()),
                material: self.material.clone(),
                key_exchange: config.key_exchange,
                store: self.store.clone(),
                clock: Arc::clone(&self.clock),
            };
            serve_own_bundle(supervisor, settings, publisher).await?;
        }
        let refresher = Refresher::new(self.federation.clone());
        supervisor.start("federation", |shutdown| refresher.run(shutdown));
        Ok(())
    }

    /// Binds the TLS listener.
    pub(super) async fn bind_remote(
        &self,
        endpoints: &Endpoints,
        config: &Config,
    ) -> anyhow::Result<RemoteEndpoint> {
        let tls = self.tls(config)?;
        let (host, proxies) = (&config.bind_address, config.trusted_proxies.clone());
        let remote = endpoints.bind_remote(host, config.bind_port, tls, proxies);
        Ok(remote.await?)
    }

    fn tls(&self, config: &Config) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let policy = ClientPolicy {
            trust_domain: config.trust_domain.clone(),
            foreign_ids: config.admin_ids.iter().cloned().collect::<BTreeSet<_>>(),
        };
        let (material, clock) = (self.material.clone(), Arc::clone(&self.clock));
        let tls = identity::tls::server_config(material, policy, config.key_exchange, clock);
        Ok(Arc::new(tls?))
    }

    pub(super) fn endpoints(&self, config: &Config) -> Endpoints {
        Endpoints::new(EndpointsOptions {
            services: self.services(&config.trust_domain),
            authorizer: Authorizer::new(
                self.store.clone(),
                Arc::clone(&self.clock),
                config.admin_ids.iter().cloned().collect(),
            ),
            limits: RateLimitOptions {
                attestation: config.rate_limit.attestation,
                signing: config.rate_limit.signing,
            },
            gate: self.gate.clone(),
            audit: config.audit_log,
        })
    }

    fn services(&self, trust_domain: &TrustDomain) -> Services {
        let store = || self.store.clone();
        let clock = || Arc::clone(&self.clock);
        let own = || trust_domain.clone();
        let entries = Entries::new(store(), clock());
        let agents = Agents::new(store(), clock(), own());
        let attestation = self.attestation.clone();
        let svids = Svids::new(store(), self.ca.clone());
        Services {
            agent: AgentServer::new(AgentApi::new(agents, attestation, own())),
            bundle: BundleServer::new(BundleApi::new(self.bundles(own()))),
            cluster: ClusterServer::new(ClusterApi::new(self.cluster.clone(), self.gate.clone())),
            debug: DebugServer::new(DebugApi::new(SelfReport::new(
                store(),
                self.material.clone(),
                own(),
            ))),
            entry: EntryServer::new(EntryApi::new(entries, own())),
            health: HealthServer::new(HealthApi::new(
                self.bundles(own()),
                self.ca.clone(),
                self.gate.clone(),
            )),
            local_authority: LocalAuthorityServer::new(LocalAuthorityApi::new(
                self.authorities.clone(),
            )),
            logger: LoggerServer::new(LoggerApi::new(daemon::log::of_process())),
            svid: SvidServer::new(SvidApi::new(svids, own())),
            sync: SyncServer::new(SyncApi::new(self.sync.clone(), clock())),
            trust_domain: TrustDomainServer::new(TrustDomainApi::new(self.federation.clone())),
        }
    }

    pub(super) fn bundles(&self, own: TrustDomain) -> Bundles {
        Bundles::new(self.store.clone(), Arc::clone(&self.clock), own).below(self.upstream.clone())
    }
}

/// Who stands above this server.
pub(super) async fn upstream(
    config: &Config,
    clock: &Arc<dyn Clock>,
    plugins: &mut Plugins,
) -> anyhow::Result<Upstream> {
    let opened = Upstream::open(
        config.upstream.as_ref(),
        &config.trust_domain,
        Arc::clone(clock),
        plugins,
    );
    opened.await.context("cannot use the upstream authority")
}

/// What attests nodes, with the attestors that are configured. All plugins run until `drained`.
pub(super) async fn attestation(
    supervisor: &mut Supervisor,
    config: &Config,
    (store, ca, clock): (&Store, &Ca, &Arc<dyn Clock>),
    mut plugins: Plugins,
    drained: &Shutdown,
) -> anyhow::Result<Attestation> {
    let host = AttestorHost {
        trust_domain: config.trust_domain.clone(),
        store: store.clone(),
        clock: Arc::clone(clock),
    };
    let attestors = Attestors::open(&config.node_attestors, &host, &mut plugins).await?;
    let attestation = Attestation::new(store.clone(), ca.clone(), Arc::clone(clock));
    let drained = drained.clone();
    supervisor.start("plugins", |_outlive_the_calls| plugins.run(drained));
    Ok(attestation.with_attestors(attestors, config.agent_id_selector))
}

/// The relationships with other trust domains.
pub(super) fn federation(config: &Config, store: &Store, clock: &Arc<dyn Clock>) -> Federation {
    Federation::new(
        store.clone(),
        Arc::clone(clock),
        config.trust_domain.clone(),
        config.federation.federates_with.clone(),
    )
}

/// How long the making of authorities may take: RSA keys of 4,096 bits on a busy machine.
const AUTHORITIES_WITHIN: Duration = Duration::from_secs(120);

//! Owns the assembly of a server: opens the store, brings up the authorities, binds the endpoints,
//! and starts every long task, here and (the health checks) in `health_checks`.
//!
//! What must hold: nothing is answered before it can be answered rightly, and the store is the last
//! to stop, so that calls in progress can still finish.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::log::LogControl;
use daemon::supervisor::{Shutdown, Supervisor};
use identity::clock::{Clock, SystemClock};
use identity::tls::{ClientPolicy, SharedTlsMaterial, TlsMaterial};
use identity::trust_domain::TrustDomain;
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
use raft_store::{
    Driver, FileSeal, OpenError, Options, Proposal, SetSetting, SetSettingOutcome, Store,
};

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
use crate::attest::{Attestation, AttestorHost, Attestors};
use crate::bundles::Bundles;
use crate::ca::{Ca, LocalAuthorities, Policy, ServerSvidTask};
use crate::cluster::ClusterControl;
use crate::config::Config;
use crate::endpoints::{
    Authorizer, Endpoints, EndpointsOptions, Gate, RateLimitOptions, Services, Waiting,
};
use crate::entries::Entries;
use crate::health_checks;
use crate::peers::{self, Arrival, IdentityTask, Invitations, Member, PeerRuntime};
use crate::prune::{self, Pruning};
use crate::self_report::SelfReport;
use crate::svids::Svids;
use crate::sync::Sync;

/// Runs a server until it is told to stop. `log` is the process's log, whose file is opened anew on
/// SIGUSR2.
///
/// # Errors
///
/// What could not be opened or bound, with the way out; or the task that failed.
pub async fn run(config: Config, log: LogControl) -> anyhow::Result<()> {
    let mut app = App::start(&config, Arc::new(SystemClock), Shutdown::new()).await?;
    app.supervisor
        .start("log", |shutdown| log.reopen_on_signal(shutdown));
    app.run().await
}

/// Makes the first member of a new cluster, which `run` then continues, and returns its cluster's
/// id.
///
/// # Errors
///
/// There are data already, or the store could not be made.
pub async fn init(config: &Config, clock: &dyn Clock) -> anyhow::Result<[u8; 16]> {
    daemon::process::make_data_dir(&config.data_dir)?;
    let (store, driver) = peers::found(config).await?;
    let pinned = pin_trust_domain(&store, clock, config).await;
    let status = store.status().context("the store has stopped")?;
    store.close().await?;
    driver.run().await?;
    pinned?;
    Ok(status.cluster_id)
}

/// A server whose parts all run.
#[derive(Debug)]
pub struct App {
    supervisor: Supervisor,
    store: Store,
    tls_address: SocketAddr,
    /// `None` for a server that is alone. Its threads outlive the store.
    member: Option<Running>,
}

/// What is left of a member once its tasks run.
#[derive(Debug)]
struct Running {
    invitations: Invitations,
    _runtime: PeerRuntime,
}

impl App {
    /// Builds and starts everything; returns when calls are taken. `shutdown` stops the server, as
    /// SIGTERM does.
    ///
    /// # Errors
    ///
    /// What could not be opened or bound, with the way out.
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        announce(config);
        let mut supervisor = Supervisor::stopped_by(shutdown);
        let drained = Shutdown::new();
        daemon::process::make_data_dir(&config.data_dir)?;
        let arrival = match &config.cluster {
            Some(cluster) => Some(Arrival::new(config, cluster, &clock).await?),
            None => None,
        };
        let (store, driver) = open_store(config, arrival.as_ref()).await?;
        // Peers are heard until the store has closed: the last thing it does is to say so.
        let closed = Shutdown::new();
        supervisor.start("store", {
            let (store, drained, closed) = (store.clone(), drained.clone(), closed.clone());
            |shutdown| drive(store, driver, shutdown, drained, closed)
        });
        let foundation = Foundation {
            store: store.clone(),
            clock,
            drained: drained.clone(),
            closed,
        };
        let mut member = None;
        let built = foundation.build_up(&mut supervisor, config, arrival, &mut member);
        match built.await {
            Ok(tls_address) => Ok(Self {
                supervisor,
                store,
                tls_address,
                member,
            }),
            Err(error) => {
                drop(store);
                drained.request();
                stop(supervisor).await;
                Err(error)
            }
        }
    }

    /// Makes invites; `None` for a server that is alone.
    pub fn invitations(&self) -> Option<&Invitations> {
        self.member.as_ref().map(|member| &member.invitations)
    }

    /// Where the TLS listener listens.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address
    }

    /// The registry that this server serves from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Runs until SIGTERM, SIGINT, the requested shutdown, or the first failure.
    ///
    /// # Errors
    ///
    /// The part that failed and why.
    pub async fn run(self) -> anyhow::Result<()> {
        let ended = self.supervisor.run(STOP_WITHIN).await;
        drop(self.member);
        Ok(ended?)
    }
}

/// What everything else stands on.
struct Foundation {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Requested once no call is in progress any more.
    drained: Shutdown,
    /// Requested once the store has closed.
    closed: Shutdown,
}

impl Foundation {
    /// Builds and starts the rest in the order in which one part needs another; returns where the
    /// TLS listener listens.
    async fn build_up(
        self,
        supervisor: &mut Supervisor,
        config: &Config,
        arrival: Option<Arrival>,
        running: &mut Option<Running>,
    ) -> anyhow::Result<SocketAddr> {
        let policy = self.policy(config, arrival.as_ref())?;
        let (ca, authorities) = Ca::open(self.store.clone(), Arc::clone(&self.clock), policy);
        let identity = match arrival {
            None => None,
            Some(arrival) => {
                let (identity, member) = self.open_door(supervisor, arrival, &ca).await?;
                *running = Some(member);
                Some(identity)
            }
        };
        let Self {
            store,
            clock,
            drained,
            closed: _,
        } = self;
        let (sync, streams) = Sync::new(store.clone(), config.trust_domain.clone());
        let parts = Parts {
            attestation: attestation(config, &store, &ca, &clock).await?,
            authorities: authorities.by_hand(&ca),
            // Nothing is shown before it can be signed.
            material: SharedTlsMaterial::new(TlsMaterial::new(None, [])?),
            cluster: ClusterControl {
                store: store.clone(),
                clock: Arc::clone(&clock),
                invitations: running.as_ref().map(|member| member.invitations.clone()),
                seal_key_path: config.seal_key_path.clone(),
                server: supervisor.shutdown(),
            },
            store,
            ca,
            clock,
            sync,
            gate: Gate::closed(Waiting::Quorum),
        };
        let endpoints = parts.endpoints(config);
        let local = endpoints.bind_local(&config.socket_path).await?;
        let local_done = Shutdown::new();
        supervisor.start("admin_socket", {
            let local_done = local_done.clone();
            |shutdown| serve(local.serve(shutdown), local_done)
        });
        wait_until_ready(&parts.store, config).await?;
        pin_trust_domain(&parts.store, &*parts.clock, config).await?;
        parts.gate.wait_for(Waiting::Authorities);
        supervisor.start("ca", |shutdown| authorities.run(shutdown));
        parts.make_authorities(supervisor, identity).await?;
        let options = prune::Options::from_config(config);
        let pruning = Pruning::new(parts.store.clone(), Arc::clone(&parts.clock), options);
        supervisor.start("prune", |shutdown| pruning.run(shutdown));
        supervisor.start("sync", |shutdown| streams.run(shutdown));

        let tls = parts.tls(config)?;
        let (host, proxies) = (&config.bind_address, config.trusted_proxies.clone());
        let remote = endpoints.bind_remote(host, config.bind_port, tls, proxies);
        let remote = remote.await?;
        let tls_address = remote.address();
        if let Some(options) = config.health_checks.clone() {
            let bundles = parts.bundles(config.trust_domain.clone());
            let (ca, store) = (parts.ca.clone(), parts.store.clone());
            health_checks::start(supervisor, options, (bundles, ca, store)).await?;
        }
        supervisor.start("endpoints", |shutdown| {
            let served =
                async move { tokio::join!(remote.serve(shutdown), local_done.requested()) };
            serve(served, drained)
        });
        parts.gate.open();
        Ok(tls_address)
    }

    /// A member makes the authority of members, too.
    fn policy(&self, config: &Config, arrival: Option<&Arrival>) -> anyhow::Result<Policy> {
        let policy = Policy::from_config(config);
        if arrival.is_none() {
            return Ok(policy);
        }
        let status = self.store.status().context("the store has stopped")?;
        Ok(policy.with_peers(peers::trust_domain(&status.cluster_id)))
    }

    /// Lets the other members in; returns what keeps the certificate of this one, to be run once
    /// the store serves.
    async fn open_door(
        &self,
        supervisor: &mut Supervisor,
        arrival: Arrival,
        ca: &Ca,
    ) -> anyhow::Result<(IdentityTask, Running)> {
        let opened = arrival.open_door(&self.store, ca, self.closed.clone());
        let (listening, member) = opened.await?;
        supervisor.start("peers", |_stops_after_the_store| listening);
        let Member {
            identity,
            invitations,
            runtime,
        } = member;
        let running = Running {
            invitations,
            _runtime: runtime,
        };
        Ok((identity, running))
    }
}

/// Stops what was started before the start failed, so that nothing of it is left in the process.
async fn stop(supervisor: Supervisor) {
    supervisor.shutdown().request();
    if let Err(error) = supervisor.run(STOP_WITHIN).await {
        tracing::warn!(error = %daemon::supervisor::chain(&error), "parts did not stop in order");
    }
}

/// What the services are made of.
struct Parts {
    store: Store,
    ca: Ca,
    authorities: LocalAuthorities,
    clock: Arc<dyn Clock>,
    attestation: Attestation,
    cluster: ClusterControl,
    sync: Sync,
    gate: Gate,
    /// What the TLS listener shows and believes.
    material: SharedTlsMaterial,
}

impl Parts {
    /// Waits until this server can sign, peers' certificates too if it has any, and has something
    /// to show to its clients.
    async fn make_authorities(
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

    fn tls(&self, config: &Config) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let policy = ClientPolicy {
            trust_domain: config.trust_domain.clone(),
            foreign_ids: config.admin_ids.iter().cloned().collect::<BTreeSet<_>>(),
        };
        let (material, clock) = (self.material.clone(), Arc::clone(&self.clock));
        Ok(Arc::new(identity::tls::server_config(
            material, policy, clock,
        )?))
    }

    fn endpoints(&self, config: &Config) -> Endpoints {
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
        }
    }

    fn bundles(&self, own: TrustDomain) -> Bundles {
        Bundles::new(self.store.clone(), Arc::clone(&self.clock), own)
    }
}

/// What attests nodes, with the attestors that are configured.
async fn attestation(
    config: &Config,
    store: &Store,
    ca: &Ca,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Attestation> {
    let host = AttestorHost {
        trust_domain: config.trust_domain.clone(),
        store: store.clone(),
        clock: Arc::clone(clock),
    };
    let attestors = Attestors::open(&config.node_attestors, &host).await?;
    let attestation = Attestation::new(store.clone(), ca.clone(), Arc::clone(clock));
    Ok(attestation.with_attestors(attestors, config.agent_id_selector))
}

/// Says what this server is about to be.
fn announce(config: &Config) {
    for explanation in &config.explanations {
        tracing::warn!("{explanation}");
    }
    tracing::info!(?config, "effective config");
}

async fn open_store(config: &Config, arrival: Option<&Arrival>) -> anyhow::Result<(Store, Driver)> {
    let seal = FileSeal::at(&config.seal_key_path);
    let mut options = Options::new(peers::store_folder(&config.data_dir), Box::new(seal));
    options.program_version = peers::PROGRAM_VERSION.to_owned();
    if let Some(arrival) = arrival {
        options = arrival.complete(options);
    }
    Ok(Store::open(options).await?)
}

/// Waits until the store serves. A member waits for a quorum as long as it takes, since the others
/// may be starting too; whoever is alone need not wait for anybody.
async fn wait_until_ready(store: &Store, config: &Config) -> anyhow::Result<()> {
    if config.cluster.is_none() {
        return Ok(store.ready(STORE_STARTS).await?);
    }
    loop {
        match store.ready(COMPLAIN_AFTER).await {
            Err(OpenError::NoLeader) => tracing::warn!(
                "no leader yet: a majority of the members must run and reach each other"
            ),
            ready => return Ok(ready?),
        }
    }
}

/// Drives the store until the endpoints have stopped, then closes it.
async fn drive(
    store: Store,
    driver: Driver,
    shutdown: Shutdown,
    drained: Shutdown,
    closed: Shutdown,
) -> anyhow::Result<()> {
    let _closed = RequestedOnDrop(closed);
    let mut running = std::pin::pin!(driver.run());
    tokio::select! {
        ended = running.as_mut() => return Ok(ended?),
        () = shutdown.requested() => {}
    }
    hand_over(&store).await;
    // Calls in progress may still write; without endpoints, nobody does.
    tokio::time::timeout(STORE_WAITS, drained.requested())
        .await
        .ok();
    store.close().await?;
    Ok(running.await?)
}

/// Lets another member lead before this one goes, so that no write waits for an election.
async fn hand_over(store: &Store) {
    let is_leader = store.status().is_some_and(|status| status.is_leader);
    let members = store.read(|state| state.members().filter(|one| !one.is_removed).count());
    if !is_leader || members < 2 {
        return;
    }
    match store.transfer_leadership(None, HAND_OVER_WITHIN).await {
        Ok(leader) => tracing::info!(leader, "handed the lead over"),
        Err(error) => {
            let cause = daemon::supervisor::chain(&error);
            tracing::warn!(
                cause,
                "stopping as the leader: the lead could not be handed over"
            );
        }
    }
}

/// Gives the order however its holder ends.
struct RequestedOnDrop(Shutdown);

impl Drop for RequestedOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// Runs what serves, and says so when no call is in progress any more.
async fn serve<Served>(
    serving: impl Future<Output = Served>,
    drained: Shutdown,
) -> Result<(), Infallible> {
    serving.await;
    drained.request();
    Ok(())
}

/// Binds the data to the trust domain that it was made for: identities of one would be signed with
/// the keys of another if the name in the config could change.
async fn pin_trust_domain(store: &Store, clock: &dyn Clock, config: &Config) -> anyhow::Result<()> {
    let own = config.trust_domain.as_str();
    let operation = SetSetting {
        key: TRUST_DOMAIN_SETTING.into(),
        value: own.as_bytes().to_vec(),
        only_if_absent: true,
    };
    let pinned = store.read(|state| state.setting(TRUST_DOMAIN_SETTING).map(<[u8]>::to_vec));
    let pinned = match pinned {
        Some(pinned) => pinned,
        None => {
            let proposal = Proposal::new(clock.now());
            match store
                .propose(operation, proposal)
                .await
                .context("cannot store the name of the trust domain")?
            {
                SetSettingOutcome::Set => return Ok(()),
                SetSettingOutcome::Present(pinned) => pinned,
            }
        }
    };
    anyhow::ensure!(
        pinned == own.as_bytes(),
        "the data in {data_dir} belongs to trust domain {pinned:?}, but the config says {own:?}: \
         correct trust_domain, or give this trust domain an empty data_dir",
        data_dir = config.data_dir.display(),
        pinned = String::from_utf8_lossy(&pinned),
    );
    Ok(())
}

const TRUST_DOMAIN_SETTING: &str = "trust_domain";

/// How long the making of authorities may take: RSA keys of 4,096 bits on a busy machine.
const AUTHORITIES_WITHIN: Duration = Duration::from_secs(120);

/// How long a member waits for a quorum before it says so.
const COMPLAIN_AFTER: Duration = Duration::from_secs(15);

/// How long the store may take until it serves.
const STORE_STARTS: Duration = Duration::from_secs(120);

/// How long another member may take to take the lead when this one stops.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

/// How long the store waits for the endpoints when the server stops.
const STORE_WAITS: Duration = Duration::from_secs(7);

/// How long everything may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

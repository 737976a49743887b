//! Puts the agent together and runs it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::health::{Check, Checks};
use daemon::log::LogControl;
use daemon::supervisor::{Shutdown, Supervisor, chain};
use futures_util::future::BoxFuture;
use identity::clock::{Clock, SystemClock};
use plugin_host::{HostServices, Plugins};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::admin_api::About;
use crate::attest::Starter;
use crate::attestor::WorkloadAttestor;
use crate::attestors::Attestors;
use crate::bootstrap::{Rebootstrapper, TrustSource};
use crate::cache::Cache;
use crate::caller::Callers;
use crate::client::{Dialer, ServerAddress, ServerClient, Servers, TlsMode};
use crate::config::{Config, KeyManager};
use crate::endpoints::{self, RateLimits, Sockets};
use crate::health::Probe;
use crate::jwt::{JwtSvids, TokenLimits};
use crate::storage::{DataFile, KeyStore};
use crate::svid::{OwnSvid, Rotator};
use crate::sync::{Parts, Signer, Synchronizer};

/// How long tasks may take to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The version that the server is told.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the agent until it is told to stop.
///
/// # Errors
/// It cannot come up, or cannot go on.
pub async fn run(config: Config, log: LogControl) -> anyhow::Result<()> {
    run_until(config, Arc::new(SystemClock), log, Shutdown::new()).await
}

/// As [`run`], with another clock and another one who may stop it.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    config: Config,
    clock: Arc<dyn Clock>,
    log: LogControl,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    // First: it takes the signals.
    let mut supervisor = Supervisor::stopped_by(shutdown);
    info!(data_dir = %config.data_dir.display(), version = VERSION, "Starting agent");
    let checks = Checks::new();
    let check = checks.register("agent");
    // Liveness is told while the agent still attests.
    if let Some(options) = config.health_checks.clone() {
        let endpoint = daemon::health::bind(options).await?;
        supervisor.start("health checks", |shutdown| endpoint.serve(checks, shutdown));
    }
    let given = Given {
        clock,
        log,
        check,
        started: Instant::now(),
    };
    supervisor.start("agent", |shutdown| live(config, given, shutdown));
    Ok(supervisor
        .run(SHUTDOWN_GRACE + Duration::from_secs(1))
        .await?)
}

/// What an agent finds when it begins.
struct Given {
    clock: Arc<dyn Clock>,
    log: LogControl,
    check: Check,
    started: Instant,
}

/// The agent's life: comes up, then serves until `shutdown`.
async fn live(mut config: Config, given: Given, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut plugins = Plugins::new(&config.trust_domain, HostServices::of_agent());
    let attestors = tokio::select! {
        () = shutdown.requested() => return Ok(()),
        attestors = Attestors::open(&mut config, &mut plugins) => attestors?,
    };
    // Kept from now on: this node is attested with one of them, perhaps.
    let mut plugins: PluginsTask = Box::pin(plugins.run(shutdown.clone()));
    let parts = tokio::select! {
        stopped = &mut plugins => return Ok(stopped?),
        parts = Running::start(config, attestors, given) => parts?,
    };
    parts.serve(plugins, shutdown).await
}

/// Runs until the agent stops.
type PluginsTask = BoxFuture<'static, Result<(), std::io::Error>>;

/// An agent that has an SVID, entries and bundles.
struct Running {
    config: Config,
    given: Given,
    client: ServerClient,
    cache: Arc<Cache>,
    jwt_svids: Arc<JwtSvids>,
    rotator: Rotator,
    synchronizer: Synchronizer,
    workload_attestor: WorkloadAttestor,
}

impl Running {
    async fn start(config: Config, attestors: Attestors, given: Given) -> anyhow::Result<Self> {
        let clock = &given.clock;
        daemon::process::make_data_dir(&config.data_dir)?;
        let servers = servers(&config, Arc::clone(clock));
        let attestor = attestors.node;
        let mut keys = open_keys(&config.key_manager)?;
        let mut data = DataFile::open(&config.data_dir)?;
        let rebootstrapper = Rebootstrapper::new(config.rebootstrap);
        let starter = Starter {
            trust: trust_source(&config, &servers)?,
            rebootstrapper,
            servers: servers.clone(),
            attestor: attestor.clone(),
        };
        let attested = starter.start(&mut data, &mut keys).await?;
        let rebootstrapper = rebootstrapper.for_agent(attested.reattestable)?;
        let trust_domain = config.trust_domain.clone();
        let target = config.availability_target;
        let own = Arc::new(OwnSvid::new(trust_domain.clone(), attested, data, target)?);
        let dialer = Dialer::new(&servers, TlsMode::Verified(own.material()))?;
        let client = ServerClient::new(dialer, trust_domain.clone());
        let cache = Arc::new(Cache::new(
            trust_domain.clone(),
            config.x509_svid_cache_max_size,
        ));
        let jwt_svids = Arc::new(JwtSvids::new(
            client.clone(),
            Arc::clone(clock),
            token_limits(&config),
        ));
        if let Err(error) = client.post_status(VERSION).await {
            // Older servers do not want to know.
            warn!(error = %chain(&error), agent_version = VERSION, "Failed to post agent status");
        }
        let mut synchronizer = Synchronizer::new(Parts {
            client: client.clone(),
            cache: Arc::clone(&cache),
            jwt_svids: Arc::clone(&jwt_svids),
            own: Arc::clone(&own),
            trust_domain,
            interval: config.sync_interval,
            rebootstrapper,
            clock: Arc::clone(clock),
        });
        let first = synchronizer.first().await;
        first.context("failed to sync with SPIRE Server")?;
        let rotator = Rotator {
            own,
            keys,
            client: client.clone(),
            servers,
            attestor,
            cache: Arc::clone(&cache),
        };
        Ok(Self {
            config,
            given,
            client,
            cache,
            jwt_svids,
            rotator,
            synchronizer,
            workload_attestor: attestors.workload,
        })
    }

    async fn serve(self, plugins: PluginsTask, shutdown: Shutdown) -> anyhow::Result<()> {
        let Given {
            clock,
            log,
            check,
            started,
        } = self.given;
        let connections = self.client.clone();
        let signer = Signer::new(
            self.client,
            Arc::clone(&self.cache),
            Arc::clone(&clock),
            self.config.workload_x509_svid_key_type,
            self.config.availability_target,
        );
        let callers = Arc::new(Callers::new(
            self.workload_attestor,
            self.config.log_selectors.clone(),
        ));
        let config = Arc::new(self.config);
        let sockets = Sockets::bind(&config).await?;
        let about = About {
            material: self.rotator.own.material(),
            last_sync: self.synchronizer.last_success(),
            started,
            log,
        };
        let probe = Probe::of(&config);
        let mut supervisor = Supervisor::stopped_by(shutdown);
        supervisor.start("plugins", |_has_its_own| plugins);
        supervisor.start("connections", |shutdown| async move {
            connections.keep_connected(shutdown).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let cache = Arc::clone(&self.cache);
        supervisor.start("cache", |shutdown| async move {
            cache.keep_small(shutdown).await;
            Ok::<_, std::convert::Infallible>(())
        });
        supervisor.start("agent SVID", |shutdown| self.rotator.run(shutdown));
        supervisor.start("sync", |shutdown| self.synchronizer.run(shutdown));
        supervisor.start("signing", |shutdown| signer.run(shutdown));
        let parts = endpoints::Parts {
            rate_limits: Arc::new(RateLimits::new(config.rate_limits.clone())),
            config,
            callers,
            cache: self.cache,
            jwt_svids: self.jwt_svids,
            clock,
        };
        sockets.start(&parts, about, &mut supervisor);
        supervisor.start("health", |shutdown| follow_health(check, probe, shutdown));
        Ok(supervisor.run(SHUTDOWN_GRACE).await?)
    }
}

async fn follow_health(check: Check, probe: Probe, shutdown: Shutdown) -> anyhow::Result<()> {
    let probe = || {
        let probe = probe.clone();
        async move { probe.check().await.map_err(|error| chain(&error)) }
    };
    check.follow(probe, shutdown).await;
    Ok(())
}

fn servers(config: &Config, clock: Arc<dyn Clock>) -> Servers {
    let addresses = config.server_addresses.iter();
    Servers {
        addresses: addresses
            .map(|(host, port)| ServerAddress {
                host: host.clone(),
                port: *port,
            })
            .collect(),
        trust_domain: config.trust_domain.clone(),
        clock,
        key_exchange: config.key_exchange,
    }
}

fn open_keys(keeper: &KeyManager) -> anyhow::Result<KeyStore> {
    match keeper {
        KeyManager::Disk { directory } => {
            daemon::process::make_data_dir(directory)?;
            Ok(KeyStore::open(directory)?)
        }
        KeyManager::Memory => Ok(KeyStore::in_memory()),
    }
}

fn token_limits(config: &Config) -> TokenLimits {
    TokenLimits {
        max_tokens: config.jwt_svid_cache_max_size,
        renewal: config.jwt_svid_cache_hit_timeout,
    }
}

fn trust_source(config: &Config, servers: &Servers) -> anyhow::Result<TrustSource> {
    let server = servers
        .addresses
        .first()
        .context("no server is configured")?;
    Ok(TrustSource {
        bootstrap: config.bootstrap.clone(),
        trust_domain: config.trust_domain.clone(),
        server: server.clone(),
    })
}

//! Owns the assembly of a server: opens the store, brings up the authorities, binds the endpoints,
//! and starts every long task, here and (the health checks) in `health_checks`.
//!
//! What must hold: nothing is answered before it can be answered rightly, and the store is the last
//! to stop, so that calls in progress can still finish.

mod parts;
mod registry;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::log::LogControl;
use daemon::supervisor::{Shutdown, Supervisor, SupervisorError};
use identity::clock::{Clock, SystemClock};
use identity::tls::{SharedTlsMaterial, TlsMaterial};
use raft_store::{Driver, Store};

use self::parts::{Parts, attestation, federation, upstream};
use self::registry::{drive, open_store, release, wait_until_ready};
use crate::ca::{AuthorityTask, Ca, Policy, UpstreamTrouble};
use crate::cluster::ClusterControl;
use crate::config::Config;
use crate::domain_pin;
use crate::endpoints::{Gate, Waiting};
use crate::peers::{self, Arrival, IdentityTask, Invitations, Member, PeerRuntime};
use crate::plugins;
use crate::sync::{Sync, SyncTask};
use crate::upstream::Upstream;

/// Runs a server until it is told to stop. `log` is the process's log, whose file is opened anew on
/// SIGUSR2.
///
/// # Errors
///
/// What could not be opened or bound, with the way out; or the task that failed.
pub async fn run(config: Config, log: LogControl) -> anyhow::Result<()> {
    let started = App::start(&config, Arc::new(SystemClock), Shutdown::new()).await;
    let mut app = match started {
        Err(error) if error.is::<StoppedEarly>() => {
            tracing::info!("{error}");
            return Ok(());
        }
        started => started?,
    };
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
    let pinned = domain_pin::pin(&store, clock, config).await;
    let status = store.status().context("the store has stopped")?;
    store.close().await?;
    driver.run().await?;
    pinned?;
    Ok(status.cluster_id)
}

/// Told to stop before it took calls: that is no failure.
#[derive(Debug, thiserror::Error)]
#[error("told to stop before it took calls")]
pub struct StoppedEarly;

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
    /// What could not be opened or bound, with the way out; or [`StoppedEarly`].
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        // First: it takes the signals.
        let mut supervisor = Supervisor::stopped_by(shutdown.clone());
        announce(config);
        let drained = Shutdown::new();
        daemon::process::make_data_dir(&config.data_dir)?;
        let (arrival, store, driver) = unless(&shutdown, Box::pin(arrive(config, &clock))).await?;
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
        match unless(&shutdown, Box::pin(built)).await {
            Ok(tls_address) => Ok(Self {
                supervisor,
                store,
                tls_address,
                member,
            }),
            Err(error) => {
                drained.request();
                stop(supervisor).await;
                release(store).await;
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

    /// Runs until SIGTERM, SIGINT, the requested shutdown, or the first failure; then stops all parts and closes the
    /// store, also one that failed.
    ///
    /// # Errors
    ///
    /// The part that failed and why.
    pub async fn run(self) -> anyhow::Result<()> {
        let ended = self.supervisor.run(STOP_WITHIN).await;
        // Who gives a second signal waits for nothing any more.
        if !matches!(ended, Err(SupervisorError::Forced { .. })) {
            release(self.store).await;
        }
        drop(self.member);
        Ok(ended?)
    }
}

/// The parts, and the tasks that are to run beside them.
struct Assembled {
    parts: Parts,
    authorities: AuthorityTask,
    identity: Option<IdentityTask>,
    streams: SyncTask,
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
        let drained = self.drained.clone();
        let Assembled {
            parts,
            authorities,
            identity,
            streams,
        } = self.assemble(supervisor, config, arrival, running).await?;
        let endpoints = parts.endpoints(config);
        let local = endpoints.bind_local(&config.socket_path).await?;
        let local_done = Shutdown::new();
        supervisor.start("admin_socket", {
            let local_done = local_done.clone();
            |shutdown| serve(local.serve(shutdown), local_done)
        });
        wait_until_ready(&parts.store, config).await?;
        domain_pin::pin(&parts.store, &*parts.clock, config).await?;
        parts.gate.wait_for(Waiting::Authorities);
        let trouble = look_after(supervisor, authorities);
        parts.make_authorities(supervisor, identity).await?;
        parts.prune(supervisor, config);
        parts.federate(supervisor, config).await?;
        supervisor.start("sync", |shutdown| streams.run(shutdown));

        let remote = parts.bind_remote(&endpoints, config).await?;
        let tls_address = remote.address();
        parts.check_health(supervisor, config, trouble).await?;
        supervisor.start("endpoints", |shutdown| {
            let served =
                async move { tokio::join!(remote.serve(shutdown), local_done.requested()) };
            serve(served, drained)
        });
        parts.gate.open();
        Ok(tls_address)
    }

    /// Makes the parts; of what runs, only plugins and the door to the other members.
    async fn assemble(
        self,
        supervisor: &mut Supervisor,
        config: &Config,
        arrival: Option<Arrival>,
        running: &mut Option<Running>,
    ) -> anyhow::Result<Assembled> {
        let policy = self.policy(config, arrival.as_ref())?;
        let material = SharedTlsMaterial::new(TlsMaterial::new(None, [])?);
        let mut plugins = plugins::of_server(config, &self.store, &self.clock, &material);
        let upstream = upstream(config, &self.clock, &mut plugins).await?;
        let (ca, authorities) = self.authorities(&upstream, policy);
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
        let known = (&store, &ca, &clock);
        let nodes = attestation(supervisor, config, known, plugins, &drained);
        let parts = Parts {
            attestation: nodes.await?,
            authorities: authorities.by_hand(&ca),
            material,
            cluster: ClusterControl {
                store: store.clone(),
                clock: Arc::clone(&clock),
                invitations: running.as_ref().map(|member| member.invitations.clone()),
                seal_key_path: config.seal_key_path.clone(),
                server: supervisor.shutdown(),
            },
            federation: federation(config, &store, &clock),
            store,
            ca,
            clock,
            upstream,
            sync,
            gate: Gate::closed(Waiting::Quorum),
        };
        Ok(Assembled {
            parts,
            authorities,
            identity,
            streams,
        })
    }

    fn authorities(&self, upstream: &Upstream, policy: Policy) -> (Ca, AuthorityTask) {
        let (store, clock) = (self.store.clone(), Arc::clone(&self.clock));
        Ca::open_below(upstream.clone(), store, clock, policy)
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
        supervisor.start("peers", |shutdown| async move {
            listening.await?;
            // A store that ended by itself is the one to say why.
            shutdown.requested().await;
            Ok::<(), std::io::Error>(())
        });
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

/// Finds out who this server is, and opens its store.
async fn arrive(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Option<Arrival>, Store, Driver)> {
    let arrival = match &config.cluster {
        Some(cluster) => Some(Arrival::new(config, cluster, clock).await?),
        None => None,
    };
    let (store, driver) = open_store(config, arrival.as_ref(), Arc::clone(clock)).await?;
    Ok((arrival, store, driver))
}

/// A part of the start, left where it is when the server is told to stop.
async fn unless<T>(
    shutdown: &Shutdown,
    starting: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        started = starting => started,
        () = shutdown.requested() => Err(StoppedEarly.into()),
    }
}

/// Starts what looks after the authorities; returns what keeps the upstream from its part, if there is
/// one.
fn look_after(supervisor: &mut Supervisor, authorities: AuthorityTask) -> Option<UpstreamTrouble> {
    let trouble = authorities.upstream().map(|task| {
        let trouble = task.trouble();
        supervisor.start("upstream", |shutdown| task.run(shutdown));
        trouble
    });
    supervisor.start("ca", |shutdown| authorities.run(shutdown));
    trouble
}

/// Stops what was started before the start failed, so that nothing of it is left in the process.
async fn stop(supervisor: Supervisor) {
    supervisor.shutdown().request();
    if let Err(error) = supervisor.run(STOP_WITHIN).await {
        tracing::warn!(error = %daemon::supervisor::chain(&error), "parts did not stop in order");
    }
}

/// Says what this server is about to be.
fn announce(config: &Config) {
    for explanation in &config.explanations {
        tracing::warn!("{explanation}");
    }
    tracing::info!(?config, "effective config");
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

/// How long everything may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

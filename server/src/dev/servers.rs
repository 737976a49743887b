//! The servers of a `dev` run: one, or the members of a cluster, all in this process.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use daemon::{
    command_line::{Readers, RpcError, write_file},
    port::free_port,
    process,
    supervisor::Shutdown,
};
use futures_util::{
    future::{BoxFuture, join_all},
    stream::{FuturesUnordered, StreamExt as _},
};
use identity::clock::SystemClock;
use proto::conclave::cluster::v1::{
    CreateInviteRequest, StatusRequest, cluster_client::ClusterClient, member_status::Role,
};
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, Span};

use super::{
    Options,
    folder::{Folder, MAX_REPLICAS, ServerFiles},
    settings::ServerSettings,
};
use crate::{
    app::App,
    config::{self, Config, LoadArgs},
};

/// Servers that take calls.
pub(super) struct Servers {
    ports: Vec<u16>,
    running: FuturesUnordered<BoxFuture<'static, anyhow::Result<()>>>,
    /// One for each, since one that leaves its cluster stops alone.
    shutdowns: Vec<Shutdown>,
}

/// A server on its way.
struct Plan {
    files: ServerFiles,
    config: Config,
    shutdown: Shutdown,
}

impl Servers {
    /// Starts as many as `options` say and returns once all of them take calls.
    pub(super) async fn start(options: &Options, folder: &Folder) -> anyhow::Result<Self> {
        ensure_fits(options, folder)?;
        let ports = Ports::choose(options, folder)?;
        let plans = plans(options, folder, &ports)?;
        if let Some(first) = plans.first() {
            process::prepare(first.config.log.clone())?;
        }
        let mut servers = Self {
            ports: Vec::new(),
            running: FuturesUnordered::new(),
            shutdowns: plans.iter().map(|plan| plan.shutdown.clone()).collect(),
        };
        match servers.start_all(plans).await {
            Ok(()) => {
                servers.write_port(options, folder)?;
                Ok(servers)
            }
            Err(error) => {
                servers.stop().await.ok();
                Err(error)
            }
        }
    }

    /// A port that the system chose is written down.
    fn write_port(&self, options: &Options, folder: &Folder) -> anyhow::Result<()> {
        let [port] = self.ports[..] else {
            return Ok(());
        };
        let settings = ServerSettings {
            trust_domain: &options.trust_domain,
            files: &folder.server(1),
            port: Some(port),
            peer_port: None,
        };
        settings.write()
    }

    /// Where they listen for agents.
    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Returns when one fails or all have ended; one that leaves its cluster is not missed. Cancel-safe.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.running.next().await {
            ended?;
        }
        Ok(())
    }

    /// Stops all and waits for them; the first failure counts.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        for shutdown in &self.shutdowns {
            shutdown.request();
        }
        let mut first = Ok(());
        while let Some(ended) = self.running.next().await {
            first = first.and(ended);
        }
        first
    }

    async fn start_all(&mut self, plans: Vec<Plan>) -> anyhow::Result<()> {
        let founder = plans.first().map(|plan| plan.files.socket.clone());
        let founder = founder.context("at least one server is needed")?;
        let (known, new): (Vec<_>, Vec<_>) = plans.into_iter().partition(Plan::ran_before);
        // A member is up only when a quorum is: those of an earlier run start together.
        let started = join_all(known.iter().map(|plan| plan.start())).await;
        let mut first = Ok(());
        for (plan, app) in known.iter().zip(started) {
            match app {
                Ok(app) => self.add(plan, app),
                Err(error) => first = first.and(Err(error)),
            }
        }
        first?;
        for plan in new {
            if plan.files.number > 1 {
                write_invite(&founder, &plan.files).await?;
            }
            let app = plan.start().await?;
            self.add(&plan, app);
        }
        wait_until_all_vote(&founder).await
    }

    fn add(&mut self, plan: &Plan, app: App) {
        self.ports.push(app.tls_address().port());
        self.running
            .push(Box::pin(app.run().instrument(plan.span())));
    }
}

impl Plan {
    fn ran_before(&self) -> bool {
        has_run(&self.files)
    }

    async fn start(&self) -> anyhow::Result<App> {
        let started = App::start(&self.config, Arc::new(SystemClock), self.shutdown.clone());
        let app = started.instrument(self.span()).await;
        app.with_context(|| {
            format!(
                "server {} did not start; see {}",
                self.files.number,
                self.files.log.display()
            )
        })
    }

    /// Marks what it logs, for all servers share a log.
    fn span(&self) -> Span {
        tracing::info_span!("server", server = self.files.number)
    }
}

/// The ports that every server has, the same at every start: members find each other by them.
struct Ports(Vec<(Option<u16>, Option<u16>)>);

impl Ports {
    fn choose(options: &Options, folder: &Folder) -> anyhow::Result<Self> {
        let named = Some(options.port).filter(|port| *port != 0);
        if options.replicas == 1 {
            return Ok(Self(vec![(named, None)]));
        }
        let known: Vec<_> = (1..=options.replicas)
            .map(|number| {
                let (before, peers_before) = ports_before(&folder.server(number));
                (named.filter(|_| number == 1).or(before), peers_before)
            })
            .collect();
        let taken: BTreeSet<u16> = known
            .iter()
            .flat_map(|(port, peers)| port.iter().chain(peers))
            .copied()
            .collect();
        let free = || loop {
            match free_port() {
                Ok(port) if taken.contains(&port) => {}
                found => break found,
            }
        };
        let ports = known.into_iter().map(|(port, peer_port)| {
            let port = port.map_or_else(free, Ok)?;
            Ok((Some(port), Some(peer_port.map_or_else(free, Ok)?)))
        });
        Ok(Self(ports.collect::<anyhow::Result<_>>()?))
    }
}

/// The ports in the config of an earlier run.
fn ports_before(files: &ServerFiles) -> (Option<u16>, Option<u16>) {
    let Ok(config) = config::load(&LoadArgs::from_path(&files.config)) else {
        return (None, None);
    };
    let peers = config.cluster.and_then(|cluster| {
        let (_host, port) = cluster.peer_address.rsplit_once(':')?;
        port.parse().ok()
    });
    (Some(config.bind_port), peers)
}

fn plans(options: &Options, folder: &Folder, ports: &Ports) -> anyhow::Result<Vec<Plan>> {
    let numbered = (1..=options.replicas).zip(&ports.0);
    let plans = numbered.map(|(number, (port, peer_port))| {
        let files = folder.server(number);
        let settings = ServerSettings {
            trust_domain: &options.trust_domain,
            files: &files,
            port: *port,
            peer_port: *peer_port,
        };
        settings.write()?;
        let mut config = config::load(&LoadArgs::from_path(&files.config))?;
        // No port in a file is the default port; here it is any that is free.
        config.bind_port = port.unwrap_or(0);
        Ok(Plan {
            files,
            config,
            shutdown: Shutdown::new(),
        })
    });
    plans.collect()
}

/// Refuses to run a part of what the folder holds: fewer than half would be no quorum.
fn ensure_fits(options: &Options, folder: &Folder) -> anyhow::Result<()> {
    ensure!(
        (1..=MAX_REPLICAS).contains(&options.replicas),
        "-replicas must be 1 to {MAX_REPLICAS}"
    );
    let numbers = 1..=MAX_REPLICAS;
    let held = numbers
        .rev()
        .find(|number| has_run(&folder.server(*number)));
    let held = held.unwrap_or(0);
    ensure!(
        held <= options.replicas,
        "{} holds {held} servers: give -replicas {held}, or another folder with -dataDir",
        folder.path().display()
    );
    Ok(())
}

fn has_run(files: &ServerFiles) -> bool {
    files.data.exists()
}

/// An invitation from the founder, for a server that starts for the first time.
async fn write_invite(founder: &Path, files: &ServerFiles) -> anyhow::Result<()> {
    let channel = daemon::unix::connect(founder).await?;
    let request = CreateInviteRequest {
        ttl_s: INVITE_TTL_S,
    };
    let invited = ClusterClient::new(channel).create_invite(request).await;
    let invite = invited.map_err(RpcError::from)?.into_inner().invite;
    write_file(&files.invite, invite.as_bytes(), Readers::Owner)
}

const INVITE_TTL_S: u32 = 600;

/// A joiner votes once it has caught up; until then the loss of one server may be one too many.
async fn wait_until_all_vote(socket: &Path) -> anyhow::Result<()> {
    let mut client = ClusterClient::new(daemon::unix::connect(socket).await?);
    let deadline = Instant::now() + VOTING_WITHIN;
    loop {
        let status = client.status(StatusRequest {}).await;
        let status = status.map_err(RpcError::from)?.into_inner();
        let votes = |role| matches!(role, Role::Leader | Role::Voter);
        if status.members.iter().all(|member| votes(member.role())) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not all servers came to vote");
        sleep(POLL_PAUSE).await;
    }
}

const VOTING_WITHIN: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use identity::trust_domain::TrustDomain;

    use super::*;

    fn options(replicas: u8, port: u16) -> Options {
        Options {
            trust_domain: TrustDomain::parse("dev.test").unwrap(),
            port,
            folder: None,
            replicas,
        }
    }

    #[test]
    fn ports_of_a_cluster_differ_and_stay_the_same_at_the_next_start() {
        let folder = Folder::open(None).unwrap();
        let options = options(3, 0);
        let chosen = Ports::choose(&options, &folder).unwrap();
        plans(&options, &folder, &chosen).unwrap();
        let mut all: Vec<_> = chosen.0.iter().flat_map(|(a, b)| [*a, *b]).collect();
        assert!(all.iter().all(Option::is_some));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert_eq!(Ports::choose(&options, &folder).unwrap().0, chosen.0);
    }

    #[test]
    fn a_named_port_is_that_of_the_first_server() {
        let folder = Folder::open(None).unwrap();
        let ports = Ports::choose(&options(2, 28_999), &folder).unwrap();
        assert_eq!(ports.0[0].0, Some(28_999));
        assert_ne!(ports.0[1].0, Some(28_999));
    }

    #[test]
    fn a_part_of_a_cluster_is_not_started() {
        let folder = Folder::open(None).unwrap();
        std::fs::create_dir(folder.server(3).data).unwrap();
        let error = ensure_fits(&options(1, 0), &folder)
            .unwrap_err()
            .to_string();
        let expected = format!(
            "{} holds 3 servers: give -replicas 3, or another folder with -dataDir",
            folder.path().display()
        );
        assert_eq!(error, expected);
        ensure_fits(&options(3, 0), &folder).unwrap();
        ensure_fits(&options(5, 0), &folder).unwrap();
        assert!(ensure_fits(&options(8, 0), &folder).is_err());
    }
}

//! The server that an agent talks to dies, stops, or drops out of the network: how soon its workloads get something
//! that only a server can give.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Scenario, Stage};
use crate::{
    client::{Operator, operator::own_entry, workload::Workload},
    cluster::{Cluster, agent::Agent, config::TRUST_DOMAIN, connections::sent_bytes},
    fault::network::Network,
    figures::{Times, count, ms},
    history::History,
    load::{
        Background, wait_for,
        workload::{Ask, Workloads},
    },
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "agent-failover",
    summary: "the server an agent is on is killed, stopped, cut off: time to a fresh JWT-SVID",
    wants_network: true,
    run: |stage| Box::pin(run(stage)),
};

const ASK_PAUSE: Duration = Duration::from_millis(20);
const WINDOW: Duration = Duration::from_secs(4);
const STANDBY_TIME: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(5);
/// Calls that show which connection is in use: each sends more than the pings of the other.
const PROBES: usize = 20;

/// How the server is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Loss {
    Killed,
    Stopped,
    CutOff,
}

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let network = match stage.network.clone() {
        Ok(()) => Some(Network::make(3, &stage.folder).await?),
        Err(reason) => {
            stage
                .report
                .note(format!("without the black hole: {reason}"));
            None
        }
    };
    let cluster = stage.cluster("cluster", 3, network.as_ref()).await?;
    let agent = Agent::start(
        &cluster,
        &stage.arguments.agent,
        "agent",
        &cluster.api_addresses(),
    )
    .await?;
    let mut trial = Trial::new(cluster, agent, network).await?;
    let mut load = Background::new();
    trial.workloads().ask(&mut load, ASK_PAUSE);
    let kinds = [
        (Loss::Killed, "after a kill", 300.0),
        (Loss::Stopped, "after SIGSTOP", 2_000.0),
        (Loss::CutOff, "after a black hole", 2_000.0),
    ];
    for (loss, name, bound) in kinds {
        if loss == Loss::CutOff && trial.network.is_none() {
            continue;
        }
        let mut times = Times::default();
        for round in 0..stage.rounds(30) {
            let time = trial.lose_once(loss).await;
            times.push(time.with_context(|| format!("round {round} {name}"))?);
        }
        stage
            .report
            .figure(format!("failover {name} p50"), ms(times.p50()), "ms");
        stage.report.promise(
            format!("failover {name} p99"),
            ms(times.p99()),
            "ms",
            Bound::AtMost(bound),
        );
    }
    load.stop().await;
    let calls = trial.history.calls();
    let failures: Vec<_> = calls
        .iter()
        .filter_map(|call| call.outcome.failure())
        .collect();
    stage.report.none_of(
        format!("Workload API errors of {}", calls.len()),
        failures.len(),
    );
    for failure in failures.iter().take(5) {
        stage.report.note(format!("Workload API error: {failure}"));
    }
    if trial.network.is_some() {
        stage
            .report
            .require(trial.dropped > 0, "no packet was dropped");
        stage.report.figure(
            "packets dropped",
            count(usize::try_from(trial.dropped)?),
            "",
        );
    }
    Ok(())
}

/// A cluster with an agent that has one workload.
pub(super) struct Trial {
    pub(super) cluster: Cluster,
    pub(super) agent: Agent,
    network: Option<Network>,
    pub(super) workload: Workload,
    spiffe_id: String,
    history: History<Ask>,
    probes: usize,
    dropped: u64,
}

impl Trial {
    pub(super) async fn new(
        cluster: Cluster,
        agent: Agent,
        network: Option<Network>,
    ) -> anyhow::Result<Self> {
        let operator = Operator::new(cluster.any_admin().await?);
        let created = operator.create(own_entry("/workload", &agent.parent_path));
        created.await.required()?;
        let workload = Workload::connect(&agent.socket()).await?;
        wait_for("an SVID at the workload", DEADLINE, async || {
            workload.x509(SHORT).await.done()
        })
        .await?;
        Ok(Self {
            cluster,
            agent,
            network,
            workload,
            spiffe_id: format!("spiffe://{TRUST_DOMAIN}/workload"),
            history: History::default(),
            probes: 0,
            dropped: 0,
        })
    }

    fn workloads(&self) -> Workloads {
        Workloads {
            at: vec![(self.workload.clone(), self.spiffe_id.clone())],
            history: self.history.clone(),
        }
    }

    /// Loses the server in use, and returns the time until a question asked after that was answered.
    async fn lose_once(&mut self, loss: Loss) -> anyhow::Result<Duration> {
        self.cluster.whole().await?;
        sleep(STANDBY_TIME).await;
        let member = self.server_in_use().await?;
        let lost = Instant::now();
        match (loss, &self.network) {
            (Loss::Killed, _) => self.cluster.members[member].kill().await?,
            (Loss::CutOff, Some(network)) => network.host(member).black_hole().await?,
            (Loss::Stopped | Loss::CutOff, _) => self.cluster.members[member].pause().await?,
        }
        let answered = wait_for("a fresh JWT-SVID", DEADLINE, async || {
            let calls = self.history.calls();
            let fresh = calls.iter().rev().take_while(|call| call.ended > lost);
            let fresh = fresh.filter(|call| call.about == Ask::FreshJwt && call.started >= lost);
            fresh
                .filter(|call| call.outcome.is_done())
                .map(|call| call.ended)
                .min()
        })
        .await?;
        sleep_until(lost + WINDOW).await;
        match (loss, &self.network) {
            (Loss::Killed, _) => {
                self.cluster.members[member].start()?;
                self.cluster.members[member].serving().await?;
            }
            (Loss::CutOff, Some(network)) => self.dropped += network.host(member).heal().await?,
            (Loss::Stopped | Loss::CutOff, _) => self.cluster.members[member].resume()?,
        }
        Ok(answered - lost)
    }

    /// The member whose connection carries the agent's calls.
    pub(super) async fn server_in_use(&mut self) -> anyhow::Result<usize> {
        let pid = self.agent.process().pid();
        let before = sent_bytes(pid).await?;
        for _ in 0..PROBES {
            self.probes += 1;
            let audience = format!("probe-{}", self.probes);
            self.workload
                .jwt(audience, &self.spiffe_id, SHORT)
                .await
                .required()?;
        }
        let after = sent_bytes(pid).await?;
        let grown = after.iter().map(|(address, bytes)| {
            (
                bytes - before.get(address).copied().unwrap_or(0).min(*bytes),
                *address,
            )
        });
        let (_, busiest) = grown.max().context("the agent has no connection")?;
        let members = &self.cluster.members;
        let found = members.iter().find(|member| member.place.api == busiest);
        Ok(found
            .with_context(|| format!("the agent talks to {busiest}, which is no member"))?
            .number)
    }
}

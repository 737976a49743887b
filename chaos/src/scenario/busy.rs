//! A cluster under everything that clients do: writes through every member, signing by every member, agents with
//! workloads. What its clients were told goes into the report in the end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use tokio::time::Instant;

use super::Stage;
use crate::{
    check,
    client::{Attested, Operator, attested::Signer, operator::own_entry, workload::Workload},
    cluster::{Cluster, agent::Agent, config::TRUST_DOMAIN},
    figures::{Times, count, ms, rate},
    history::{Call, History},
    load::{
        Background,
        signing::{Signature, sign},
        target::Targets,
        wait_for,
        workload::{Ask, Workloads},
        writes::{Write, Writers},
    },
    report::Report,
};

/// A cluster and its clients.
pub struct Busy {
    /// The members.
    pub cluster: Cluster,
    /// The agents, each of which knows every member.
    pub agents: Vec<Agent>,
    /// Who writes, and to whom.
    pub writers: Writers,
    /// The node's connection to each member, and who is asked to sign for it.
    signers: (Vec<Signer>, Targets),
    signatures: History<Signature>,
    workloads: Workloads,
    counters: Vec<String>,
    load: Background,
    begun: Instant,
}

/// How often each client calls.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two creations, over all members.
    pub create: Duration,
    /// Between two signatures, at each member.
    pub sign: Duration,
    /// Between two questions of workloads, at each agent.
    pub ask: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            create: Duration::from_millis(10),
            sign: Duration::from_millis(25),
            ask: Duration::from_millis(50),
        }
    }
}

const COUNTERS: usize = 4;
const RAISE_PAUSE: Duration = Duration::from_millis(50);
const CONVERGE_DEADLINE: Duration = Duration::from_secs(30);
/// Offences that are shown word by word.
const EXAMPLES: usize = 3;

impl Busy {
    /// Starts agents and load on a cluster that stands.
    ///
    /// # Errors
    /// A client cannot be set up.
    pub async fn start(stage: &Stage, cluster: Cluster, pace: Pace) -> anyhow::Result<Self> {
        let size = cluster.members.len();
        let clients = cluster.operators().await?;
        let operator = clients[0][0].clone();
        let writers = Writers {
            clients,
            targets: Targets::all(size),
            history: History::default(),
            unread: parking_lot::Mutex::default().into(),
        };
        let mut busy = Self {
            agents: agents(stage, &cluster).await?,
            counters: counters(&operator).await?,
            signers: (Vec::new(), Targets::all(size)),
            signatures: History::default(),
            workloads: Workloads {
                at: Vec::new(),
                history: History::default(),
            },
            load: Background::new(),
            begun: Instant::now(),
            cluster,
            writers,
        };
        busy.signers.0 = busy.direct_signers(&operator).await?;
        busy.subscribe_workloads(&operator).await?;
        busy.begun = Instant::now();
        busy.writers.create(&mut busy.load, pace.create);
        busy.writers
            .raise(&mut busy.load, busy.counters.clone(), RAISE_PAUSE);
        sign(
            &mut busy.load,
            busy.signers.0.clone(),
            &busy.signers.1,
            &busy.signatures,
            pace.sign,
        );
        busy.workloads.ask(&mut busy.load, pace.ask);
        Ok(busy)
    }

    /// Other load that stops with this one.
    pub fn load(&mut self) -> &mut Background {
        &mut self.load
    }

    /// Sends no more clients to a member.
    pub fn leave_out(&self, member: usize) {
        self.writers.targets.leave_out(member);
        self.signers.1.leave_out(member);
    }

    /// Sends clients to a member again, over connections that are new: that the old ones broke is not what is tested.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn take_in(&self, member: usize) -> anyhow::Result<()> {
        let signer = &self.signers.0[member];
        wait_for(
            "a signature by a member that is back",
            CONVERGE_DEADLINE,
            async || signer.x509(SIGN_DEADLINE).await.done(),
        )
        .await?;
        for client in &self.writers.clients[member] {
            wait_for(
                "an answer of a member that is back",
                CONVERGE_DEADLINE,
                async || client.count().await.ok(),
            )
            .await?;
        }
        self.writers.targets.take_in(member);
        self.signers.1.take_in(member);
        Ok(())
    }

    async fn direct_signers(&self, operator: &Operator) -> anyhow::Result<Vec<Signer>> {
        let addresses = self.cluster.api_addresses();
        let node = Attested::new(operator, addresses[0], "direct").await?;
        let signers = addresses.iter().map(|address| node.signer(*address));
        let signers = signers.collect::<anyhow::Result<Vec<_>>>()?;
        // A connection each, and the entry known to each, before anything is counted.
        for signer in &signers {
            wait_for(
                "a signature by every member",
                CONVERGE_DEADLINE,
                async || signer.x509(SIGN_DEADLINE).await.done(),
            )
            .await?;
        }
        Ok(signers)
    }

    async fn subscribe_workloads(&mut self, operator: &Operator) -> anyhow::Result<()> {
        for (number, agent) in self.agents.iter().enumerate() {
            let path = format!("/workload/{number}");
            let created = operator.create(own_entry(&path, &agent.parent_path)).await;
            created.required().context("no entry for a workload")?;
            let workload = Workload::connect(&agent.socket()).await?;
            wait_for("an SVID at every workload", CONVERGE_DEADLINE, async || {
                workload.x509(SIGN_DEADLINE).await.done()
            })
            .await?;
            let id = format!("spiffe://{TRUST_DOMAIN}{path}");
            self.workloads.at.push((workload, id));
        }
        Ok(())
    }

    /// Ends the load, and reports what the clients were told and whether it was true.
    ///
    /// # Errors
    /// The members do not come to rest.
    pub async fn finish(mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let took = self.begun.elapsed();
        self.load.stop().await;
        for agent in &mut self.agents {
            agent.ensure_running()?;
        }
        judge(
            &mut stage.report,
            &self.cluster,
            &self.writers,
            &self.counters,
            took,
        )
        .await?;
        let signatures = self.signatures.calls();
        tell_failures(stage, "failed signings", &signatures);
        tell_times(stage, "signing", &signatures);
        tell_failures(
            stage,
            "Workload API errors",
            &self.workloads.history.calls(),
        );
        let mut fresh = self.workloads.history.calls();
        fresh.retain(|call| call.about == Ask::FreshJwt);
        tell_times(stage, "fresh JWT-SVID at a workload", &fresh);
        Ok(())
    }

    /// Ends the load without a word about it, and gives the cluster back.
    ///
    /// # Errors
    /// An agent has ended.
    pub async fn finish_early(mut self, stage: &mut Stage) -> anyhow::Result<Cluster> {
        self.load.stop().await;
        for agent in &mut self.agents {
            agent.ensure_running()?;
        }
        stage.report.require(
            self.writers.history.len() >= MIN_CALLS,
            "fewer than 100 writes were made",
        );
        Ok(self.cluster)
    }

    /// The write calls so far that did not go to `member`.
    #[must_use]
    pub fn writes_elsewhere(&self, member: usize) -> Vec<Call<Write>> {
        let calls = self.writers.history.calls().into_iter();
        calls.filter(|call| call.target != member).collect()
    }
}

/// Reports whether what writers were told is true of what the members hold once they have come to rest.
///
/// # Errors
/// They do not come to rest.
pub(super) async fn judge(
    report: &mut Report,
    cluster: &Cluster,
    writers: &Writers,
    counters: &[String],
    took: Duration,
) -> anyhow::Result<()> {
    let held = settled(cluster).await?;
    let calls = writers.history.calls();
    let found = check::writes(&calls, counters, &held);
    report.figure("acknowledged writes", count(found.acknowledged), "");
    report.figure(
        "acknowledged writes a second",
        rate(found.acknowledged, took),
        "/s",
    );
    report.figure("undecided writes", count(found.undecided), "");
    report.figure(
        "undecided writes that were made",
        count(found.made_undecided),
        "",
    );
    report.none_of("refused writes", found.refused);
    report.none_of("acknowledged writes lost", found.lost.len());
    report.none_of(
        "writes with two effects, or one too many",
        found.wrong.len(),
    );
    report.none_of("members that differ", found.diverged.len());
    let unread = writers.unread.lock().clone();
    report.none_of("acknowledged writes unread on their member", unread.len());
    for text in found.doubts.iter().take(EXAMPLES) {
        report.note(format!("undecided write: {text}"));
    }
    for offence in [found.lost, found.wrong, found.diverged, unread]
        .iter()
        .flatten()
        .take(EXAMPLES)
    {
        report.note(offence.clone());
    }
    report.require(
        found.acknowledged >= MIN_CALLS,
        "fewer than 100 writes were acknowledged",
    );
    Ok(())
}

const SIGN_DEADLINE: Duration = Duration::from_secs(5);
const MIN_CALLS: usize = 100;

/// An agent for each member, which has that member first in its list.
async fn agents(stage: &Stage, cluster: &Cluster) -> anyhow::Result<Vec<Agent>> {
    let mut agents = Vec::new();
    let mut addresses = cluster.api_addresses();
    for number in 0..addresses.len() {
        let name = format!("agent-{number}");
        agents.push(Agent::start(cluster, &stage.arguments.agent, &name, &addresses).await?);
        addresses.rotate_left(1);
    }
    Ok(agents)
}

async fn counters(operator: &Operator) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for number in 0..COUNTERS {
        let path = format!("/counter/{number}");
        let counter = crate::client::operator::entry(&path, "/writes", ("chaos", &path));
        ids.push(operator.create(counter).await.required()?.id);
    }
    Ok(ids)
}

/// What each member lists once nothing more comes and all have caught up.
async fn settled(cluster: &Cluster) -> anyhow::Result<Vec<Vec<proto::spire::api::types::Entry>>> {
    if cluster.members.len() > 1 {
        cluster.whole().await?;
    }
    wait_for(
        "all members have the same number of entries",
        CONVERGE_DEADLINE,
        async || {
            let mut counts = Vec::new();
            for member in &cluster.members {
                counts.push(
                    Operator::new(member.admin().await.ok()?)
                        .count()
                        .await
                        .ok()?,
                );
            }
            counts.iter().all(|count| *count == counts[0]).then_some(())
        },
    )
    .await?;
    let mut held = Vec::new();
    for member in &cluster.members {
        held.push(Operator::new(member.admin().await?).list().await?);
    }
    Ok(held)
}

fn tell_failures<T>(stage: &mut Stage, name: &str, calls: &[Call<T>]) {
    let failed = calls.iter().filter(|call| !call.outcome.is_done());
    let count = failed.clone().count();
    stage
        .report
        .none_of(format!("{name} of {}", calls.len()), count);
    let begun = calls.iter().map(|call| call.started).min();
    // Each kind of failure at each target in one line: when it began, and when it was last seen.
    let mut kinds: BTreeMap<(usize, &str), Vec<Instant>> = BTreeMap::new();
    for call in failed {
        let text = call.outcome.failure().unwrap_or_default();
        let kind = kinds.entry((call.target, text)).or_default();
        kind.push(call.started);
    }
    let at = |moment: Option<&Instant>| {
        let since = moment.zip(begun).map(|(moment, begun)| *moment - begun);
        since.unwrap_or_default().as_secs_f64()
    };
    for ((target, text), moments) in kinds.iter().take(MAX_KINDS) {
        stage.report.note(format!(
            "{name}: {} to {target} from {:.3} s to {:.3} s: {text}",
            moments.len(),
            at(moments.iter().min()),
            at(moments.iter().max()),
        ));
    }
    stage.report.require(
        calls.len() >= MIN_CALLS,
        format!("{name}: fewer than 100 calls were made"),
    );
}

fn tell_times<T>(stage: &mut Stage, name: &str, calls: &[Call<T>]) {
    let times: Times = calls.iter().map(Call::took).collect();
    let report = &mut stage.report;
    report.figure(format!("{name} p99"), ms(times.p99()), "ms");
    report.figure(format!("{name} max"), ms(times.max()), "ms");
}

/// Kinds of failures that are told of one kind of call.
const MAX_KINDS: usize = 8;

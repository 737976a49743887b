//! How soon a workload that is subscribed holds the SVID of an entry created through another member than its
//! agent's.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Scenario, Stage, agent_failover::Trial};
use crate::{
    client::{Operator, operator::own_entry, workload::Workload},
    cluster::{agent::Agent, config::TRUST_DOMAIN},
    figures::{Times, count, ms},
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "propagation",
    summary: "1,000 entries created on one member: time to the SVID at a workload of another's agent",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const DEADLINE: Duration = Duration::from_secs(30);
/// The subscription carries every SVID each time, so only so many are left standing.
const STANDING: usize = 8;

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster("cluster", 3, None).await?;
    let agent = Agent::start(
        &cluster,
        &stage.arguments.agent,
        "agent",
        &cluster.api_addresses(),
    )
    .await?;
    let mut trial = Trial::new(cluster, agent, None).await?;
    let (held, seen) = watch::channel(BTreeSet::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(trial.workload.clone(), held));
    let (mut measured, mut moved) = (Measured::default(), 0);
    let creations = stage.rounds(1_000);
    let mut number = 0;
    while measured.whole.len() < usize::try_from(creations)? {
        let of_agent = trial.server_in_use().await?;
        let writer = &trial.cluster.members[(of_agent + 1) % trial.cluster.members.len()];
        let operator = Operator::new(writer.admin().await?);
        let mut batch = Measured::default();
        for _ in 0..BATCH.min(creations) {
            batch
                .create(&operator, &trial.agent.parent_path, number, seen.clone())
                .await?;
            number += 1;
        }
        operator
            .delete(batch.standing.split_off(0))
            .await
            .required()?;
        // What was measured while the agent changed over may not be what is asked for.
        if trial.server_in_use().await? == of_agent {
            measured.add(batch);
        } else {
            moved += 1;
            anyhow::ensure!(moved < MAX_MOVES, "the agent does not stay with a server");
        }
    }
    tasks.shutdown().await;
    let report = &mut stage.report;
    report.figure("creations", count(measured.whole.len()), "");
    report.figure("batches left out since the agent moved", count(moved), "");
    report.promise(
        "create to SVID p50",
        ms(measured.whole.p50()),
        "ms",
        Bound::AtMost(20.0),
    );
    report.promise(
        "create to SVID p99",
        ms(measured.whole.p99()),
        "ms",
        Bound::AtMost(100.0),
    );
    report.figure("create to SVID max", ms(measured.whole.max()), "ms");
    report.figure(
        "of it after the acknowledgement p50",
        ms(measured.since_answer.p50()),
        "ms",
    );
    Ok(())
}

/// Between two looks at which server the agent is on.
const BATCH: u32 = 100;
const MAX_MOVES: usize = 10;

#[derive(Default)]
struct Measured {
    /// From the call until the SVID was there.
    whole: Times,
    /// From the acknowledgement until then.
    since_answer: Times,
    standing: Vec<String>,
}

impl Measured {
    fn add(&mut self, batch: Self) {
        self.whole.extend(batch.whole);
        self.since_answer.extend(batch.since_answer);
    }

    async fn create(
        &mut self,
        operator: &Operator,
        parent_path: &str,
        number: u32,
        mut seen: watch::Receiver<BTreeSet<String>>,
    ) -> anyhow::Result<()> {
        let path = format!("/propagated/{number}");
        let asked = Instant::now();
        let created = operator
            .create(own_entry(&path, parent_path))
            .await
            .required()?;
        let answered = Instant::now();
        let id = format!("spiffe://{TRUST_DOMAIN}{path}");
        let there = timeout(DEADLINE, seen.wait_for(|ids| ids.contains(&id))).await;
        there.with_context(|| format!("{id} did not come in {DEADLINE:?}"))??;
        self.whole.push(asked.elapsed());
        self.since_answer.push(answered.elapsed());
        self.standing.push(created.id);
        if self.standing.len() >= STANDING {
            operator
                .delete(std::mem::take(&mut self.standing))
                .await
                .required()?;
        }
        Ok(())
    }
}

/// Keeps `held` what the subscription last said, until it ends.
async fn follow(workload: Workload, held: watch::Sender<BTreeSet<String>>) {
    let Ok(mut messages) = workload.watch().await else {
        return;
    };
    while let Ok(Some(message)) = messages.message().await {
        let ids = message
            .svids
            .into_iter()
            .map(|svid| svid.spiffe_id)
            .collect();
        held.send_replace(ids);
    }
}

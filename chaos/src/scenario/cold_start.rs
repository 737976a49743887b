//! Three members start at once on a large state: how soon each serves, and what memory it takes.

use std::time::Duration;

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Scenario, Stage};
use crate::{
    client::{Operator, Outcome, operator::entry},
    cluster::Cluster,
    figures::{count, rate},
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cold-start",
    summary: "three members started at once with 1,000,000 entries (--rounds thousand): time, memory",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const BATCH: u64 = 500;
const PER_PARENT: u64 = 100;
const SEEDERS: u64 = 6;
const START_DEADLINE: Duration = Duration::from_secs(300);
const REST: Duration = Duration::from_secs(10);

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let mut cluster = stage.cluster("cluster", 3, None).await?;
    let entries = u64::from(stage.rounds(1_000)) * 1_000;
    let seeding = Instant::now();
    seed(&cluster, entries).await.context("seeding")?;
    cluster.whole().await?;
    let entries = usize::try_from(entries)?;
    stage.report.figure("entries", count(entries), "");
    stage.report.figure(
        "entries a second while seeding",
        rate(entries, seeding.elapsed()),
        "/s",
    );
    for member in &mut cluster.members {
        tell_memory(
            stage,
            member.number,
            "seeded",
            member.process()?.resident_kib()?,
            entries,
        );
        member.terminate().await?;
    }
    let begun = Instant::now();
    for member in &mut cluster.members {
        member.start()?;
    }
    let mut waits = JoinSet::new();
    for mut member in std::mem::take(&mut cluster.members) {
        waits.spawn(async move {
            member.serving_within(START_DEADLINE).await?;
            let operator = Operator::new(member.admin().await?);
            operator
                .mint("/cold/start")
                .await
                .context("it serves but does not sign")?;
            anyhow::Ok((member, begun.elapsed()))
        });
    }
    let mut started = Vec::new();
    while let Some(waited) = waits.join_next().await {
        started.push(waited??);
    }
    sleep(REST).await;
    started.sort_by_key(|(member, _)| member.number);
    for (member, time) in &started {
        let name = format!("member {} serves and signs after", member.number);
        stage
            .report
            .promise(name, time.as_secs_f64(), "s", Bound::AtMost(15.0));
        tell_memory(
            stage,
            member.number,
            "restarted",
            member.process()?.resident_kib()?,
            entries,
        );
        let held = Operator::new(member.admin().await?).count().await?;
        stage.report.none_of(
            format!("entries that member {} lacks", member.number),
            entries.abs_diff(held),
        );
    }
    Ok(())
}

fn tell_memory(stage: &mut Stage, number: usize, when: &str, kib: u64, entries: usize) {
    let mib = count(usize::try_from(kib / 1_024).unwrap_or(usize::MAX));
    stage
        .report
        .figure(format!("member {number} resident, {when}"), mib, "MiB");
    let per_million = mib * 1_000_000.0 / count(entries);
    stage.report.figure(
        format!("member {number} resident, {when}, per million"),
        per_million,
        "MiB",
    );
}

/// Creates so many entries as fast as the cluster takes them, a hundred below each parent.
async fn seed(cluster: &Cluster, entries: u64) -> anyhow::Result<()> {
    let (leader, _) = cluster.leader().await?;
    let mut seeders = JoinSet::new();
    for seeder in 0..SEEDERS {
        let operator = Operator::new(cluster.members[leader].admin().await?);
        seeders.spawn(async move {
            for batch in (seeder..entries.div_ceil(BATCH)).step_by(usize::try_from(SEEDERS)?) {
                let numbers = batch * BATCH..entries.min((batch + 1) * BATCH);
                create(&operator, numbers.map(large_entry).collect()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = seeders.join_next().await {
        done??;
    }
    Ok(())
}

async fn create(
    operator: &Operator,
    entries: Vec<proto::spire::api::types::Entry>,
) -> anyhow::Result<()> {
    let outcomes = operator.create_all(entries).await.required()?;
    let failed = outcomes.iter().find_map(Outcome::failure);
    failed.map_or(Ok(()), |text| {
        Err(anyhow::anyhow!("an entry was not created: {text}"))
    })
}

fn large_entry(number: u64) -> proto::spire::api::types::Entry {
    let parent = format!("/parent/{}", number / PER_PARENT);
    entry(
        &format!("/seeded/{number}"),
        &parent,
        ("unix", &format!("uid:{number}")),
    )
}

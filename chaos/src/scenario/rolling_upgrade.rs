//! Every member is replaced in turn by a program of the next command format, under load; one goes back before the
//! last one was replaced, and none can once the cluster uses the new format.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
    rolling::Rolling,
};
use crate::{cluster::Cluster, load::wait_for, report::Bound};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-upgrade",
    summary: "each member in turn becomes the program given with --next, under load: failed requests",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

/// How long the leader may take to see that all understand the next format.
const RAISE_DEADLINE: Duration = Duration::from_secs(30);
const GIVE_UP_DEADLINE: Duration = Duration::from_secs(60);

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let old = stage.arguments.server.clone();
    let next = stage.arguments.next.clone();
    let next = next.context("no server of the next format: build one, and name it with --next")?;
    let cluster = stage.cluster("cluster", 3, None).await?;
    let before = settled(&cluster).await?;
    let busy = Busy::start(stage, cluster, Pace::default()).await?;
    let mut rolling = Rolling::begin(stage, busy);
    let mut seen = Vec::new();
    let steps: [(usize, &PathBuf); 4] = [(0, &next), (0, &old), (0, &next), (1, &next)];
    for (number, program) in steps {
        let restarted = rolling.restart(number, program).await;
        restarted.with_context(|| format!("member {number} as {}", program.display()))?;
        seen.push(version(&rolling.busy().cluster).await?);
    }
    let is_kept = seen.iter().all(|version| *version == before);
    stage.report.require(
        is_kept,
        format!("the cluster's format moved from {before} too early: {seen:?}"),
    );
    rolling.restart(2, &next).await.context("the last member")?;
    let cluster = &rolling.busy().cluster;
    let raised = wait_for("the next format is in use", RAISE_DEADLINE, async || {
        version(cluster).await.ok().filter(|now| *now > before)
    });
    let raised = raised.await?;

    rolling.stop(0).await?;
    let member = &mut rolling.busy().cluster.members[0];
    member.become_program(&old);
    let answer = member.start_in_vain(GIVE_UP_DEADLINE).await;
    let refusal = answer.err().unwrap_or_default();
    let is_refused = refusal.contains("newer version");
    member.become_program(&next);
    rolling.start(0).await.context("after the old program")?;

    let report = &mut stage.report;
    report.figure("format before", f64::from(before), "");
    let wanted = f64::from(before + 1);
    report.promise(
        "format after",
        f64::from(raised),
        "",
        Bound::Exactly(wanted),
    );
    report.none_of(
        "old program not refused after that, with its cause",
        usize::from(!is_refused),
    );
    if !is_refused {
        report.note(format!("the old program said: {refusal}"));
    }
    rolling.finish(stage).await
}

async fn version(cluster: &Cluster) -> anyhow::Result<u32> {
    Ok(cluster.whole().await?.0.cluster_version)
}

/// The format of a new cluster once it uses the newest one that its members understand.
async fn settled(cluster: &Cluster) -> anyhow::Result<u32> {
    wait_for("the own format is in use", RAISE_DEADLINE, async || {
        let status = cluster.whole().await.ok()?.0;
        let newest = status.members.iter().map(|member| member.formats_to).min();
        newest.filter(|newest| *newest == status.cluster_version)
    })
    .await
}

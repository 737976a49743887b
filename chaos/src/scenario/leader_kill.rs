//! The leader dies by SIGKILL, again and again, under writes, signing and workloads on the others.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{
    check::longest_silence,
    figures::{Times, ms},
    load::wait_for,
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "leader-kill",
    summary: "kill -9 of the leader 30 times under load: write gap, lost writes, failed signings",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

/// Calls on the leader's own connections end before it dies; what is in flight on the others is what is tested.
const LEAVE: Duration = Duration::from_millis(300);
const GAP_WINDOW: Duration = Duration::from_secs(3);
const RECOVERY_DEADLINE: Duration = Duration::from_secs(20);

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster("cluster", 3, None).await?;
    let mut busy = Busy::start(stage, cluster, Pace::default()).await?;
    sleep(Duration::from_secs(2)).await;
    let mut gaps = Times::default();
    for round in 0..stage.rounds(30) {
        let gap = kill_once(stage, &mut busy).await;
        gaps.push(gap.with_context(|| format!("round {round}"))?);
    }
    stage
        .report
        .promise("write gap p50", ms(gaps.p50()), "ms", Bound::AtMost(500.0));
    stage.report.promise(
        "write gap p99",
        ms(gaps.p99()),
        "ms",
        Bound::AtMost(1_000.0),
    );
    stage
        .report
        .figure("kills of a leader", crate::figures::count(gaps.len()), "");
    busy.finish(stage).await
}

async fn kill_once(stage: &mut Stage, busy: &mut Busy) -> anyhow::Result<Duration> {
    busy.cluster.whole().await?;
    let (leader, before) = busy.cluster.leader().await?;
    busy.leave_out(leader);
    sleep(
        LEAVE
            + stage
                .random
                .between(Duration::ZERO, Duration::from_millis(200)),
    )
    .await;
    let killed = Instant::now();
    busy.cluster.members[leader].kill().await?;
    wait_for("a write is acknowledged", RECOVERY_DEADLINE, async || {
        busy.writers.history.first_done_after(killed + MIN_ELECTION)
    })
    .await?;
    tokio::time::sleep_until(killed + GAP_WINDOW).await;
    let gap = longest_silence(&busy.writes_elsewhere(leader), killed, Instant::now());
    let after = busy.cluster.status().await?;
    stage.report.require(
        after.term() > before.term() && after.leader() != before.leader(),
        format!("member {leader} led before and after its death, or there was no election"),
    );
    busy.cluster.members[leader].start()?;
    busy.cluster.members[leader].serving().await?;
    busy.take_in(leader).await?;
    Ok(gap)
}

/// An acknowledgement so soon after the death may still be the dead leader's.
const MIN_ELECTION: Duration = Duration::from_millis(20);

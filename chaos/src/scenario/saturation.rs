//! A processor that goes from idle to saturated: signing and spinning must not cost the leader its lead.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{
    check::longest_silence,
    fault::spinners::Spinners,
    figures::{count, ms},
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "saturation",
    summary: "10 minutes, idle and then with every core saturated: elections counted by the term",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const PER_CORE: usize = 2;

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let time = stage.time(Duration::from_secs(600));
    let cluster = stage.cluster("cluster", 3, None).await?;
    let before = cluster.whole().await?;
    sleep(time / 5).await;
    let idle = cluster.status().await?;

    let busy = Busy::start(stage, cluster, Pace::default()).await?;
    let spinners = Spinners::start(PER_CORE, &stage.folder)?;
    let begun = Instant::now();
    sleep(time * 4 / 5).await;
    let after = busy.cluster.status().await?;
    let silence = longest_silence(&busy.writers.history.calls(), begun, Instant::now());
    let report = &mut stage.report;
    report.figure("spinning processes", count(spinners.count()), "");
    drop(spinners);
    let elections = |from: u64, to: u64| count(usize::try_from(to - from).unwrap_or(usize::MAX));
    report.figure(
        "elections while idle",
        elections(before.term(), idle.term()),
        "",
    );
    let all = elections(before.term(), after.term());
    report.promise("elections", all, "", Bound::AtMost(1.0));
    report.figure("longest time without an acknowledgement", ms(silence), "ms");
    busy.finish(stage).await
}

//! A processor that goes from idle to saturated: signing and spinning must not cost the leader its lead.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{
    check::longest_silence,
    cluster::{Cluster, status::Status},
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

/// Each core has at least this many others to share itself with, whatever the cluster does.
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
    let course = follow(&busy.cluster, begun + time * 4 / 5).await;
    let after = busy.cluster.whole().await?;
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
    for change in course.iter().take(MAX_CHANGES) {
        report.note(change.clone());
    }
    busy.finish(stage).await
}

/// Says what becomes of the lead until the given moment.
async fn follow(cluster: &Cluster, until: Instant) -> Vec<String> {
    let begun = Instant::now();
    let mut due = interval(POLL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut course = Vec::new();
    let mut last = None;
    while Instant::now() < until {
        due.tick().await;
        let status = cluster.status().await;
        let now = status.as_ref().map_or((0, None), |status: &Status| {
            (status.term(), cluster.number_of(status.leader(), status))
        });
        if last.replace(now) == Some(now) {
            continue;
        }
        let at = begun.elapsed().as_secs_f64();
        course.push(match (now, status) {
            ((term, Some(leader)), _) => format!("at {at:.1} s: {leader} leads in term {term}"),
            (_, Ok(_)) => format!("at {at:.1} s: nobody known leads"),
            (_, Err(error)) => format!("at {at:.1} s: {error:#}"),
        });
    }
    course
}

const POLL: Duration = Duration::from_millis(500);

/// Changes that the report tells.
const MAX_CHANGES: usize = 30;

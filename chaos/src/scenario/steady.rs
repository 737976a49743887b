//! Nothing bad: one member under the load of the other scenarios. What fails here is no fault's doing.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{check::longest_silence, figures::ms};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "steady",
    summary: "no fault and one member, 10 seconds of the others' load: the baseline",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster("cluster", 1, None).await?;
    let busy = Busy::start(stage, cluster, Pace::default()).await?;
    let begun = Instant::now();
    sleep(stage.time(Duration::from_secs(10))).await;
    let silence = longest_silence(&busy.writers.history.calls(), begun, Instant::now());
    stage
        .report
        .figure("longest time without an acknowledgement", ms(silence), "ms");
    busy.finish(stage).await
}

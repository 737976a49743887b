//! Every member is restarted in turn.

use anyhow::Context as _;

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
    rolling::Rolling,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-restart",
    summary: "SIGTERM and restart of each member in turn, 5 rounds under load: failed requests",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster("cluster", 3, None).await?;
    let busy = Busy::start(stage, cluster, Pace::default()).await?;
    let mut rolling = Rolling::begin(stage, busy);
    let server = stage.arguments.server.clone();
    for round in 0..stage.rounds(5) {
        for number in 0..rolling.busy().cluster.members.len() {
            let restarted = rolling.restart(number, &server).await;
            restarted.with_context(|| format!("round {round}, member {number}"))?;
        }
    }
    rolling.finish(stage).await
}

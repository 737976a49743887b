//! Every member is restarted in turn with SIGTERM, under load, and no client has a call that fails.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{
    check::longest_silence,
    client::Outcome,
    cluster::process::{run as run_command, words},
    figures::{Times, count, ms},
    history::{Call, History},
    load::target::Targets,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-restart",
    summary: "SIGTERM and restart of each member in turn, 5 rounds under load: failed requests",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

/// An operator looks where to go before calling; a command that was begun at this time is done.
const COMMANDS_LEAVE: Duration = Duration::from_millis(500);
const COMMAND_PAUSE: Duration = Duration::from_millis(400);
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster("cluster", 3, None).await?;
    let mut busy = Busy::start(stage, cluster, Pace::default()).await?;
    let commands = Commands {
        targets: Targets::all(3),
        history: History::default(),
    };
    commands.repeat(stage, &mut busy);
    let (mut gaps, mut stops, mut starts) = (Times::default(), Times::default(), Times::default());
    for round in 0..stage.rounds(5) {
        for number in 0..busy.cluster.members.len() {
            busy.cluster.whole().await?;
            commands.targets.leave_out(number);
            sleep(COMMANDS_LEAVE).await;
            // From here on no new call goes there; what is in flight must still be answered.
            busy.leave_out(number);
            let told = Instant::now();
            let stopped = busy.cluster.members[number].terminate().await;
            stops.push(stopped.with_context(|| format!("round {round}"))?);
            sleep(Duration::from_secs(1)).await;
            gaps.push(longest_silence(
                &busy.writes_elsewhere(number),
                told,
                Instant::now(),
            ));
            busy.cluster.members[number].start()?;
            starts.push(busy.cluster.members[number].serving().await?);
            busy.take_in(number).await?;
            commands.targets.take_in(number);
        }
    }
    let report = &mut stage.report;
    report.figure("restarts", count(stops.len()), "");
    report.figure("write gap at a restart p50", ms(gaps.p50()), "ms");
    report.figure("write gap at a restart p99", ms(gaps.p99()), "ms");
    report.figure(
        "SIGTERM until the process is gone p99",
        ms(stops.p99()),
        "ms",
    );
    report.figure("start until serving p99", ms(starts.p99()), "ms");
    let undecided: Vec<_> = busy.writers.history.calls();
    let failed: Vec<_> = undecided
        .iter()
        .filter_map(|call| call.outcome.failure())
        .collect();
    report.none_of("failed writes", failed.len());
    for text in failed.iter().take(3) {
        report.note(format!("failed write: {text}"));
    }
    busy.finish(stage).await?;
    commands.tell(stage);
    Ok(())
}

/// An operator who goes on calling the command line on members that are not being restarted.
struct Commands {
    targets: Targets,
    history: History<&'static str>,
}

impl Commands {
    fn repeat(&self, stage: &Stage, busy: &mut Busy) {
        let sockets: Vec<_> = busy
            .cluster
            .members
            .iter()
            .map(|member| member.socket())
            .collect();
        let (targets, history) = (self.targets.clone(), self.history.clone());
        let binary = stage.arguments.server.clone();
        busy.load().every(COMMAND_PAUSE, move |number| {
            let target = targets.turn(number);
            let (history, binary, sockets) = (history.clone(), binary.clone(), sockets.clone());
            async move {
                let Some(target) = target else { return };
                let kinds: [(&str, &[&str]); 3] = [
                    ("entry count", &["entry", "count"]),
                    ("token generate", &["token", "generate"]),
                    ("bundle show", &["bundle", "show"]),
                ];
                let (about, arguments) = kinds[usize::try_from(number % 3).unwrap_or(0)];
                let mut command = words([&binary]);
                command.extend(arguments.iter().map(Into::into));
                command.extend(words([&"-socketPath", &sockets[target]]));
                let started = Instant::now();
                let outcome = match run_command(&command, COMMAND_DEADLINE).await {
                    Ok(_printed) => Outcome::Done(()),
                    Err(error) => Outcome::Undecided(format!("{error:#}")),
                };
                history.record(Call {
                    about,
                    target,
                    started,
                    ended: Instant::now(),
                    outcome,
                });
            }
        });
    }

    fn tell(&self, stage: &mut Stage) {
        let calls = self.history.calls();
        let failed: Vec<_> = calls
            .iter()
            .filter_map(|call| call.outcome.failure())
            .collect();
        stage
            .report
            .none_of(format!("failed commands of {}", calls.len()), failed.len());
        for text in failed.iter().take(3) {
            stage.report.note(format!("failed command: {text}"));
        }
        stage
            .report
            .require(calls.len() >= 10, "fewer than 10 commands were run");
    }
}

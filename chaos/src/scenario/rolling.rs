//! Members are restarted in turn with SIGTERM, under load, and no client has a call that fails.

use std::{path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Stage, busy::Busy};
use crate::{
    check::longest_silence,
    client::Outcome,
    cluster::process::{run as run_command, words},
    figures::{Times, count, ms},
    history::{Call, History},
    load::target::Targets,
};

/// An operator looks where to go before calling; a command that was begun at this time is done.
const COMMANDS_LEAVE: Duration = Duration::from_millis(500);
const COMMAND_PAUSE: Duration = Duration::from_millis(400);
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

/// Restarts under load, and what was measured at them.
pub(super) struct Rolling {
    busy: Busy,
    commands: Commands,
    gaps: Times,
    stops: Times,
    starts: Times,
}

impl Rolling {
    /// Lets an operator work beside the other load.
    pub(super) fn begin(stage: &Stage, mut busy: Busy) -> Self {
        let commands = Commands {
            targets: Targets::all(busy.cluster.members.len()),
            history: History::default(),
        };
        commands.repeat(stage, &mut busy);
        Self {
            busy,
            commands,
            gaps: Times::default(),
            stops: Times::default(),
            starts: Times::default(),
        }
    }

    /// The cluster under its load.
    pub(super) fn busy(&mut self) -> &mut Busy {
        &mut self.busy
    }

    /// Restarts a member, as this program from now on.
    ///
    /// # Errors
    /// It does not stop or serve again in time.
    pub(super) async fn restart(&mut self, number: usize, binary: &Path) -> anyhow::Result<()> {
        self.stop(number).await?;
        self.busy.cluster.members[number].become_program(binary);
        self.start(number).await
    }

    /// Sends nobody to a member any more and stops it.
    ///
    /// # Errors
    /// The cluster is not whole, or the member does not stop.
    pub(super) async fn stop(&mut self, number: usize) -> anyhow::Result<()> {
        let busy = &mut self.busy;
        busy.cluster.whole().await?;
        self.commands.targets.leave_out(number);
        sleep(COMMANDS_LEAVE).await;
        // From here on no new call goes there; what is in flight must still be answered.
        busy.leave_out(number);
        let told = Instant::now();
        self.stops
            .push(busy.cluster.members[number].terminate().await?);
        sleep(Duration::from_secs(1)).await;
        let elsewhere = busy.writes_elsewhere(number);
        self.gaps
            .push(longest_silence(&elsewhere, told, Instant::now()));
        Ok(())
    }

    /// Starts a member again and sends clients there.
    ///
    /// # Errors
    /// It does not serve in time.
    pub(super) async fn start(&mut self, number: usize) -> anyhow::Result<()> {
        let busy = &mut self.busy;
        busy.cluster.members[number].start()?;
        self.starts
            .push(busy.cluster.members[number].serving().await?);
        busy.take_in(number).await?;
        self.commands.targets.take_in(number);
        Ok(())
    }

    /// Ends the load and reports.
    ///
    /// # Errors
    /// The members do not come to rest.
    pub(super) async fn finish(self, stage: &mut Stage) -> anyhow::Result<()> {
        let report = &mut stage.report;
        report.figure("restarts", count(self.stops.len()), "");
        report.figure("write gap at a restart p50", ms(self.gaps.p50()), "ms");
        report.figure("write gap at a restart p99", ms(self.gaps.p99()), "ms");
        report.figure(
            "SIGTERM until the process is gone p99",
            ms(self.stops.p99()),
            "ms",
        );
        report.figure("start until serving p99", ms(self.starts.p99()), "ms");
        let calls = self.busy.writers.history.calls();
        let failed = calls.iter().filter_map(|call| call.outcome.failure());
        let failed: Vec<_> = failed.collect();
        report.none_of("failed writes", failed.len());
        for text in failed.iter().take(3) {
            report.note(format!("failed write: {text}"));
        }
        self.busy.finish(stage).await?;
        self.commands.tell(stage);
        Ok(())
    }
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

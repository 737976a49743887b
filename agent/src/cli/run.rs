//! `run`.

use anyhow::Context as _;
use daemon::{command_line::Command, flags::Parsed, process, supervisor::Shutdown};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::{
    app,
    config::{self, LoadArgs},
};

/// Set by a parent whose end must end this process too, to the parent's process id.
const PARENT_VARIABLE: &str = "CONCLAVE_PARENT_PID";

pub(super) fn command() -> Command {
    Command {
        words: "run",
        synopsis: "Runs the agent.",
        error_prefix: "",
        deadline: None,
        flags: || config::run_flags("run"),
        run: |parsed, _terminal| Box::pin(run(parsed)),
    }
}

async fn run(parsed: &Parsed) -> anyhow::Result<()> {
    end_with_parent()?;
    let config = config::load(&LoadArgs::from_flags(parsed))?;
    let log = process::prepare(config.log.clone())?;
    for explanation in &config.explanations {
        tracing::warn!("{explanation}");
    }
    let outcome = tokio::select! {
        outcome = app::run(config, log.clone()) => outcome,
        // Ends only when the signal cannot be listened for.
        outcome = log.reopen_on_signal(Shutdown::new()) => outcome.context("listen for SIGUSR2"),
    };
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "fatal run error");
    }
    outcome
}

fn end_with_parent() -> anyhow::Result<()> {
    let Ok(parent) = std::env::var(PARENT_VARIABLE) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::TERM)).context("follow the parent process")?;
    // A parent that ended before the line above sends no signal any more.
    let current = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    anyhow::ensure!(
        current.to_string() == parent,
        "parent process {parent} has ended"
    );
    Ok(())
}

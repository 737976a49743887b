//! `run`.

use daemon::{command_line::Command, flags::Parsed, process};

use crate::{
    app,
    config::{self, Config, LoadArgs},
};

pub(super) fn command() -> Command {
    Command {
        words: "run",
        synopsis: "Runs the server.",
        error_prefix: "",
        deadline: None,
        flags: || config::run_flags("run"),
        run: |parsed, _terminal| Box::pin(run(parsed)),
    }
}

async fn run(parsed: &Parsed) -> anyhow::Result<()> {
    serve(config::load(&LoadArgs::from_flags(parsed))?).await
}

/// Runs a server with these settings until it is told to stop.
pub(super) async fn serve(config: Config) -> anyhow::Result<()> {
    let log = process::prepare(config.log.clone())?;
    let outcome = app::run(config, log).await;
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "fatal run error");
    }
    outcome
}

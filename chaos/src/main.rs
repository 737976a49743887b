//! `chaos`: runs one scenario and prints what it found.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use chaos::{
    arguments::{Arguments, Output, USAGE},
    fault::network,
    scenario::{self, Scenario},
};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let asks_for_help = words
        .first()
        .is_none_or(|word| matches!(word.as_str(), "-h" | "--help" | "help"));
    if asks_for_help {
        return print(&format!("{USAGE}\n{}", scenario::list()));
    }
    match Arguments::parse(words).and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error is the last place left; if it is closed, the exit code still tells.
            writeln!(std::io::stderr(), "chaos: {error:#}").ok();
            ExitCode::from(2)
        }
    }
}

/// Whether the scenario passed.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let scenario = Scenario::named(&arguments.scenario)?;
    // Before any thread: it may start this program again.
    let network = if scenario.wants_network {
        network::enter()?
    } else {
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut report = runtime.block_on(async {
        let (mut interrupted, mut terminated) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        tokio::select! {
            report = scenario::run(scenario, arguments, network) => report,
            _ = interrupted.recv() => anyhow::bail!("interrupted"),
            _ = terminated.recv() => anyhow::bail!("told to end"),
        }
    })?;
    let text = match arguments.output {
        Output::Json => format!("{}\n", report.to_json()?),
        Output::Pretty => report.to_string(),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the report")?;
    Ok(report.passed())
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::from(2),
    }
}

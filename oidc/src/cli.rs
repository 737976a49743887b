//! The command line: three flags and no commands, as SPIRE's provider has them.

use std::path::PathBuf;

use daemon::{
    command_line::{FAILURE, SUCCESS, Terminal},
    config::Expand,
    flags::{FlagError, FlagSet, Parsed},
    log, process,
    supervisor::Shutdown,
};

use crate::{app, config};

/// What `-version` prints.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Go's exit code for a command line that does not parse.
const BAD_FLAGS: u8 = 2;

/// Runs the provider until it is told to stop, and answers the exit code.
pub async fn execute(name: &str, arguments: &[String], terminal: &mut Terminal) -> u8 {
    let parsed = match flags(name).parse(arguments) {
        Ok(parsed) => parsed,
        Err(FlagError::Help { usage }) => {
            terminal.error_print(&usage);
            return SUCCESS;
        }
        Err(error @ FlagError::Invalid { .. }) => {
            terminal.error_print(&error.report());
            return BAD_FLAGS;
        }
    };
    if parsed.boolean("version") {
        terminal.line(VERSION);
        return SUCCESS;
    }
    if !parsed.positionals().is_empty() {
        let unexpected = parsed.positionals().join(" ");
        terminal.error_line(&format!("Error: unexpected arguments: [{unexpected}]"));
        terminal.error_print(parsed.usage());
        return FAILURE;
    }
    match run(&parsed).await {
        Ok(()) => SUCCESS,
        Err(error) => {
            terminal.error_line(&format!("{error:#}"));
            FAILURE
        }
    }
}

fn flags(name: &str) -> FlagSet {
    FlagSet::new(name)
        .string(
            "config",
            "oidc-discovery-provider.conf",
            "configuration file",
        )
        .boolean("expandEnv", "expand environment variables in config file")
        .boolean("version", "print version")
}

async fn run(parsed: &Parsed) -> anyhow::Result<()> {
    let expand = match parsed.boolean("expandEnv") {
        true => Expand::Environment,
        false => Expand::Nothing,
    };
    let config = config::load(&PathBuf::from(parsed.string("config")), expand)?;
    process::tighten_umask();
    if config.holds_a_key() {
        // Without one it stays readable for the agent of its host, whose workload it may be.
        process::disable_core_dumps()?;
    }
    let log = log::init(config.log.clone())?;
    if let Err(error) = process::raise_open_files_limit() {
        tracing::warn!(%error, "limit of open files could not be raised");
    }
    let outcome = app::run(config, log, Shutdown::new()).await;
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "fatal run error");
    }
    outcome
}

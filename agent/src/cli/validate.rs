//! `validate`.

use daemon::{
    command_line::{Command, Terminal},
    config::validation_report,
    flags::Parsed,
};

use crate::config::{self, LoadArgs};

pub(super) fn command() -> Command {
    Command {
        words: "validate",
        synopsis: "Checks a config file.",
        error_prefix: "",
        deadline: None,
        flags: || config::run_flags("validate"),
        run: |parsed, terminal| Box::pin(async { validate(parsed, terminal) }),
    }
}

fn validate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    match config::load(&LoadArgs::from_flags(parsed)) {
        Ok(_config) => {
            terminal.line("SPIRE agent configuration file is valid.");
            Ok(())
        }
        Err(error) => {
            let report = validation_report("SPIRE agent", &error);
            Err(anyhow::Error::msg(report.trim_end().to_owned()))
        }
    }
}

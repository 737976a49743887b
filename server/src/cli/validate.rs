//! `validate`.

use std::time::Duration;

use anyhow::Context as _;
use daemon::{
    command_line::{Command, Terminal},
    config::{PluginProblem, PluginProblems, validation_report},
    flags::Parsed,
};
use plugin_host::LoadError;

use crate::attest::NodeAttestorSettings;
use crate::config::{self, Config, LoadArgs};
use crate::plugins;
use crate::upstream::UpstreamSettings;

pub(super) fn command() -> Command {
    Command {
        words: "validate",
        synopsis: "Checks a config file.",
        error_prefix: "",
        deadline: None,
        flags: || config::run_flags("validate"),
        run: |parsed, terminal| Box::pin(validate(parsed, terminal)),
    }
}

/// How long the plugins that are programs may take together.
const PLUGINS_WITHIN: Duration = Duration::from_secs(30);

async fn validate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let loaded = config::load(&LoadArgs::from_flags(parsed));
    let found = match &loaded {
        Ok(config) => match tokio::time::timeout(PLUGINS_WITHIN, ask_plugins(config)).await {
            Ok(asked) => asked.context("Could not validate configuration file")?,
            Err(_elapsed) => anyhow::bail!(
                "Could not validate configuration file: plugins did not answer within {PLUGINS_WITHIN:?}"
            ),
        },
        Err(_) => Vec::new(),
    };
    let error = match loaded {
        Ok(_) if found.is_empty() => {
            terminal.line("SPIRE server configuration file is valid.");
            return Ok(());
        }
        Ok(_) => PluginProblems(found).into(),
        Err(error) => error,
    };
    let report = validation_report("SPIRE server", &error);
    Err(anyhow::Error::msg(report.trim_end().to_owned()))
}

async fn ask_plugins(config: &Config) -> Result<Vec<PluginProblem>, LoadError> {
    let attestors = config.node_attestors.iter();
    let programs = attestors.filter_map(|attestor| match attestor {
        NodeAttestorSettings::Plugin(settings) => Some(settings),
        NodeAttestorSettings::X509Pop(_) => None,
    });
    let upstream = config
        .upstream
        .iter()
        .filter_map(|upstream| match upstream {
            UpstreamSettings::Plugin(settings) => Some(settings),
            UpstreamSettings::Disk(_) | UpstreamSettings::Spire(_) => None,
        });
    plugins::of_nobody(&config.trust_domain)
        .validate(programs.chain(upstream))
        .await
}

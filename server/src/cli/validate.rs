//! `validate`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, Terminal},
    config::{PluginProblem, conclude_validation},
    flags::Parsed,
};
use plugin_host::ValidateError;

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

async fn validate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let loaded = match config::load(&LoadArgs::from_flags(parsed)) {
        Ok(config) => {
            let asked = ask_plugins(&config).await;
            Ok(asked.context("Could not validate configuration file")?)
        }
        Err(error) => Err(error),
    };
    conclude_validation("SPIRE server", loaded, terminal)
}

async fn ask_plugins(config: &Config) -> Result<Vec<PluginProblem>, ValidateError> {
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

//! `validate`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, Terminal},
    config::{PluginProblem, conclude_validation},
    flags::Parsed,
};
use plugin_host::{HostServices, Plugins, ValidateError};

use crate::config::{self, Config, LoadArgs, NodeAttestorSettings};

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
    conclude_validation("SPIRE agent", loaded, terminal)
}

async fn ask_plugins(config: &Config) -> Result<Vec<PluginProblem>, ValidateError> {
    let node = config.node_attestor.iter();
    let node = node.filter_map(|attestor| match attestor {
        NodeAttestorSettings::Plugin(settings) => Some(settings),
        NodeAttestorSettings::X509Pop(_) => None,
    });
    let plugins = Plugins::new(&config.trust_domain, HostServices::of_agent());
    plugins
        .validate(node.chain(&config.workload_attestors))
        .await
}

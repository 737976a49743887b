//! What a config says of one plugin.

use std::fmt;
use std::io;
use std::path::PathBuf;

use proto::spire::plugin::agent::nodeattestor::v1::node_attestor_server as agent_node_attestor;
use proto::spire::plugin::agent::workloadattestor::v1::workload_attestor_server as workload_attestor;
use proto::spire::plugin::server::nodeattestor::v1::node_attestor_server as server_node_attestor;
use proto::spire::plugin::server::upstreamauthority::v1::upstream_authority_server as upstream_authority;

use crate::checksum::Checksum;

/// What a plugin is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Proves what node an agent runs on.
    AgentNodeAttestor,
    /// Finds out what node an agent runs on.
    ServerNodeAttestor,
    /// Signs the intermediates of servers.
    UpstreamAuthority,
    /// Tells what a workload is.
    WorkloadAttestor,
}

impl Kind {
    /// The name of the kind in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentNodeAttestor | Self::ServerNodeAttestor => "NodeAttestor",
            Self::UpstreamAuthority => "UpstreamAuthority",
            Self::WorkloadAttestor => "WorkloadAttestor",
        }
    }

    /// The service that a plugin of the kind must have.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::AgentNodeAttestor => agent_node_attestor::SERVICE_NAME,
            Self::ServerNodeAttestor => server_node_attestor::SERVICE_NAME,
            Self::UpstreamAuthority => upstream_authority::SERVICE_NAME,
            Self::WorkloadAttestor => workload_attestor::SERVICE_NAME,
        }
    }
}

/// One plugin that is a program.
#[derive(Clone, Eq, PartialEq)]
pub struct Settings {
    /// What it is for.
    pub kind: Kind,
    /// Its name, which is also the type of its selectors.
    pub name: String,
    /// The program, looked for nowhere else.
    pub path: PathBuf,
    /// The program's arguments.
    pub args: Vec<String>,
    /// What the program must hash to.
    pub(crate) checksum: Option<Checksum>,
    /// What it is configured with.
    pub data: Data,
}

/// What a plugin is configured with.
#[derive(Clone, Eq, PartialEq)]
pub enum Data {
    /// Nothing: a plugin that cannot be configured will do.
    Nothing,
    /// This text.
    Text(String),
    /// The text of a file, which is read again when the process is told so.
    File(PathBuf),
}

impl Data {
    /// The text, read now; `None` if there is nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn load(&self) -> io::Result<Option<String>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Text(text) => Ok(Some(text.clone())),
            Self::File(path) => daemon::config::read_data(path).map(Some),
        }
    }
}

impl Settings {
    /// What `plugin` says, or `None` if it is built in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_config(
        plugin: &daemon::config::Plugin,
        kind: Kind,
    ) -> Option<Result<Self, String>> {
        let program = plugin.program.as_ref()?;
        if kind.name() == "NodeAttestor" && plugin.name == "join_token" {
            let refusal =
                "the built-in join_token node attestor cannot be overridden by an external plugin";
            return Some(Err(refusal.to_owned()));
        }
        let text = plugin.data.to_hcl();
        let data = match &program.data_file {
            Some(path) => Data::File(path.clone()),
            None if text.is_empty() => Data::Nothing,
            None => Data::Text(text),
        };
        let checksum = program.checksum.as_deref().map(Checksum::parse).transpose();
        Some(checksum.map(|checksum| Self {
            kind,
            name: plugin.name.clone(),
            path: std::path::absolute(&program.command).unwrap_or_else(|_| program.command.clone()),
            args: program.args.clone(),
            checksum,
            data,
        }))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and data may hold secrets.
        formatter
            .debug_struct("Settings")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("path", &self.path)
            .field("has_checksum", &self.checksum.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use daemon::config::{Findings, take_plugins};

    use super::*;

    fn settings(body: &str) -> Option<Result<Settings, String>> {
        let text = format!("plugins {{ NodeAttestor \"mine\" {{ {body} }} }}");
        let mut document = daemon::hcl::parse(&text).unwrap();
        let plugins = take_plugins(&mut document, &["NodeAttestor"], &mut Findings::new()).unwrap();
        Settings::from_config(&plugins[0], Kind::ServerNodeAttestor)
    }

    #[test]
    fn plugin_without_a_program_is_built_in() {
        assert_eq!(settings("plugin_data {}"), None);
        assert_eq!(settings("plugin_cmd = \"\""), None);
    }

    #[test]
    fn program_arguments_and_data_are_taken_and_not_shown() {
        let found = settings(
            "plugin_cmd = \"/bin/mine\" plugin_args = [\"-x\"] plugin_data { token = \"secret\" }",
        );
        let found = found.unwrap().unwrap();
        assert_eq!(found.args, ["-x"]);
        assert_eq!(found.path, PathBuf::from("/bin/mine"));
        assert!(found.data == Data::Text("token = \"secret\"\n".to_owned()));
        let shown = format!("{found:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn checksum_must_be_one() {
        let error = |checksum: &str| {
            let body = format!("plugin_cmd = \"x\" plugin_checksum = \"{checksum}\"");
            settings(&body).unwrap().map(|_| ()).unwrap_err()
        };
        assert_eq!(error("zz"), "checksum is not a valid hex string");
        assert_eq!(error("00ff"), "expected checksum of length 64; got 4");
    }
}

//! The config files of a `dev` run: what its folder shows is what runs, and a start for a config of one's own.

use std::{fs, path::Path};

use anyhow::Context as _;
use identity::trust_domain::TrustDomain;

use super::{folder::Folder, provision::Provision};

pub(super) struct Settings<'a> {
    pub(super) trust_domain: &'a TrustDomain,
    /// The server's port, once it is known.
    pub(super) port: Option<u16>,
    pub(super) folder: &'a Folder,
}

impl Settings<'_> {
    pub(super) fn write_server(&self) -> anyhow::Result<()> {
        write(&self.folder.server_config(), &self.server_text())
    }

    pub(super) fn write_agent(&self, provision: &Provision) -> anyhow::Result<()> {
        write(&self.folder.agent_config(), &self.agent_text(provision))
    }

    fn server_text(&self) -> String {
        let folder = self.folder;
        let port = self
            .port
            .map_or_else(String::new, |port| format!("  bind_port = {port}\n"));
        format!(
            "server {{\n\
             \x20 trust_domain = {trust_domain:?}\n\
             \x20 bind_address = \"127.0.0.1\"\n\
             {port}\
             \x20 socket_path = {socket:?}\n\
             \x20 data_dir = {data:?}\n\
             \x20 log_file = {log:?}\n\
             }}\n\
             plugins {{\n\
             \x20 NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n\
             }}\n",
            trust_domain = self.trust_domain.as_str(),
            socket = folder.server_socket(),
            data = folder.server_data(),
            log = folder.server_log(),
        )
    }

    fn agent_text(&self, provision: &Provision) -> String {
        let folder = self.folder;
        let port = self
            .port
            .map_or_else(String::new, |port| format!("  server_port = {port}\n"));
        let join_token = provision
            .join_token_file
            .as_ref()
            .map_or_else(String::new, |path| {
                format!("  join_token_file = {path:?}\n")
            });
        format!(
            "agent {{\n\
             \x20 trust_domain = {trust_domain:?}\n\
             \x20 server_address = \"127.0.0.1\"\n\
             {port}\
             \x20 socket_path = {socket:?}\n\
             \x20 data_dir = {data:?}\n\
             \x20 log_file = {log:?}\n\
             \x20 trust_bundle_path = {bundle:?}\n\
             {join_token}\
             }}\n\
             plugins {{\n\
             \x20 NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n\
             \x20 KeyManager \"disk\" {{ plugin_data {{ directory = {data:?} }} }}\n\
             \x20 WorkloadAttestor \"unix\" {{ plugin_data {{}} }}\n\
             }}\n",
            trust_domain = self.trust_domain.as_str(),
            socket = folder.agent_socket(),
            data = folder.agent_data(),
            log = folder.agent_log(),
            bundle = folder.bundle(),
        )
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, LoadArgs};

    #[test]
    fn the_server_reads_its_file() {
        let folder = Folder::open(None).unwrap();
        let trust_domain = TrustDomain::parse("dev.test").unwrap();
        let settings = Settings {
            trust_domain: &trust_domain,
            port: Some(28081),
            folder: &folder,
        };
        settings.write_server().unwrap();
        let config = config::load(&LoadArgs::from_path(folder.server_config())).unwrap();
        assert_eq!(config.trust_domain, trust_domain);
        assert_eq!(
            (config.bind_address.as_str(), config.bind_port),
            ("127.0.0.1", 28081)
        );
        assert_eq!(config.socket_path, folder.server_socket());
        assert_eq!(config.data_dir, folder.server_data());
        assert_eq!(config.log.file, Some(folder.server_log()));
    }
}

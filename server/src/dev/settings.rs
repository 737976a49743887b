//! The config files of a `dev` run: what its folder shows is what runs, and a start for a config of one's own.

use std::{fs, path::Path};

use anyhow::Context as _;
use identity::trust_domain::TrustDomain;

use super::{
    folder::{Folder, ServerFiles},
    provision::Provision,
};

/// One server's config.
pub(super) struct ServerSettings<'a> {
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) files: &'a ServerFiles,
    /// The server's port, once it is known.
    pub(super) port: Option<u16>,
    /// Where it listens for the other servers, if there are others.
    pub(super) peer_port: Option<u16>,
}

/// The agent's config.
pub(super) struct AgentSettings<'a> {
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) folder: &'a Folder,
    pub(super) server_ports: &'a [u16],
}

impl ServerSettings<'_> {
    pub(super) fn write(&self) -> anyhow::Result<()> {
        write(&self.files.config, &self.text())
    }

    fn text(&self) -> String {
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
             {cluster}\
             }}\n\
             plugins {{\n\
             \x20 NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n\
             }}\n",
            trust_domain = self.trust_domain.as_str(),
            socket = self.files.socket,
            data = self.files.data,
            log = self.files.log,
            cluster = self.cluster(),
        )
    }

    fn cluster(&self) -> String {
        let Some(port) = self.peer_port else {
            return String::new();
        };
        let first_start = match self.files.number {
            1 => "bootstrap = true".to_owned(),
            _ => format!("join_file = {:?}", self.files.invite),
        };
        format!("  cluster {{\n    peer_address = \"127.0.0.1:{port}\"\n    {first_start}\n  }}\n")
    }
}

impl AgentSettings<'_> {
    pub(super) fn write(&self, provision: &Provision) -> anyhow::Result<()> {
        write(&self.folder.agent_config(), &self.text(provision))
    }

    fn text(&self, provision: &Provision) -> String {
        let folder = self.folder;
        let join_token = provision
            .join_token_file
            .as_ref()
            .map_or_else(String::new, |path| {
                format!("  join_token_file = {path:?}\n")
            });
        format!(
            "agent {{\n\
             \x20 trust_domain = {trust_domain:?}\n\
             {servers}\
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
            servers = self.servers(),
            socket = folder.agent_socket(),
            data = folder.agent_data(),
            log = folder.agent_log(),
            bundle = folder.bundle(),
        )
    }

    fn servers(&self) -> String {
        if let [port] = self.server_ports {
            return format!("  server_address = \"127.0.0.1\"\n  server_port = {port}\n");
        }
        let ports = self.server_ports.iter();
        let addresses: Vec<_> = ports.map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        format!("  server_addresses = [{}]\n", addresses.join(", "))
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config, FirstStart, LoadArgs};

    fn written(folder: &Folder, number: u8, peer_port: Option<u16>) -> Config {
        let settings = ServerSettings {
            trust_domain: &TrustDomain::parse("dev.test").unwrap(),
            files: &folder.server(number),
            port: Some(28081),
            peer_port,
        };
        settings.write().unwrap();
        config::load(&LoadArgs::from_path(&settings.files.config)).unwrap()
    }

    #[test]
    fn the_server_reads_its_file() {
        let folder = Folder::open(None).unwrap();
        let files = folder.server(1);
        let config = written(&folder, 1, None);
        assert_eq!(config.trust_domain.as_str(), "dev.test");
        assert_eq!(
            (config.bind_address.as_str(), config.bind_port),
            ("127.0.0.1", 28081)
        );
        assert_eq!(config.socket_path, files.socket);
        assert_eq!(config.data_dir, files.data);
        assert_eq!(config.log.file, Some(files.log));
        assert!(config.cluster.is_none());
    }

    #[test]
    fn one_server_founds_the_cluster_that_the_others_join() {
        let folder = Folder::open(None).unwrap();
        let joins = folder.server(2).invite;
        for number in [1, 2] {
            let cluster = written(&folder, number, Some(28083)).cluster.unwrap();
            assert_eq!(cluster.peer_address, "127.0.0.1:28083");
            match cluster.first_start {
                FirstStart::Bootstrap => assert_eq!(number, 1),
                FirstStart::JoinFile(path) => assert_eq!((number, path), (2, joins.clone())),
                other => panic!("{other:?}"),
            }
        }
    }
}

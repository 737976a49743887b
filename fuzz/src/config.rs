//! The config files of server, agent and discovery provider, from text to settings.

use std::path::Path;

use daemon::config::Expand;

use crate::input::{Input, plain};
use crate::world::written;

/// A byte that says whose file follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 3;
    let path = written("config", input.rest());
    match kind {
        0 => server(&path),
        1 => agent(&path),
        _ => provider(&path),
    }
}

fn server(path: &Path) {
    let loaded = server::config::load(&server::config::LoadArgs::from_path(path));
    match loaded {
        Ok(config) => {
            assert!(!config.ca_ttl.is_zero() && !config.agent_ttl.is_zero());
            let is_loud = |line: &String| line.contains('\n');
            assert!(!config.explanations.iter().any(is_loud));
            let shown = format!("{config:?}");
            assert!(!shown.contains("conclave-invite-v1."), "an invite is shown");
        }
        Err(error) => reported("server", &error),
    }
}

fn agent(path: &Path) {
    let loaded = agent::config::load(&agent::config::LoadArgs::from_path(path));
    match loaded {
        Ok(config) => {
            assert!(!config.server_addresses.is_empty());
            assert!(
                config
                    .server_addresses
                    .iter()
                    .all(|(host, _)| !host.is_empty())
            );
        }
        Err(error) => reported("agent", &error),
    }
}

fn provider(path: &Path) {
    match oidc::config::load(path, Expand::Nothing) {
        Ok(config) => {
            assert!(config.server_path_prefix.starts_with('/'));
            assert!(config.domains.names().next().is_some());
        }
        Err(error) => reported("provider", &error),
    }
}

/// An operator is told something, and how to mend it is not longer than the file.
fn reported(product: &str, error: &anyhow::Error) {
    assert!(!daemon::config::validation_report(product, error).is_empty());
}

/// The files that ship.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        (0, include_str!("../../deploy/conf/server.conf")),
        (0, include_str!("../../deploy/conf/server-full.conf")),
        (0, include_str!("../../deploy/conf/server-cluster.conf")),
        (0, X509POP_SERVER),
        (1, include_str!("../../deploy/conf/agent.conf")),
        (1, include_str!("../../deploy/conf/agent-full.conf")),
        (1, AGENT_WITH_SERVERS),
        (2, include_str!("../../deploy/conf/oidc-provider.conf")),
        (2, include_str!("../../deploy/conf/oidc-provider-full.conf")),
    ]
    .map(|(kind, text)| plain(&[kind], text))
    .to_vec()
}

const X509POP_SERVER: &str = r#"server {
  trust_domain = "example.org"
  data_dir = "data"
  proxy_protocol_trusted_cidrs = ["10.0.0.0/8", "fd00::/8"]
  cluster { peer_address = "10.0.0.1:8083" join = "conclave-invite-v1.AAAA" }
}
plugins {
  NodeAttestor "x509pop" { plugin_data {
    mode = "spiffe" svid_prefix = "/nodes"
    agent_path_template = "/{{ .PluginName }}/{{ .Subject.CommonName | lower }}"
  } }
  KeyManager "memory" { plugin_data {} }
}"#;

const AGENT_WITH_SERVERS: &str = r#"agent {
  trust_domain = "example.org"
  server_addresses = ["10.0.0.1:8081", "[::1]:8081", "server.example.org:8081"]
  insecure_bootstrap = true
  data_dir = "data"
  availability_target = "48h"
  experimental { sync_interval = "1s" }
}
plugins { WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } } }"#;

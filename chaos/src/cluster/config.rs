//! The config files of a run: shipped defaults but for places, rate limits and what the contract needs.

use std::{net::SocketAddr, path::Path};

/// The trust domain of every run.
pub const TRUST_DOMAIN: &str = "example.org";
/// The path of the administrator who comes over TLS.
pub const ADMIN_PATH: &str = "/chaos/admin";

/// How a member starts for the first time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FirstStart {
    /// No cluster block at all.
    Alone,
    /// It makes the cluster.
    Bootstrap,
    /// It joins with the invite in its folder.
    Join,
}

/// The server's config.
#[must_use]
pub fn server(folder: &Path, api: SocketAddr, peer: SocketAddr, start: FirstStart) -> String {
    let first = match start {
        FirstStart::Alone => None,
        FirstStart::Bootstrap => Some("bootstrap = true".to_owned()),
        FirstStart::Join => Some(format!("join_file = {:?}", folder.join("invite"))),
    };
    let cluster = first.map_or_else(String::new, |first| {
        format!(
            "  cluster {{\n    peer_address = \"{peer}\"\n    {first}\n    \
             seal \"file\" {{ path = {:?} }}\n  }}\n",
            folder.join("seal.key")
        )
    });
    format!(
        "server {{\n  trust_domain = \"{TRUST_DOMAIN}\"\n  bind_address = \"{ip}\"\n  bind_port = {port}\n  \
         socket_path = {socket:?}\n  data_dir = {data:?}\n  log_file = {log:?}\n  \
         admin_ids = [\"spiffe://{TRUST_DOMAIN}{ADMIN_PATH}\"]\n  \
         ratelimit {{\n    attestation = false\n    signing = false\n  }}\n{cluster}}}\n\
         plugins {{\n  NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n}}\n",
        ip = api.ip(),
        port = api.port(),
        socket = folder.join("api.sock"),
        data = folder.join("data"),
        log = folder.join("server.log"),
    )
}

/// The agent's config; it knows all `servers`, in this order.
#[must_use]
pub fn agent(folder: &Path, servers: &[SocketAddr]) -> String {
    let servers: Vec<_> = servers
        .iter()
        .map(|server| format!("\"{server}\""))
        .collect();
    format!(
        "agent {{\n  trust_domain = \"{TRUST_DOMAIN}\"\n  server_addresses = [{servers}]\n  \
         socket_path = {socket:?}\n  data_dir = {data:?}\n  log_file = {log:?}\n  \
         trust_bundle_path = {bundle:?}\n  join_token_file = {token:?}\n}}\n\
         plugins {{\n  NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n  \
         KeyManager \"memory\" {{ plugin_data {{}} }}\n  \
         WorkloadAttestor \"unix\" {{ plugin_data {{}} }}\n}}\n",
        servers = servers.join(", "),
        socket = folder.join("agent.sock"),
        data = folder.join("data"),
        log = folder.join("agent.log"),
        bundle = folder.join("bundle.pem"),
        token = folder.join("token"),
    )
}

//! Which upstream the operator chose, and how it is reached.

use std::path::PathBuf;

use identity::tls::KeyExchange;

use super::DiskFiles;

/// The upstream of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UpstreamSettings {
    /// A key in files.
    Disk(DiskFiles),
    /// A program of its own.
    Plugin(plugin_host::Settings),
    /// Another server of the same trust domain.
    Spire(SpireSettings),
}

/// Where a server above is, and who vouches for this one to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpireSettings {
    /// Its host name or IP address; a name may stand for several servers.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The Workload API from which this server has its identity.
    pub workload_api_socket: PathBuf,
    /// How connections agree on keys.
    pub key_exchange: KeyExchange,
}

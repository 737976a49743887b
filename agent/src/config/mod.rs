//! The agent's settings: SPIRE's `agent.conf` read, merged with the command line and checked.
//!
//! A value of [`Config`] is valid and complete. A key that the file holds is either in it, explained in
//! [`Config::explanations`], or the reason why there is no value.

mod bootstrap;
mod check;
mod docker;
mod file;
mod flags;
mod plugins;
mod sockets;

use std::{path::PathBuf, time::Duration};

use identity::{secret::KeyType, spiffe_id::SpiffeId, tls::KeyExchange, trust_domain::TrustDomain};
use zeroize::Zeroizing;

pub use self::flags::{LoadArgs, run_flags};
use crate::endpoints::CallsPerSecond;

/// The checked settings.
#[derive(Clone)]
pub struct Config {
    /// The trust domain that the agent belongs to.
    pub trust_domain: TrustDomain,
    /// Host and port of each server, at least one; any of them will do.
    pub server_addresses: Vec<(String, u16)>,
    /// The socket of the Workload API and Envoy's, unless both are switched off.
    pub socket_path: PathBuf,
    /// Whether the Workload API is not served.
    pub disable_workload_api: bool,
    /// Whether secrets are not served to Envoy.
    pub disable_sds_api: bool,
    /// How Envoy is served.
    pub sds: Sds,
    /// The socket for administrators and delegates, if there is one.
    pub admin_socket_path: Option<PathBuf>,
    /// Where the agent's state lives; may not exist yet.
    pub data_dir: PathBuf,
    /// Where the agent's private key lives.
    pub key_manager: KeyManager,
    /// How the first connection to a server is trusted.
    pub bootstrap: Bootstrap,
    /// When servers that the stored bundle does not vouch for are believed anew; `None` for never.
    pub rebootstrap: Option<Rebootstrap>,
    /// The join token to attest with, if the agent has to.
    pub join_token: Option<JoinToken>,
    /// What to attest with without a join token.
    pub node_attestor: Option<NodeAttestorSettings>,
    /// Selectors of callers that are one of these, or begin with all of its parts, may be logged.
    pub log_selectors: Vec<String>,
    /// The log.
    pub log: daemon::log::Options,
    /// How often the entries are fetched from a server that does not push them.
    pub sync_interval: Duration,
    /// How many X509-SVIDs are kept beyond those in use.
    pub x509_svid_cache_max_size: usize,
    /// How many JWT-SVIDs are kept.
    pub jwt_svid_cache_max_size: usize,
    /// How long a server may take to renew a JWT-SVID that still holds.
    pub jwt_svid_cache_hit_timeout: Duration,
    /// How often workloads with the same selectors may call.
    pub rate_limits: CallsPerSecond,
    /// How keys are agreed on with servers.
    pub key_exchange: KeyExchange,
    /// The type of workloads' keys.
    pub workload_x509_svid_key_type: KeyType,
    /// How long workloads should be able to live without a server: SVIDs are renewed this early.
    pub availability_target: Option<Duration>,
    /// Whether callers without an identity may fetch bundles and validate tokens.
    pub allow_unauthenticated_verifiers: bool,
    /// Claims of foreign JWT-SVIDs that are handed to workloads.
    pub allowed_foreign_jwt_claims: Vec<String>,
    /// The `unix` workload attestor, unless others are named instead of it.
    pub unix: Option<Unix>,
    /// The `docker` workload attestor, if it is named.
    pub docker: Option<crate::attestor::docker::Settings>,
    /// Workload attestors that are programs of their own.
    pub workload_attestors: Vec<plugin_host::Settings>,
    /// Who may act for others over the admin socket.
    pub authorized_delegates: Vec<SpiffeId>,
    /// The health listener, if enabled.
    pub health_checks: Option<daemon::health::Options>,
    /// What was accepted without being followed to the letter, for the log, one line each.
    pub explanations: Vec<String>,
}

/// What Envoys may ask for without knowing their identity, and how they validate their peers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sds {
    /// The name of the first identity.
    pub default_svid_name: String,
    /// The name of the bundle of the own trust domain.
    pub default_bundle_name: String,
    /// The name of all bundles in one.
    pub default_all_bundles_name: String,
    /// Whether bundles are plain PEM unless an Envoy says otherwise.
    pub disable_spiffe_cert_validation: bool,
}

/// A node attestor that is named in the config.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeAttestorSettings {
    /// A program of its own.
    Plugin(plugin_host::Settings),
    /// `x509pop`
    X509Pop(crate::attest::x509pop::Source),
}

/// Where the agent's private key lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyManager {
    /// In a file, so that the agent goes on after a restart.
    Disk {
        /// The file's folder; may not exist yet.
        directory: PathBuf,
    },
    /// In memory: the agent attests anew after a restart.
    Memory,
}

/// How the first connection to a server is trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Bootstrap {
    /// By the authorities in a file.
    BundleFile {
        /// The file.
        path: PathBuf,
        /// What is in it.
        format: BundleFormat,
    },
    /// By the authorities that a web server tells.
    BundleUrl {
        /// It begins with `https://`.
        url: String,
        /// What is there.
        format: BundleFormat,
    },
    /// By the authorities that a program of this host tells over HTTP on its socket.
    BundleSocket {
        /// The socket.
        socket: PathBuf,
        /// What is asked for there; it begins with `http://`.
        url: String,
        /// What is told.
        format: BundleFormat,
    },
    /// By the authorities that another Workload API has for the trust domain.
    WorkloadApi {
        /// Its socket.
        socket: PathBuf,
    },
    /// Not at all: the server is believed, once.
    Insecure,
}

/// When an agent believes servers anew that the bundle does not vouch for any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rebootstrap {
    /// After having met no others for so long.
    pub delay: Duration,
    /// Whether an agent that could not attest again is not to run at all.
    pub is_required: bool,
}

/// The form of a bundle file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BundleFormat {
    /// PEM certificates.
    #[default]
    Pem,
    /// A SPIFFE bundle document.
    Spiffe,
}

/// A one-time secret; never shown.
#[derive(Clone)]
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token, for the attestation request alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The `unix` workload attestor's settings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unix {
    /// Whether the path and the hash of the workload's program become selectors.
    pub discover_workload_path: bool,
    /// The largest program that is hashed, in bytes; 0 for any size, less for none.
    pub workload_size_limit: i64,
}

/// Reads, merges and checks the settings. Touches nothing but the config file and the join token's file.
///
/// # Errors
/// With SPIRE's texts where it has one. [`daemon::config::validation_report`] renders them for `validate`.
pub fn load(arguments: &LoadArgs) -> anyhow::Result<Config> {
    let document = daemon::config::read(&arguments.path, arguments.expand)?;
    check::check(file::File::take(document, arguments)?)
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

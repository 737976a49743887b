//! The server's settings: SPIRE's `server.conf` read, merged with the command line and checked.
//!
//! A value of [`Config`] is valid and complete. A key that the file holds is either in it, explained in
//! [`Config::explanations`], or the reason why there is no value.

mod check;
mod cluster;
mod federation;
mod file;
mod flags;
mod listeners;
mod node_attestor;
mod plugins;
mod upstream_authority;

use std::{path::PathBuf, time::Duration};

use identity::{secret::KeyType, spiffe_id::SpiffeId, tls::KeyExchange, trust_domain::TrustDomain};

pub use self::cluster::{Cluster, FirstStart, InviteText};
pub use self::flags::{LoadArgs, run_flags};
use crate::attest::{IdSelector, NodeAttestorSettings};
use crate::endpoints::{AuditLog, TrustedProxies};
use crate::federation::FederationSettings;
use crate::upstream::UpstreamSettings;

/// The checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The trust domain that the server speaks for.
    pub trust_domain: TrustDomain,
    /// The host name or IP address of the TCP listener.
    pub bind_address: String,
    /// The TCP listener's port.
    pub bind_port: u16,
    /// The Unix socket for administrators.
    pub socket_path: PathBuf,
    /// Where the store lives; may not exist yet.
    pub data_dir: PathBuf,
    /// The log.
    pub log: daemon::log::Options,
    /// The type of X.509 authority keys.
    pub ca_key_type: KeyType,
    /// The type of JWT authority keys.
    pub jwt_key_type: KeyType,
    /// How long an authority signs and is trusted.
    pub ca_ttl: Duration,
    /// The lifetime of agents' own SVIDs.
    pub agent_ttl: Duration,
    /// The lifetime of X509-SVIDs whose entry names none.
    pub default_x509_svid_ttl: Duration,
    /// The lifetime of JWT-SVIDs whose entry names none.
    pub default_jwt_svid_ttl: Duration,
    /// The subject of X.509 authorities.
    pub ca_subject: Subject,
    /// The `iss` claim of JWT-SVIDs.
    pub jwt_issuer: Option<String>,
    /// Whether all JWT functionality is off.
    pub disable_jwt_svids: bool,
    /// Who, beside local callers and `admin` entries, is an administrator over TCP.
    pub admin_ids: Vec<SpiffeId>,
    /// Which calls are limited per caller address.
    pub rate_limit: RateLimit,
    /// Agents whose SVID expired longer ago than this are forgotten; never if `None`.
    pub prune_attested_nodes_expired_for: Option<Duration>,
    /// How many agents one pruning removes at most.
    pub prune_attested_nodes_batch_size: u32,
    /// Whether agents that cannot attest again are forgotten too.
    pub prune_tofu_nodes: bool,
    /// The health listener, if enabled.
    pub health_checks: Option<daemon::health::Options>,
    /// How nodes are attested beside join tokens.
    pub node_attestors: Vec<NodeAttestorSettings>,
    /// Who signs this server's intermediates; a root of its own if `None`.
    pub upstream: Option<UpstreamSettings>,
    /// How callers agree on keys with this server.
    pub key_exchange: KeyExchange,
    /// Whose word counts for where connections come from.
    pub trusted_proxies: TrustedProxies,
    /// Whether calls are told to the audit log.
    pub audit_log: AuditLog,
    /// Whether agents have their own names as selectors.
    pub agent_id_selector: IdSelector,
    /// With whom this trust domain federates, and where its own bundle is published.
    pub federation: FederationSettings,
    /// What this server is in a cluster; `None` if it is alone.
    pub cluster: Option<Cluster>,
    /// The file that holds the key-encryption key.
    pub seal_key_path: PathBuf,
    /// What was accepted without being followed to the letter, for the log, one line each.
    pub explanations: Vec<String>,
}

/// A distinguished name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// Countries (C).
    pub country: Vec<String>,
    /// Organizations (O).
    pub organization: Vec<String>,
    /// The common name (CN), empty for none.
    pub common_name: String,
}

impl Default for Subject {
    fn default() -> Self {
        Self {
            country: vec!["US".to_owned()],
            organization: vec!["SPIFFE".to_owned()],
            common_name: String::new(),
        }
    }
}

/// Which calls are limited per caller address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimit {
    /// Node attestation.
    pub attestation: bool,
    /// Signing of SVIDs.
    pub signing: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            attestation: true,
            signing: true,
        }
    }
}

/// Reads, merges and checks the settings. Reads nothing but the config file and the files that its
/// plugins name, and writes nothing.
///
/// # Errors
/// With SPIRE's texts where it has one. [`daemon::config::validation_report`] renders them for `validate`.
pub fn load(arguments: &LoadArgs) -> anyhow::Result<Config> {
    let document = daemon::config::read(&arguments.path, arguments.expand)?;
    let config = check::check(file::File::take(document, arguments)?)?;
    listeners::ensure_apart(&config)?;
    Ok(config)
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

//! `oidc-discovery-provider.conf`: what may stand in it, and what it must not leave out.
//!
//! Keys and texts are SPIRE's. Unlike SPIRE's, an unknown key is refused: it is misspelt.

mod check;
mod file;
mod url;

use std::{path::Path, path::PathBuf, time::Duration};

use acme::settings::Settings;
use daemon::{config::Expand, log};

pub use self::url::{HttpUrl, UrlError};
use crate::domains::Domains;

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is logged, how and where.
    pub log: log::Options,
    /// Whether every request is logged at the level debug.
    pub log_requests: bool,
    /// By which names callers may come.
    pub domains: Domains,
    /// Whether keys say what they are for.
    pub set_key_use: bool,
    /// Whether the discovery document may name `http://` addresses.
    pub allow_insecure_scheme: bool,
    /// The issuer that the document names, instead of the host that the caller asked.
    pub jwt_issuer: Option<HttpUrl>,
    /// Where the document says that the keys are.
    pub jwks_uri: Option<HttpUrl>,
    /// What stands before the paths of the documents; begins with a slash.
    pub server_path_prefix: String,
    /// Where callers come in.
    pub listen: Listen,
    /// Where keys come from.
    pub source: Source,
    /// How often the source is asked.
    pub poll_interval: Duration,
    /// Where probes are answered, if anywhere.
    pub health_checks: Option<HealthChecks>,
    /// A line for the log about each key that is accepted and ignored.
    pub explanations: Vec<String>,
}

/// Where callers come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listen {
    /// HTTP in the clear on a TCP address.
    Insecure {
        /// `HOST:PORT`.
        address: String,
    },
    /// HTTP in the clear over a Unix socket.
    Socket {
        /// The socket.
        path: PathBuf,
    },
    /// HTTPS with a certificate of each domain, by ACME.
    Acme {
        /// `HOST:PORT`.
        address: String,
        /// Whom to ask for them.
        settings: Settings,
        /// Where they are kept, if anywhere.
        cache: Option<PathBuf>,
    },
    /// HTTPS with a certificate from files.
    CertificateFiles {
        /// `HOST:PORT`.
        address: String,
        /// The chain in PEM.
        certificate: PathBuf,
        /// The private key in PEM.
        key: PathBuf,
        /// How often the files are looked at.
        sync_interval: Duration,
    },
}

/// Where keys come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A server's socket for administrators.
    ServerApi {
        /// The socket.
        socket: PathBuf,
    },
    /// An agent's Workload API.
    WorkloadApi {
        /// The socket.
        socket: PathBuf,
        /// Whose keys.
        trust_domain: identity::trust_domain::TrustDomain,
    },
    /// A file with a SPIFFE bundle.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// The probes' listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthChecks {
    /// TCP port, on every address of the machine.
    pub bind_port: u16,
    /// The path that tells of life.
    pub live_path: String,
    /// The path that tells of readiness.
    pub ready_path: String,
}

impl Config {
    /// Whether the process will have a private key in memory.
    #[must_use]
    pub fn holds_a_key(&self) -> bool {
        match self.listen {
            Listen::Acme { .. } | Listen::CertificateFiles { .. } => true,
            Listen::Insecure { .. } | Listen::Socket { .. } => false,
        }
    }
}

/// Reads and checks the settings; touches nothing but the file.
///
/// # Errors
/// With SPIRE's texts where it has one.
pub fn load(path: &Path, expand: Expand) -> anyhow::Result<Config> {
    check::check(file::File::take(daemon::config::read(path, expand)?)?)
}

#[cfg(test)]
mod tests;

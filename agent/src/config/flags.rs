//! The flags of `run` and `validate`; each is empty unless given, and then goes before the file.

use std::path::PathBuf;

use daemon::{
    config::{Expand, LogOverrides},
    flags::{FlagSet, Parsed},
};

/// The flags; `command` titles the usage text.
#[must_use]
pub fn run_flags(command: &str) -> FlagSet {
    let set = FlagSet::new(command)
        .boolean(
            "allowUnauthenticatedVerifiers",
            "Let callers without an identity fetch bundles",
        )
        .string("config", "", "Path of the config file")
        .string("dataDir", "", "Directory for the agent's data")
        .boolean("disableSDSAPI", "Do not serve the SDS API")
        .boolean("disableWorkloadAPI", "Do not serve the Workload API")
        .boolean(
            "expandEnv",
            "Expand environment variables in the config file",
        )
        .boolean(
            "insecureBootstrap",
            "Believe the first server without proof",
        )
        .string("joinToken", "", "Token to join with")
        .string(
            "joinTokenFile",
            "",
            "File that holds the token to join with",
        );
    bootstrap_flags(log_flags(set))
        .string("serverAddress", "", "IP address or DNS name of the server")
        .integer("serverPort", 0, "Port of the server")
        .string("socketPath", "", "Path of the socket of the Workload API")
        .string("trustDomain", "", "Trust domain that the agent belongs to")
}

fn log_flags(set: FlagSet) -> FlagSet {
    set.string("logFile", "", "File to append the log to")
        .string("logFormat", "", "Format of the log: text or json")
        .string(
            "logLevel",
            "",
            "Level of the log: panic, fatal, error, warn, info, debug or trace",
        )
        .boolean(
            "logSourceLocation",
            "Add the place in the source to each log line",
        )
}

fn bootstrap_flags(set: FlagSet) -> FlagSet {
    set.string(
        "rebootstrapDelay",
        "",
        "Time before a changed server is believed anew",
    )
    .string(
        "rebootstrapMode",
        "",
        "When a changed server is believed anew: never, auto or always",
    )
    .string(
        "trustBundle",
        "",
        "Path of the bundle to trust the server by",
    )
    .string(
        "trustBundleFormat",
        "",
        "Format of the bundle: pem or spiffe",
    )
    .string(
        "trustBundleUrl",
        "",
        "URL to download the bundle to trust the server by",
    )
}

/// Where the settings come from.
#[derive(Clone, Default)]
pub struct LoadArgs {
    /// The config file.
    pub path: PathBuf,
    /// What is expanded in it.
    pub expand: Expand,
    pub(super) texts: Texts,
    pub(super) server_port: Option<i64>,
    pub(super) switches: Switches,
    pub(super) log: LogOverrides,
}

#[derive(Clone, Default)]
pub(super) struct Texts {
    pub(super) data_dir: Option<String>,
    pub(super) join_token: Option<String>,
    pub(super) join_token_file: Option<String>,
    pub(super) rebootstrap_delay: Option<String>,
    pub(super) rebootstrap_mode: Option<String>,
    pub(super) server_address: Option<String>,
    pub(super) socket_path: Option<String>,
    pub(super) trust_bundle_format: Option<String>,
    pub(super) trust_bundle_path: Option<String>,
    pub(super) trust_bundle_spiffe_workload_api: Option<String>,
    pub(super) trust_bundle_unix_socket: Option<String>,
    pub(super) trust_bundle_url: Option<String>,
    pub(super) trust_domain: Option<String>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Switches {
    pub(super) allow_unauthenticated_verifiers: bool,
    pub(super) disable_sds_api: bool,
    pub(super) disable_workload_api: bool,
    pub(super) insecure_bootstrap: bool,
}

impl LoadArgs {
    /// A config file and nothing else.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// Reads the flags of [`run_flags`].
    #[must_use]
    pub fn from_flags(parsed: &Parsed) -> Self {
        let text = |name| {
            let value = parsed.string(name);
            (!value.is_empty()).then(|| value.to_owned())
        };
        Self {
            path: text("config")
                .unwrap_or_else(|| DEFAULT_PATH.to_owned())
                .into(),
            expand: match parsed.boolean("expandEnv") {
                true => Expand::Environment,
                false => Expand::Nothing,
            },
            texts: Texts {
                data_dir: text("dataDir"),
                join_token: text("joinToken"),
                join_token_file: text("joinTokenFile"),
                rebootstrap_delay: text("rebootstrapDelay"),
                rebootstrap_mode: text("rebootstrapMode"),
                server_address: text("serverAddress"),
                socket_path: text("socketPath"),
                trust_bundle_format: text("trustBundleFormat"),
                trust_bundle_path: text("trustBundle"),
                trust_bundle_url: text("trustBundleUrl"),
                trust_domain: text("trustDomain"),
                // There are no flags for these.
                trust_bundle_spiffe_workload_api: None,
                trust_bundle_unix_socket: None,
            },
            server_port: Some(parsed.integer("serverPort")).filter(|port| *port != 0),
            switches: Switches {
                allow_unauthenticated_verifiers: parsed.boolean("allowUnauthenticatedVerifiers"),
                disable_sds_api: parsed.boolean("disableSDSAPI"),
                disable_workload_api: parsed.boolean("disableWorkloadAPI"),
                insecure_bootstrap: parsed.boolean("insecureBootstrap"),
            },
            log: LogOverrides::from_flags(parsed),
        }
    }
}

const DEFAULT_PATH: &str = "conf/agent/agent.conf";

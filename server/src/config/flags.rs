//! The flags of `run` and `validate`; each is empty unless given, and then goes before the file.

use std::path::PathBuf;

use daemon::{
    config::{Expand, LogOverrides},
    flags::{FlagSet, Parsed},
};

/// The flags; `command` titles the usage text.
#[must_use]
pub fn run_flags(command: &str) -> FlagSet {
    FlagSet::new(command)
        .string("bindAddress", "", "IP address or DNS name to listen on")
        .string("config", "", "Path of the config file")
        .string("dataDir", "", "Directory for the server's data")
        .boolean(
            "expandEnv",
            "Expand environment variables in the config file",
        )
        .string("logFile", "", "File to append the log to")
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
        .integer("serverPort", 0, "Port to listen on")
        .string("socketPath", "", "Path of the socket of the server's API")
        .string("trustDomain", "", "Trust domain that the server speaks for")
}

/// Where the settings come from.
#[derive(Clone, Debug, Default)]
pub struct LoadArgs {
    /// The config file.
    pub path: PathBuf,
    /// What is expanded in it.
    pub expand: Expand,
    pub(super) bind_address: Option<String>,
    pub(super) bind_port: Option<i64>,
    pub(super) data_dir: Option<String>,
    pub(super) socket_path: Option<String>,
    pub(super) trust_domain: Option<String>,
    pub(super) log: LogOverrides,
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
            bind_address: text("bindAddress"),
            bind_port: Some(parsed.integer("serverPort")).filter(|port| *port != 0),
            data_dir: text("dataDir"),
            socket_path: text("socketPath"),
            trust_domain: text("trustDomain"),
            log: LogOverrides::from_flags(parsed),
        }
    }
}

const DEFAULT_PATH: &str = "conf/server/server.conf";

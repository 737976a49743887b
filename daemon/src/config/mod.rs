//! What the config files of both binaries have in common: finding and parsing the file, the log and
//! `health_checks` settings, the `plugins` block, and telling what in a file is unknown or not supported.
//!
//! No key is passed over in silence: it is read, explained, or refused by name and line.

mod findings;
mod plugins;
mod shared;

use std::{
    env, io,
    path::{Path, PathBuf},
};

pub use self::{
    findings::{Findings, KeyAt, Refused, conclude_validation, validation_report},
    plugins::{
        Plugin, PluginProblem, PluginProblems, PluginProgram, TakePluginsError, UnknownPlugin,
        read_data, take_plugins,
    },
    shared::{LogOverrides, parse_duration, take_feature_flags, take_health_checks, take_log},
};
use crate::bounded_file;
use crate::hcl::{self, HclError, Object};

/// Reads and parses a config file, with its environment variables expanded if asked for.
///
/// # Errors
/// [`ReadError`], which names the absolute path.
pub fn read(path: &Path, expand: Expand) -> Result<Object, ReadError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = match bounded_file::read_text(&path, hcl::MAX_LEN_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadError::NotFound { path });
        }
        Err(source) => return Err(ReadError::Read { path, source }),
    };
    let text = match expand {
        Expand::Nothing => text,
        Expand::Environment => hcl::expand_env(&text, |name| env::var(name).ok()).into(),
    };
    hcl::parse(&text).map_err(|source| ReadError::Parse { path, source })
}

/// What is replaced in a config text before it is parsed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Expand {
    /// Nothing.
    #[default]
    Nothing,
    /// `$NAME` and `${NAME}` by the environment variable, `$$` by `$`.
    Environment,
}

/// Why there is no config to speak of.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("could not find config file {}: please use the -config flag", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("unable to read configuration at {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The file does not parse.
    #[error("unable to decode configuration at {path:?}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: HclError,
    },
}

#[cfg(test)]
mod tests;

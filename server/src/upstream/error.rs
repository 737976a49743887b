//! Why an upstream did not do what it was asked for.

use std::time::Duration;

use super::{DiskError, SpireError};

/// Why an upstream did not do what it was asked for. Nothing is stored then.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Upstreams of its kind do not do that.
    #[error("not supported by the upstream authority")]
    Unsupported,
    /// It took too long.
    #[error("no answer from the upstream authority within {} s", .0.as_secs())]
    Late(Duration),
    /// Files on disk.
    #[error("upstream authority \"disk\"")]
    Disk(#[from] DiskError),
    /// A server above.
    #[error("upstream authority \"spire\"")]
    Spire(#[from] SpireError),
    /// A program of its own cannot be used.
    #[error(transparent)]
    Load(#[from] plugin_host::LoadError),
    /// A program of its own did not do its part.
    #[error("upstream authority {name:?}")]
    Other {
        /// Its name in the config.
        name: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

//! Workload attestation: which selectors the process at the other end of the socket has.
//!
//! A process id can be given to another process at any moment. So the peer is held by a handle that
//! names the process and not the number, and what was read from `/proc` counts only if that process
//! was still alive after the reading.

mod accounts;
mod unix;

use daemon::unix::PeerProcess;
use identity::selector::SelectorSet;

pub use unix::{Unix, UnixError};

/// Attests workloads by all configured attestors.
#[derive(Debug)]
pub struct WorkloadAttestor {
    unix: Option<Unix>,
}

impl WorkloadAttestor {
    /// An attestor that asks the given ones.
    pub fn new(unix: Option<Unix>) -> Self {
        Self { unix }
    }

    /// The selectors of `peer`.
    ///
    /// # Errors
    /// The process is gone, or no attestor could say anything about it.
    pub async fn attest(&self, peer: &PeerProcess) -> Result<SelectorSet, AttestError> {
        let Some(unix) = &self.unix else {
            return Ok(SelectorSet::default());
        };
        if !peer.is_alive() {
            return Err(AttestError::Gone);
        }
        let selectors = unix.attest(peer.proc_path()).await?;
        if !peer.is_alive() {
            return Err(AttestError::Gone);
        }
        Ok(selectors)
    }
}

/// Why a workload has no selectors.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The calling process ended, and its id may be another's by now.
    #[error("the calling process is gone")]
    Gone,
    /// The attestor `unix` failed.
    #[error("attestor unix failed")]
    Unix(#[from] UnixError),
}

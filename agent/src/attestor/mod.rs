//! Workload attestation: which selectors the process at the other end of the socket has.
//!
//! A process id can be given to another process at any moment. So the peer is held by a handle that
//! names the process and not the number, and what was read from `/proc` counts only if that process
//! was still alive after the reading, or after the answer of a plugin, which knows the number alone.

mod accounts;
pub mod docker;
mod unix;

use daemon::supervisor::chain;
use daemon::unix::PeerProcess;
use futures_util::future::{BoxFuture, join_all};
use identity::selector::{Selector, SelectorError, SelectorSet};
use plugin_host::{CallError, Plugin, workload_attestor};
use tracing::error;

pub use docker::{Docker, DockerError};
pub use unix::{Unix, UnixError};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use {accounts::told_by_account, unix::told_by_status};

/// Attests workloads by all configured attestors.
#[derive(Debug)]
pub struct WorkloadAttestor {
    unix: Option<Unix>,
    docker: Option<Docker>,
    plugins: Vec<Plugin>,
}

impl WorkloadAttestor {
    /// An attestor that asks the given ones.
    pub fn new(unix: Option<Unix>, docker: Option<Docker>, plugins: Vec<Plugin>) -> Self {
        Self {
            unix,
            docker,
            plugins,
        }
    }

    /// The selectors of `peer`, from all attestors that could say anything about it.
    ///
    /// # Errors
    /// The process is gone, or no attestor could say anything about it.
    pub async fn attest(&self, peer: &PeerProcess) -> Result<SelectorSet, AttestError> {
        if !peer.is_alive() {
            return Err(AttestError::Gone);
        }
        let answers = join_all(self.ask(peer)).await;
        if !peer.is_alive() {
            return Err(AttestError::Gone);
        }
        let (found, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let mut failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
        if found.is_empty() && !failed.is_empty() {
            return Err(failed.remove(0));
        }
        for failure in &failed {
            let error = chain(failure);
            error!(pid = peer.pid(), error, "Failed to collect all selectors");
        }
        let all = found.into_iter().flatten();
        Ok(all.fold(SelectorSet::default(), |all, one| all.union(&one)))
    }

    fn ask<'a>(
        &'a self,
        peer: &'a PeerProcess,
    ) -> Vec<BoxFuture<'a, Result<SelectorSet, AttestError>>> {
        let mut asked: Vec<BoxFuture<'a, _>> = Vec::with_capacity(2 + self.plugins.len());
        if let Some(unix) = &self.unix {
            asked.push(Box::pin(async { Ok(unix.attest(peer.proc_path()).await?) }));
        }
        if let Some(docker) = &self.docker {
            asked.push(Box::pin(async {
                Ok(docker.attest(peer.proc_path()).await?)
            }));
        }
        for plugin in &self.plugins {
            asked.push(Box::pin(ask_plugin(plugin, peer.pid())));
        }
        asked
    }
}

/// Whatever a plugin says, its selectors are of its own type.
async fn ask_plugin(plugin: &Plugin, pid: i32) -> Result<SelectorSet, AttestError> {
    let values = workload_attestor::attest(plugin, pid).await?;
    let selectors = values
        .iter()
        .map(|value| Selector::new(plugin.name(), value));
    selectors
        .collect::<Result<_, _>>()
        .map_err(|source| AttestError::Selector {
            name: plugin.name().into(),
            source,
        })
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
    /// The attestor `docker` failed.
    #[error("attestor docker failed")]
    Docker(#[from] DockerError),
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] CallError),
    /// A plugin says something that is no selector.
    #[error("workloadattestor({name}): plugin gave an unusable selector")]
    Selector {
        /// The plugin.
        name: Box<str>,
        /// What is wrong with it.
        #[source]
        source: SelectorError,
    },
}

//! Who calls on one of the agent's sockets: the process, attested.

use daemon::supervisor::chain;
use daemon::unix::{Peer, PeerProcess};
use identity::selector::SelectorSet;
use tonic::{Request, Status};

use crate::attestor::WorkloadAttestor;

/// Finds out who calls.
#[derive(Debug)]
pub struct Callers {
    attestor: WorkloadAttestor,
    logged_selectors: Vec<String>,
}

impl Callers {
    /// Callers attested by `attestor`. Selectors may be shown in the log that one of `logged_selectors` names,
    /// which are selectors or whole first parts of them.
    pub fn new(attestor: WorkloadAttestor, logged_selectors: Vec<String>) -> Self {
        Self {
            attestor,
            logged_selectors,
        }
    }

    /// Attests the caller of `request`.
    ///
    /// # Errors
    /// The process is gone, or nothing could be said about it.
    pub(crate) async fn identify<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Peer>();
        let Some(process) = peer.and_then(Peer::process) else {
            tracing::error!(
                error = "caller has ended, or lives in a pid namespace that hides it: \
                         run the agent in the host's",
                "Workload attestation failed"
            );
            return Err(attestation_failed());
        };
        self.attest(process).await
    }

    /// Attests a process for which somebody else asks, who answers for it being the right one.
    ///
    /// # Errors
    /// As [`Callers::identify`].
    pub(crate) async fn identify_pid(&self, pid: i32) -> Result<Caller, Status> {
        match PeerProcess::of_pid(pid) {
            Ok(process) => self.attest(&process).await,
            Err(error) => {
                tracing::error!(pid, %error, "Workload attestation failed");
                Err(attestation_failed())
            }
        }
    }

    async fn attest(&self, process: &PeerProcess) -> Result<Caller, Status> {
        match self.attestor.attest(process).await {
            Ok(selectors) => Ok(Caller {
                pid: process.pid(),
                shown_selectors: self.shown(&selectors),
                selectors,
            }),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(pid = process.pid(), error, "Workload attestation failed");
                Err(attestation_failed())
            }
        }
    }

    fn shown(&self, selectors: &SelectorSet) -> Option<String> {
        let shown: Vec<String> = selectors
            .iter()
            .map(ToString::to_string)
            .filter(|text| self.logged_selectors.iter().any(|one| names(one, text)))
            .collect();
        (!shown.is_empty()).then(|| shown.join(","))
    }
}

/// Whether `prefix` is the selector, or ends where a part of it does: `k8s:ns` does not name `k8s:ns-label`.
fn names(prefix: &str, selector: &str) -> bool {
    let rest = selector.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':') || prefix.ends_with(':'))
}

/// A process and what it was attested with.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) pid: i32,
    pub(crate) selectors: SelectorSet,
    shown_selectors: Option<String>,
}

impl Caller {
    /// Whether the agent calls itself, to see whether it is well.
    pub(crate) fn is_agent(&self) -> bool {
        u32::try_from(self.pid).is_ok_and(|pid| pid == std::process::id())
    }

    /// The answer to a workload without an identity.
    pub(crate) fn denied(&self, service: &'static str, method: &'static str) -> Status {
        if !self.is_agent() {
            tracing::error!(
                method,
                pid = self.pid,
                registered = false,
                selectors = self.shown_selectors,
                service,
                "No identity issued"
            );
        }
        Status::permission_denied("no identity issued")
    }
}

fn attestation_failed() -> Status {
    Status::unavailable("workload attestation failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_selectors_are_named_by_whole_parts() {
        for prefix in [
            "docker",
            "docker:",
            "docker:env",
            "docker:env:",
            "docker:env:A=b",
        ] {
            assert!(names(prefix, "docker:env:A=b"), "{prefix}");
        }
        for prefix in [
            "",
            "d",
            "docker:e",
            "docker:env:A",
            "docker:env:A=b:",
            "unix",
        ] {
            assert!(!names(prefix, "docker:env:A=b"), "{prefix}");
        }
    }
}

//! Who calls: the header that proves a Workload API client, and the selectors of the process.

use daemon::supervisor::chain;
use daemon::unix::PeerProcess;
use identity::selector::SelectorSet;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::Shared;

/// The calling process, attested.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) pid: i32,
    pub(super) selectors: SelectorSet,
}

impl Caller {
    /// Attests the caller of `request`.
    pub(super) async fn of<T>(request: &Request<T>, shared: &Shared) -> Result<Self, Status> {
        let peer = request.extensions().get::<PeerProcess>();
        let peer = peer.ok_or_else(attestation_failed)?;
        match shared.attestor.attest(peer).await {
            Ok(selectors) => Ok(Self {
                pid: peer.pid(),
                selectors,
            }),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(pid = peer.pid(), error, "Workload attestation failed");
                Err(attestation_failed())
            }
        }
    }

    /// Whether the agent calls itself, to see whether it is well.
    fn is_agent(&self) -> bool {
        u32::try_from(self.pid).is_ok_and(|pid| pid == std::process::id())
    }

    /// The answer to a workload without an identity.
    pub(super) fn denied(&self, method: &'static str) -> Status {
        if !self.is_agent() {
            tracing::error!(
                method,
                pid = self.pid,
                registered = false,
                service = SERVICE,
                "No identity issued"
            );
        }
        Status::permission_denied("no identity issued")
    }
}

/// The name in log lines.
pub(super) const SERVICE: &str = "WorkloadAPI";

/// Refuses a call without the header that no browser or proxy sends by accident (SPIFFE Workload
/// Endpoint §3).
pub(super) fn check_header(metadata: &MetadataMap) -> Result<(), Status> {
    let mut values = metadata.get_all("workload.spiffe.io").iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value.as_bytes() == b"true" => Ok(()),
        _ => Err(Status::invalid_argument(
            "security header missing from request",
        )),
    }
}

fn attestation_failed() -> Status {
    Status::unavailable("workload attestation failed")
}

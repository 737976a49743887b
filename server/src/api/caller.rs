//! Owns the way from a request to what is known of who made it.

use std::sync::Arc;

use http::uri::Authority;
use raft_store::AgentRecord;
use tonic::{Request, Status};

use crate::attest::Origin;
use crate::endpoints::{Caller, CallerRole};

/// The agent that calls, as it was admitted.
pub(super) fn agent<T>(request: &Request<T>) -> Result<Arc<AgentRecord>, Status> {
    match request.extensions().get::<CallerRole>() {
        Some(CallerRole::Agent(agent)) => Ok(Arc::clone(agent)),
        Some(
            CallerRole::Nobody | CallerRole::Local | CallerRole::Admin(_) | CallerRole::Downstream,
        )
        | None => Err(Status::internal("caller is not an agent")),
    }
}

/// Where a request comes from.
pub(super) fn origin<T>(request: &Request<T>) -> Origin {
    let address = match request.extensions().get::<Caller>() {
        Some(Caller::Tls { address, .. }) => Some(address.ip().to_canonical()),
        Some(Caller::Local(_)) | None => None,
    };
    let authority = request.extensions().get::<Authority>();
    Origin {
        address,
        untrusted_host: authority.map(|authority| authority.host().to_owned()),
    }
}

//! Owns the way from a request to the agent that made it.

use std::sync::Arc;

use raft_store::AgentRecord;
use tonic::{Request, Status};

use crate::endpoints::CallerRole;

/// The agent that calls, as it was admitted.
pub(super) fn agent<T>(request: &Request<T>) -> Result<Arc<AgentRecord>, Status> {
    match request.extensions().get::<CallerRole>() {
        Some(CallerRole::Agent(agent)) => Ok(Arc::clone(agent)),
        Some(
            CallerRole::Nobody | CallerRole::Local | CallerRole::Admin | CallerRole::Downstream,
        )
        | None => Err(Status::internal("caller is not an agent")),
    }
}

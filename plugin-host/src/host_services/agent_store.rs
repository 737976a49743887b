//! Tells a plugin whether an agent is known.

use std::sync::Arc;

use proto::spire::hostservice::server::agentstore::v1::agent_store_server as generated;
use proto::spire::hostservice::server::agentstore::v1::{
    AgentInfo, GetAgentInfoRequest, GetAgentInfoResponse,
};
use tonic::{Request, Response, Status};

use super::AgentStore;

pub(super) struct Service(Arc<dyn AgentStore>);

pub(super) fn server(agents: Arc<dyn AgentStore>) -> generated::AgentStoreServer<Service> {
    generated::AgentStoreServer::new(Service(agents))
}

#[tonic::async_trait]
impl generated::AgentStore for Service {
    async fn get_agent_info(
        &self,
        request: Request<GetAgentInfoRequest>,
    ) -> Result<Response<GetAgentInfoResponse>, Status> {
        let agent_id = request.into_inner().agent_id;
        match self.0.has(&agent_id).await {
            Ok(true) => Ok(Response::new(GetAgentInfoResponse {
                info: Some(AgentInfo { agent_id }),
            })),
            Ok(false) => Err(Status::not_found("no such agent")),
            Err(text) => Err(Status::internal(text)),
        }
    }
}

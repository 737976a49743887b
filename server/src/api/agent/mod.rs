//! Owns the Agent service on the wire.

mod attest;

use std::time::Duration;

use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use proto::convert;
use proto::spire::api::server::agent::v1 as wire;
use proto::spire::api::server::agent::v1::agent_server::Agent;
use proto::spire::api::types;
use tonic::{Request, Response, Status, Streaming};

use crate::agents::{self, Agents};
use crate::api::page_token::Page;
use crate::api::{audit, caller, status, status_agent, status_svid};
use crate::attest::{AgentSvid, Attestation};

/// The Agent service.
#[derive(Clone, Debug)]
pub struct AgentApi {
    agents: Agents,
    attestation: Attestation,
    trust_domain: TrustDomain,
}

impl AgentApi {
    /// The service over `agents`, which `attestation` admits to `trust_domain`.
    pub fn new(agents: Agents, attestation: Attestation, trust_domain: TrustDomain) -> Self {
        Self {
            agents,
            attestation,
            trust_domain,
        }
    }

    fn agent_id(&self, wire: Option<&types::Spiffeid>) -> Result<SpiffeId, Status> {
        convert::id::agent_id(&self.trust_domain, wire)
            .map_err(|error| status_svid::invalid("invalid agent ID", error))
    }
}

#[tonic::async_trait]
impl Agent for AgentApi {
    async fn count_agents(
        &self,
        request: Request<wire::CountAgentsRequest>,
    ) -> Result<Response<wire::CountAgentsResponse>, Status> {
        let filter = convert::agent::count_filter(request.get_ref().filter.as_ref())
            .map_err(|error| status_agent::unusable_filter("failed to count agents", &error))?;
        let count = self.agents.count(&filter).await;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Response::new(wire::CountAgentsResponse { count }))
    }

    async fn list_agents(
        &self,
        request: Request<wire::ListAgentsRequest>,
    ) -> Result<Response<wire::ListAgentsResponse>, Status> {
        const WHAT: &str = "failed to list agents";
        let request = request.into_inner();
        let filter = convert::agent::list_filter(request.filter.as_ref())
            .map_err(|error| status_agent::unusable_filter(WHAT, &error))?;
        let page = Page::parse(request.page_size, &request.page_token)
            .map_err(|error| status::failed(tonic::Code::Internal, WHAT, error))?;
        let found = self.agents.list(&filter, page.after(), page.limit()).await;
        let mask = request.output_mask.as_ref();
        Ok(Response::new(wire::ListAgentsResponse {
            agents: found
                .agents
                .iter()
                .map(|agent| agents::view(agent).to_wire(mask))
                .collect(),
            next_page_token: page.next_token(found.last),
        }))
    }

    async fn get_agent(
        &self,
        request: Request<wire::GetAgentRequest>,
    ) -> Result<Response<types::Agent>, Status> {
        audit::note(&request, |request| {
            [("spiffe_id", audit::id_text(request.id.as_ref()).into())]
        });
        let request = request.into_inner();
        let id = self.agent_id(request.id.as_ref())?;
        let agent = self.agents.confirmed_agent(&id).await;
        let agent = agent.map_err(|error| status::read_failure("failed to fetch agent", &error))?;
        let agent = agent.ok_or_else(status_agent::not_found)?;
        Ok(Response::new(
            agents::view(&agent).to_wire(request.output_mask.as_ref()),
        ))
    }

    async fn delete_agent(
        &self,
        request: Request<wire::DeleteAgentRequest>,
    ) -> Result<Response<()>, Status> {
        audit::note(&request, |request| {
            [("spiffe_id", audit::id_text(request.id.as_ref()).into())]
        });
        let id = self.agent_id(request.get_ref().id.as_ref())?;
        let found = self.agents.delete(&id).await;
        let found =
            found.map_err(|error| status::store_failure("failed to remove agent", &error))?;
        if found {
            Ok(Response::new(()))
        } else {
            Err(status_agent::not_found())
        }
    }

    async fn ban_agent(
        &self,
        request: Request<wire::BanAgentRequest>,
    ) -> Result<Response<()>, Status> {
        audit::note(&request, |request| {
            [("spiffe_id", audit::id_text(request.id.as_ref()).into())]
        });
        let id = self.agent_id(request.get_ref().id.as_ref())?;
        let found = self.agents.ban(&id).await;
        let found = found.map_err(|error| status::store_failure("failed to ban agent", &error))?;
        if found {
            Ok(Response::new(()))
        } else {
            Err(status_agent::not_found())
        }
    }

    type AttestAgentStream = attest::Answer;

    async fn attest_agent(
        &self,
        request: Request<Streaming<wire::AttestAgentRequest>>,
    ) -> Result<Response<Self::AttestAgentStream>, Status> {
        let origin = caller::origin(&request);
        let trail = audit::trail(&request);
        attest::answer(&self.attestation, request.into_inner(), (origin, trail))
            .await
            .map(Response::new)
    }

    async fn renew_agent(
        &self,
        request: Request<wire::RenewAgentRequest>,
    ) -> Result<Response<wire::RenewAgentResponse>, Status> {
        audit::note(&request, |request| {
            let params = request.params.as_ref();
            [(
                "csr",
                params.map(|params| audit::hashed(&params.csr)).into(),
            )]
        });
        let agent = caller::agent(&request)?;
        if agent.can_reattest {
            return Err(status_agent::must_reattest());
        }
        let params = request.into_inner().params;
        let params = params.ok_or_else(|| Status::invalid_argument("params cannot be nil"))?;
        if params.csr.is_empty() {
            return Err(Status::invalid_argument("missing CSR"));
        }
        let renewed = self.attestation.renew(&agent, &params.csr).await;
        let renewed = renewed.map_err(|error| status_agent::not_renewed(&error))?;
        Ok(Response::new(wire::RenewAgentResponse {
            svid: Some(svid(&renewed)),
        }))
    }

    async fn create_join_token(
        &self,
        request: Request<wire::CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        audit::note(&request, |request| {
            [
                (
                    "spiffe_id",
                    audit::id_text(request.agent_id.as_ref()).into(),
                ),
                ("ttl", request.ttl.into()),
            ]
        });
        let request = request.into_inner();
        let ttl = u64::try_from(request.ttl)
            .ok()
            .filter(|seconds| *seconds > 0);
        let ttl = ttl
            .map(Duration::from_secs)
            .ok_or_else(|| Status::invalid_argument("ttl is required, you must provide one"))?;
        let alias = request
            .agent_id
            .map(|id| convert::id::workload_id(&self.trust_domain, Some(&id)))
            .transpose()
            .map_err(|error| status_svid::invalid("invalid agent ID", error))?;
        let wanted = (!request.token.is_empty()).then_some(request.token);
        let token = self.agents.create_join_token(wanted, ttl, alias).await;
        let token = token.map_err(|error| status_agent::no_join_token(&error))?;
        Ok(Response::new(types::JoinToken {
            value: token.value,
            expires_at: token.expires_at.as_secs(),
        }))
    }

    async fn post_status(
        &self,
        request: Request<wire::PostStatusRequest>,
    ) -> Result<Response<wire::PostStatusResponse>, Status> {
        let agent = caller::agent(&request)?;
        let version = &request.get_ref().agent_version;
        if version.len() > MAX_VERSION_LEN_BYTES {
            return Err(status_agent::version_too_long(MAX_VERSION_LEN_BYTES));
        }
        let noted = self.agents.note_version(&agent, version).await;
        noted.map_err(|error| status::store_failure("failed to update agent", &error))?;
        Ok(Response::new(wire::PostStatusResponse {}))
    }
}

/// The longest version that an agent may report.
const MAX_VERSION_LEN_BYTES: usize = 255;

fn svid(agent: &AgentSvid) -> types::X509svid {
    convert::svid::x509(&agent.spiffe_id, &agent.chain, agent.not_after)
}

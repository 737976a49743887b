//! Attestors that do what the evidence says: `id SPIFFE_ID`, `challenge SPIFFE_ID`, `known AGENT_ID`,
//! `identity`, `deny`, `crash`, `hang`, `stop`, `huge`, `nothing`.
//!
//! A workload attestor and an agent's side get no evidence: they do what they were configured with.

use daemon::router::Router;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use proto::spire::hostservice::server::agentstore::v1::GetAgentInfoRequest;
use proto::spire::hostservice::server::agentstore::v1::agent_store_client::AgentStoreClient;
use proto::spire::hostservice::server::identityprovider::v1::FetchX509IdentityRequest;
use proto::spire::hostservice::server::identityprovider::v1::identity_provider_client::IdentityProviderClient;
use proto::spire::plugin::agent::nodeattestor::v1 as agent_node;
use proto::spire::plugin::agent::workloadattestor::v1 as workload;
use proto::spire::plugin::server::nodeattestor::v1::node_attestor_server::{
    NodeAttestor, NodeAttestorServer,
};
use proto::spire::plugin::server::nodeattestor::v1::{
    AgentAttributes, AttestRequest, AttestResponse, attest_request, attest_response,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::services::State;

/// 100 MB in all.
pub(super) const HUGE_VALUE_BYTES: usize = 100_000_000;

pub(super) fn add(router: Router, state: &State) -> Router {
    router
        .with(NodeAttestorServer::new(state.clone()))
        .with(agent_node::node_attestor_server::NodeAttestorServer::new(
            state.clone(),
        ))
        .with(workload::workload_attestor_server::WorkloadAttestorServer::new(state.clone()))
}

/// Misbehaves, if `order` is to do so.
pub(super) async fn misbehave(order: &str) -> Result<(), Status> {
    match order {
        "deny" => Err(Status::permission_denied("not convinced")),
        "crash" => {
            // As a plugin that panics does: without a farewell to the connection.
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).ok();
            std::future::pending().await
        }
        "hang" => std::future::pending().await,
        "stop" => {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::STOP).ok();
            std::future::pending().await
        }
        _ => Ok(()),
    }
}

fn verdict(spiffe_id: &str, selector_values: Vec<String>) -> AttestResponse {
    AttestResponse {
        response: Some(attest_response::Response::AgentAttributes(
            AgentAttributes {
                spiffe_id: spiffe_id.to_owned(),
                selector_values,
                can_reattest: true,
            },
        )),
    }
}

impl State {
    async fn judge(
        &self,
        order: &str,
        metadata: String,
        requests: Streaming<AttestRequest>,
    ) -> Result<BoxStream<'static, Result<AttestResponse, Status>>, Status> {
        misbehave(order).await?;
        let values = vec![format!("configured:{}", self.configured()), metadata];
        let (verb, object) = order.split_once(' ').unwrap_or((order, ""));
        let object = object.to_owned();
        Ok(match verb {
            "id" => one(verdict(&object, values)),
            "huge" => one(verdict(
                "spiffe://example.org/huge",
                vec!["x".repeat(HUGE_VALUE_BYTES)],
            )),
            "challenge" => challenge(object, requests),
            "known" => {
                let mut client = AgentStoreClient::new(self.host().await?);
                let agent_id = object.clone();
                match client
                    .get_agent_info(GetAgentInfoRequest { agent_id })
                    .await
                {
                    Ok(_) => return Err(Status::permission_denied("agent is known")),
                    Err(status) if status.code() == Code::NotFound => {}
                    Err(status) => return Err(status),
                }
                one(verdict(&object, values))
            }
            "identity" => {
                let mut client = IdentityProviderClient::new(self.host().await?);
                let answer = client
                    .fetch_x509_identity(FetchX509IdentityRequest {})
                    .await?;
                let answer = answer.into_inner();
                let identity = answer.identity.unwrap_or_default();
                let bundle = answer.bundle.unwrap_or_default();
                let found = format!(
                    "{} certificates, key: {}, {} authorities of {}",
                    identity.cert_chain.len(),
                    !identity.private_key.is_empty(),
                    bundle.x509_authorities.len(),
                    bundle.trust_domain
                );
                one(verdict(&object, vec![found]))
            }
            _ => stream::empty().boxed(),
        })
    }
}

fn one(answer: AttestResponse) -> BoxStream<'static, Result<AttestResponse, Status>> {
    // A plugin may keep its side open.
    stream::once(async { Ok(answer) })
        .chain(stream::pending())
        .boxed()
}

fn challenge(
    spiffe_id: String,
    mut requests: Streaming<AttestRequest>,
) -> BoxStream<'static, Result<AttestResponse, Status>> {
    let question = AttestResponse {
        response: Some(attest_response::Response::Challenge(b"question".to_vec())),
    };
    let answer = async move {
        match requests
            .message()
            .await?
            .and_then(|request| request.request)
        {
            Some(attest_request::Request::ChallengeResponse(response))
                if response == b"answer to question" =>
            {
                Ok(verdict(&spiffe_id, Vec::new()))
            }
            _ => Err(Status::permission_denied("wrong answer")),
        }
    };
    stream::once(async { Ok(question) })
        .chain(stream::once(answer))
        .boxed()
}

#[tonic::async_trait]
impl NodeAttestor for State {
    type AttestStream = BoxStream<'static, Result<AttestResponse, Status>>;

    async fn attest(
        &self,
        request: Request<Streaming<AttestRequest>>,
    ) -> Result<Response<Self::AttestStream>, Status> {
        let header = |name| {
            let value = request.metadata().get(name);
            let value = value.and_then(|value| value.to_str().ok());
            value.unwrap_or("-").to_owned()
        };
        let metadata = format!(
            "origin:{} {}",
            header("x-forwarded-client-ip"),
            header("x-untrusted-forwarded-host")
        );
        let mut requests = request.into_inner();
        let first = requests
            .message()
            .await?
            .and_then(|request| request.request);
        let Some(attest_request::Request::Payload(payload)) = first else {
            return Err(Status::invalid_argument("no payload"));
        };
        let order = String::from_utf8_lossy(&payload).into_owned();
        Ok(Response::new(self.judge(&order, metadata, requests).await?))
    }
}

#[tonic::async_trait]
impl agent_node::node_attestor_server::NodeAttestor for State {
    type AidAttestationStream =
        BoxStream<'static, Result<agent_node::PayloadOrChallengeResponse, Status>>;

    async fn aid_attestation(
        &self,
        request: Request<Streaming<agent_node::Challenge>>,
    ) -> Result<Response<Self::AidAttestationStream>, Status> {
        use agent_node::payload_or_challenge_response::Data;
        let order = self.order();
        misbehave(&order).await?;
        let payload = agent_node::PayloadOrChallengeResponse {
            data: Some(Data::Payload(order.into_bytes())),
        };
        let answers = request.into_inner().map(|challenge| {
            let challenge = challenge?.challenge;
            let answer = match challenge.as_slice() {
                b"unanswerable" => Vec::new(),
                challenge => [b"answer to ", challenge].concat(),
            };
            Ok(agent_node::PayloadOrChallengeResponse {
                data: Some(Data::ChallengeResponse(answer)),
            })
        });
        Ok(Response::new(
            stream::once(async { Ok(payload) }).chain(answers).boxed(),
        ))
    }
}

impl State {
    /// What stands between `order = "` and the quote in the configuration.
    pub(super) fn order(&self) -> String {
        let configured = self.configured();
        let after = configured.split_once("order = \"");
        let order = after.and_then(|(_, rest)| rest.split_once('"'));
        order.map_or_else(String::new, |(order, _)| order.to_owned())
    }
}

#[tonic::async_trait]
impl workload::workload_attestor_server::WorkloadAttestor for State {
    async fn attest(
        &self,
        request: Request<workload::AttestRequest>,
    ) -> Result<Response<workload::AttestResponse>, Status> {
        let order = self.order();
        misbehave(&order).await?;
        let selector_values = match order.as_str() {
            "huge" => vec!["x".repeat(HUGE_VALUE_BYTES)],
            "empty" => vec![String::new()],
            "reference" => return Err(Status::unimplemented("references only")),
            order => vec![
                format!("pid:{}", request.into_inner().pid),
                format!("order:{order}"),
            ],
        };
        Ok(Response::new(workload::AttestResponse { selector_values }))
    }

    async fn attest_reference(
        &self,
        request: Request<workload::AttestReferenceRequest>,
    ) -> Result<Response<workload::AttestReferenceResponse>, Status> {
        let reference = request.into_inner().reference.unwrap_or_default();
        Ok(Response::new(workload::AttestReferenceResponse {
            selector_values: vec![format!("reference:{}", reference.type_url)],
        }))
    }
}

//! Owns the exchange by which an agent attests itself: its evidence, then the result.
//!
//! No kind of attestation in use needs a challenge, so whatever else the agent sends is not read.

use std::time::Duration;

use proto::spire::api::server::agent::v1 as wire;
use proto::spire::api::server::agent::v1::attest_agent_request::{Params, Step};
use proto::spire::api::server::agent::v1::attest_agent_response::{
    Result as WireResult, Step as Answered,
};
use tokio_stream::Once;
use tonic::{Status, Streaming};

use super::svid;
use crate::api::{status, status_agent, status_svid};
use crate::attest::{Attestation, Evidence};

/// What goes back to the agent.
pub(in crate::api) type Answer = Once<Result<wire::AttestAgentResponse, Status>>;

/// Reads what an agent shows, and answers with its certificate or a refusal.
pub(super) async fn answer(
    attestation: &Attestation,
    mut requests: Streaming<wire::AttestAgentRequest>,
) -> Result<Answer, Status> {
    let params = first_params(&mut requests).await?;
    let evidence = evidence(&params)?;
    let admitted = attestation.attest(evidence).await;
    let admitted = admitted.map_err(|error| status_agent::not_attested(&error))?;
    let result = WireResult {
        svid: Some(svid(&admitted)),
        reattestable: admitted.can_reattest,
    };
    let response = wire::AttestAgentResponse {
        step: Some(Answered::Result(result)),
    };
    Ok(tokio_stream::once(Ok(response)))
}

async fn first_params(
    requests: &mut Streaming<wire::AttestAgentRequest>,
) -> Result<Params, Status> {
    const WHAT: &str = "failed to receive request from stream";
    let first = tokio::time::timeout(FIRST_WITHIN, requests.message()).await;
    let request = first
        .map_err(|_elapsed| {
            status::failed(tonic::Code::DeadlineExceeded, WHAT, "nothing was sent")
        })??
        .ok_or_else(|| status_svid::invalid(WHAT, "EOF"))?;
    match request.step {
        Some(Step::Params(params)) => Ok(params),
        Some(Step::ChallengeResponse(_)) | None => Err(malformed("missing params")),
    }
}

fn evidence(params: &Params) -> Result<Evidence<'_>, Status> {
    let data = params
        .data
        .as_ref()
        .ok_or_else(|| malformed("missing attestation data"))?;
    let x509 = params
        .params
        .as_ref()
        .ok_or_else(|| malformed("missing X509-SVID parameters"))?;
    if x509.csr.is_empty() {
        return Err(malformed("missing CSR"));
    }
    if data.r#type.is_empty() {
        return Err(malformed("missing attestation data type"));
    }
    if data.payload.is_empty() {
        return Err(malformed("missing attestation data payload"));
    }
    Ok(Evidence {
        kind: &data.r#type,
        payload: &data.payload,
        csr: &x509.csr,
    })
}

/// How long a stranger may hold a stream open before it says something.
const FIRST_WITHIN: Duration = Duration::from_secs(30);

fn malformed(what: &str) -> Status {
    status_svid::invalid("malformed param", what)
}

//! Owns the exchange by which an agent attests itself: its evidence, challenges and answers as long
//! as its attestor wants them, then the result.
//!
//! Whoever calls is a stranger: how long each step and all of them may take is limited, and how
//! many there are.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use proto::spire::api::server::agent::v1 as wire;
use proto::spire::api::server::agent::v1::attest_agent_request::{Params, Step};
use proto::spire::api::server::agent::v1::attest_agent_response::{
    Result as WireResult, Step as Answered,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::svid;
use crate::api::audit::{self, AuditTrail};
use crate::api::{status, status_agent, status_svid};
use crate::attest::{Attestation, AttestorError, Challenges, Evidence, Origin};

/// What goes back to the agent.
pub(in crate::api) type Answer = BoxStream<'static, Result<wire::AttestAgentResponse, Status>>;

/// Reads what an agent shows, and answers with challenges, then its certificate or a refusal.
pub(super) async fn answer(
    attestation: &Attestation,
    mut requests: Streaming<wire::AttestAgentRequest>,
    (origin, trail): (Origin, Option<AuditTrail>),
) -> Result<Answer, Status> {
    let params = first_params(&mut requests).await?;
    if let (Some(trail), Some(data)) = (&trail, &params.data) {
        trail.leave_open();
        trail.note("node_attestor_type", data.r#type.as_str());
    }
    let (challenges, outgoing) = mpsc::channel(1);
    let conversation = Conversation {
        requests,
        challenges,
        rounds: 0,
    };
    let attestation = attestation.clone();
    let result = async move {
        let mut conversation = conversation;
        let result = attest(&attestation, &params, &origin, &mut conversation).await;
        tell(trail.as_ref(), &result, &conversation);
        result
    };
    let challenges = ReceiverStream::new(outgoing).map(Ok);
    let mut answers = stream::select(challenges, stream::once(result)).boxed();
    // A refusal without a challenge is the answer of the call itself.
    let first = answers.next().await.transpose()?;
    Ok(stream::iter(first.map(Ok)).chain(answers).boxed())
}

async fn attest(
    attestation: &Attestation,
    params: &Params,
    origin: &Origin,
    conversation: &mut Conversation,
) -> Result<wire::AttestAgentResponse, Status> {
    let evidence = evidence(params, origin)?;
    let admitted = attestation.attest(evidence, conversation);
    let admitted = tokio::time::timeout(WHOLE_WITHIN, admitted).await;
    let admitted = admitted.map_err(|_elapsed| {
        let cause = format!("not done within {WHOLE_WITHIN:?}");
        status::failed(Code::DeadlineExceeded, "failed to attest", cause)
    })?;
    let admitted = admitted.map_err(|error| status_agent::not_attested(&error))?;
    let result = WireResult {
        svid: Some(svid(&admitted)),
        reattestable: admitted.can_reattest,
    };
    Ok(wire::AttestAgentResponse {
        step: Some(Answered::Result(result)),
    })
}

/// The audit log is told how a conversation ended. A refusal without a challenge is the answer of
/// the call itself, which the router tells.
fn tell(
    trail: Option<&AuditTrail>,
    result: &Result<wire::AttestAgentResponse, Status>,
    conversation: &Conversation,
) {
    let Some(trail) = trail else {
        return;
    };
    match result {
        Ok(response) => {
            if let Some(Answered::Result(admitted)) = &response.step {
                let id = admitted.svid.as_ref().and_then(|svid| svid.id.as_ref());
                trail.note("agent_id", audit::id_text(id));
            }
            trail.end(Ok(()));
        }
        Err(status) if conversation.rounds > 0 => trail.end(Err(status)),
        Err(_) => {}
    }
}

/// The stream of one agent after its evidence.
struct Conversation {
    requests: Streaming<wire::AttestAgentRequest>,
    challenges: mpsc::Sender<wire::AttestAgentResponse>,
    rounds: usize,
}

impl Conversation {
    async fn ask(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, AttestorError> {
        let failed = |code, cause: &str| {
            let text = format!("failed to receive challenge from agent: {cause}");
            AttestorError::conversation(code, text)
        };
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return Err(AttestorError::internal("too many challenges"));
        }
        let step = Some(Answered::Challenge(challenge));
        let sent = self.challenges.send(wire::AttestAgentResponse { step });
        if sent.await.is_err() {
            let text = "failed to send challenge to agent: the stream has ended";
            return Err(AttestorError::conversation(Code::Internal, text));
        }
        let answer = tokio::time::timeout(STEP_WITHIN, self.requests.message()).await;
        let request = answer
            .map_err(|_elapsed| failed(Code::DeadlineExceeded, "nothing was sent"))?
            .map_err(|error| failed(Code::Internal, error.message()))?
            .ok_or_else(|| failed(Code::Internal, "EOF"))?;
        match request.step {
            Some(Step::ChallengeResponse(response)) => Ok(response),
            Some(Step::Params(_)) | None => Ok(Vec::new()),
        }
    }
}

impl Challenges for Conversation {
    fn challenge<'a>(
        &'a mut self,
        challenge: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, AttestorError>> {
        Box::pin(self.ask(challenge))
    }
}

async fn first_params(
    requests: &mut Streaming<wire::AttestAgentRequest>,
) -> Result<Params, Status> {
    const WHAT: &str = "failed to receive request from stream";
    let first = tokio::time::timeout(STEP_WITHIN, requests.message()).await;
    let request = first
        .map_err(|_elapsed| status::failed(Code::DeadlineExceeded, WHAT, "nothing was sent"))??
        .ok_or_else(|| status_svid::invalid(WHAT, "EOF"))?;
    match request.step {
        Some(Step::Params(params)) => Ok(params),
        Some(Step::ChallengeResponse(_)) | None => Err(malformed("missing params")),
    }
}

fn evidence<'a>(params: &'a Params, origin: &'a Origin) -> Result<Evidence<'a>, Status> {
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
        origin,
    })
}

/// How long a stranger may hold a stream open before it says something.
const STEP_WITHIN: Duration = Duration::from_secs(30);

/// How long everything may take; our agents give up after half of it.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// No attestor in use needs more than one.
const MAX_ROUNDS: usize = 16;

fn malformed(what: &str) -> Status {
    status_svid::invalid("malformed param", what)
}
